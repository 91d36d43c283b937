package manifests

import "testing"

func TestBandwidthIsReadFromTheAnnotations(t *testing.T) {
	for text, want := range map[string]uint64{"10M": 10_000_000, "1k": 1000, "1P": 1_000_000_000_000_000, "2P": 0, "999": 0, "fast": 0, "-1M": 0, "": 0} {
		in, out, err := Bandwidth(map[string]string{annotationIngress: text, annotationEgress: "1M", "other": "x"})
		if (err != nil) != (want == 0) || in != want || err == nil && out != 1_000_000 {
			t.Errorf("%q: %d and %d, error %v", text, in, out, err)
		}
		if why := checkAnnotations(map[string]any{annotationEgress: text}); (why != "") != (want == 0) {
			t.Errorf("%q is refused: %q", text, why)
		}
	}
	if why := checkAnnotations(map[string]any{annotationEgress: 10}); why == "" {
		t.Error("a number passed for a text")
	}
}
