package ctl

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// jsonPath is a template of kubectl's -o jsonpath: text, and in braces paths, "literals", range … end:
//
//	{.items[*].metadata.name}   {.spec['node name']}   {..image}   {.items[-1:]}   {.items[?(@.status.phase=="Running")]}
//	{range .items[*]}{.metadata.name}{"\t"}{.status.phase}{"\n"}{end}
//
// A field that does not exist is nothing; kubectl makes it an error.
type jsonPath []pathNode

// pathNode is a piece of a template: text, a path, or a range with its body.
type pathNode struct {
	text   string
	path   []pathStep
	body   jsonPath
	isPath bool
}

// pathStep leads from one value to any number of values.
type pathStep func(v any) []any

// parseJSONPath reads a template; one without braces is a path.
func parseJSONPath(template string) (jsonPath, error) {
	if !strings.Contains(template, "{") {
		template = "{" + template + "}"
	}
	p := &pathParser{rest: template}
	j, err := p.nodes(false)
	if err != nil {
		return nil, UsageError(fmt.Sprintf("jsonpath %q: %v", template, err))
	}
	return j, nil
}

// print writes what the template makes of v, which is turned into JSON first.
func (j jsonPath) print(w io.Writer, v any) error {
	text, err := j.text(v)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, text)
	return err
}

func (j jsonPath) text(v any) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("encoding: %w", err)
	}
	var tree any
	if err := json.Unmarshal(b, &tree); err != nil {
		return "", fmt.Errorf("encoding: %w", err)
	}
	var out strings.Builder
	j.run(&out, tree)
	return out.String(), nil
}

func (j jsonPath) run(out *strings.Builder, v any) {
	for _, n := range j {
		switch {
		case !n.isPath:
			out.WriteString(n.text)
		case n.body != nil:
			for _, item := range walk([]any{v}, n.path) {
				n.body.run(out, item)
			}
		default:
			for i, item := range walk([]any{v}, n.path) {
				if i > 0 {
					out.WriteByte(' ')
				}
				out.WriteString(asText(item))
			}
		}
	}
}

func walk(values []any, steps []pathStep) []any {
	for _, s := range steps {
		var next []any
		for _, v := range values {
			next = append(next, s(v)...)
		}
		values = next
	}
	return values
}

// asText is a value as kubectl prints it: text bare, anything else as JSON.
func asText(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

// Steps.

func fieldStep(name string) pathStep {
	return func(v any) []any {
		if m, ok := v.(map[string]any); ok {
			if f, ok := m[name]; ok {
				return []any{f}
			}
		}
		return nil
	}
}

// children are the values of an object, by name, or of an array.
func children(v any) (out []any) {
	switch v := v.(type) {
	case []any:
		return v
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			out = append(out, v[k])
		}
	}
	return out
}

// descend is a value and all below it.
func descend(v any) []any {
	out := []any{v}
	for _, c := range children(v) {
		out = append(out, descend(c)...)
	}
	return out
}

// sliceStep is [from:to:by]; nil is an end that was left out.
func sliceStep(from, to *int, by int) pathStep {
	return func(v any) (out []any) {
		list, ok := v.([]any)
		if !ok {
			return nil
		}
		bound := func(i *int, missing int) int {
			if i == nil {
				return missing
			}
			n := *i
			if n < 0 {
				n += len(list)
			}
			return min(max(n, 0), len(list))
		}
		for i := bound(from, 0); i < bound(to, len(list)); i += by {
			out = append(out, list[i])
		}
		return out
	}
}

func indexStep(i int) pathStep {
	return func(v any) []any {
		list, ok := v.([]any)
		if i < 0 {
			i += len(list)
		}
		if !ok || i < 0 || i >= len(list) {
			return nil
		}
		return []any{list[i]}
	}
}

// filterStep keeps the children for which a comparison holds; with no operator, those in which the path leads somewhere.
func filterStep(left []pathStep, op string, right func(v any) any) pathStep {
	return func(v any) (out []any) {
		for _, c := range children(v) {
			got := walk([]any{c}, left)
			if len(got) > 0 && (op == "" || compare(got[0], op, right(c))) {
				out = append(out, c)
			}
		}
		return out
	}
}

func compare(a any, op string, b any) bool {
	order, comparable := 0, true
	x, aIsNumber := a.(float64)
	y, bIsNumber := b.(float64)
	switch {
	case aIsNumber && bIsNumber:
		order = cmp.Compare(x, y)
	case aIsNumber != bIsNumber:
		comparable = false
	default:
		order = strings.Compare(asText(a), asText(b))
	}
	switch op {
	case "==":
		return comparable && order == 0
	case "!=":
		return !comparable || order != 0
	case "<":
		return comparable && order < 0
	case "<=":
		return comparable && order <= 0
	case ">":
		return comparable && order > 0
	default: // ">="
		return comparable && order >= 0
	}
}

// number reads an index; nil for an empty one.
func number(s string) (*int, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return nil, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return nil, fmt.Errorf("%q is no index", s)
	}
	return &n, nil
}
