package manifests

import "strings"

// Expand replaces each reference $(NAME) in value by what lookup returns for NAME, as the kubelet does for env, command
// and args (third_party/forked/golang/expansion): a name that lookup does not know stays as it is written, $$ is a
// literal $ (so $$(NAME) is never expanded), and replaced text is not expanded again.
func Expand(value string, lookup func(name string) (string, bool)) string {
	if !strings.Contains(value, "$") {
		return value
	}
	var b strings.Builder
	for {
		before, after, found := strings.Cut(value, "$")
		b.WriteString(before)
		switch {
		case !found:
			return b.String()
		case strings.HasPrefix(after, "$"):
			b.WriteByte('$')
			value = after[1:]
		case strings.HasPrefix(after, "("):
			name, rest, closed := strings.Cut(after[1:], ")")
			if !closed {
				b.WriteString("$(")
				value = after[1:]
				continue
			}
			if v, ok := lookup(name); ok {
				b.WriteString(v)
			} else {
				b.WriteString("$(" + name + ")")
			}
			value = rest
		default:
			b.WriteByte('$')
			value = after
		}
	}
}
