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

// sweepContainers removes what agents and engines that were killed half-way left of containers that have no record: our
// directory and perhaps a root filesystem, the engine's bundle, the OCI runtime's state.
func (r *Runtime) sweepContainers(ctx context.Context) {
	for _, id := range r.strays(ctx, filepath.Join(r.cfg.State, "containers")) {
		r.lost(r.ns(ctx), id)
	}
	dirs := []string{filepath.Join(r.cfg.State, "runc", namespace)}
	if r.engine.embedded() {
		dirs = append(dirs, filepath.Join(r.cfg.State, "containerd", "io.containerd.runtime.v2.task", namespace))
	}
	for _, dir := range dirs {
		for _, id := range r.strays(ctx, dir) {
			if st, err := r.task(ctx, id); err != nil || st.exists() {
				continue
			}
			if err := removeTree(filepath.Join(dir, id)); err != nil {
				r.log.Warn().Err(err).Msg("removing what is left of a container")
			}
		}
	}
}

// strays are the entries of dir that are named by the ID of no container that exists or is being made.
func (r *Runtime) strays(ctx context.Context, dir string) (ids []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // nothing was ever made there
	}
	for _, e := range entries {
		id := e.Name()
		if _, known := r.index.keyOf(id); known {
			continue
		}
		if _, making := r.making.Load(id); making || r.pauses.starting(id) {
			continue
		}
		if _, err := r.client.ContainerService().Get(r.ns(ctx), id); errdefs.IsNotFound(err) {
			ids = append(ids, id)
		}
	}
	return ids
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
