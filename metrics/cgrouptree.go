package metrics

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// cgroupTree finds the cgroups of the agent. Both layouts of the kubelet are known:
//
//	cgroupfs   <root>/kubepods/{,burstable/,besteffort/}pod<uid>/<container id>
//	systemd    kubepods.slice/[kubepods-burstable.slice/]kubepods-burstable-pod<uid_>.slice/cri-containerd-<id>.scope
type cgroupTree struct {
	// mount is where the hierarchy is mounted that the tree is read from; all have the same shape.
	mount string
	// tops are the names of the cgroups that hold pods, whether they exist or not.
	tops []string
}

// cgroupKind says what a cgroup stands for.
type cgroupKind int

const (
	kindGroup     cgroupKind = iota // the node, kubepods, a QoS class
	kindPod                         // a pod
	kindContainer                   // a container, the sandbox included
)

// cgroupEntry is one cgroup of the tree.
type cgroupEntry struct {
	name string // path below the hierarchy
	kind cgroupKind
	id   string // of the pod: its UID; of the container: its ID
	pod  string // the UID of the pod that holds it
}

var (
	containerCgroup = regexp.MustCompile(`^(?:[a-z0-9-]+-)?([a-f0-9]{64})(?:\.scope)?$`)
	podCgroup       = regexp.MustCompile(`(?:^|-)pod([a-zA-Z0-9_-]+?)(?:\.slice)?$`)
)

func newCgroupTree(mount, root string) cgroupTree {
	return cgroupTree{mount: mount, tops: []string{path.Join("/", root, "kubepods"), "/kubepods.slice"}}
}

// list returns every cgroup of the tree, outer ones first. What is gone while it is read is left out.
func (t cgroupTree) list() []cgroupEntry {
	var out []cgroupEntry
	for _, top := range t.tops {
		if _, err := os.Stat(filepath.Join(t.mount, top)); err == nil {
			out = t.walk(append(out, cgroupEntry{name: top}), top, "")
		}
	}
	return out
}

// walk appends what lies below parent. It does not enter containers: what they make of their cgroup is their business.
func (t cgroupTree) walk(out []cgroupEntry, parent, pod string) []cgroupEntry {
	dirs, err := os.ReadDir(filepath.Join(t.mount, parent))
	if err != nil {
		return out
	}
	for _, d := range dirs {
		if !d.IsDir() {
			continue
		}
		e := cgroupEntry{name: path.Join(parent, d.Name()), pod: pod}
		switch {
		case pod != "":
			m := containerCgroup.FindStringSubmatch(d.Name())
			if m == nil {
				continue
			}
			e.kind, e.id = kindContainer, m[1]
			out = append(out, e)
			continue
		default:
			if m := podCgroup.FindStringSubmatch(d.Name()); m != nil {
				e.kind, e.id = kindPod, strings.ReplaceAll(m[1], "_", "-")
				e.pod = e.id
			}
		}
		out = t.walk(append(out, e), e.name, e.pod)
	}
	return out
}

// populated says whether a process lives in the cgroup or below it.
func (t cgroupTree) populated(name string) bool {
	dir := filepath.Join(t.mount, name)
	if b, err := os.ReadFile(filepath.Join(dir, "cgroup.events")); err == nil { // cgroup v2
		return strings.Contains(string(b), "populated 1")
	}
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return false
	}
	if len(b) > 0 {
		return true
	}
	dirs, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, d := range dirs {
		if d.IsDir() && t.populated(path.Join(name, d.Name())) {
			return true
		}
	}
	return false
}
