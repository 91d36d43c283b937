package manifests

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// tree is a document as YAML nodes: it knows the lines.
type tree struct {
	root  *yaml.Node
	first int // line of the file at which the document's text begins
}

// surrogates matches one escape of a JSON string. The YAML parser refuses halves of surrogate pairs, which JSON allows.
var surrogates = regexp.MustCompile(`\\(?:u[dD][89a-fA-F][0-9a-fA-F]{2}|.)`)

// parse builds the tree of one document.
func parse(doc document) (*tree, *finding) {
	text := doc.text
	if isJSON(text) {
		text = surrogates.ReplaceAllFunc(text, func(m []byte) []byte {
			if len(m) == 6 {
				return []byte("??????")
			}
			return m
		})
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var root, more yaml.Node
	if err := dec.Decode(&root); err != nil {
		return nil, syntaxError(doc, err)
	}
	t := &tree{root: &root, first: doc.line}
	switch err := dec.Decode(&more); {
	case err == nil:
		return nil, &finding{
			line: t.at(&more), message: "another document begins here without a line \"---\" before it",
			hint: "line ends must be LF or CRLF",
		}
	case !errors.Is(err, io.EOF):
		return nil, syntaxError(doc, err)
	}
	if root.Kind == yaml.DocumentNode && len(root.Content) == 1 {
		t.root = root.Content[0]
	}
	return t, nil
}

func isJSON(text []byte) bool {
	text = bytes.TrimSpace(text)
	return len(text) > 0 && text[0] == '{' && json.Valid(text)
}

var yamlErrorLine = regexp.MustCompile(`^(?:yaml: )?(?:unmarshal errors:\n\s*)?(?:line (\d+): )?`)

func syntaxError(doc document, err error) *finding {
	text := err.Error()
	m := yamlErrorLine.FindStringSubmatch(text)
	f := &finding{line: doc.line, message: "the document is not valid YAML: " + text[len(m[0]):]}
	if n, err := strconv.Atoi(m[1]); err == nil {
		f.line = doc.line + n - 1
	}
	tabs := strings.Contains(f.message, "tab character") || strings.Contains(f.message, "cannot start any token")
	if line := tabIndented(doc.text); tabs && line > 0 {
		f.line, f.hint = doc.line+line-1, "the line is indented with a tab; YAML wants spaces"
	}
	return f
}

// tabIndented returns the first line, from 1, that has a tab in its indentation; 0 when there is none.
func tabIndented(text []byte) int {
	n := 0
	for line := range bytes.Lines(text) {
		n++
		indent := line[:len(line)-len(bytes.TrimLeft(line, " \t"))]
		if bytes.IndexByte(indent, '\t') >= 0 && len(bytes.TrimSpace(line)) > 0 {
			return n
		}
	}
	return 0
}

// at is the line of the file of a node.
func (t *tree) at(n *yaml.Node) int { return t.first + max(n.Line, 1) - 1 }

// key reads the key from the nodes as keyOf does, for documents whose values cannot be trusted.
func (t *tree) key() (Key, ConfigKey) {
	name, namespace, kind := t.scalar("metadata.name"), t.scalar("metadata.namespace"), t.scalar("kind")
	if name == "" || !aboutPod(kind) {
		return Key{}, configKeyOf(kind, namespace, name)
	}
	return Key{Namespace: orDefault(namespace), Name: name}, ConfigKey{}
}

func (t *tree) scalar(path string) string {
	if n, rest := t.find(path); rest == "" && target(n).Kind == yaml.ScalarNode {
		n = target(n)
		return n.Value
	}
	return ""
}

// line returns the line of the file of the field path: of the deepest part of it that exists, the document's first line
// when none does.
func (t *tree) line(path string) int {
	line, n := t.at(t.root), t.root
	for path != "" {
		at, next, rest, ok := step(n, path)
		if !ok {
			break
		}
		line, n, path = t.at(at), next, rest
	}
	return line
}

// find follows a path down and returns the last node reached and what is left of the path.
func (t *tree) find(path string) (*yaml.Node, string) {
	n := t.root
	for path != "" {
		_, next, rest, ok := step(n, path)
		if !ok {
			break
		}
		n, path = next, rest
	}
	return n, path
}

// step takes the first element off path and goes down by it. at is the node to point a person at: the key of a member,
// an element of a list. The node decides where an element of the path ends, since keys may contain dots and brackets.
func step(n *yaml.Node, path string) (at, next *yaml.Node, rest string, ok bool) {
	switch n = target(n); n.Kind {
	case yaml.SequenceNode:
		index, after, found := strings.Cut(strings.TrimPrefix(path, "["), "]")
		i, err := strconv.Atoi(index)
		if !found || err != nil || i < 0 || i >= len(n.Content) {
			return nil, nil, "", false
		}
		return n.Content[i], n.Content[i], after, true
	case yaml.MappingNode:
		return stepInto(n, strings.TrimPrefix(path, "."), 0)
	}
	return nil, nil, "", false
}

func stepInto(n *yaml.Node, path string, depth int) (at, next *yaml.Node, rest string, ok bool) {
	longest := -1
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		after, found := cutKey(path, k.Value)
		if found && len(k.Value) > longest {
			longest, at, next, rest, ok = len(k.Value), k, n.Content[i+1], after, true
		}
	}
	if ok || depth > MaxDepth {
		return at, next, rest, ok
	}
	for _, m := range merged(n) {
		if at, next, rest, ok = stepInto(m, path, depth+1); ok {
			return at, next, rest, ok
		}
	}
	return nil, nil, "", false
}

// cutKey takes key off the front of path, where it stands as "key" or, as validation writes keys of labels, as "[key]".
func cutKey(path, key string) (rest string, ok bool) {
	if inner, bracket := strings.CutPrefix(path, "["); bracket {
		if rest, ok = strings.CutPrefix(inner, key); ok && strings.HasPrefix(rest, "]") {
			return rest[1:], true
		}
	}
	rest, ok = strings.CutPrefix(path, key)
	return rest, ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// merged returns the mappings that a mapping's "<<" keys pull in.
func merged(n *yaml.Node) []*yaml.Node {
	var found []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		if !isMerge(n.Content[i]) {
			continue
		}
		sources := []*yaml.Node{n.Content[i+1]}
		if s := target(n.Content[i+1]); s.Kind == yaml.SequenceNode {
			sources = s.Content
		}
		for _, s := range sources {
			if s = target(s); s.Kind == yaml.MappingNode {
				found = append(found, s)
			}
		}
	}
	return found
}

func isMerge(key *yaml.Node) bool { return key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge" }

// target is the node that n stands for when n is an alias.
func target(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}
