package metrics

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/google/cadvisor/lib/container/libcontainer"
	"github.com/opencontainers/cgroups"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The tests run themselves again as the processes of containers.
const (
	workloadMode = "METRICS_TEST_WORKLOAD" // container, sandbox or idle
	workloadFile = "METRICS_TEST_FILE"     // what the container writes to
)

// What a container does, and how much of it.
const (
	burnTime   = 300 * time.Millisecond // of CPU
	heldBytes  = 32 << 20               // of memory
	wroteBytes = 8 << 20                // to the disk, past the page cache
	sentCount  = 10                     // datagrams of
	sentBytes  = 1000                   // payload
	sentTotal  = sentCount * (sentBytes + 8 + 20 + 14)
)

// workload does its work once it is told to on stdin (by then it is in its cgroup), says so, and stays until stdin ends.
func workload(mode string) error {
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		return nil // the test needs no work of it
	}
	var held []byte
	switch mode {
	case "container":
		burn()
		held = make([]byte, heldBytes)
		for i := 0; i < len(held); i += os.Getpagesize() {
			held[i] = 1
		}
		if err := write(os.Getenv(workloadFile)); err != nil {
			return err
		}
	case "sandbox":
		if err := send(); err != nil {
			return err
		}
	}
	fmt.Println("done")
	_, err := in.ReadString('\n')
	if len(held) > 0 && held[0] != 1 {
		return errors.New("memory changed by itself")
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func burn() {
	for {
		for range 1_000_000 {
			_ = time.Duration(0)
		}
		var u unix.Rusage
		if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil || time.Duration(u.Utime.Nano()+u.Stime.Nano()) > burnTime {
			return
		}
	}
}

func write(file string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|unix.O_DIRECT, 0o600)
	if err != nil {
		return err
	}
	const block = 1 << 20
	raw := make([]byte, block+4096)
	offset := 4096 - int(uintptr(unsafe.Pointer(&raw[0]))%4096)
	for range wroteBytes / block {
		if _, err := f.Write(raw[offset : offset+block]); err != nil {
			return err
		}
	}
	return f.Close()
}

// send gives the network namespace an eth0 whose other end swallows everything, and sends through it. Nothing else may be
// sent: no neighbour discovery, no multicast reports.
func send() error {
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0); err != nil && !os.IsNotExist(err) {
		return err
	}
	// cAdvisor leaves out what is called veth.
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "veth0"}
	if err := netlink.LinkAdd(link); err != nil {
		return fmt.Errorf("adding eth0: %w", err)
	}
	peer, err := netlink.LinkByName("veth0")
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr("10.9.9.1/24")
	if err != nil {
		return err
	}
	if err := errors.Join(netlink.AddrAdd(link, addr), netlink.LinkSetUp(link), netlink.LinkSetUp(peer)); err != nil {
		return fmt.Errorf("raising eth0: %w", err)
	}
	for range 300 { // until the carrier is seen, everything is dropped
		if l, err := netlink.LinkByName("eth0"); err == nil && l.Attrs().OperState == netlink.OperUp {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := netlink.NeighAdd(&netlink.Neigh{
		LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT, IP: net.IPv4(10, 9, 9, 2), HardwareAddr: peer.Attrs().HardwareAddr,
	}); err != nil {
		return fmt.Errorf("naming the neighbour: %w", err)
	}
	c, err := net.Dial("udp", "10.9.9.2:9")
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	for range sentCount {
		if _, err := c.Write(make([]byte, sentBytes)); err != nil {
			return err
		}
	}
	return nil
}

// process is a running workload.
type process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Reader
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// work lets it do its work and waits until that is done.
func (p *process) work(t testing.TB) {
	t.Helper()
	if _, err := io.WriteString(p.stdin, "go\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := p.out.ReadString('\n'); err != nil || line != "done\n" {
		t.Fatalf("the workload said %q: %v", line, err)
	}
}

// spawn starts a workload in a cgroup.
func spawn(t testing.TB, mode, cgroup, file string) *process {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), workloadMode+"="+mode, workloadFile+"="+file, "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	if mode == "sandbox" {
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd, stdin: stdin, out: bufio.NewReader(stdout)}
	t.Cleanup(func() { p.end() })
	for _, dir := range cgroupDirs(t, cgroup) {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(p.pid())), 0); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// end ends it; it may be called twice.
func (p *process) end() {
	_ = p.stdin.Close()
	_ = p.cmd.Wait()
}

// cgroupDirs are the directories of a cgroup in every hierarchy that is read.
func cgroupDirs(t testing.TB, name string) []string {
	t.Helper()
	_, set := metricSets()
	mounts, err := libcontainer.GetCgroupSubsystems(set)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, mount := range mounts {
		out = append(out, filepath.Join(mount, name))
	}
	return out
}

// makeCgroups makes a tree of cgroups, which the test needs root for, and removes it in the end.
func makeCgroups(t testing.TB, names ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes cgroups: it must be run by root")
	}
	for _, name := range names {
		for _, dir := range cgroupDirs(t, name) {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		t.Cleanup(func() {
			for _, dir := range cgroupDirs(t, name) {
				for range 100 { // a dying process holds it for a moment
					if err := unix.Rmdir(dir); err == nil || errors.Is(err, unix.ENOENT) {
						break
					}
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
		if cgroups.IsCgroup2UnifiedMode() {
			_ = os.WriteFile(filepath.Join("/sys/fs/cgroup", name, "cgroup.subtree_control"), []byte("+cpu +memory +io +pids"), 0)
		}
	}
}

// countWrites has the kernel count what a cgroup writes to the disk that holds dir. On cgroup v1 newer kernels (6.10)
// count only once a limit was set on the disk.
func countWrites(t testing.TB, cgroup, dir string) {
	t.Helper()
	if cgroups.IsCgroup2UnifiedMode() {
		return
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	limit := fmt.Sprintf("%d:%d %d", unix.Major(st.Dev), unix.Minor(st.Dev), uint64(1)<<40)
	file := filepath.Join("/sys/fs/cgroup/blkio", cgroup, "blkio.throttle.write_bps_device")
	if err := os.WriteFile(file, []byte(limit), 0); err != nil {
		t.Fatal(err)
	}
}

// kernelNumber reads a number out of a cgroup file: the whole of a file with one, or the value of a key.
func kernelNumber(t testing.TB, file, key string) uint64 {
	t.Helper()
	if key != "" {
		n, ok := counterIn(file, key)
		if !ok {
			t.Fatalf("%s has no %s", file, key)
		}
		return n
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
