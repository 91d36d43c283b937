package server

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestEveryRouteIsInTheTable: a route that is registered where TestNobodyDoesWhatTheirActionDoesNotAllow does not look would be asked by nobody.
func TestEveryRouteIsInTheTable(t *testing.T) {
	d := newDoor(t)
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	fixed, computed := 0, 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(gotoken.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) < 2 {
				return true
			}
			switch s, ok := call.Fun.(*ast.SelectorExpr); {
			case !ok:
			case s.Sel.Name == "Handle" || s.Sel.Name == "HandleFunc":
				if name != "server.go" || len(call.Args) != 2 {
					t.Errorf("%s: a route goes past handle, and with it past its action", name)
				}
			case s.Sel.Name == "handle":
				pattern, ok := call.Args[0].(*ast.BasicLit)
				if !ok {
					computed++ // the list in New, which is registered whole
					return true
				}
				fixed++
				if text, err := strconv.Unquote(pattern.Value); err != nil || d.actions[text] == "" {
					t.Errorf("%s: %s is in no table of routes and credentials: have newDoor register it", name, pattern.Value)
				}
			}
			return true
		})
	}
	if computed != 1 || fixed < 5 {
		t.Errorf("%d routes and %d lists of routes were found: this test no longer reads what registers them", fixed, computed)
	}
}
