package e2e

import (
	"flag"
	"regexp"
	"testing"

	"edgepod.dev/agent/contrib/e2e/node"
	"edgepod.dev/agent/contrib/e2e/rows"
)

var rowsFlag = flag.String("rows", "", "a pattern of the names of the rows to run; all without")

// TestEveryFieldOfAPod runs the table of package rows: what each supported field does, before and after a kill of the agent.
func TestEveryFieldOfAPod(t *testing.T) {
	aloneOnEngines(t, func(t *testing.T, n *node.Node) {
		pattern, err := regexp.Compile(*rowsFlag)
		if err != nil {
			t.Fatalf("-rows: %v", err)
		}
		n.Start()
		suite, err := rows.On(n, pattern)
		if err != nil {
			t.Fatal(err)
		}
		tell := func(when string, findings []rows.Finding) {
			t.Run(when, func(t *testing.T) {
				for _, f := range findings {
					t.Run(f.Row, func(t *testing.T) {
						if f.Text != "" {
							t.Error(f.Text)
						}
					})
				}
			})
		}
		tell("at first", suite.Begin())
		n.Kill()
		n.Start()
		tell("after a restart", suite.Again())
		tell("at the end", suite.End())
	}, "--mass-removal-grace", "1ms")
}
