package ctl

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// version is major.minor.patch.
type version [3]int

func (v version) String() string { return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]) }

func (v version) before(w version) bool {
	for i := range v {
		if v[i] != w[i] {
			return v[i] < w[i]
		}
	}
	return false
}

var versionPattern = regexp.MustCompile(`(\d+)\.(\d+)(?:\.(\d+))?`)

// parseVersion is the first version in a text.
func parseVersion(text string) (v version, ok bool) {
	found := versionPattern.FindStringSubmatch(text)
	if found == nil {
		return v, false
	}
	for i := range v {
		v[i], _ = strconv.Atoi(found[i+1]) // no patch is 0
	}
	return v, true
}

// floors are, for each minor release that is mended, the first version without known ways out of a container. A minor
// release above the last is taken for mended, one that is not listed for one that is no longer looked after.
type floors struct {
	list []version
	cves string
}

// runc: /proc and masked paths that are redirected, working directories that leave the container.
var runcFloors = floors{[]version{{1, 2, 8}, {1, 3, 3}, {1, 4, 0}}, "CVE-2025-31133, CVE-2025-52565, CVE-2025-52881, CVE-2024-21626"}

// containerd: control by image configuration, checkpoints.
var containerdFloors = floors{
	[]version{{1, 7, 33}, {2, 0, 10}, {2, 1, 9}, {2, 2, 5}, {2, 3, 2}},
	"CVE-2026-53488, CVE-2026-53489, CVE-2026-53492",
}

// mended says whether v has the repairs, and which version does.
func (f floors) mended(v version) (ok bool, want version) {
	for _, floor := range f.list {
		if v[0] == floor[0] && v[1] == floor[1] {
			return !v.before(floor), floor
		}
	}
	last := f.list[len(f.list)-1]
	return !v.before(last), last
}

func (m *machine) runtime(ctx context.Context, o CheckOptions) []Finding {
	binary := o.Runtime
	if binary == "" {
		binary = "runc"
	}
	said, err := m.run(ctx, binary, "--version")
	line, _, _ := strings.Cut(said, "\n")
	if err != nil {
		return fail("runtime", binary+" cannot be run", "install the package runc, or name another OCI runtime with --runtime")
	}
	out := ok("runtime", "%s", line)
	if strings.HasPrefix(line, "runc") {
		out = m.floor("runtime", line, runcFloors)
	}
	if o.Containerd == "" {
		return out // the embedded one is of this program's version
	}
	said, err = m.run(ctx, "containerd", "--version")
	if err != nil {
		return append(out, warn("containerd", "its version is not known", "")...)
	}
	return append(out, m.floor("containerd", said, containerdFloors)...)
}

func (m *machine) floor(name, line string, f floors) []Finding {
	// "runc version 1.1.5+ds1", "containerd github.com/containerd/containerd/v2 v2.2.5 abcdef": the path has no version.
	v, known := parseVersion(strings.ReplaceAll(line, "/v2", ""))
	if !known {
		return warn(name, fmt.Sprintf("the version in %q is not understood", line), "")
	}
	if mended, want := f.mended(v); !mended {
		// A distribution may have mended it without a new version.
		return warn(name, line+" is older than "+want.String()+" and may have "+f.cves, "upgrade it, or see that your distribution has mended it")
	}
	return ok(name, "%s", line)
}
