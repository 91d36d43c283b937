package node

import (
	"bytes"
	"os/exec"
	"strings"
)

// rule is one line of iptables-save in append form.
type rule struct{ table, line string }

// saved reads all rules of the machine.
func (n *Node) saved() []rule {
	n.t.Helper()
	out, err := exec.Command("iptables-save").Output()
	if err != nil {
		n.t.Fatalf("running iptables-save: %v", err)
	}
	var all []rule
	table := ""
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if t, ok := strings.CutPrefix(line, "*"); ok {
			table = t
		} else if strings.HasPrefix(line, "-A ") || strings.HasPrefix(line, ":CNI-") {
			all = append(all, rule{table, line})
		}
	}
	return all
}

// ours says whether a rule belongs to this node's network: it speaks of its addresses or carries its name.
func (n *Node) ours(line string) bool {
	return strings.Contains(line, n.Subnet) || strings.Contains(line, n.Bridge+`\"`) || strings.Contains(line, `"`+n.Bridge+`"`) ||
		strings.Contains(line, "--comment "+n.Bridge+" ")
}

// rules are those that exist for single pods: what the node needs as a whole carries its bridge's name as the comment.
func (n *Node) rules() []string {
	var out []string
	for _, r := range n.saved() {
		if n.ours(r.line) && !strings.Contains(r.line, "--comment "+n.Bridge+" ") && !strings.Contains(r.line, `--comment "`+n.Bridge+`"`) {
			out = append(out, r.table+" "+r.line)
		}
	}
	return out
}

// purgeRules removes every rule and chain of this node, as a reboot does.
func (n *Node) purgeRules() {
	n.t.Helper()
	all := n.saved()
	chains := map[rule]bool{}
	for _, r := range all {
		if f := strings.Fields(r.line); n.ours(r.line) && strings.HasPrefix(f[1], "CNI-") && !strings.HasPrefix(f[1], "CNI-HOSTPORT") {
			chains[rule{r.table, f[1]}] = true
		}
	}
	for _, r := range all {
		f := strings.Fields(r.line)
		if f[0] != "-A" || chains[rule{r.table, f[1]}] || (!n.ours(r.line) && !chains[rule{r.table, f[len(f)-1]}]) {
			continue
		}
		n.iptables(r.table, append([]string{"-D"}, words(r.line)[1:]...)...)
	}
	for c := range chains {
		n.iptables(c.table, "-F", c.line)
		n.iptables(c.table, "-X", c.line)
	}
}

func (n *Node) iptables(table string, args ...string) {
	n.t.Helper()
	cmd := exec.Command("iptables", append([]string{"-w", "10", "-t", table}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		n.t.Errorf("running iptables -t %s %q: %v: %s", table, args, err, bytes.TrimSpace(out))
	}
}

// words splits a line of iptables-save, which quotes with " and escapes with \.
func words(line string) []string {
	var out []string
	var w strings.Builder
	quoted, any := false, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && i+1 < len(line):
			i++
			w.WriteByte(line[i])
		case c == '"':
			quoted, any = !quoted, true
		case c == ' ' && !quoted:
			if any || w.Len() > 0 {
				out = append(out, w.String())
			}
			w.Reset()
			any = false
		default:
			w.WriteByte(c)
		}
	}
	return append(out, w.String())
}
