package ctl

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func TestColoursAreForTerminals(t *testing.T) {
	n := zoo(t)
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	user, program := openPTY(t)
	show := func(f *os.File) string {
		if err := GetPods(t.Context(), n.Client, Streams{Out: f, Err: &bytes.Buffer{}}, GetOptions{NoHeaders: true}); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4096)
		k, err := user.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:k])
	}
	if got := show(program); !strings.Contains(got, green+"Running"+plain) || !strings.Contains(got, red+"CrashLoopBackOff"+plain) {
		t.Errorf("got %q", got)
	}
	t.Setenv("NO_COLOR", "1")
	if got := show(program); strings.Contains(got, "\x1b") {
		t.Errorf("with NO_COLOR: %q", got)
	}
}

func TestGetByJSONPath(t *testing.T) {
	n := zoo(t)
	out, _, err := run(func(s Streams) error {
		return GetPods(t.Context(), n.Client, s, GetOptions{Output: `jsonpath={range .items[?(@.status.phase=="Succeeded")]}{.metadata.name}{"\n"}{end}`})
	})
	if err != nil || out != "done\n" {
		t.Errorf("%q %v", out, err)
	}
	if _, _, err := run(func(s Streams) error { return GetImages(t.Context(), n.Client, s, GetOptions{Output: "jsonpath={"}) }); ExitCode(err) != ExitUsage {
		t.Error(err)
	}
}
