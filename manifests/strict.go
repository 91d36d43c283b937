package manifests

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	kjson "sigs.k8s.io/json"
)

// decodeStrict decodes an object as the API server does with strict field validation: case matters, unknown fields and
// wrong types are errors. The decoder decides; explain then says where, since the decoder names one error at most by a
// path without list indices.
func decodeStrict[T any](raw []byte, generic map[string]any) (*T, []finding) {
	object := new(T)
	strict, err := kjson.UnmarshalStrict(raw, object)
	if err == nil && len(strict) == 0 {
		return object, nil
	}
	x := explainer{}
	x.value(generic, reflect.TypeFor[T](), "")
	if len(x.findings) > 0 {
		return nil, x.findings
	}
	if err != nil {
		strict = append(strict, err)
	}
	for _, e := range strict {
		x.add("", e.Error(), "")
	}
	return nil, x.findings
}

// explainer compares a decoded document with a Go type and notes each difference that the decoder stumbles over.
type explainer struct{ findings []finding }

const mustBeString = "must be a string"

func (x *explainer) add(path, message, hint string) {
	if len(x.findings) < maxFindings {
		x.findings = append(x.findings, finding{path: path, message: message, hint: hint})
	}
}

func (x *explainer) value(v any, t reflect.Type, path string) {
	if v == nil || len(x.findings) >= maxFindings {
		return
	}
	if u, ok := reflect.New(t).Interface().(json.Unmarshaler); ok && t.Kind() != reflect.Pointer {
		x.custom(v, u, path)
		return
	}
	switch t.Kind() {
	case reflect.Pointer:
		x.value(v, t.Elem(), path)
	case reflect.Struct:
		x.object(v, t, path)
	case reflect.Map:
		m, ok := v.(map[string]any)
		if !ok {
			x.mismatch(v, "an object", path)
		}
		for _, k := range sortedKeys(m) {
			x.value(m[k], t.Elem(), join(path, k))
		}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			x.scalar(v, t, path)
			return
		}
		list, ok := v.([]any)
		if !ok {
			x.mismatch(v, "a list", path)
		}
		for i, e := range list {
			x.value(e, t.Elem(), path+"["+strconv.Itoa(i)+"]")
		}
	default:
		x.scalar(v, t, path)
	}
}

// custom lets a type with its own JSON form (a quantity, a port number or name, a time) judge its value.
func (x *explainer) custom(v any, u json.Unmarshaler, path string) {
	raw, err := json.Marshal(v)
	if err == nil {
		err = u.UnmarshalJSON(raw)
	}
	if err == nil {
		return
	}
	switch u.(type) {
	case *resource.Quantity:
		x.add(path, "must be a quantity, not "+describe(v), `such as 500m, "0.5", 64Mi or 1G`)
	case *intstr.IntOrString:
		x.mismatch(v, "a whole number or a string", path)
	default:
		x.add(path, fmt.Sprintf("cannot be read from %s: %v", describe(v), err), "")
	}
}

func (x *explainer) object(v any, t reflect.Type, path string) {
	m, ok := v.(map[string]any)
	if !ok {
		x.mismatch(v, "an object", path)
		return
	}
	fields := map[string]reflect.Type{}
	jsonFields(t, fields)
	for _, k := range sortedKeys(m) {
		if f, ok := fields[k]; ok {
			x.value(m[k], f, join(path, k))
			continue
		}
		if len(x.findings) < maxFindings {
			x.add(join(path, k), "unknown field", didYouMean(k, sortedKeys(fields)))
		}
	}
}

func (x *explainer) scalar(v any, t reflect.Type, path string) {
	raw, err := json.Marshal(v)
	if err == nil && json.Unmarshal(raw, reflect.New(t).Interface()) == nil {
		return
	}
	want := map[reflect.Kind]string{
		reflect.String: "a string", reflect.Bool: "true or false", reflect.Int32: "a whole number", reflect.Int64: "a whole number",
		reflect.Slice: "base64 text",
	}[t.Kind()]
	if want == "" {
		want = "of type " + t.String()
	}
	x.mismatch(v, want, path)
}

func (x *explainer) mismatch(v any, want, path string) {
	x.add(path, "must be "+want+", not "+describe(v), "")
}

// jsonFields collects the JSON names of the fields of a struct, those of inlined structs too.
func jsonFields(t reflect.Type, into map[string]reflect.Type) {
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case name == "" && f.Anonymous:
			jsonFields(f.Type, into)
		case name != "":
			into[name] = f.Type
		}
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// didYouMean suggests the known name that is nearest to an unknown one, when one is near.
func didYouMean(name string, known []string) string {
	best, nearest := "", 1+max(1, min(3, len(name)/3))
	for _, k := range known {
		d := distance(strings.ToLower(name), strings.ToLower(k))
		if d == 0 || strings.EqualFold(name+"s", k) {
			return "did you mean " + k + "?"
		}
		if d < nearest {
			best, nearest = k, d
		}
	}
	if best == "" {
		return ""
	}
	return "did you mean " + best + "?"
}

// distance is the number of letters to insert, delete or replace to turn a into b (Levenshtein). Names longer than any
// Kubernetes field are far from everything.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b))
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			next := diagonal
			if a[i] != b[j] {
				next = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
