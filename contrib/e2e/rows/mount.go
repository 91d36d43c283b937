package rows

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

func mountRows() []Row {
	const m = Both + "volumeMounts[*]."
	return []Row{
		{
			Name: "a volume is where the container wants it", Fields: each(m, "name", "mountPath", "readOnly"),
			Pod:       "volumes: [{name: v, emptyDir: {}}, {name: w, emptyDir: {}}]",
			Container: "volumeMounts: [{name: v, mountPath: /deep/er/v}, {name: w, mountPath: /w, readOnly: true}, {name: v, mountPath: /again}]",
			Script:    "echo x >/deep/er/v/f; cat /again/f; touch /w/f 2>/dev/null || echo read-only", Says: "x\nread-only",
			Look: func(x *X) { x.Contains("the mount of /w", x.Mount("/w"), " ro,") },
		},
		{
			Name: "a part of a volume", Fields: each(m, "subPath", "subPathExpr"),
			Pod: "volumes: [{name: v, hostPath: {path: @OUT@}}]",
			Container: `{env: [{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}],
				volumeMounts: [{name: v, mountPath: /a, subPath: one/two}, {name: v, mountPath: /b, subPathExpr: logs/$(POD)}]}`,
			Script: "echo a >/a/f; echo b >/b/f; ls /a /b | grep -c f", Says: "2",
			Look: func(x *X) { x.Want("the files", x.Read("one/two/f")+x.Read("logs/"+x.Name+"/f"), "ab") },
		},
		{
			Name: "read-only with all that is mounted below", Fields: each(m, "recursiveReadOnly", "readOnly"),
			Before:    func(x *X) { x.mountPoint("below") },
			Pod:       "volumes: [{name: v, hostPath: {path: @OUT@/top}}]",
			Container: "volumeMounts: [{name: v, mountPath: /a, readOnly: true, recursiveReadOnly: Enabled}, {name: v, mountPath: /b, readOnly: true, recursiveReadOnly: Disabled}]",
			Script:    "touch /a/below/f 2>/dev/null || echo no; touch /b/below/f && echo yes; touch /b/f 2>/dev/null || echo no", Says: "no\nyes\nno",
			After: func(x *X) { x.unmount("top/below", "top") },
		},
		{
			Name: "mounts of the host come in when asked for", Fields: each(m, "mountPropagation"),
			Before: func(x *X) { x.mountPoint("ours") },
			Pod:    "volumes: [{name: v, hostPath: {path: @OUT@/top}}]",
			Container: `{securityContext: {privileged: true}, volumeMounts: [{name: v, mountPath: /none}, {name: v, mountPath: /in, mountPropagation: HostToContainer},
				{name: v, mountPath: /both, mountPropagation: Bidirectional}]}`,
			Script: "mkdir /both/theirs; mount -t tmpfs theirs /both/theirs",
			Look: func(x *X) {
				x.Eventually("the container's mount on the host", func() string {
					if b, _ := os.ReadFile("/proc/self/mounts"); !strings.Contains(string(b), filepath.Join(x.Out, "top/theirs")+" ") {
						return "it is not there"
					}
					return ""
				})
				if !x.Again {
					x.mountBelow("late")
				}
				x.Contains("the mount in /in", x.Mount("/in/late"), "tmpfs")
				x.Contains("the mount in /both", x.Mount("/both/late"), "tmpfs")
				x.Want("the mount in /none", x.Mount("/none/late"), "")
			},
			After: func(x *X) { x.unmount("top/late", "top/ours", "top/theirs", "top") },
		},
	}
}

// mountPoint makes /out/top a mount of its own whose mounts others can see, with a mount in it.
func (x *X) mountPoint(below string) {
	top := filepath.Join(x.Out, "top")
	if err := os.MkdirAll(top, 0o755); err != nil {
		x.Fatalf("%v", err)
	}
	if err := syscall.Mount("top", top, "tmpfs", 0, ""); err != nil {
		x.Fatalf("mounting: %v", err)
	}
	if err := syscall.Mount("", top, "", syscall.MS_SHARED, ""); err != nil {
		x.Fatalf("sharing a mount: %v", err)
	}
	x.mountBelow(below)
}

// mountBelow mounts something in /out/top.
func (x *X) mountBelow(name string) {
	dir := filepath.Join(x.Out, "top", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		x.Fatalf("%v", err)
	}
	if err := syscall.Mount(name, dir, "tmpfs", 0, ""); err != nil {
		x.Fatalf("mounting: %v", err)
	}
}

func (x *X) unmount(dirs ...string) {
	for _, dir := range dirs {
		if err := syscall.Unmount(filepath.Join(x.Out, dir), syscall.MNT_DETACH); err != nil {
			x.Errorf("unmounting %s: %v", dir, err)
		}
	}
}
