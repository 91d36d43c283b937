package ctl

import "edgepod.dev/agent/manifests"

// What the client reads of the server's answers. The types are those of package server, which a client does not import;
// a test holds them together.

// Annotations by which a pod tells where it comes from.
const (
	sourceAnnotation = "agent.edgepod.dev/source"
	fileAnnotation   = "agent.edgepod.dev/file"
)

// Version is a version of the agent, and of the engine and the OCI runtime where an agent answers.
type Version struct {
	Agent      string `json:"agent"`
	Commit     string `json:"commit,omitempty"`
	Go         string `json:"go,omitempty"`
	Platform   string `json:"platform,omitempty"`
	Containerd string `json:"containerd,omitempty"`
	Runtime    string `json:"runtime,omitempty"`
}

// Problem is something wrong in the manifests, as manifests.Problem describes it.
type Problem struct {
	File      string `json:"file"`
	Document  int    `json:"document,omitempty"`
	Line      int    `json:"line,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	Field     string `json:"field,omitempty"`
	Message   string `json:"message"`
	Hint      string `json:"hint,omitempty"`
	Kept      bool   `json:"kept,omitempty"`
}

// String is one line: "file:line: field: message (hint)".
func (p Problem) String() string {
	return manifests.Problem{
		Origin: manifests.Origin{File: p.File, Document: p.Document, Line: p.Line},
		Field:  p.Field, Message: p.Message, Hint: p.Hint,
	}.String()
}
