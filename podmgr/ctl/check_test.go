package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fitMachine is a machine on which everything is in place.
func fitMachine(t *testing.T) (*machine, CheckOptions) {
	t.Helper()
	dir := t.TempDir()
	put(t, dir, map[string]string{
		"proc/sys/kernel/osrelease": "6.1.0-18-amd64\n", "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n",
		"proc/self/ns/mnt": "", "proc/self/ns/net": "", "proc/self/ns/pid": "", "proc/self/ns/ipc": "", "proc/self/ns/uts": "",
		"proc/filesystems": "nodev\toverlay\n", "proc/sys/kernel/seccomp/actions_avail": "kill\n", "proc/sys/net/ipv4/ip_forward": "1\n",
		"proc/sys/fs/inotify/max_user_instances": "1024\n", "proc/sys/fs/inotify/max_user_watches": "65536\n", "proc/sys/kernel/hostname": "Box-1\n",
		"cni/bridge": "", "cni/host-local": "", "cni/loopback": "", "cni/portmap": "", "etc/agent/manifests/web.yaml": "",
	})
	if err := os.Mkdir(filepath.Join(dir, "root"), 0o700); err != nil {
		t.Fatal(err)
	}
	m := &machine{fs: dir, run: func(_ context.Context, name string, _ ...string) (string, error) {
		return map[string]string{"runc": "runc version 1.3.4\ncommit: x", "iptables": "iptables v1.8.9 (nf_tables)"}[name], nil
	}}
	return m, CheckOptions{Root: "/root", Manifests: []string{"/etc/agent/manifests"}, CNIBinDirs: []string{"/opt", "/cni"}}
}

func find(list []Finding, name string) Finding {
	i := slices.IndexFunc(list, func(f Finding) bool { return f.Name == name })
	if i < 0 {
		return Finding{}
	}
	return list[i]
}

func TestTheBoxIsChecked(t *testing.T) {
	write := func(path, text string) func(*testing.T, *machine, *CheckOptions) {
		return func(t *testing.T, m *machine, _ *CheckOptions) { put(t, m.fs, map[string]string{path: text}) }
	}
	remove := func(paths ...string) func(*testing.T, *machine, *CheckOptions) {
		return func(t *testing.T, m *machine, _ *CheckOptions) {
			for _, p := range paths {
				if err := os.RemoveAll(filepath.Join(m.fs, p)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	says := func(program, text string, err error) func(*testing.T, *machine, *CheckOptions) {
		return func(_ *testing.T, m *machine, _ *CheckOptions) {
			before := m.run
			m.run = func(ctx context.Context, name string, args ...string) (string, error) {
				if name == program {
					return text, err
				}
				return before(ctx, name, args...)
			}
		}
	}
	mode := func(path string, bits os.FileMode) func(*testing.T, *machine, *CheckOptions) {
		return func(t *testing.T, m *machine, _ *CheckOptions) {
			if err := os.Chmod(filepath.Join(m.fs, path), bits); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name, finding, status, text string
		change                      func(*testing.T, *machine, *CheckOptions)
	}{
		{"an old kernel", "kernel", statusFail, "3.10", write("proc/sys/kernel/osrelease", "3.10.0-1160.el7")},
		{"a kernel of middle age", "kernel", statusWarn, "5.4", write("proc/sys/kernel/osrelease", "5.4.0")},
		{"no memory controller", "cgroups", statusFail, "cgroup_enable=memory", write("sys/fs/cgroup/cgroup.controllers", "cpuset cpu pids")},
		{"no cgroups", "cgroups", statusFail, "none", remove("sys/fs/cgroup/cgroup.controllers")},
		{"no network namespaces", "namespaces", statusFail, "net", remove("proc/self/ns/net")},
		{"no overlay", "overlay", statusWarn, "no overlay", func(t *testing.T, m *machine, o *CheckOptions) {
			write("proc/filesystems", "ext4")(t, m, o)
			says("modprobe", "", errors.New("none"))(t, m, o)
		}},
		{"no iptables", "iptables", statusFail, "not installed", says("iptables", "", errors.New("none"))},
		{"no CNI plugins", "cni", statusFail, "portmap", remove("cni/portmap")},
		{"CNI plugins that others can replace", "cni", statusFail, "written by others", mode("cni", 0o777)},
		{"an old runc", "runtime", statusWarn, "CVE-2025-31133", says("runc", "runc version 1.1.5+ds1", nil)},
		{"no runc", "runtime", statusFail, "install", says("runc", "", errors.New("none"))},
		{"an old external containerd", "containerd", statusWarn, "1.7.33", func(t *testing.T, m *machine, o *CheckOptions) {
			o.Containerd = "/run/c.sock"
			says("containerd", "containerd containerd.io 1.7.20 abc", nil)(t, m, o)
		}},
		{"a low inotify limit", "inotify", statusWarn, "max_user_watches", write("proc/sys/fs/inotify/max_user_watches", "100")},
		{"a bad host name", "hostname", statusFail, "my_box", write("proc/sys/kernel/hostname", "my_box")},
		{"manifests that others can write", "manifests", statusFail, "web.yaml", mode("etc/agent/manifests/web.yaml", 0o666)},
		{"a manifest directory in one that others can write", "manifests", statusFail, "/etc/agent can", mode("etc/agent", 0o777)},
		{"a root that others can read", "directories", statusWarn, "0755", mode("root", 0o755)},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, o := fitMachine(t)
			if f := find(m.findings(t.Context(), o), c.finding); c.finding != "containerd" && f.Status != statusOK {
				t.Fatalf("before: %+v", f)
			}
			c.change(t, m, &o)
			f := find(m.findings(t.Context(), o), c.finding)
			if f.Status != c.status || !strings.Contains(f.Message+": "+f.Hint, c.text) {
				t.Errorf("got %+v", f)
			}
		})
	}
}

func TestAnUnfitBoxIsAnError(t *testing.T) {
	m, o := fitMachine(t)
	o.Output = "json"
	put(t, m.fs, map[string]string{"proc/sys/kernel/osrelease": "3.0.0"})
	out, _, err := run(func(s Streams) error { return check(t.Context(), s, o, m) })
	var got struct {
		Fit      bool
		Findings []Finding
	}
	if jerr := json.Unmarshal([]byte(out), &got); jerr != nil || got.Fit || ExitCode(err) != ExitFailed || find(got.Findings, "kernel").Status != statusFail {
		t.Errorf("%v %v %s", err, jerr, out)
	}
	o.Output = ""
	out, _, _ = run(func(s Streams) error { return check(t.Context(), s, o, m) })
	if !strings.Contains(out, "fail   kernel") {
		t.Errorf("got %s", out)
	}
}

func TestVersionsAreHeldAgainstTheirFloors(t *testing.T) {
	for text, want := range map[string]bool{
		"1.1.15": false, "1.2.7": false, "1.2.8": true, "1.3.2": false, "1.3.3": true, "1.4.0": true, "1.5.1": true, "2.0.0": true,
	} {
		v, _ := parseVersion("runc version " + text)
		if got, _ := runcFloors.mended(v); got != want {
			t.Errorf("runc %s: %v", text, got)
		}
	}
}
