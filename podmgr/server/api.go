package server

import "edgepod.dev/agent/manifests"

// Annotations by which a served pod tells where it comes from.
const (
	SourceAnnotation = "agent.edgepod.dev/source" // the name of the source that wants the pod
	FileAnnotation   = "agent.edgepod.dev/file"   // the place of its document: file:line
)

// Version is the answer of /version.
type Version struct {
	Agent string `json:"agent"`
	// Commit is the source the agent was built from, Go the compiler, Platform the operating system and architecture.
	Commit   string `json:"commit,omitempty"`
	Go       string `json:"go,omitempty"`
	Platform string `json:"platform,omitempty"`
	// Containerd and Runtime are the versions of the engine and of the OCI runtime; empty when they do not answer.
	Containerd string `json:"containerd,omitempty"`
	Runtime    string `json:"runtime,omitempty"`
}

// Problem is a manifests.Problem as /problems has it.
type Problem struct {
	File      string `json:"file"`
	Document  int    `json:"document,omitempty"`
	Line      int    `json:"line,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	Field     string `json:"field,omitempty"`
	Message   string `json:"message"`
	Hint      string `json:"hint,omitempty"`
	// Kept says that an earlier good version of the pod goes on running.
	Kept bool `json:"kept,omitempty"`
}

// NewProblem is p on the wire.
func NewProblem(p manifests.Problem) Problem {
	return Problem{
		File: p.Origin.File, Document: p.Origin.Document, Line: p.Origin.Line,
		Namespace: p.Pod.Namespace, Name: p.Pod.Name, Field: p.Field, Message: p.Message, Hint: p.Hint, Kept: p.Kept,
	}
}
