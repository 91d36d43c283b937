package manifests

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	kyaml "sigs.k8s.io/yaml"
)

func TestYAMLIsReadAsKubernetesReadsIt(t *testing.T) {
	words := []string{
		"yes", "Yes", "YES", "y", "n", "No", "on", "OFF", "true", "False", "null", "~", "", "Null", "oN",
		"0", "-1", "+1", "010", "0o17", "0x1F", "0b11", "1_000", "9223372036854775807", "18446744073709551615", "123456789012345678901",
		"1.5", "-.5", "1e3", "1E-2", "1.10", "12:30", "12:30:45", "2026-01-02", "2026-01-02T03:04:05Z", "=", "<<",
		"500m", "1Gi", "1e", "'yes'", `"010"`, "!!str 1", "!!int 2", "!!float 3", "|\n  a\n  b\n", ">-\n  a\n  b\n", "[yes, 1]", "{a: no}",
		"'it''s'", `"\u00e9\n"`, "é", "a b # c", "0.1", "1000000000000000000000", "1e400",
	}
	for _, w := range words {
		t.Run(w, func(t *testing.T) {
			text := []byte("key: " + w + "\n")
			want, err := kyaml.YAMLToJSON(text)
			if err != nil {
				t.Fatal(err)
			}
			doc := document{number: 1, line: 1, text: text}
			tr, f := parse(doc)
			if f != nil {
				t.Fatal(f)
			}
			v, f := tr.generic(doc)
			if f != nil {
				t.Fatal(f)
			}
			got, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMergedKeysNeverOverwriteWrittenOnes(t *testing.T) {
	for name, text := range map[string]string{
		"merge first":            "base: &b {a: 1, b: 2}\nkey: {<<: *b, a: 3}\n",
		"merge last":             "base: &b {a: 1, b: 2}\nkey: {a: 3, <<: *b}\n",
		"earlier merge wins":     "base: &b {a: 3, b: 2}\nother: &o {a: 9}\nkey: {<<: [*b, *o]}\n",
		"merge of a merge":       "base: &b {a: 1, b: 2}\nmore: &m {<<: *b, a: 3}\nkey: {<<: *m}\n",
		"quoted << is no merge":  "key: {a: 3, b: 2}\nother: {\"<<\": text}\n",
		"alias of a whole value": "base: &b {a: 3, b: 2}\nkey: *b\n",
	} {
		t.Run(name, func(t *testing.T) {
			doc := document{number: 1, line: 1, text: []byte(text)}
			tr, f := parse(doc)
			if f != nil {
				t.Fatal(f)
			}
			v, f := tr.generic(doc)
			if f != nil {
				t.Fatal(f)
			}
			want := map[string]any{"a": 3, "b": 2}
			if diff := cmp.Diff(want, v.(map[string]any)["key"]); diff != "" {
				t.Error(diff)
			}
		})
	}
}
