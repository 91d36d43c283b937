package manifests

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// object is the place of one Kubernetes object in a file: a document, or a member of a List.
type object struct {
	origin Origin
	key    Key
	config ConfigKey // as key, of a ConfigMap or Secret
	tree   *tree
	prefix string // of its field paths within the document: "" or "items[n]"
	member bool   // it is a member of a List
	typed  string // the kind of a member of a PodList, which may leave out apiVersion and kind
}

// path is the path within the document of a field of the object.
func (o object) path(field string) string {
	if o.prefix == "" || field == "" {
		return o.prefix + field
	}
	return o.prefix + "." + field
}

// line is the line of the file of a field of the object.
func (o object) line(field string) int {
	if path := o.path(field); path != "" && o.tree != nil {
		return o.tree.line(path)
	}
	return o.origin.Line
}

// object decodes one object, or each member of a List by itself.
func (d *decoder) object(o object, value any) {
	m, ok := value.(map[string]any)
	if !ok {
		what := "the document is "
		if o.member {
			what = "the member of the list is "
		}
		d.report(o, finding{message: what + describe(value) + ", not an object", hint: "it begins with apiVersion and kind"})
		return
	}
	apiVersion, kind, findings := typeOf(o, m)
	o.key, o.config = keyOf(m, kind)
	if len(findings) > 0 {
		d.report(o, findings...)
		return
	}
	switch member, list := strings.CutSuffix(kind, "List"); {
	case d.takes(kind) && apiVersion != "v1":
		d.report(o, finding{path: "apiVersion", message: fmt.Sprintf("kind %s has apiVersion v1, not %q", kind, apiVersion)})
	case kind == "Pod":
		d.pod(o, m)
	case d.takes(kind):
		d.config(o, kind, m)
	case list && (member == "" || d.takes(member)) && apiVersion == "v1" && !o.member:
		d.list(o, m, member)
	default:
		hint := hintForKind(kind)
		if d.all {
			hint = hintForAll(kind)
		}
		d.report(o, finding{line: o.line("kind"), message: fmt.Sprintf("kind %q is not supported", kind), hint: hint})
	}
}

// takes says whether the caller wants objects of this kind.
func (d *decoder) takes(kind string) bool { return kind == "Pod" || d.all && isConfig(kind) }

// typeOf reads apiVersion and kind.
func typeOf(o object, m map[string]any) (apiVersion, kind string, findings []finding) {
	if o.typed != "" && m["apiVersion"] == nil && m["kind"] == nil {
		return "v1", o.typed, nil
	}
	for _, f := range []struct {
		name, hint string
		to         *string
	}{{"apiVersion", "a pod begins with apiVersion: v1", &apiVersion}, {"kind", "a pod begins with kind: Pod", &kind}} {
		switch v := m[f.name].(type) {
		case string:
			*f.to = v
		case nil:
		default:
			findings = append(findings, finding{path: f.name, message: "must be a string, not " + describe(v)})
			continue
		}
		if *f.to == "" {
			findings = append(findings, finding{path: f.name, message: "missing", hint: f.hint})
		}
	}
	return apiVersion, kind, findings
}

// aboutPod says whether a document of this kind was meant to be a pod, so that its problems concern the pod of its name.
func aboutPod(kind string) bool { return kind == "" || distance(strings.ToLower(kind), "pod") <= 1 }

func hintForKind(kind string) string {
	switch kind {
	case "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job", "CronJob", "PodTemplate":
		return "the agent runs kind Pod; put the pod template into a Pod"
	case "List", "PodList", "ConfigMapList", "SecretList":
		return "a List is not a member of a List"
	}
	if aboutPod(kind) {
		return "did you mean Pod?"
	}
	return hintKinds
}

const hintKinds = "the agent runs kind Pod"

// keyOf reads the key of an object that may be wrong in any way: that of a pod, or of a ConfigMap or Secret.
func keyOf(m map[string]any, kind string) (Key, ConfigKey) {
	meta, _ := m["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	namespace, _ := meta["namespace"].(string)
	if name == "" || !aboutPod(kind) {
		return Key{}, configKeyOf(kind, namespace, name)
	}
	return Key{Namespace: orDefault(namespace), Name: name}, ConfigKey{}
}

func orDefault(namespace string) string {
	if namespace == "" {
		return "default"
	}
	return namespace
}

// list decodes the members of a v1 List, or of a PodList and its like, whose members are of kind typed.
func (d *decoder) list(o object, m map[string]any, typed string) {
	o.key, o.config = Key{}, ConfigKey{}
	for name := range m {
		switch name {
		case "apiVersion", "kind", "metadata", "items":
		default:
			d.report(o, finding{
				path: name, message: "unknown field of a List",
				hint: didYouMean(name, []string{"apiVersion", "kind", "metadata", "items"}),
			})
			return
		}
	}
	items, ok := m["items"].([]any)
	if !ok && m["items"] != nil {
		d.report(o, finding{path: "items", message: "must be a list, not " + describe(m["items"])})
		return
	}
	for i, item := range items {
		member := o
		member.prefix, member.member, member.typed = fmt.Sprintf("items[%d]", i), true, typed
		member.origin.Line = o.tree.line(member.prefix)
		d.object(member, item)
	}
}

// pod decodes an object of kind Pod.
func (d *decoder) pod(o object, m map[string]any) {
	stripServerFields(m)
	raw, err := json.Marshal(m)
	if err != nil { // a float that JSON does not know, such as .nan
		d.report(o, finding{message: fmt.Sprintf("the document cannot be written as JSON: %v", err)})
		return
	}
	pod, findings := decodeStrict[v1.Pod](raw, m)
	if len(findings) > 0 {
		for i := range findings {
			quoteHint(o, &findings[i])
		}
		d.report(o, findings...)
		return
	}
	p, findings := build(pod, o.origin, d.opt)
	if len(findings) > 0 {
		d.report(o, findings...)
		return
	}
	for i := range p.Warnings {
		w := &p.Warnings[i]
		w.Field, w.Origin.Line = o.path(w.Field), o.line(w.Field)
	}
	slices.SortStableFunc(p.Warnings, func(a, b Problem) int { return cmp.Compare(a.Origin.Line, b.Origin.Line) })
	d.pods = append(d.pods, p)
}

// quoteHint adds how to write a word as a string when YAML read it as a number or a boolean.
func quoteHint(o object, f *finding) {
	if f.hint != "" || !strings.HasPrefix(f.message, mustBeString) {
		return
	}
	if written := o.tree.scalar(o.path(f.path)); written != "" {
		f.hint = fmt.Sprintf("quote it: %q", written)
	}
}

// describe names a JSON value for people.
func describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "empty"
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	case string:
		if len(v) > 40 {
			v = v[:40] + "…"
		}
		return fmt.Sprintf("the string %q", v)
	case bool:
		return fmt.Sprintf("the boolean %t", v)
	}
	return fmt.Sprintf("the number %v", v)
}
