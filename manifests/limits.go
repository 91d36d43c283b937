package manifests

import (
	"fmt"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// check counts the nodes of the document with its aliases expanded, and finds what goes past the limits and the keys
// that are set twice. What an anchor holds is counted once and remembered, so a "billion laughs" costs its text only.
func (t *tree) check(budget int) (int, []finding) {
	c := checker{tree: t, budget: budget, known: map[*yaml.Node]extent{}}
	e, ok := c.measure(t.root, nil, 1)
	if !ok {
		return e.nodes, c.findings[len(c.findings)-1:]
	}
	return e.nodes, c.findings
}

// extent is the size of a node with its aliases expanded.
type extent struct{ nodes, height int }

type checker struct {
	tree     *tree
	budget   int
	known    map[*yaml.Node]extent // of anchored nodes; height -1 while the node is being measured
	findings []finding
}

// crumb is one element of the path to a node, kept on the stack so that only findings pay for paths.
type crumb struct {
	up    *crumb
	key   string
	index int // of a list when key is empty
}

func (c *crumb) String() string {
	switch {
	case c == nil:
		return ""
	case c.key == "":
		return c.up.String() + "[" + strconv.Itoa(c.index) + "]"
	case c.up == nil:
		return c.key
	}
	return c.up.String() + "." + c.key
}

// measure returns false when a limit was passed; the last finding then says which.
func (c *checker) measure(n *yaml.Node, at *crumb, depth int) (extent, bool) {
	if depth > MaxDepth {
		return extent{}, c.stop(n, at, fmt.Sprintf("nested deeper than %d levels", MaxDepth))
	}
	target := n
	if n.Kind == yaml.AliasNode {
		if target = n.Alias; target == nil {
			return extent{}, c.stop(n, at, "the alias has no anchor")
		}
	}
	if e, ok := c.known[target]; ok {
		switch {
		case e.height < 0:
			return extent{}, c.stop(n, at, fmt.Sprintf("the anchor %q contains itself", target.Anchor))
		case depth+e.height-1 > MaxDepth:
			return extent{}, c.stop(n, at, fmt.Sprintf("nested deeper than %d levels", MaxDepth))
		}
		return e, true
	}
	if target.Anchor != "" {
		c.known[target] = extent{height: -1}
	}
	e, ok := c.children(target, at, depth)
	if ok && target.Anchor != "" {
		c.known[target] = e
	}
	return e, ok
}

func (c *checker) children(n *yaml.Node, at *crumb, depth int) (extent, bool) {
	e := extent{nodes: 1, height: 1}
	var seen map[string]int
	for i, child := range n.Content {
		here := crumb{up: at, index: i}
		if n.Kind == yaml.MappingNode {
			key := n.Content[i-i%2]
			here.key = key.Value
			if i%2 == 0 {
				if seen == nil {
					seen = make(map[string]int, len(n.Content)/2)
				}
				c.duplicate(key, &here, seen)
			}
		}
		sub, ok := c.measure(child, &here, depth+1)
		e.nodes += sub.nodes
		if !ok {
			return e, false
		}
		e.height = max(e.height, sub.height+1)
		if e.nodes > c.budget {
			return e, c.stop(n, at, fmt.Sprintf("the file has more than %d keys and values, aliases expanded", MaxNodes))
		}
	}
	return e, true
}

func (c *checker) duplicate(key *yaml.Node, at *crumb, seen map[string]int) {
	line := c.tree.at(key)
	if key.Kind != yaml.ScalarNode {
		if key.Kind != yaml.AliasNode {
			c.findings = append(c.findings, finding{line: line, message: "a key is a list or an object; keys are text"})
		}
		return
	}
	if first, ok := seen[key.Value]; ok {
		c.findings = append(c.findings, finding{
			path: at.String(), line: line,
			message: fmt.Sprintf("the key %q is set twice, here and on line %d", key.Value, first),
		})
		return
	}
	seen[key.Value] = line
}

func (c *checker) stop(n *yaml.Node, at *crumb, message string) bool {
	path := at.String()
	if len(path) > 100 {
		path = path[:100] + "…"
	}
	c.findings = append(c.findings, finding{path: path, line: c.tree.at(n), message: message})
	return false
}
