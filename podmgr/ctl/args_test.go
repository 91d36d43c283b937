package ctl

import (
	"strings"
	"testing"
)

func TestFlagsMayStandAfterArguments(t *testing.T) {
	takesValue := func(name string) (known, value bool) {
		switch name {
		case "n", "tail", "o":
			return true, true
		case "f", "i", "t":
			return true, false
		}
		return false, false
	}
	for in, want := range map[string]string{
		"web -f":             "-f web",
		"web -n prod -f":     "-n prod -f web",
		"-f web --tail=5":    "-f --tail=5 web",
		"web --tail 5 db":    "--tail 5 web db",
		"web -- -f":          "web -- -f",
		"web --unknown 3":    "web --unknown 3",
		"web -":              "web -",
		"web -o":             "-o web",
		"":                   "",
		"a b c":              "a b c",
		"validate - -o json": "-o json validate -",
		"web -it -- sh -it":  "-i -t web -- sh -it",
		"web -in":            "web -in",
		"web --it":           "web --it",
	} {
		if got := strings.Join(FlagsFirst(strings.Fields(in), takesValue), " "); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}
