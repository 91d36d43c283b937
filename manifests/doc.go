// Package manifests answers "what is wanted": it turns the bytes of Kubernetes documents into immutable pods.
//
//	bytes ──Decode──▶ documents ──strict──▶ v1.Pod ──defaults, validation, support──▶ *Pod
//	                                           │
//	                                           └─▶ Problem{file, document, line, field, message, hint}
//
// ConfigMaps and Secrets stand beside the pods. Bind puts what a pod names into it, as data, and Environment and
// VolumeFiles make of it what a container sees:
//
//	ConfigMap, Secret ──DecodeAll──▶ []*Config ──Bind──▶ *Pod with Bound ──Environment, VolumeFiles──▶ variables, files
//
// It is a leaf: it imports no other room, reads no file and knows no clock. It is also the only importer of
// k8s.io/kubernetes, whose defaulting and validation it applies exactly as the API server does.
package manifests
