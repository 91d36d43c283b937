package manifests

import (
	"bytes"
	"cmp"
	"fmt"
	"runtime/debug"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Limits of one file. They bound the memory and the time that a hostile or damaged file can cost; a real manifest is far
// below each.
const (
	// MaxFileSize is the largest file that is decoded, in bytes.
	MaxFileSize = 1 << 20
	// MaxDepth is how deep objects and lists may be nested, aliases expanded.
	MaxDepth = 64
	// MaxNodes is how many keys and values all documents of a file may have together, aliases expanded.
	MaxNodes = 50_000

	maxDocumentProblems = 10
	maxFindings         = 100 // of a document that get a line at all, so that thousands of errors cost no more
	maxFileProblems     = 100
)

// Options says for which node a file is decoded.
type Options struct {
	// NodeName becomes spec.nodeName; a manifest that names another node is refused. When empty, spec.nodeName stays
	// as the manifest has it.
	NodeName string
	// RuntimeClasses are what spec.runtimeClassName may name; a pod of another class is refused. Nil: they are not known
	// here, and the pod has a warning that says so.
	RuntimeClasses []string
}

// Decode turns the bytes of a file into its pods and its problems. It is pure: it reads nothing, keeps nothing, and the
// same bytes give the same pods and UIDs in every process. A bad document, or a bad member of a List, is one or more
// problems and no pod; the other documents of the file are decoded all the same. An empty file is a problem, so that a
// truncated file is not taken for "no pods"; a file of comments is not.
//
// Documents of other kinds are problems; DecodeAll knows ConfigMaps and Secrets.
func Decode(file string, data []byte, opt Options) ([]*Pod, []Problem) {
	d := &decoder{file: file, opt: opt}
	d.decode(data)
	return d.pods, d.problems
}

func (d *decoder) decode(data []byte) {
	if p := d.checkBytes(data); p != nil {
		d.problems = []Problem{*p}
		return
	}
	for _, doc := range split(bytes.TrimPrefix(data, []byte(utf8BOM))) {
		if !d.document(doc) {
			break
		}
	}
}

// decoder is the state of one Decode.
type decoder struct {
	file     string
	opt      Options
	all      bool // ConfigMaps and Secrets too
	nodes    int  // of the documents so far
	pods     []*Pod
	configs  []*Config
	problems []Problem
}

// document decodes one document. It returns false when the rest of the file is not worth reading.
func (d *decoder) document(doc document) (goOn bool) {
	o := object{origin: Origin{File: d.file, Document: doc.number, Line: doc.line}}
	// The parsers and the validation are other people's code fed with anything: one document that makes them panic must
	// not end the pods of the others.
	defer func() {
		if r := recover(); r != nil {
			d.report(o, finding{message: fmt.Sprintf("%s: %v", panicMessage, r), hint: firstFrame(debug.Stack())})
			goOn = true
		}
	}()
	if d.nodes >= MaxNodes {
		d.report(o, finding{message: fmt.Sprintf("the file has more than %d keys and values", MaxNodes)})
		return false
	}
	t, err := parse(doc)
	if err != nil {
		d.report(o, *err)
		return true
	}
	o.tree, o.origin.Line = t, t.line("")
	count, findings := t.check(MaxNodes - d.nodes)
	d.nodes += count
	if len(findings) > 0 {
		o.key, o.config = t.key()
		d.report(o, findings...)
		return d.nodes <= MaxNodes
	}
	value, err := t.generic(doc)
	if err != nil {
		d.report(o, *err)
		return true
	}
	d.object(o, value)
	return true
}

// panicMessage begins the message of a problem that stands for a panic; the fuzz test looks for it.
const panicMessage = "decoding this document ran into a bug of the agent"

func firstFrame(stack []byte) string {
	if i := bytes.Index(stack, []byte("panic(")); i >= 0 {
		stack = stack[i:]
	}
	lines := bytes.SplitN(stack, []byte("\n"), 4)
	if len(lines) < 3 {
		return ""
	}
	return string(bytes.TrimSpace(lines[2]))
}

// finding is a problem of a document before it has a place in the file.
type finding struct {
	path    string // as in Problem.Field, relative to the object
	line    int    // in the file; 0: look path up in the tree
	message string
	hint    string
	warning bool // the document is good nevertheless
}

// warnings takes those out of findings.
func warnings(findings []finding) (warned, wrong []finding) {
	for _, f := range findings {
		if f.warning {
			warned = append(warned, f)
		} else {
			wrong = append(wrong, f)
		}
	}
	return warned, wrong
}

// fromField turns an error of Kubernetes' validation into a finding.
func fromField(e *field.Error) finding {
	return finding{path: e.Field, message: e.ErrorBody(), hint: hintFor(e)}
}

// hintFor adds what Kubernetes' message leaves out; most messages need nothing.
func hintFor(e *field.Error) string {
	if e.Type == field.ErrorTypeRequired && e.Field == "spec.containers" {
		return "a pod has at least one container with a name and an image"
	}
	return ""
}

// report adds the findings of one object as problems in the order of their lines, at most ten of them.
func (d *decoder) report(o object, findings ...finding) {
	findings = findings[:min(len(findings), maxFindings)]
	problems := make([]Problem, len(findings))
	for i, f := range findings {
		p := Problem{Origin: o.origin, Pod: o.key, Config: o.config, Field: o.path(f.path), Message: f.message, Hint: f.hint}
		if p.Origin.Line = f.line; f.line == 0 {
			p.Origin.Line = o.line(f.path)
		}
		problems[i] = p
	}
	slices.SortStableFunc(problems, func(a, b Problem) int { return cmp.Compare(a.Origin.Line, b.Origin.Line) })
	for _, p := range problems[:min(len(problems), maxDocumentProblems)] {
		switch {
		case len(d.problems) < maxFileProblems:
			d.problems = append(d.problems, p)
		case len(d.problems) == maxFileProblems:
			d.problems = append(d.problems, Problem{Origin: p.Origin, Message: "the file has more problems; they are not shown"})
		}
	}
}
