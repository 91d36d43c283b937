package ctl

import (
	"encoding/json"
	"errors"
	"testing"
)

func TestJSONPath(t *testing.T) {
	var v any
	err := json.Unmarshal([]byte(`{
		"kind": "List", "n": 3, "empty": {}, "a.b": "dotted",
		"items": [
			{"metadata": {"name": "web", "labels": {"app": "x"}}, "status": {"phase": "Running", "restarts": 2}, "image": "i1"},
			{"metadata": {"name": "db"}, "status": {"phase": "Pending", "restarts": 10}, "image": "i2"},
			{"metadata": {"name": "job"}, "status": {"phase": "Running", "restarts": 0}}
		]}`), &v)
	if err != nil {
		t.Fatal(err)
	}
	for template, want := range map[string]string{
		"{.kind}":                      "List",
		".kind":                        "List",
		"kind":                         "List",
		"{$.kind}":                     "List",
		"{@.kind} and {.n}":            "List and 3",
		"{.empty}":                     "{}",
		"{.none.at.all}":               "",
		"{.items[*].metadata.name}":    "web db job",
		"{.items[0].metadata}":         `{"labels":{"app":"x"},"name":"web"}`,
		"{.items[-1].metadata.name}":   "job",
		"{.items[7].metadata.name}":    "",
		"{.items[0:2].metadata.name}":  "web db",
		"{.items[-1:].metadata.name}":  "job",
		"{.items[::2].metadata.name}":  "web job",
		"{['kind']}":                   "List",
		`{.items[0]["metadata"].name}`: "web",
		"{['a.b']}":                    "dotted",
		"{..image}":                    "i1 i2",
		"{.items[?(@.status.phase==\"Running\")].metadata.name}":                  "web job",
		"{.items[?(@.status.restarts>1)].metadata.name}":                          "web db",
		"{.items[?(@.status.restarts<=2)].metadata.name}":                         "web job",
		"{.items[?(@.status.phase!='Running')].metadata.name}":                    "db",
		"{.items[?(@.image)].metadata.name}":                                      "web db",
		"{range .items[*]}{.metadata.name}{\"\\t\"}{.status.phase}{\"\\n\"}{end}": "web\tRunning\ndb\tPending\njob\tRunning\n",
		"{range .items[*]}{range .metadata.labels}{.app}{end};{end}":              "x;;;",
		`text {"}"} {'it'}`: "text } it",
	} {
		j, err := parseJSONPath(template)
		if err != nil {
			t.Errorf("%q: %v", template, err)
			continue
		}
		if got, err := j.text(v); err != nil || got != want {
			t.Errorf("%q gives %q, want %q (%v)", template, got, want, err)
		}
	}
	for _, bad := range []string{"{", "{.a", "{.a[}", "{.a[x]}", "{.a[]}", "{end}", "{range .a}", "{.a[?(@.b==)]}", `{"x}`, "{.a[1:2:0]}", "{.a[1:2:3:4]}", "{.a b]c}}]"} {
		if _, err := parseJSONPath(bad); err != nil && !errors.As(err, new(UsageError)) {
			t.Errorf("%q: %v is no usage error", bad, err)
		} else if err == nil && bad != "{.a b]c}}]" {
			t.Errorf("%q is understood", bad)
		}
	}
}

func FuzzJSONPath(f *testing.F) {
	for _, s := range []string{"{.a[?(@.b=='c')]}", "{range .a[*]}{..b}{end}", "{.a[1:-1:2]}", "{['x']}"} {
		f.Add(s)
	}
	f.Fuzz(func(_ *testing.T, s string) {
		if j, err := parseJSONPath(s); err == nil {
			_, _ = j.text(map[string]any{"a": []any{map[string]any{"b": "c"}, 1.0, nil}})
		}
	})
}
