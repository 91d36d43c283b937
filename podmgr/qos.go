package podmgr

import v1 "k8s.io/api/core/v1"

// QOSClass is status.qosClass of a pod by the kubelet's rules (k8s.io/kubernetes/pkg/apis/core/v1/helper/qos): Guaranteed
// when CPU and memory of every container are requested and limited alike, BestEffort when none is, else Burstable.
func QOSClass(pod *v1.Pod) v1.PodQOSClass {
	if pod.Spec.Resources != nil {
		return qosOf(pod.Spec.Resources)
	}
	class := v1.PodQOSClass("")
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			c := qosOf(&list[i].Resources)
			if class != "" && c != class {
				return v1.PodQOSBurstable
			}
			class = c
		}
	}
	if class == "" {
		return v1.PodQOSBestEffort
	}
	return class
}

// qosOf is the class that one set of requirements stands for.
func qosOf(r *v1.ResourceRequirements) v1.PodQOSClass {
	class := v1.PodQOSClass("")
	for _, name := range []v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory} {
		request, limit := r.Requests[name], r.Limits[name]
		c := v1.PodQOSGuaranteed
		switch {
		case !request.Equal(limit):
			return v1.PodQOSBurstable
		case request.IsZero():
			c = v1.PodQOSBestEffort
		}
		if class != "" && c != class {
			return v1.PodQOSBurstable
		}
		class = c
	}
	return class
}
