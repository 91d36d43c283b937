package containerd

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	"k8s.io/apimachinery/pkg/types"
)

// pauseName is the container name of the sandbox holder in IDs; no pod container can be named so.
const pauseName = ""

// containerID is the deterministic ID of one instance: 64 hex digits, so that cAdvisor's containerd handler takes it.
func containerID(uid types.UID, name string, attempt int) string {
	h := sha256.New()
	h.Write([]byte(string(uid) + "\x00" + name + "\x00" + strconv.Itoa(attempt)))
	return hex.EncodeToString(h.Sum(nil))
}

// sandboxID is the ID of the pod's pause container and of its sandbox record.
func sandboxID(uid types.UID) string { return containerID(uid, pauseName, 0) }

const leasePrefix = "pod-"

// leaseID is the ID of the lease that keeps what the pod uses.
func leaseID(uid types.UID) string { return leasePrefix + string(uid) }
