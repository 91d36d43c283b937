package manifests

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

// good is a document that has to be decoded whatever stands beside it.
const good = "apiVersion: v1\nkind: Pod\nmetadata: {name: good}\nspec: {containers: [{name: a, image: b}]}\n"

func TestHostileFilesCostLittleAndSpareTheirNeighbours(t *testing.T) {
	for name, test := range map[string]struct {
		text string // decoded with a good document before it
		want string // part of the only problem
		pods int
	}{
		"a billion laughs":            {bomb(60), "more than 50000 keys and values", 1},
		"aliases nested deeper":       {chain(80), "nested deeper than 64", 1},
		"an object nested deeper":     {strings.Repeat("{a: ", 70) + "1" + strings.Repeat("}", 70), "nested deeper than 64", 1},
		"ten thousand brackets":       {strings.Repeat("[", 10_001), "exceeded max depth", 1},
		"an anchor within itself":     {"a: &a {b: *a}\n", "contains itself", 1},
		"a merge of itself":           {"a: &a {<<: *a}\n", "contains itself", 1},
		"very many keys":              {manyKeys(60_000), "more than 50000 keys and values", 1},
		"exactly as deep as allowed":  {strings.Repeat("[", 64) + strings.Repeat("]", 64), "is a list, not an object", 1},
		"a megabyte in one line":      {"a: " + strings.Repeat("x", MaxFileSize-200), `missing`, 1},
		"very many unknown fields":    {"apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {" + manyFields(20_000) + "}", "unknown field", 1},
		"very many invalid fields":    {"apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [" + strings.Repeat("{name: A_b}, ", 9_000) + "]}", "name: Invalid value", 1},
		"a file one byte too large":   {strings.Repeat("#", MaxFileSize), "more than the 1048576", 0},
		"a key that is a mapping":     {"{{a: b}: c}", "a key is a list or an object", 1},
		"the same key by two words":   {"{yes: 1, true: 2}", `the key "true" is set twice`, 1},
		"a YAML tag of another world": {"a: !!python/object 1\n", "the YAML tag !!python/object is not supported", 1},
		"a number JSON has not":       {"apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {priority: .nan}\n", "JSON", 1},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			pods, problems := Decode("f", []byte(good+"---\n"+test.text), box)
			if took := time.Since(begin); took > 2*time.Second {
				t.Errorf("took %s", took)
			}
			if len(pods) != test.pods {
				t.Errorf("%d pods, want %d", len(pods), test.pods)
			}
			if len(problems) == 0 || !strings.Contains(problems[0].String(), test.want) {
				t.Errorf("problems %v, want one with %q", problems, test.want)
			}
		})
	}
}

func TestAFileOfManyBadDocumentsIsCutShort(t *testing.T) {
	_, problems := Decode("f", bytes.Repeat([]byte("a\n---\n"), MaxFileSize/6), box)
	if len(problems) != maxFileProblems+1 || !strings.Contains(problems[maxFileProblems].Message, "more problems") {
		t.Errorf("%d problems, the last %v", len(problems), problems[len(problems)-1])
	}
}

func bomb(levels int) string {
	var b strings.Builder
	b.WriteString("l0: &l0 x\n")
	for i := 1; i < levels; i++ {
		fmt.Fprintf(&b, "l%d: &l%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*l%d, ", i-1), 9), ", "))
	}
	return b.String()
}

func chain(levels int) string {
	b := []string{"l0: &l0 x\n"}
	for i := 1; i < levels; i++ {
		b = append(b, fmt.Sprintf("l%d: &l%d [*l%d]\n", i, i, i-1))
	}
	return strings.Join(b, "")
}

func manyFields(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d: 1, ", i)
	}
	return b.String()
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d:\n", i)
	}
	return b.String()
}
