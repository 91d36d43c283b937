package rows

import (
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"

	"edgepod.dev/agent/manifests"
)

// Both stands for "spec.containers[*]." and "spec.initContainers[*]." at the beginning of a row's field: the row is run
// twice, with its container as a main container and as a sidecar.
const Both = "C."

// Row is one pod and what it has to show.
//
// Its YAML and scripts may hold @NAME@ (the pod), @OUT@ (a directory of the host for this pod, mounted at /out in every
// container), @PORT@ (a free port of the host), and Says also @IP@, @UID@ and @NODE@.
type Row struct {
	// Name says what holds, in few words; it names the pod, too, so that a row has a name of its own.
	Name string
	// Fields are the paths of manifests.Fields that the row proves.
	Fields []string

	// Test names a test of contrib/e2e that proves the fields in place of a pod of this table; all else stays empty.
	Test string

	// Beside is further documents of the manifest: ConfigMaps, Secrets.
	Beside string
	// Meta, Pod and Container are the pod's metadata, its spec and its container "app" in YAML. A spec that has containers
	// of its own gets none added unless Container or Script is given. The image is busybox unless said otherwise.
	Meta, Pod, Container string
	// Script is what the container runs; what it prints has to be Says (less blanks at the ends), and it lives on.
	Script, Says string

	// Before prepares the host, before the manifest is written.
	Before func(x *X)
	// Until is when the row can be looked at; nil means running and ready.
	Until func(*v1.Pod) bool
	// Look looks at the effect. It is called again after the restart of the agent, then with x.Again set.
	Look func(x *X)
	// After looks at what is left in x.Out once the pod is gone.
	After func(x *X)
	// Restarts says that the containers are started anew while the row is looked at; others may not be.
	Restarts bool
}

// All is the table.
func All() []Row {
	return slices.Concat(metaRows(), containerRows(), envRows(), resourceRows(), lifecycleRows(), probeRows(), securityRows(), mountRows(), volumeRows(), networkRows(), podRows())
}

// Paths are the fields that a row proves, with Both spelled out.
func (r Row) Paths() []string {
	var out []string
	for _, f := range r.Fields {
		if rest, ok := strings.CutPrefix(f, Both); ok {
			out = append(out, "spec.containers[*]."+rest, "spec.initContainers[*]."+rest)
		} else {
			out = append(out, f)
		}
	}
	return out
}

// twice says whether the row is run as a sidecar, too.
func (r Row) twice() bool {
	return slices.ContainsFunc(r.Fields, func(f string) bool { return strings.HasPrefix(f, Both) })
}

// Proofs are the names of the rows, or of tests beside them, that prove each field, by path.
func Proofs() map[string][]string {
	out := map[string][]string{}
	for _, r := range All() {
		for _, p := range r.Paths() {
			if r.Test != "" {
				out[p] = append(out[p], "`"+r.Test+"`")
			} else {
				out[p] = append(out[p], r.Name)
			}
		}
	}
	return out
}

// Unproved are the supported fields without a row.
func Unproved() []string {
	var out []string
	proofs := Proofs()
	for _, f := range manifests.Fields() {
		if len(proofs[f.Path]) == 0 {
			out = append(out, f.Path)
		}
	}
	return out
}

// each puts a prefix before names.
func each(prefix string, names ...string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = prefix + n
	}
	return out
}
