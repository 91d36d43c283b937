package containerd

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Node is this machine as a Kubernetes node, for people to look at. Version is the agent's.
func (r *Runtime) Node(ctx context.Context, version string) (*v1.Node, error) {
	n := &v1.Node{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}, ObjectMeta: metav1.ObjectMeta{
		Name: r.cfg.NodeName,
		Labels: map[string]string{
			v1.LabelHostname: r.cfg.NodeName, v1.LabelOSStable: runtime.GOOS, v1.LabelArchStable: runtime.GOARCH,
		},
		CreationTimestamp: metav1.NewTime(birth(r.cfg.Root)),
	}}
	engine, _ := r.Versions(ctx)
	n.Status.NodeInfo = v1.NodeSystemInfo{
		MachineID: firstLine("/etc/machine-id"), SystemUUID: firstLine("/sys/class/dmi/id/product_uuid"), BootID: r.boot,
		KernelVersion: firstLine("/proc/sys/kernel/osrelease"), OSImage: osImage(), OperatingSystem: runtime.GOOS, Architecture: runtime.GOARCH,
		ContainerRuntimeVersion: "containerd://" + engine, KubeletVersion: version,
	}
	if ip := NodeIP(); ip != "" {
		n.Status.Addresses = append(n.Status.Addresses, v1.NodeAddress{Type: v1.NodeInternalIP, Address: ip})
	}
	n.Status.Addresses = append(n.Status.Addresses, v1.NodeAddress{Type: v1.NodeHostName, Address: r.cfg.NodeName})
	n.Status.Capacity = r.allocatable.DeepCopy()
	var fs unix.Statfs_t
	if err := unix.Statfs(r.cfg.Root, &fs); err == nil {
		n.Status.Capacity[v1.ResourceEphemeralStorage] = *resource.NewQuantity(int64(fs.Blocks)*fs.Bsize, resource.BinarySI) //nolint:gosec // a disk's size
	}
	n.Status.Allocatable = n.Status.Capacity.DeepCopy()
	n.Status.Conditions = []v1.NodeCondition{r.readyCondition(ctx)}
	return n, nil
}

// readyCondition is whether the engine answers and pods have a network.
func (r *Runtime) readyCondition(ctx context.Context) v1.NodeCondition {
	c := v1.NodeCondition{
		Type: v1.NodeReady, Status: v1.ConditionTrue, Reason: "KubeletReady", Message: "agent is posting ready status",
		LastHeartbeatTime: metav1.Now(),
	}
	if err := r.Health().Check(ctx); err != nil {
		c.Status, c.Reason, c.Message = v1.ConditionFalse, "KubeletNotReady", fmt.Sprintf("container runtime is down: %v", err)
	}
	return c
}

// birth is when a file was made; zero where the filesystem does not know.
func birth(path string) time.Time {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_BTIME, &st); err != nil || st.Mask&unix.STATX_BTIME == 0 {
		return time.Time{}
	}
	return time.Unix(st.Btime.Sec, int64(st.Btime.Nsec))
}

// firstLine is the first line of a small file; empty when it cannot be read.
func firstLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(line)
}

// osImage is the name that the distribution gives itself.
func osImage() string {
	b, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "Unknown"
	}
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return strings.Trim(name, `"`)
		}
	}
	return "Unknown"
}
