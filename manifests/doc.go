// Package manifests answers "what is wanted": it turns the bytes of Kubernetes documents into immutable pods.
//
//	bytes ──Decode──▶ documents ──strict──▶ v1.Pod ──defaults, validation, support──▶ *Pod
//	                                           │
//	                                           └─▶ Problem{file, document, line, field, message, hint}
//
// It is a leaf: it imports no other room, reads no file and knows no clock. It is also the only importer of
// k8s.io/kubernetes, whose defaulting and validation it applies exactly as the API server does.
package manifests
