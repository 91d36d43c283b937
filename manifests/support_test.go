package manifests

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
)

// leaves lists every field of a Go type as a path of the table, down to what has no named fields. A type within itself
// ends the path.
func leaves(t reflect.Type, path string, within []reflect.Type, visit func(path string)) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		visit(path)
		leaves(t.Elem(), path+"[*]", within, visit)
	case t.Kind() == reflect.Struct && strings.HasPrefix(t.PkgPath(), "k8s.io/api/") && !slices.Contains(within, t):
		if path != "" {
			visit(path)
		}
		fields := map[string]reflect.Type{}
		jsonFields(t, fields)
		for name, f := range fields {
			leaves(f, join(path, name), append(within, t), visit)
		}
	default:
		visit(path)
	}
}

// place builds the document that has value at path and nothing else.
func place(path string, value any) map[string]any {
	parts := strings.Split(path, ".")
	for i := len(parts) - 1; i >= 0; i-- {
		name, list := strings.CutSuffix(parts[i], "[*]")
		if list {
			value = []any{value}
		}
		value = map[string]any{name: value}
	}
	return value.(map[string]any)
}

func TestEveryFieldOfAPodIsInTheTableOrRefused(t *testing.T) {
	rows, above := map[string]bool{}, map[string]bool{}
	for _, f := range Fields() {
		if rows[f.Path] {
			t.Errorf("%s stands twice in the table", f.Path)
		}
		rows[f.Path] = true
		for i := range f.Path {
			if f.Path[i] == '.' || f.Path[i] == '[' {
				above[f.Path[:i]] = true
			}
		}
		for i := strings.Index(f.Path, "]"); i > 0 && i < len(f.Path); i = -1 {
			above[f.Path[:i+1]] = true
		}
	}
	supported := func(path string) bool {
		if above[path] {
			return true
		}
		for p := path; ; p = p[:strings.LastIndexAny(p, ".[")] {
			if rows[p] {
				return true
			}
			if !strings.ContainsAny(p, ".[") {
				return false
			}
		}
	}
	count := 0
	leaves(reflect.TypeFor[v1.PodSpec](), "spec", nil, func(path string) {
		count++
		findings := checkSupport(place(path, map[string]any{"x": "y"}))
		refused := slices.ContainsFunc(findings, func(f finding) bool { return f.message == notSupported })
		if want := !supported(path); refused != want && !above[path] {
			t.Errorf("%s: refused %t, want %t", path, refused, want)
		}
	})
	if count < 500 {
		t.Errorf("only %d fields were tried", count)
	}
}

func TestEveryRowIsAFieldOfAPod(t *testing.T) {
	known := map[string]bool{}
	leaves(reflect.TypeFor[v1.PodSpec](), "spec", nil, func(path string) { known[path] = true })
	known["apiVersion"], known["kind"] = true, true
	fields := map[string]reflect.Type{}
	jsonFields(reflect.TypeFor[v1.Pod]().Field(1).Type, fields)
	for name := range fields {
		known["metadata."+name] = true
	}
	for _, f := range Fields() {
		path := f.Path
		if i := strings.Index(path, ".requests."); i > 0 {
			path = path[:i+len(".requests")]
		}
		if i := strings.Index(path, ".limits."); i > 0 {
			path = path[:i+len(".limits")]
		}
		if !known[path] {
			t.Errorf("%s is no field of a pod", f.Path)
		}
		if f.Since == "" {
			t.Errorf("%s says not since when", f.Path)
		}
	}
}

func TestNoRowStandsTwice(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Fields() {
		if seen[f.Path] {
			t.Errorf("%s stands twice", f.Path)
		}
		seen[f.Path] = true
	}
}

func TestEveryRefusedVolumeIsAFieldOfAPodAndNamedWithItsReason(t *testing.T) {
	known := map[string]bool{}
	leaves(reflect.TypeFor[v1.PodSpec](), "spec", nil, func(path string) { known[path] = true })
	for _, r := range RefusedVolumes() {
		path := "spec.volumes[*]." + r.Kind
		if !known[path] {
			t.Errorf("%s is no field", path)
		}
		findings := checkSupport(place(path, map[string]any{"x": "y"}))
		if len(findings) != 1 || findings[0].hint != r.Reason || r.Reason == "" {
			t.Errorf("%s: findings %v", path, findings)
		}
		var v v1.Volume
		field := reflect.ValueOf(&v.VolumeSource).Elem().FieldByNameFunc(func(n string) bool { return strings.EqualFold(n, r.Kind) })
		field.Set(reflect.New(field.Type().Elem()))
		if kind, reason := VolumeRefusal(&v); kind != r.Kind || reason != r.Reason {
			t.Errorf("%s is refused as %q: %s", r.Kind, kind, reason)
		}
	}
	if kind, _ := VolumeRefusal(&v1.Volume{VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}}); kind != "" {
		t.Errorf("emptyDir is refused as %s", kind)
	}
}
