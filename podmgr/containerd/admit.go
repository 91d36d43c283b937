package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"edgepod.dev/agent/podmgr"
	"edgepod.dev/agent/podmgr/volume"
	"github.com/containerd/containerd/v2/pkg/apparmor"
	v1 "k8s.io/api/core/v1"
)

// Admit says why this node cannot run a pod at all, in the words of the kubelet's admission; empty: it can. EnsureSandbox
// asks it too, so a source need not.
func (r *Runtime) Admit(p *v1.Pod) (reason, message string) {
	if m := forbiddenSysctl(p, r.cfg.UnsafeSysctls); m != "" {
		return "SysctlForbidden", m
	}
	if needsAppArmor(p) && !apparmor.HostSupports() {
		return "AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host"
	}
	return "", ""
}

// reject is Admit, and what the kubelet finds out when it makes the sandbox.
func (r *Runtime) reject(ctx context.Context, p *v1.Pod) error {
	h, err := r.handler(p)
	if err == nil && ownUsers(p) {
		switch lacks := r.lacksUserNamespaces(r.ns(ctx)); {
		case h.runtime != runcRuntime:
			err = fmt.Errorf("can not set `hostUsers: false`: runtime %s is not known to support user namespaces", h.runtime)
		case lacks != "":
			err = fmt.Errorf("can not set `hostUsers: false`: %s", lacks)
		}
	}
	if err != nil {
		return &podmgr.ReasonError{Reason: "FailedCreatePodSandBox", Err: err}
	}
	if reason, message := r.Admit(p); reason != "" {
		return &podmgr.ReasonError{Reason: reason, Err: errors.New(message), Rejected: true}
	}
	return nil
}

// needsAppArmor says whether any profile but unconfined is asked for.
func needsAppArmor(p *v1.Pod) bool {
	confined := func(a *v1.AppArmorProfile) bool { return a != nil && a.Type != v1.AppArmorProfileTypeUnconfined }
	if psc := p.Spec.SecurityContext; psc != nil && confined(psc.AppArmorProfile) {
		return true
	}
	for i := range p.Spec.EphemeralContainers {
		if sc := p.Spec.EphemeralContainers[i].SecurityContext; sc != nil && confined(sc.AppArmorProfile) {
			return true
		}
	}
	for _, list := range [][]v1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			if sc := list[i].SecurityContext; sc != nil && confined(sc.AppArmorProfile) {
				return true
			}
		}
	}
	for key, value := range p.Annotations {
		if strings.HasPrefix(key, v1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix) && value != v1.DeprecatedAppArmorBetaProfileNameUnconfined {
			return true
		}
	}
	return false
}

// runtimeFeatures is what an OCI runtime tells of itself (runc features, 1.1 and later); zero when it does not.
type runtimeFeatures struct {
	MountOptions []string `json:"mountOptions"`
	Linux        struct {
		Namespaces []string `json:"namespaces"`
	} `json:"linux"`
}

func readRuntimeFeatures(binary string) (f runtimeFeatures) {
	if binary == "" {
		binary = "runc"
	}
	out, err := exec.Command(binary, "features").Output() //nolint:noctx // it prints a constant
	if err != nil || json.Unmarshal(out, &f) != nil {
		return runtimeFeatures{}
	}
	return f
}

// recursiveReadOnly says whether kernel and runtime know recursively read-only mounts.
func (r *Runtime) recursiveReadOnly() bool {
	return volume.RecursiveReadOnly() && slices.Contains(r.features().MountOptions, "rro")
}
