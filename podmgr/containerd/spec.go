package containerd

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"edgepod.dev/agent/manifests"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	v1 "k8s.io/api/core/v1"
)

// defaultPath is what a container gets when its image sets no PATH.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// shimGroup is the annotation by which the shims of a pod's containers become one process.
const shimGroup = "io.containerd.runc.v2.group"

// sandboxView is what a container needs to know of the pod around it: paths and values, all made by us.
type sandboxView struct {
	dir         string // <state>/pods/<uid>
	group       string // of shims
	hostname    string
	pausePID    uint32 // only with a shared PID namespace
	targetPID   uint32 // only of an ephemeral container with a target: it joins that container's PID namespace
	cgroup      string // the container's cgroupsPath
	own         wantedNamespaces
	ids         idRange // of the pod's user namespace
	oomScore    int
	huge        []string // sizes of huge pages that cgroups count
	unified     bool     // cgroup v2
	termination string   // host path of the termination message file
	confine     confinement
	// env is the container's environment from the manifest, resolved.
	env []manifests.EnvVar
	// mounts are the container's volume mounts, resolved.
	mounts []specs.Mount
}

// containerSpec builds the OCI spec of one container. It is pure. Everything from the image is hostile input: no label,
// annotation or host path comes from there, and what it may choose (user, environment, working directory, command) is
// bounded.
func containerSpec(p *v1.Pod, c *v1.Container, img *image, who identityOf, sb sandboxView) (*specs.Spec, error) {
	env := environment(sb.env, img.config.Env, sb.hostname)
	args, err := command(c, img, sb.env)
	if err != nil {
		return nil, err
	}
	cwd, err := workingDir(c, img)
	if err != nil {
		return nil, err
	}
	s := &specs.Spec{
		Version:     specs.Version,
		Root:        &specs.Root{Path: "rootfs"},
		Annotations: map[string]string{shimGroup: sb.group},
		Process: &specs.Process{
			Args: args, Env: env, Cwd: cwd,
			User:        specs.User{UID: who.uid, GID: who.gid, AdditionalGids: who.groups},
			OOMScoreAdj: &sb.oomScore,
		},
		Linux: &specs.Linux{
			CgroupsPath: sb.cgroup,
			Resources:   containerResources(p, c, sb.huge),
			Namespaces:  namespacesOf(p, sb),
			UIDMappings: sb.ids.mappings(),
			GIDMappings: sb.ids.mappings(),
		},
	}
	if sb.unified {
		s.Linux.Resources.Unified = map[string]string{"memory.oom.group": "1"}
	}
	if c.TTY {
		s.Process.Terminal = true
		if !hasEnv(env, "TERM") {
			s.Process.Env = append(s.Process.Env, "TERM=xterm")
		}
	}
	s.Mounts = mountsOf(p, c, sb)
	s.Linux.RootfsPropagation = rootPropagation(sb.mounts)
	return s, secure(s, p, c, sb)
}

// environment is the image's, then HOSTNAME, then the manifest's.
func environment(vars []manifests.EnvVar, image []string, hostname string) []string {
	e := envList{at: map[string]int{}}
	e.set(strings.Cut(defaultPath, "="))
	e.set("HOSTNAME", hostname, true)
	for _, v := range image {
		e.set(strings.Cut(v, "="))
	}
	for _, v := range vars {
		e.set(v.Name, v.Value, true)
	}
	return e.list
}

func hasEnv(env []string, name string) bool {
	return slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
}

// envList is an environment in the order in which its names came.
type envList struct {
	list []string
	at   map[string]int
}

// set adds or replaces a variable; what has no name, or a NUL, is none.
func (e *envList) set(name, value string, ok bool) {
	if !ok || name == "" || strings.ContainsRune(name, 0) || strings.ContainsRune(value, 0) {
		return
	}
	if i, known := e.at[name]; known {
		e.list[i] = name + "=" + value
		return
	}
	e.at[name] = len(e.list)
	e.list = append(e.list, name+"="+value)
}

// command is the manifest's command and args over the image's entrypoint and cmd, as the CRI combines them, with $(VAR)
// expanded over the manifest's environment.
func command(c *v1.Container, img *image, env []manifests.EnvVar) ([]string, error) {
	vars := make(map[string]string, len(env))
	for _, e := range env {
		vars[e.Name] = e.Value
	}
	lookup := func(name string) (string, bool) { v, ok := vars[name]; return v, ok }
	expand := func(list []string) (out []string) {
		for _, s := range list {
			out = append(out, manifests.Expand(s, lookup))
		}
		return out
	}
	cmd, args := expand(c.Command), expand(c.Args)
	if len(cmd) == 0 {
		cmd = img.config.Entrypoint
		if len(args) == 0 {
			args = img.config.Cmd
		}
	}
	all := append(slices.Clone(cmd), args...)
	if len(all) == 0 || all[0] == "" {
		return nil, fmt.Errorf("no command specified: neither container %q nor its image has one", c.Name)
	}
	return all, nil
}

// workingDir refuses directories that lead out of the container by their names; see checkWorkingDir for links.
func workingDir(c *v1.Container, img *image) (string, error) {
	dir := c.WorkingDir
	if dir == "" {
		dir = img.config.WorkingDir
	}
	if dir == "" {
		return "/", nil
	}
	if !path.IsAbs(dir) {
		dir = "/" + dir
	}
	dir = path.Clean(dir)
	if bad := outsideDir(dir); bad != "" {
		return "", fmt.Errorf("working directory %s lies below %s, which is not allowed", dir, bad)
	}
	return dir, nil
}

func namespacesOf(p *v1.Pod, sb sandboxView) []specs.LinuxNamespace {
	ns := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	if sb.own.user {
		ns = append(ns, specs.LinuxNamespace{Type: specs.UserNamespace, Path: path.Join(sb.dir, userFile)})
	}
	if sb.own.net {
		ns = append(ns, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: path.Join(sb.dir, netFile)})
	}
	if sb.own.ipc {
		ns = append(ns, specs.LinuxNamespace{Type: specs.IPCNamespace, Path: path.Join(sb.dir, ipcFile)})
	}
	if sb.own.uts {
		ns = append(ns, specs.LinuxNamespace{Type: specs.UTSNamespace, Path: path.Join(sb.dir, utsFile)})
	}
	switch {
	case p.Spec.HostPID:
	case sharedPID(p):
		ns = append(ns, specs.LinuxNamespace{Type: specs.PIDNamespace, Path: fmt.Sprintf("/proc/%d/ns/pid", sb.pausePID)})
	case sb.targetPID != 0:
		ns = append(ns, specs.LinuxNamespace{Type: specs.PIDNamespace, Path: fmt.Sprintf("/proc/%d/ns/pid", sb.targetPID)})
	default:
		ns = append(ns, specs.LinuxNamespace{Type: specs.PIDNamespace})
	}
	if sb.unified {
		ns = append(ns, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	return ns
}

func sharedPID(p *v1.Pod) bool {
	return p.Spec.ShareProcessNamespace != nil && *p.Spec.ShareProcessNamespace
}
