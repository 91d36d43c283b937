package containerd

import (
	"bufio"
	"encoding/hex"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
)

// reasonForeign is the reason of a warning about a host port that a process of the node holds.
const reasonForeign = "HostPortInUse"

// warnForeign tells of host ports on which a process of the node listens already: traffic for it goes to the pod from now
// on, and with hostNetwork the pod's own process cannot have it.
func (r *Runtime) warnForeign(p *manifests.Pod) {
	var found []podmgr.Note
	for _, m := range portMappings(p.Object) {
		inode := listening("/proc/thread-self/net", m.Protocol, m.HostIP, m.HostPort)
		if inode == "" {
			continue
		}
		text := "host port " + portText(m) + " is in use by a process of the node"
		if who := socketHolder("/proc", inode); who != "" {
			text += ": " + who
		}
		found = append(found, podmgr.Note{Reason: reasonForeign, Message: text})
	}
	r.notes.set(p.UID(), "", []string{reasonForeign}, found...)
}

// listening returns the inode of a socket that listens on a port of the node; empty when there is none. net is the directory of /proc with the tables.
func listening(net, protocol, ip string, port int32) string {
	const tcpListen, udpUnconnected = "0A", "07"
	state := tcpListen
	switch protocol {
	case "udp":
		state = udpUnconnected
	case "sctp":
		return "" // the kernel has no table of them without its module
	}
	for _, table := range []string{protocol, protocol + "6"} {
		f, err := os.Open(filepath.Join(net, table))
		if err != nil {
			continue
		}
		s := bufio.NewScanner(f)
		for s.Scan() {
			//   sl  local_address rem_address   st tx_queue:rx_queue tr:tm->when retrnsmt   uid  timeout inode
			c := strings.Fields(s.Text())
			if len(c) < 10 || c[3] != state {
				continue
			}
			address, hexPort, _ := strings.Cut(c[1], ":")
			n, err := strconv.ParseUint(hexPort, 16, 16)
			if err != nil || n != uint64(port) { //nolint:gosec // validated to be a port
				continue
			}
			if local := procAddress(address); everywhere(ip) || everywhere(local) || ip == local {
				_ = f.Close()
				return c[9]
			}
		}
		_ = f.Close()
	}
	return ""
}

// procAddress reads an address as /proc/net shows it: 32-bit words in the machine's order, which is little-endian on all
// that we run on.
func procAddress(text string) string {
	b, err := hex.DecodeString(text)
	if err != nil {
		return ""
	}
	for i := 0; i+4 <= len(b); i += 4 {
		slices.Reverse(b[i : i+4])
	}
	a, _ := netip.AddrFromSlice(b)
	return a.Unmap().String()
}

// socketHolder names the process that has a socket, "name (pid)"; empty when it cannot be found.
func socketHolder(proc, inode string) string {
	fds, _ := filepath.Glob(filepath.Join(proc, "[0-9]*", "fd", "*"))
	for _, fd := range fds {
		if link, err := os.Readlink(fd); err != nil || link != "socket:["+inode+"]" {
			continue
		}
		dir := filepath.Dir(filepath.Dir(fd))
		name, err := os.ReadFile(filepath.Join(dir, "comm"))
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(name)) + " (" + filepath.Base(dir) + ")"
	}
	return ""
}
