package manifests

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestAStoredPodComesBackTheSame(t *testing.T) {
	for name, data := range corpus(t, "testdata/good/*") {
		pods, _ := Decode(name, data, box)
		for _, p := range pods {
			b, err := Encode(p)
			if err != nil {
				t.Fatal(err)
			}
			back, err := DecodeStored(b)
			if err != nil {
				t.Fatal(err)
			}
			// The lines are those of the file, which a stored pod does not have.
			if diff := cmp.Diff(p, back, cmpopts.IgnoreFields(Pod{}, "Warnings")); diff != "" {
				t.Errorf("%s: %s", p.Key(), diff)
			}
		}
	}
}

func TestAStoredPodKeepsItsRuntimeClass(t *testing.T) {
	text := strings.Replace(good, "spec: {", "spec: {runtimeClassName: kata, ", 1)
	pods, problems := Decode("f", []byte(text), Options{RuntimeClasses: []string{"kata"}})
	if len(pods) != 1 {
		t.Fatal(problems)
	}
	b, err := Encode(pods[0])
	if err != nil {
		t.Fatal(err)
	}
	back, err := DecodeStored(b)
	if err != nil || *back.Object.Spec.RuntimeClassName != "kata" || len(back.Warnings) > 0 {
		t.Errorf("%v, %v", back, err)
	}
}

func TestADamagedStoredPodIsRefused(t *testing.T) {
	pods, _ := Decode("f", []byte(good), box)
	b, err := Encode(pods[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, damaged := range map[string][]byte{
		"empty":                {},
		"cut off":              b[:len(b)/2],
		"a changed letter":     bytes.Replace(b, []byte(`"image":"b"`), []byte(`"image":"c"`), 1),
		"a later version":      bytes.Replace(b, []byte(`"version":1`), []byte(`"version":2`), 1),
		"an unknown field":     bytes.Replace(b, []byte(`"version":1`), []byte(`"version":1,"more":1`), 1),
		"zeros of a power cut": make([]byte, len(b)),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := DecodeStored(damaged); err == nil {
				t.Error("it was taken")
			}
		})
	}
}

func TestAStoredPodThisVersionDoesNotSupportIsRefused(t *testing.T) {
	doc := []byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"name":"a","image":"b"}],"overhead":{"cpu":"1"}}}`)
	pods, _ := Decode("f", []byte(good), box)
	p := *pods[0]
	p.Document = doc
	b, err := Encode(&p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := DecodeStored(b); err == nil || !strings.Contains(err.Error(), "overhead") {
		t.Errorf("error %v, want one about overhead", err)
	}
}

func TestAPodWithoutDocumentCannotBeEncoded(t *testing.T) {
	pods, _ := Decode("f", []byte(good), box)
	p := *pods[0]
	p.Document = nil
	if _, err := Encode(&p); err == nil {
		t.Error("no error")
	}
}
