package containerd

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"edgepod.dev/agent/podmgr"
	ctrapparmor "github.com/containerd/containerd/v2/contrib/apparmor"
	"github.com/containerd/containerd/v2/pkg/apparmor"
	ctrseccomp "github.com/containerd/containerd/v2/pkg/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/selinux/go-selinux/label"
	v1 "k8s.io/api/core/v1"
)

const (
	// seccompDir below --root holds the profiles of seccompProfile.type Localhost.
	seccompDir = "seccomp"
	// maxSeccompProfile is the most bytes of such a file.
	maxSeccompProfile = 1 << 20
	// defaultAppArmor is the name under which the default AppArmor profile is loaded into the kernel.
	defaultAppArmor = "edgepod-agent-default"
)

// confinement is what the kernel's security modules hold a container to.
type confinement struct {
	// seccomp says that the kernel has it; localSeccomp is the profile of type Localhost.
	seccomp      bool
	localSeccomp *specs.LinuxSeccomp
	appArmor     string // name of the profile; empty: unconfined
	// processLabel and mountLabel are SELinux'; empty where the host has none or the pod asks for none.
	processLabel, mountLabel string
}

// confine resolves the profiles that a container asks for. What is missing keeps the container from being made
// (CreateContainerError), as with containerd's CRI: it never runs with less than it asks for.
func (r *Runtime) confine(p *v1.Pod, c *v1.Container) (confinement, error) {
	out := confinement{seccomp: ctrseccomp.IsEnabled()}
	if isPrivileged(c) {
		return out, nil
	}
	err := errors.Join(
		out.setSeccomp(filepath.Join(r.cfg.Root, seccompDir), seccompProfile(p, c)),
		out.setAppArmor(appArmorProfile(p, c), apparmor.HostSupports()),
		out.setSELinux(seLinuxOptions(p, c)),
	)
	if err != nil {
		return out, &podmgr.ReasonError{Reason: "CreateContainerError", Err: err}
	}
	return out, nil
}

func isPrivileged(c *v1.Container) bool {
	return c.SecurityContext != nil && c.SecurityContext.Privileged != nil && *c.SecurityContext.Privileged
}

// seccompProfile is the container's, else the pod's; nil: RuntimeDefault, which is the default here.
func seccompProfile(p *v1.Pod, c *v1.Container) *v1.SeccompProfile {
	if sc := c.SecurityContext; sc != nil && sc.SeccompProfile != nil {
		return sc.SeccompProfile
	}
	if psc := p.Spec.SecurityContext; psc != nil {
		return psc.SeccompProfile
	}
	return nil
}

// setSeccomp reads a profile of type Localhost. Its path is resolved below dir by file descriptor: no ".." and no link
// leads out of it. An empty path never means unconfined (CVE-2023-2431).
func (x *confinement) setSeccomp(dir string, profile *v1.SeccompProfile) error {
	if profile == nil || profile.Type == v1.SeccompProfileTypeRuntimeDefault || profile.Type == v1.SeccompProfileTypeUnconfined {
		return nil
	}
	if profile.Type != v1.SeccompProfileTypeLocalhost {
		return fmt.Errorf("seccompProfile type %q is not known", profile.Type)
	}
	if profile.LocalhostProfile == nil || *profile.LocalhostProfile == "" {
		return errors.New("localhostProfile must be set if seccompProfile type is Localhost.") //nolint:revive,staticcheck // the kubelet's words
	}
	name := *profile.LocalhostProfile
	file := filepath.Join(dir, name)
	if !x.seccomp {
		return fmt.Errorf("cannot load seccomp profile %q: seccomp is not supported by the kernel", file)
	}
	if filepath.IsAbs(name) || !filepath.IsLocal(name) {
		return fmt.Errorf("cannot load seccomp profile %q: the path leads out of %s", name, dir)
	}
	b, err := readInRoot(dir, name, maxSeccompProfile)
	if err != nil {
		return fmt.Errorf("cannot load seccomp profile %q: %w", file, err)
	}
	s := &specs.LinuxSeccomp{}
	if err := json.Unmarshal(b, s); err != nil {
		return fmt.Errorf("decoding seccomp profile %q: %w", file, err)
	}
	if s.DefaultAction == "" {
		return fmt.Errorf("decoding seccomp profile %q: it has no defaultAction", file)
	}
	x.localSeccomp = s
	return nil
}

