package manifests

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	kjson "sigs.k8s.io/json"
)

// canonical returns the one form that all documents of the same meaning share, as generic values and as bytes: the typed
// pod (so quantities are normalised and formatting is gone), without node name, keys sorted, members that say nothing
// left out. The bytes are the pod's identity; a change here restarts every pod in the field, which TestGoldenUIDs guards.
func canonical(doc *v1.Pod) (map[string]any, []byte, error) {
	pod := *doc
	pod.APIVersion, pod.Kind = "v1", "Pod"
	pod.Namespace = orDefault(pod.Namespace)
	pod.Spec.NodeName = ""
	pod.Status = v1.PodStatus{}
	raw, err := json.Marshal(&pod)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding the pod: %w", err)
	}
	var generic map[string]any
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, &generic); err != nil {
		return nil, nil, fmt.Errorf("decoding the pod: %w", err)
	}
	delete(generic, "status")
	full := generic
	pruned, err := json.Marshal(prune(generic, false))
	if err != nil {
		return nil, nil, fmt.Errorf("encoding the pod: %w", err)
	}
	return full, pruned, nil
}

// prune returns v without members that are null, an empty list or an empty object. Which of them the API's Go types
// write depends on the library version, so they must not count. Strings stay, since an empty label value is a label; and
// so does an empty volume source, since it says which kind of volume it is.
func prune(v any, volume bool) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for name, member := range v {
			member = pruneMember(name, member)
			if !saysNothing(member) || volume && member != nil {
				m[name] = member
			}
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = prune(v[i], false)
		}
		return list
	}
	return v
}

func pruneMember(name string, member any) any {
	list, ok := member.([]any)
	if !ok || name != "volumes" {
		return prune(member, false)
	}
	volumes := make([]any, len(list))
	for i := range list {
		volumes[i] = prune(list[i], true)
	}
	return volumes
}

func saysNothing(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}

// uidOf formats the SHA-256 of the canonical bytes as a UUID of version 8 (RFC 9562: "vendor specific").
func uidOf(raw []byte) types.UID {
	sum := sha256.Sum256(raw)
	sum[6] = sum[6]&0x0f | 0x80
	sum[8] = sum[8]&0x3f | 0x80
	return types.UID(fmt.Sprintf("%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16]))
}
