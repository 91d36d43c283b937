package ctl

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// pathParser reads a jsonPath; rest is what has not been read.
type pathParser struct{ rest string }

// nodes reads up to the end of the template, or of a range.
func (p *pathParser) nodes(inRange bool) (out jsonPath, err error) {
	out = jsonPath{}
	for p.rest != "" {
		text, after, found := strings.Cut(p.rest, "{")
		if text != "" {
			out = append(out, pathNode{text: text})
		}
		if !found {
			p.rest = ""
			break
		}
		inside, rest, err := upTo(after, '}')
		if err != nil {
			return nil, err
		}
		p.rest = rest
		inside = strings.TrimSpace(inside)
		if inside == "end" {
			if !inRange {
				return nil, errors.New("there is an end without a range")
			}
			return out, nil
		}
		n, err := p.node(inside)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	if inRange {
		return nil, errors.New("there is a range without an end")
	}
	return out, nil
}

func (p *pathParser) node(inside string) (n pathNode, err error) {
	if strings.HasPrefix(inside, `"`) || strings.HasPrefix(inside, "'") {
		n.text, err = literal(inside)
		return n, err
	}
	n.isPath = true
	path, isRange := strings.CutPrefix(inside, "range ")
	if n.path, err = parsePath(strings.TrimSpace(path)); err == nil && isRange {
		n.body, err = p.nodes(true)
	}
	return n, err
}

// upTo splits s at the first end that is in no quotes and in no brackets.
func upTo(s string, end byte) (before, after string, err error) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\'':
			j := i + 1
			for j < len(s) && s[j] != c {
				if s[j] == '\\' {
					j++
				}
				j++
			}
			i = j
		case c == end && depth == 0:
			return s[:i], s[i+1:], nil
		case c == '[' || c == '(':
			depth++
		case c == ']' || c == ')':
			depth--
		}
	}
	return "", "", fmt.Errorf("%q has no %q", s, end)
}

// literal is a string in double or single quotes.
func literal(s string) (string, error) {
	if len(s) >= 2 && s[0] == '\'' && s[len(s)-1] == '\'' {
		s = `"` + strings.ReplaceAll(strings.ReplaceAll(s[1:len(s)-1], `\'`, `'`), `"`, `\"`) + `"`
	}
	out, err := strconv.Unquote(s)
	if err != nil {
		return "", fmt.Errorf("%s is no string", s)
	}
	return out, nil
}

// parsePath reads $.a.b[0]['c']..d, with or without the first character.
func parsePath(s string) (steps []pathStep, err error) {
	s = strings.TrimPrefix(strings.TrimPrefix(s, "$"), "@")
	if s != "" && s[0] != '.' && s[0] != '[' {
		s = "." + s
	}
	for descended := false; s != ""; {
		was := descended
		descended = false
		switch {
		case strings.HasPrefix(s, ".."):
			if descended = true; !was { // twice is no deeper, and costs more each time
				steps = append(steps, descend)
			}
			s = s[1:]
			if strings.HasPrefix(s, ".[") {
				s = s[1:]
			}
		case s == ".":
			return steps, nil // the value itself
		case s[0] == '.':
			end := strings.IndexAny(s[1:], ".[")
			if end < 0 {
				end = len(s) - 1
			}
			name := s[1 : end+1]
			s = s[end+1:]
			switch name {
			case "":
				if s == "" || s[0] != '[' {
					return nil, errors.New("a field has no name")
				}
			case "*":
				steps = append(steps, children)
			default:
				steps = append(steps, fieldStep(name))
			}
		case s[0] == '[':
			inside, rest, err := upTo(s[1:], ']')
			if err != nil {
				return nil, err
			}
			step, err := bracket(strings.TrimSpace(inside))
			if err != nil {
				return nil, err
			}
			steps, s = append(steps, step), rest
		default:
			return nil, fmt.Errorf("%q is no path", s)
		}
	}
	return steps, nil
}

// bracket reads what stands between [ and ].
func bracket(s string) (pathStep, error) {
	switch {
	case s == "*":
		return children, nil
	case strings.HasPrefix(s, "?(") && strings.HasSuffix(s, ")"):
		return parseFilter(strings.TrimSpace(s[2 : len(s)-1]))
	case strings.HasPrefix(s, "'") || strings.HasPrefix(s, `"`):
		name, err := literal(s)
		return fieldStep(name), err
	case strings.Contains(s, ":"):
		parts := strings.Split(s, ":")
		var bounds [3]*int
		for i, part := range parts {
			if i == len(bounds) {
				return nil, fmt.Errorf("[%s] has too many parts", s)
			}
			n, err := number(part)
			if err != nil {
				return nil, err
			}
			bounds[i] = n
		}
		by := 1
		if bounds[2] != nil {
			by = *bounds[2]
		}
		if by < 1 {
			return nil, fmt.Errorf("[%s] does not go forward", s)
		}
		return sliceStep(bounds[0], bounds[1], by), nil
	default:
		i, err := number(s)
		if err == nil && i == nil {
			err = errors.New("[] is empty")
		}
		if err != nil {
			return nil, err
		}
		return indexStep(*i), nil
	}
}

// parseFilter reads @.path, or @.path OP value.
func parseFilter(s string) (pathStep, error) {
	for _, op := range []string{"==", "!=", "<=", ">=", "<", ">"} {
		left, right, found := strings.Cut(s, op)
		if !found {
			continue
		}
		steps, err := parsePath(strings.TrimSpace(left))
		if err != nil {
			return nil, err
		}
		value, err := operand(strings.TrimSpace(right))
		if err != nil {
			return nil, err
		}
		return filterStep(steps, op, value), nil
	}
	steps, err := parsePath(s)
	return filterStep(steps, "", nil), err
}

// operand is the right side of a comparison: a path, a string, or JSON.
func operand(s string) (func(any) any, error) {
	if strings.HasPrefix(s, "@") {
		steps, err := parsePath(s)
		return func(v any) any {
			if got := walk([]any{v}, steps); len(got) > 0 {
				return got[0]
			}
			return nil
		}, err
	}
	if strings.HasPrefix(s, `"`) || strings.HasPrefix(s, "'") {
		text, err := literal(s)
		return func(any) any { return text }, err
	}
	var v any
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		return nil, fmt.Errorf("%q is no value", s)
	}
	return func(any) any { return v }, nil
}
