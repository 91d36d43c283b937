package manifests

import (
	"fmt"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Key names a pod on this node: at most one pod per key runs at any time.
type Key struct {
	Namespace string
	Name      string
}

// String is the key as kubectl writes it, "namespace/name".
func (k Key) String() string { return k.Namespace + "/" + k.Name }

// Pod is one wanted pod, decoded, defaulted and validated. It is immutable: share the pointer, never write through it.
type Pod struct {
	// Object is the pod as the API server would store it: defaults applied, UID set, status empty.
	Object *v1.Pod
	// Origin says where the pod was read, for people; it is no part of the pod's identity.
	Origin Origin
	// Document is the document as canonical JSON before defaulting: what the UID is the hash of and what Encode stores.
	// It is nil for a pod that no file stands for.
	Document []byte
	// Bound is the data of the ConfigMaps and Secrets that the pod names; see Bind. It is nil when it names none.
	Bound *Bound
	// Warnings name the fields that are without effect on this node.
	Warnings []Problem
}

// Key returns the pod's namespace and name.
func (p *Pod) Key() Key { return Key{Namespace: p.Object.Namespace, Name: p.Object.Name} }

// UID is the pod's identity: for a file, the hash of the decoded object, so that comments, formatting and renames
// change nothing. Two pods with the same key and different UIDs never run at the same time.
func (p *Pod) UID() types.UID { return p.Object.UID }

// Origin is the place in a source that a document was read from.
type Origin struct {
	// File is the absolute path (or the URL) of the file that holds the document.
	File string
	// Document counts the YAML documents of the file from 1; members of a List share the number of the List.
	Document int
	// Line is the line of the file, from 1, at which the document begins; 0 when unknown.
	Line int
}

// String is "file", "file:line" or "file:line (document n)".
func (o Origin) String() string {
	s := o.File
	if o.Line > 0 {
		s += fmt.Sprintf(":%d", o.Line)
	}
	if o.Document > 1 {
		s += fmt.Sprintf(" (document %d)", o.Document)
	}
	return s
}

// Problem is something a person has to mend in a source: a file that cannot be read, a document that is not valid, two
// documents with one name. A problem never stops what runs.
type Problem struct {
	// Origin is the place of the problem; Origin.Line is the line of Field where that is known, else of the document.
	Origin Origin
	// Pod is the key of the pod the document was about; zero when that could not be read.
	Pod Key
	// Config is the ConfigMap or Secret that the document was about, instead of a pod.
	Config ConfigKey
	// Field is the path of the offending field, such as "spec.containers[0].image"; empty when the whole document is meant.
	Field string
	// Message says what is wrong, Hint what to do about it (may be empty).
	Message string
	Hint    string
	// Kept says that an earlier good version of the pod is still wanted and goes on running.
	Kept bool
}

// String is one line: "file:line: field: message (hint)".
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Origin.String())
	b.WriteString(": ")
	if p.Field != "" {
		b.WriteString(p.Field)
		b.WriteString(": ")
	}
	b.WriteString(p.Message)
	if p.Hint != "" {
		fmt.Fprintf(&b, " (%s)", p.Hint)
	}
	return b.String()
}

// Snapshot is the whole set that a source wants at one moment. Sources send it whenever it differs from the one before;
// a source that cannot know its set (a directory that cannot be read) sends nothing.
type Snapshot struct {
	Source   string
	Pods     []*Pod
	Problems []Problem
	// Configs are the ConfigMaps and Secrets of the source, for people to look at: pods have theirs bound.
	Configs []*Config
}
