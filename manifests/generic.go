package manifests

import (
	"fmt"
	"strconv"

	"go.yaml.in/yaml/v3"
	kjson "sigs.k8s.io/json"
)

// generic returns the document as maps, lists and scalars. YAML is read as Kubernetes' tools read it (sigs.k8s.io/yaml, by
// YAML 1.1: a plain yes is a boolean, a date is text), which TestYAMLIsReadAsKubernetesReadsIt holds against them, with
// one difference: a key written before a merge ("<<") is not overwritten by it, as YAML has it and the kubectl of today
// does not.
func (t *tree) generic(doc document) (any, *finding) {
	if isJSON(doc.text) {
		var v any
		if err := kjson.UnmarshalCaseSensitivePreserveInts(doc.text, &v); err != nil {
			return nil, &finding{message: fmt.Sprintf("the document is not valid JSON: %v", err)}
		}
		return v, nil
	}
	g := generator{tree: t}
	v := g.value(t.root)
	return v, g.err
}

// generator keeps the first thing it could not read.
type generator struct {
	tree *tree
	err  *finding
}

func (g *generator) fail(n *yaml.Node, format string, args ...any) {
	if g.err == nil {
		g.err = &finding{line: g.tree.at(n), message: fmt.Sprintf(format, args...)}
	}
}

func (g *generator) value(n *yaml.Node) any {
	switch n = target(n); n.Kind {
	case yaml.MappingNode:
		if tag := n.ShortTag(); tag != "!!map" {
			g.fail(n, "the YAML tag %s is not supported", tag)
		}
		m := make(map[string]any, len(n.Content)/2)
		g.members(n, m)
		return m
	case yaml.SequenceNode:
		if tag := n.ShortTag(); tag != "!!seq" {
			g.fail(n, "the YAML tag %s is not supported", tag)
		}
		list := make([]any, len(n.Content))
		for i := range list {
			list[i] = g.value(n.Content[i])
		}
		return list
	}
	return g.scalar(n)
}

// members adds the members of a mapping to m, the merged ones where m has none yet.
func (g *generator) members(n *yaml.Node, m map[string]any) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := target(n.Content[i])
		if isMerge(key) {
			continue
		}
		name := g.name(key)
		if _, ok := m[name]; ok { // such as yes and true, which are one key; equal texts are found earlier
			g.fail(key, "the key %q is set twice", name)
		}
		m[name] = g.value(n.Content[i+1])
	}
	g.checkMerges(n)
	for _, source := range merged(n) {
		inherited := make(map[string]any, len(source.Content)/2)
		g.members(source, inherited)
		for name, v := range inherited {
			if _, ok := m[name]; !ok {
				m[name] = v
			}
		}
	}
}

func (g *generator) checkMerges(n *yaml.Node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if !isMerge(n.Content[i]) {
			continue
		}
		sources := []*yaml.Node{n.Content[i+1]}
		if s := target(n.Content[i+1]); s.Kind == yaml.SequenceNode {
			sources = s.Content
		}
		for _, s := range sources {
			if target(s).Kind != yaml.MappingNode {
				g.fail(n.Content[i], "the merge key << takes objects only")
			}
		}
	}
}

// name is the text of a key; numbers and booleans become text.
func (g *generator) name(key *yaml.Node) string {
	switch v := g.scalar(key).(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case int:
		return strconv.Itoa(v)
	case float64:
		return key.Value
	}
	g.fail(key, "the key %q is not text", key.Value)
	return ""
}

func (g *generator) scalar(n *yaml.Node) any {
	switch tag := n.ShortTag(); tag {
	case "!!str":
		if n.Style == 0 {
			if b, ok := yaml11Bool(n.Value); ok {
				return b
			}
		}
		return n.Value
	case "!!timestamp", "!!merge":
		return n.Value
	case "!!null":
		return nil
	case "!!int", "!!float", "!!bool":
		var v any
		if err := n.Decode(&v); err != nil {
			g.fail(n, "the value is not of the YAML type %s", tag) // it may be a secret
		}
		return v
	default:
		g.fail(n, "the YAML tag %s is not supported", tag)
		return nil
	}
}

// yaml11Bool knows the words that YAML 1.1 has for booleans and YAML 1.2 has not.
func yaml11Bool(word string) (value, ok bool) {
	switch word {
	case "y", "Y", "yes", "Yes", "YES", "on", "On", "ON":
		return true, true
	case "n", "N", "no", "No", "NO", "off", "Off", "OFF":
		return false, true
	}
	return false, false
}
