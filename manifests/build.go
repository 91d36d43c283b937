package manifests

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/helper"
	corev1 "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/capabilities"
)

// Annotations that the kubelet gives a pod from a file (pkg/kubelet/types); log shippers and dashboards know them.
const (
	annotationConfigSource = "kubernetes.io/config.source"
	annotationConfigHash   = "kubernetes.io/config.hash"
	annotationConfigSeen   = "kubernetes.io/config.seen"
	annotationConfigMirror = "kubernetes.io/config.mirror"

	annotationLastApplied = "kubectl.kubernetes.io/last-applied-configuration"
)

// stripServerFields removes what an API server or a kubelet adds to a pod, so that `kubectl get -o yaml` makes a manifest
// and a newer server's status fields do no harm.
func stripServerFields(m map[string]any) {
	delete(m, "status")
	meta, _ := m["metadata"].(map[string]any)
	for _, name := range []string{"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"} {
		delete(meta, name)
	}
	annotations, _ := meta["annotations"].(map[string]any)
	for _, name := range []string{
		annotationLastApplied, annotationConfigSource, annotationConfigHash, annotationConfigSeen, annotationConfigMirror,
	} {
		delete(annotations, name)
	}
}

// stripToken removes the volume with a service account's token that an API server mounts into every container, and says
// so: a pod exported from a cluster runs without it.
func stripToken(doc *v1.Pod) (removed []finding) {
	for i := len(doc.Spec.Volumes) - 1; i >= 0; i-- {
		v := &doc.Spec.Volumes[i]
		if !strings.HasPrefix(v.Name, "kube-api-access-") || v.Projected == nil {
			continue
		}
		name := v.Name
		removed = append(removed, finding{path: fmt.Sprintf("spec.volumes[%d]", i), message: "left out, with its mounts: " + needsToken, warning: true})
		doc.Spec.Volumes = slices.Delete(doc.Spec.Volumes, i, i+1)
		for _, list := range [][]v1.Container{doc.Spec.InitContainers, doc.Spec.Containers} {
			for j := range list {
				list[j].VolumeMounts = slices.DeleteFunc(list[j].VolumeMounts, func(m v1.VolumeMount) bool { return m.Name == name })
			}
		}
	}
	return removed
}

// build makes the immutable Pod of a strictly decoded document: identity first, then what this agent supports, then
// Kubernetes' defaulting and validation in the order of the kubelet (pkg/kubelet/config applyDefaults).
func build(doc *v1.Pod, origin Origin, opt Options) (*Pod, []finding) {
	findings := checkNames(doc, opt)
	removed := stripToken(doc)
	nodeName := doc.Spec.NodeName
	if opt.NodeName != "" {
		nodeName = opt.NodeName
	}
	generic, raw, err := canonical(doc)
	if err != nil {
		return nil, append(findings, finding{message: err.Error()})
	}
	idle, wrong := warnings(slices.Concat(removed, checkSupport(generic), checkRuntimeClass(doc, opt)))
	findings = append(findings, wrong...)

	// What is built comes from the canonical bytes alone, so that DecodeStored builds the very same pod.
	want := &v1.Pod{}
	if err := json.Unmarshal(raw, want); err != nil {
		return nil, append(findings, finding{message: err.Error()})
	}
	uid := uidOf(raw)
	want.UID = uid
	want.Spec.NodeName = nodeName
	stored, invalid := admit(want)
	if findings = append(findings, invalid...); len(findings) > 0 {
		return nil, findings
	}
	p := &Pod{Object: stored, Origin: origin, Document: raw}
	for _, f := range idle[:min(len(idle), maxFindings)] {
		p.Warnings = append(p.Warnings, Problem{Origin: origin, Pod: p.Key(), Field: f.path, Message: f.message, Hint: f.hint})
	}
	return p, nil
}

// checkNames finds what Kubernetes' validation would report in words that do not fit a file.
func checkNames(doc *v1.Pod, opt Options) []finding {
	var findings []finding
	if doc.Name == "" {
		f := finding{path: "metadata.name", message: "missing", hint: "a pod needs a name, such as web"}
		if doc.GenerateName != "" {
			f = finding{
				path: "metadata.generateName", message: "without metadata.name a file would be a new pod at each reading",
				hint: "give the pod a metadata.name",
			}
		}
		findings = append(findings, f)
	}
	if opt.NodeName != "" && doc.Spec.NodeName != "" && doc.Spec.NodeName != opt.NodeName {
		findings = append(findings, finding{
			path: "spec.nodeName", message: fmt.Sprintf("the pod is for node %q, this is %q", doc.Spec.NodeName, opt.NodeName),
			hint: "remove spec.nodeName",
		})
	}
	return findings
}

// checkRuntimeClass refuses a pod that the node has no runtime for: it could never start.
func checkRuntimeClass(doc *v1.Pod, opt Options) []finding {
	name := doc.Spec.RuntimeClassName
	if name == nil || *name == "" || slices.Contains(opt.RuntimeClasses, *name) {
		return nil
	}
	f := finding{path: "spec.runtimeClassName", message: fmt.Sprintf("runtimeclass.node.k8s.io %q not found", *name)}
	switch {
	case opt.RuntimeClasses == nil:
		f.message, f.warning = fmt.Sprintf("whether the node has the runtime class %q is not known here", *name), true
	case len(opt.RuntimeClasses) == 0:
		f.hint = "this node has none; see --runtime-class"
	default:
		f.hint = "this node has " + strings.Join(opt.RuntimeClasses, ", ") + "; see --runtime-class"
	}
	return []finding{f}
}

// admit applies the defaults and the validation of the API server to a pod and returns it as the server would store it.
func admit(pod *v1.Pod) (*v1.Pod, []finding) {
	// Privileged containers are this node's owner's business, as with the kubelet. Setup is a global of the library
	// and does its work once however often it is called.
	capabilities.Setup(true, 0)

	corev1.SetObjectDefaults_Pod(pod)
	internal := &core.Pod{}
	if err := corev1.Convert_v1_Pod_To_core_Pod(pod, internal, nil); err != nil {
		return nil, []finding{{message: err.Error()}}
	}
	if internal.Annotations == nil {
		internal.Annotations = map[string]string{}
	}
	internal.Annotations[annotationConfigSource] = "file"
	internal.Annotations[annotationConfigHash] = string(pod.UID)
	helper.AddOrUpdateTolerationInPod(internal, &core.Toleration{Operator: core.TolerationOpExists, Effect: core.TaintEffectNoExecute})

	opts := podutil.GetValidationOptionsFromPodSpecAndMeta(&internal.Spec, nil, &internal.ObjectMeta, nil)
	var findings []finding
	for _, e := range validation.ValidatePodCreate(internal, opts) {
		if pod.Name == "" && (e.Field == "metadata.name" || e.Field == "metadata.generateName") {
			continue // checkNames said it better
		}
		findings = append(findings, fromField(e))
	}
	if len(findings) > 0 {
		return nil, findings
	}
	stored := &v1.Pod{}
	if err := corev1.Convert_core_Pod_To_v1_Pod(internal, stored, nil); err != nil {
		return nil, []finding{{message: err.Error()}}
	}
	stored.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	stored.Status = v1.PodStatus{}
	return stored, nil
}
