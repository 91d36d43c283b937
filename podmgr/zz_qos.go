package podmgr

import v1 "k8s.io/api/core/v1"

// QOSClass is status.qosClass of a pod, computed as the kubelet does.
func QOSClass(p *v1.Pod) v1.PodQOSClass { return qosClass(p) }
