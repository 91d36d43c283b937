package manifests

import (
	"fmt"
	"strings"
)

// Why a field is without effect; each makes a warning that names the field, so that nothing is ignored in silence.
const (
	noScheduler = "without effect: there is no scheduler, the pod runs on the node that has its file"
	noOwner     = "without effect: nobody but the file owns a pod here"
	noAccount   = "without effect: there are no service accounts without an API server, and no tokens"
	noPriority  = "without effect: nothing preempts pods here"
)

// idleFields are what clusters put into pods and what asks nothing of a node without scheduler and API server. What every
// pod of a cluster has makes no warning.
func idleFields() []Field {
	return []Field{
		{Path: "spec.nodeName", Since: first, Note: "this node or empty"},
		{Path: "spec.nodeSelector", Since: next, Note: warned, idle: always(noScheduler)},
		{Path: "spec.affinity", Since: next, Note: warned, idle: always(noScheduler)},
		{Path: "spec.topologySpreadConstraints", Since: next, Note: warned, idle: always(noScheduler)},
		{Path: "spec.tolerations", Since: first, Note: warned, idle: tolerations},
		{Path: "spec.priority", Since: first, Note: warned, idle: unless(noPriority, float64(0), int64(0))},
		{Path: "spec.priorityClassName", Since: first, Note: warned, idle: unless(noPriority, "")},
		{Path: "spec.preemptionPolicy", Since: first, Note: warned, idle: unless(noPriority, "PreemptLowerPriority")},
		{Path: "spec.schedulerName", Since: first, Note: warned, idle: unless(noScheduler, "", "default-scheduler")},
		{Path: "spec.enableServiceLinks", Since: first, Note: "there are no services to link"},
		{Path: "spec.automountServiceAccountToken", Since: first, Note: warned, idle: unless(noAccount, false)},
		{Path: "spec.serviceAccountName", Since: first, Note: warned, idle: unless(noAccount, "", "default")},
		{Path: "spec.serviceAccount", Since: first, Note: warned, idle: unless(noAccount, "", "default")},
	}
}

func always(why string) func(any) string { return func(any) string { return why } }

func unless(why string, quiet ...any) func(any) string {
	return func(v any) string {
		for _, q := range quiet {
			if v == q {
				return ""
			}
		}
		return why
	}
}

// tolerations are quiet when they are those that the API server gives every pod.
func tolerations(v any) string {
	list, _ := v.([]any)
	for _, t := range list {
		m, _ := t.(map[string]any)
		key, _ := m["key"].(string)
		if key == "" {
			return "without effect: this node has no taints"
		}
		if !strings.HasPrefix(key, "node.kubernetes.io/") {
			return fmt.Sprintf("without effect for %q: this node has no taints", key)
		}
	}
	return ""
}