// appArmorProfile is the container's, else that of its deprecated annotation, else the pod's; nil: RuntimeDefault.
func appArmorProfile(p *v1.Pod, c *v1.Container) *v1.AppArmorProfile {
	if sc := c.SecurityContext; sc != nil && sc.AppArmorProfile != nil {
		return sc.AppArmorProfile
	}
	if v, ok := p.Annotations[v1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix+c.Name]; ok {
		if a := annotatedAppArmor(v); a != nil {
			return a
		}
	}
	if psc := p.Spec.SecurityContext; psc != nil {
		return psc.AppArmorProfile
	}
	return nil
}

func annotatedAppArmor(v string) *v1.AppArmorProfile {
	name, local := strings.CutPrefix(v, v1.DeprecatedAppArmorBetaProfileNamePrefix)
	switch {
	case v == v1.DeprecatedAppArmorBetaProfileNameUnconfined:
		return &v1.AppArmorProfile{Type: v1.AppArmorProfileTypeUnconfined}
	case v == v1.DeprecatedAppArmorBetaProfileRuntimeDefault:
		return &v1.AppArmorProfile{Type: v1.AppArmorProfileTypeRuntimeDefault}
	case local:
		return &v1.AppArmorProfile{Type: v1.AppArmorProfileTypeLocalhost, LocalhostProfile: &name}
	}
	return nil
}

// setAppArmor chooses the profile's name and makes sure that it is loaded; supported says whether the host has AppArmor
// and its parser.
func (x *confinement) setAppArmor(profile *v1.AppArmorProfile, supported bool) error {
	if !supported {
		if profile != nil && profile.Type != v1.AppArmorProfileTypeUnconfined {
			return errors.New("apparmor is not supported")
		}
		return nil
	}
	if profile == nil || profile.Type == v1.AppArmorProfileTypeRuntimeDefault {
		if err := ctrapparmor.LoadDefaultProfile(defaultAppArmor); err != nil {
			return fmt.Errorf("loading the default AppArmor profile: %w", err)
		}
		x.appArmor = defaultAppArmor
		return nil
	}
	if profile.Type != v1.AppArmorProfileTypeLocalhost {
		return nil
	}
	if profile.LocalhostProfile == nil || strings.TrimSpace(*profile.LocalhostProfile) == "" {
		return errors.New("missing localhost apparmor profile name")
	}
	loaded, err := os.ReadFile("/sys/kernel/security/apparmor/profiles")
	if err != nil {
		return fmt.Errorf("listing the AppArmor profiles: %w", err)
	}
	if !profileLoaded(string(loaded), *profile.LocalhostProfile) {
		return fmt.Errorf("apparmor profile %q not found", *profile.LocalhostProfile)
	}
	x.appArmor = *profile.LocalhostProfile
	return nil
}

// profileLoaded looks for a profile in the kernel's list of lines such as "docker-default (enforce)".
func profileLoaded(list, name string) bool {
	for line := range strings.Lines(list) {
		if i := strings.LastIndex(line, " ("); i >= 0 && line[:i] == name {
			return true
		}
	}
	return false
}

// seLinuxOptions are the container's, else the pod's.
func seLinuxOptions(p *v1.Pod, c *v1.Container) *v1.SELinuxOptions {
	if sc := c.SecurityContext; sc != nil && sc.SELinuxOptions != nil {
		return sc.SELinuxOptions
	}
	if psc := p.Spec.SecurityContext; psc != nil {
		return psc.SELinuxOptions
	}
	return nil
}

// setSELinux makes the labels of the options. The library returns none where the host has no SELinux.
func (x *confinement) setSELinux(o *v1.SELinuxOptions) (err error) {
	if o == nil {
		return nil
	}
	var options []string
	for _, part := range [][2]string{{"user", o.User}, {"role", o.Role}, {"type", o.Type}, {"level", o.Level}} {
		if part[1] != "" {
			options = append(options, part[0]+":"+part[1])
		}
	}
	if x.processLabel, x.mountLabel, err = label.InitLabels(options); err != nil {
		return fmt.Errorf("making the SELinux labels: %w", err)
	}
	return nil
}
