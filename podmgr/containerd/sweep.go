package containerd

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
)

// sweepContainers removes what a start that was cut off before its container had a record left behind: a directory and
// perhaps a root filesystem.
func (r *Runtime) sweepContainers(ctx context.Context) {
	dirs, err := os.ReadDir(filepath.Join(r.cfg.State, "containers"))
	if err != nil {
		return // none was ever made
	}
	for _, d := range dirs {
		id := d.Name()
		if _, known := r.index.keyOf(id); known {
			continue
		}
		if _, making := r.making.Load(id); making {
			continue
		}
		if _, err := r.client.ContainerService().Get(r.ns(ctx), id); !errdefs.IsNotFound(err) {
			continue
		}
		r.lost(r.ns(ctx), id)
	}
}

// sweepLeases deletes the leases in our namespace that belong to no pod: of imports and pulls that were cut off, and of pods
// whose directory is gone.
func (r *Runtime) sweepLeases(ctx context.Context) {
	all, err := r.client.LeasesService().List(r.ns(ctx))
	if err != nil {
		r.log.Warn().Err(err).Msg("listing leases")
		return
	}
	for _, l := range all {
		if uid, ok := strings.CutPrefix(l.ID, leasePrefix); ok {
			if _, err := os.Stat(r.podDir(types.UID(uid))); err == nil {
				continue
			}
		}
		if err := r.client.LeasesService().Delete(r.ns(ctx), l); err != nil && !errdefs.IsNotFound(err) {
			r.log.Warn().Err(err).Str("lease", l.ID).Msg("deleting a lease without a pod")
		}
	}
}

// sweepLate looks once more for shims without containers when an engine has had the time to finish what a dead agent asked
// of it. A shim that is in use is without a child for an instant only.
func (r *Runtime) sweepLate(ctx context.Context) {
	const settle, instant = 5 * time.Second, 3 * time.Second
	if !sleep(ctx, settle) {
		return
	}
	first := childlessShims(r.engine.address)
	if len(first) == 0 || !sleep(ctx, instant) {
		return
	}
	kill(slices.DeleteFunc(childlessShims(r.engine.address), func(pid int) bool { return !slices.Contains(first, pid) }), r.log)
}

// sleep waits for d; false: ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func kill(shims []int, log zerolog.Logger) {
	for _, pid := range shims {
		log.Info().Int("pid", pid).Msg("ending a shim without containers")
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// childlessShims are the shims of the engine at address, in our namespace, that have no child: they were started for an
// agent that died before it, or its engine, wrote down where they listen, so nobody will ever talk to them.
func childlessShims(address string) []int {
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	parents := map[int]bool{}
	var shims []int
	for _, p := range procs {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		comm, ppid := processOf(pid)
		parents[ppid] = true
		if !strings.HasPrefix(comm, "containerd-shim") {
			continue
		}
		cmd, err := os.ReadFile(filepath.Join("/proc", p.Name(), "cmdline"))
		if err == nil && bytes.Contains(cmd, []byte("\x00-address\x00"+address+"\x00")) &&
			bytes.Contains(cmd, []byte("\x00-namespace\x00"+namespace+"\x00")) {
			shims = append(shims, pid)
		}
	}
	return slices.DeleteFunc(shims, func(pid int) bool { return parents[pid] })
}

// processOf reads a process' name and its parent.
func processOf(pid int) (comm string, ppid int) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return "", 0
	}
	// pid (comm) state ppid …; comm may hold anything.
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return "", 0
	}
	fields := strings.Fields(string(b[end+1:]))
	if len(fields) < 2 {
		return "", 0
	}
	ppid, _ = strconv.Atoi(fields[1])
	return string(b[open+1 : end]), ppid
}
