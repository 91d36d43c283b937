package volume

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
)

const (
	nfsPort = "2049"
	// nfsDial bounds the look whether a server answers; nfsMount bounds the mount, which the kernel itself would try for
	// minutes.
	nfsDial, nfsMount = 5 * time.Second, 30 * time.Second
)

// ensureNFS mounts an export of an NFS 4 server. The kernel does it alone, so no nfs-common is needed on the node.
func (s Set) ensureNFS(ctx context.Context, v *v1.Volume) (string, error) {
	dir := s.Dirs.Mount(v.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("volume %q: creating its mount point: %w", v.Name, err)
	}
	mounted, err := IsMountPoint(dir)
	if err == nil && !mounted {
		err = newMounter().nfs(ctx, v.NFS, dir)
	}
	if err != nil {
		return "", fmt.Errorf("volume %q: %w", v.Name, err)
	}
	return dir, nil
}

func (m mounter) nfs(ctx context.Context, n *v1.NFSVolumeSource, dir string) error {
	addr, err := findNFS(ctx, n.Server)
	if err != nil {
		return err
	}
	source := nfsSource(n, addr)
	flags := uintptr(0)
	if n.ReadOnly {
		flags = unix.MS_RDONLY
	}
	for _, version := range []string{"4.2", "4.1", "4.0"} {
		err = m.mount(ctx, source, dir, flags, "vers="+version+",addr="+addr)
		// What a server or a kernel says that does not have the version.
		if !errors.Is(err, unix.EPROTONOSUPPORT) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPROTO) {
			break
		}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENODEV):
		return errors.New("the kernel of this node has no NFS (modprobe nfs)")
	case errors.Is(err, unix.EPROTONOSUPPORT):
		return fmt.Errorf("mounting %s: the server has no NFS 4, which is the only one that is supported", source)
	}
	return fmt.Errorf("mounting %s: %w", source, err)
}

// nfsSource is what the mount table shows; the colons of an IPv6 address stand in brackets.
func nfsSource(n *v1.NFSVolumeSource, addr string) string {
	server := n.Server
	if strings.Contains(server, ":") {
		server = "[" + addr + "]"
	}
	return server + ":" + n.Path
}

// findNFS resolves the server and sees that it answers: asking here can be called off, a mount in the kernel cannot.
func findNFS(ctx context.Context, server string) (addr string, err error) {
	ctx, cancel := context.WithTimeout(ctx, nfsDial)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(strings.Trim(server, "[]"), nfsPort))
	if err != nil {
		return "", fmt.Errorf("asking the NFS server %s: %w", server, err)
	}
	defer func() { _ = c.Close() }()
	host, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil {
		return "", fmt.Errorf("asking the NFS server %s: %w", server, err)
	}
	return host, nil
}
