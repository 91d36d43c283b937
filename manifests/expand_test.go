package manifests

import "testing"

// The table is the kubelet's own (third_party/forked/golang/expansion/expand_test.go).
func TestExpandIsAsTheKubelets(t *testing.T) {
	vars := map[string]string{"VAR_A": "A", "VAR_B": "B", "VAR_C": "C", "VAR_REF": "$(VAR_A)", "VAR_EMPTY": ""}
	for _, test := range []struct{ name, value, want string }{
		{"no reference", "text", "text"},
		{"the whole string", "$(VAR_A)", "A"},
		{"repeated", "$(VAR_A)-$(VAR_A)", "A-A"},
		{"at the beginning", "$(VAR_A)-1", "A-1"},
		{"in the middle", "___$(VAR_B)___", "___B___"},
		{"at the end", "___$(VAR_C)", "___C"},
		{"several", "$(VAR_A)_$(VAR_B)_$(VAR_C)", "A_B_C"},
		{"escaped and not", "$$(VAR_B)_$(VAR_A)", "$(VAR_B)_A"},
		{"two escaped", "$$(VAR_A)_$$(VAR_B)", "$(VAR_A)_$(VAR_B)"},
		{"an escaped dollar alone", "f000-$$VAR_A", "f000-$VAR_A"},
		{"backslashes do not escape", "foo\\\\$(VAR_C)bar", "foo\\\\Cbar"},
		{"nested references", "$(VAR_A$(VAR_B))", "$(VAR_A$(VAR_B))"},
		{"nested and not closed", "$(VAR_A$(VAR_B)", "$(VAR_A$(VAR_B)"},
		{"a value that is a reference", "%%$(VAR_REF)--$(VAR_REF)%%", "%%$(VAR_A)--$(VAR_A)%%"},
		{"an empty value", "foo$(VAR_EMPTY)bar", "foobar"},
		{"not closed", "foo$(VAR_Awhoops!", "foo$(VAR_Awhoops!"},
		{"no dollar", "f00__(VAR_A)__", "f00__(VAR_A)__"},
		{"shell variables", "$?_boo_$!", "$?_boo_$!"},
		{"shell braces", "${VAR_A}", "${VAR_A}"},
		{"a bare name", "$VAR_A", "$VAR_A"},
		{"an unknown name stays", "$(VAR_DNE)", "$(VAR_DNE)"},
		{"an even number of dollars, unknown", "$$$$$$(BIG_MONEY)", "$$$(BIG_MONEY)"},
		{"an even number of dollars", "$$$$$$(VAR_A)", "$$$(VAR_A)"},
		{"an odd number of dollars, unknown", "$$$$$$$(GOOD_ODDS)", "$$$$(GOOD_ODDS)"},
		{"an odd number of dollars", "$$$$$$$(VAR_A)", "$$$A"},
		{"an opener at the end", "$(VAR_C)_______$(", "C_______$("},
		{"a dollar at the end", "$(VAR_A)foobarzab$", "Afoobarzab$"},
		{"many openers", "--$($($($($--", "--$($($($($--"},
		{"dollars within a name", "$(foo$$var)", "$(foo$$var)"},
		{"a letter of several bytes", "$£FOO $中文", "$£FOO $中文"},
		{"an empty name", "$()", "$()"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := Expand(test.value, func(name string) (string, bool) { v, ok := vars[name]; return v, ok })
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
