package metrics

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	info "github.com/google/cadvisor/lib/model"
	"github.com/moby/sys/mountinfo"
	"github.com/rs/zerolog"
	v1 "k8s.io/api/core/v1"
)

const (
	// duInterval is how old what directories take may get, and duHousekeepings that in intervals of cAdvisor, when those are
	// shorter than usual.
	duInterval      = time.Minute
	duHousekeepings = 6
	// duShare bounds the time spent on measuring directories: the pause is at least so many times the time it took.
	duShare = 50
)

// disks measures what writable layers, logs and volumes take. It has a goroutine of its own: a volume with a million
// files must not hold up the samples.
type disks struct {
	config Config
	log    zerolog.Logger
	latest atomic.Pointer[diskUsage]
}

// diskUsage is one look at the disks; immutable.
type diskUsage struct {
	at          time.Time
	node, image filesystem
	device      string           // of images and layers
	layers      map[string]usage // writable layers by container ID
	logs        map[logKey]usage
	logOf       map[string]logKey        // by container ID
	volumes     map[string][]volumeUsage // by pod UID
}

type logKey struct{ uid, container string }

type volumeUsage struct {
	name  string
	claim string // of a persistent volume
	fs    filesystem
	used  usage
	// ephemeral volumes go with their pod and count against its ephemeral storage.
	ephemeral bool
}

func newDisks(c Config) *disks {
	d := &disks{config: c, log: c.Log}
	d.latest.Store(&diskUsage{})
	return d
}

// run measures until ctx ends.
func (d *disks) run(ctx context.Context) error {
	for {
		begun := time.Now()
		d.measure(ctx, begun)
		pause := max(min(duInterval, duHousekeepings*d.config.Housekeeping), duShare*time.Since(begun))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// measure takes one look. What cannot be measured is left out.
func (d *disks) measure(ctx context.Context, now time.Time) {
	out := &diskUsage{
		at: now, layers: map[string]usage{}, logs: map[logKey]usage{}, logOf: map[string]logKey{}, volumes: map[string][]volumeUsage{},
	}
	var err error
	if out.node, err = statFilesystem(d.config.Root); err != nil {
		d.log.Debug().Err(err).Msg("the node's filesystem is not measured")
	}
	if out.image, err = statFilesystem(d.config.ImageRoot); err != nil {
		d.log.Debug().Err(err).Msg("the images' filesystem is not measured")
	}
	out.device = deviceOf(d.config.ImageRoot)
	layers, err := writableLayers(d.config.Namespace, filepath.Dir(d.config.Socket))
	if err != nil {
		d.log.Warn().Err(err).Msg("writable layers are not measured")
	}
	for id, dir := range layers {
		if u, err := du(ctx, dir); err == nil {
			out.layers[id] = u
		}
	}
	for _, p := range d.config.Pods() {
		if p.Object == nil {
			continue
		}
		d.measureLogs(ctx, &p, out)
		d.measureVolumes(ctx, &p, out)
	}
	if ctx.Err() == nil {
		d.latest.Store(out)
	}
}

// measureLogs measures <pod logs>/<namespace>_<name>_<uid>/<container>, the kubelet's layout.
func (d *disks) measureLogs(ctx context.Context, p *Pod, out *diskUsage) {
	dir := filepath.Join(d.config.PodLogs, fmt.Sprintf("%s_%s_%s", p.Key.Namespace, p.Key.Name, p.uid()))
	eachContainer(p.Status, func(_ containerKind, c *v1.ContainerStatus) {
		key := logKey{p.uid(), c.Name}
		out.logOf[bareID(c.ContainerID)] = key
		if u, err := du(ctx, filepath.Join(dir, c.Name)); err == nil {
			out.logs[key] = u
		}
	})
}

func (d *disks) measureVolumes(ctx context.Context, p *Pod, out *diskUsage) {
	if d.config.VolumeDir == nil {
		return
	}
	for i := range p.Object.Spec.Volumes {
		v := &p.Object.Spec.Volumes[i]
		dir := d.config.VolumeDir(p.Object, v)
		if dir == "" {
			continue
		}
		m := volumeUsage{name: v.Name, ephemeral: v.PersistentVolumeClaim == nil}
		if v.PersistentVolumeClaim != nil {
			m.claim = v.PersistentVolumeClaim.ClaimName
		}
		var err error
		if m.fs, err = statFilesystem(dir); err != nil {
			continue
		}
		// A volume on a filesystem of its own (a tmpfs, a disk) needs no walk.
		if own, err := mountinfo.Mounted(dir); err == nil && own && !isBindMount(m.fs, out) {
			m.used = m.fs.used()
		} else if m.used, err = du(ctx, dir); err != nil {
			continue
		}
		out.volumes[p.uid()] = append(out.volumes[p.uid()], m)
	}
}

// isBindMount says whether a mounted filesystem f is a part of the node's or the images' filesystem rather than one of
// its own: they have the same size and the same number of inodes.
func isBindMount(f filesystem, out *diskUsage) bool {
	same := func(o filesystem) bool { return f.capacity == o.capacity && f.inodes == o.inodes }
	return same(out.node) || same(out.image)
}

var bundleRootfs = regexp.MustCompile(`/([^/]+)/([a-f0-9]{64})/rootfs$`)

// writableLayers finds the writable directory of every container of a containerd namespace in the mount table, by
// container ID: the upper directory of an overlay, or the root itself where layers are plain copies. No engine is asked,
// so that it works with any. Where containers lie below state (containerd's directory, beside its socket), those
// elsewhere are another containerd's.
func writableLayers(namespace, state string) (map[string]string, error) {
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		found := bundleRootfs.FindStringSubmatch(m.Mountpoint)
		return found == nil || found[1] != namespace, false
	})
	if err != nil {
		return nil, fmt.Errorf("reading the mount table: %w", err)
	}
	ours := slices.DeleteFunc(slices.Clone(mounts), func(m *mountinfo.Info) bool {
		return !strings.HasPrefix(m.Mountpoint, state+"/")
	})
	if len(ours) > 0 {
		mounts = ours
	}
	out := make(map[string]string, len(mounts))
	for _, m := range mounts {
		id := bundleRootfs.FindStringSubmatch(m.Mountpoint)[2]
		out[id] = m.Mountpoint
		if m.FSType != "overlay" {
			continue
		}
		delete(out, id) // a read-only overlay has no upper directory
		for option := range strings.SplitSeq(m.VFSOptions, ",") {
			if upper, ok := strings.CutPrefix(option, "upperdir="); ok {
				out[id] = upper
			}
		}
	}
	return out, nil
}

// deviceOf is the source of the mount that holds a path, such as /dev/sda1; "" when unknown.
func deviceOf(path string) string {
	best := ""
	source := ""
	mounts, err := mountinfo.GetMounts(mountinfo.ParentsFilter(path))
	if err != nil {
		return ""
	}
	for _, m := range mounts {
		if len(m.Mountpoint) >= len(best) {
			best, source = m.Mountpoint, m.Source
		}
	}
	return source
}

// containerFs is cAdvisor's view of a container's files: the writable layer is the base, with the logs it is the total.
func (d *disks) containerFs(id string) []info.FsStats {
	u := d.latest.Load()
	layer, ok := u.layers[id]
	if !ok {
		return nil
	}
	logs := u.logs[u.logOf[id]]
	return []info.FsStats{{
		Device: u.device, Type: "vfs", Limit: u.image.capacity, Available: u.image.available,
		BaseUsage: layer.bytes, Usage: layer.bytes + logs.bytes,
		HasInodes: true, Inodes: layer.inodes, InodesFree: u.image.inodesFree,
	}}
}
