// Package readme makes the parts of README.md that the code knows better: the table of supported pod fields, with the rows
// of contrib/e2e/rows that prove each.
//
//	go test ./contrib/readme -update    # writes them into README.md
package readme

import (
	"fmt"
	"slices"
	"strings"

	"edgepod.dev/agent/contrib/e2e/rows"
	"edgepod.dev/agent/manifests"
)

// Begin and End are the lines of README.md between which the table stands.
const (
	Begin = "<!-- fields: made by `go test ./contrib/readme -update` -->"
	End   = "<!-- end of fields -->"
)

// Fields is the table of supported fields in Markdown, with what stands together in one row.
func Fields() string {
	var b strings.Builder
	b.WriteString("| field | | proved by `TestEveryFieldOfAPod` |\n|---|---|---|\n")
	all, proofs := manifests.Fields(), rows.Proofs()
	for i := 0; i < len(all); {
		parent, note := parentOf(all[i].Path), all[i].Note
		names, proved := []string{lastOf(all[i].Path)}, slices.Clone(proofs[all[i].Path])
		j := i + 1
		for ; j < len(all) && parentOf(all[j].Path) == parent && all[j].Note == note; j++ {
			if name := lastOf(all[j].Path); name != names[len(names)-1] {
				names = append(names, name)
			}
			for _, p := range proofs[all[j].Path] {
				if !slices.Contains(proved, p) {
					proved = append(proved, p)
				}
			}
		}
		path := parent + strings.Join(names, ", ")
		if len(names) > 1 && parent != "" {
			path = parent + "{" + strings.Join(names, ", ") + "}"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", path, note, strings.Join(proved, "; "))
		i = j
	}
	return b.String()
}

// parentOf is a path without its last part, with the dot.
func parentOf(path string) string { return path[:strings.LastIndexByte(path, '.')+1] }

func lastOf(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

// Replace puts the table into the text of a README.
func Replace(text string) (string, error) {
	before, rest, ok := strings.Cut(text, Begin)
	if !ok {
		return "", fmt.Errorf("the README has no line %q", Begin)
	}
	_, after, ok := strings.Cut(rest, End)
	if !ok {
		return "", fmt.Errorf("the README has no line %q", End)
	}
	return before + Begin + "\n" + Fields() + End + after, nil
}
