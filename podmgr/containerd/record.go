package containerd

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/types/known/anypb"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Labels that log shippers, dashboards, cAdvisor and crictl expect; nothing of an image is ever copied into labels
// (CVE-2026-53488).
const (
	labelPodName       = "io.kubernetes.pod.name"
	labelPodNamespace  = "io.kubernetes.pod.namespace"
	labelPodUID        = "io.kubernetes.pod.uid"
	labelContainerName = "io.kubernetes.container.name"
	labelKind          = "io.cri-containerd.kind"
	labelAttempt       = "io.kubernetes.container.restartCount"

	kindContainer = "container"
	kindSandbox   = "sandbox"
)

// extension is the key of our record among a container's extensions.
const extension = "agent.edgepod.dev"

// record is what must outlive a crash and a reboot and is not in the labels. It is written when the container is created
// and once more when it is sealed.
type record struct {
	Boot    string        `json:"boot"` // boot ID at creation
	Image   string        `json:"image,omitempty"`
	ImageID string        `json:"imageID,omitempty"`
	LogPath string        `json:"logPath,omitempty"`
	Backoff time.Duration `json:"backoff,omitempty"`
	Grace   time.Duration `json:"grace,omitempty"`
	// Message is the host path of the termination message file.
	MessageFile string `json:"messageFile,omitempty"`
	// FallbackToLogs is terminationMessagePolicy FallbackToLogsOnError.
	FallbackToLogs bool `json:"fallbackToLogs,omitempty"`
	// User is who the container's first process began as.
	User *v1.LinuxContainerUser `json:"user,omitempty"`
	// StopSignal is a signal name such as SIGTERM.
	StopSignal string `json:"stopSignal,omitempty"`

	// What spec.containers[] says of the streams of its first process.
	Stdin     bool `json:"stdin,omitempty"`
	StdinOnce bool `json:"stdinOnce,omitempty"`
	TTY       bool `json:"tty,omitempty"`

	// Resources are what the container was started with; a later resize is kept elsewhere (resize.go).
	Resources *podmgr.Resources `json:"resources,omitempty"`

	// Of a sandbox: which namespaces are its own, and when it was first made.
	OwnNet  bool      `json:"ownNet,omitempty"`
	OwnIPC  bool      `json:"ownIPC,omitempty"`
	OwnUTS  bool      `json:"ownUTS,omitempty"`
	OwnUser bool      `json:"ownUser,omitempty"`
	Created time.Time `json:"created,omitzero"`

	// Life names the life of the sandbox that this is, or that the container was made for.
	Life string `json:"life,omitempty"`

	Sealed   bool      `json:"sealed,omitempty"`
	Started  time.Time `json:"started,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
	ExitCode int32     `json:"exitCode,omitempty"`
	Signal   int32     `json:"signal,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Message  string    `json:"message,omitempty"`
}

func (r record) own() wantedNamespaces {
	return wantedNamespaces{net: r.OwnNet, ipc: r.OwnIPC, uts: r.OwnUTS, user: r.OwnUser}
}

func (r record) any() (typeurl.Any, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encoding container record: %w", err)
	}
	return &anypb.Any{TypeUrl: extension + "/record", Value: b}, nil
}

// recordOf reads the record of a container; a foreign container has none.
func recordOf(c containers.Container) (record, bool) {
	a, ok := c.Extensions[extension]
	if !ok {
		return record{}, false
	}
	var r record
	if err := json.Unmarshal(a.GetValue(), &r); err != nil {
		return record{}, false
	}
	return r, true
}

// owner reads from the labels whose container it is.
func owner(c containers.Container) (k manifests.Key, uid types.UID, name string, attempt int, ok bool) {
	k = manifests.Key{Namespace: c.Labels[labelPodNamespace], Name: c.Labels[labelPodName]}
	uid = types.UID(c.Labels[labelPodUID])
	attempt, _ = strconv.Atoi(c.Labels[labelAttempt])
	return k, uid, c.Labels[labelContainerName], attempt, k.Name != "" && uid != ""
}
