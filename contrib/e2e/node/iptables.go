package node

import (
	"bytes"
	"os/exec"
	"strings"
)

// rule is one line of iptables-save, or of ip6tables-save, in append form.
type rule struct{ command, table, line string }

// saved reads all rules of the machine.
func (n *Node) saved() []rule {
	n.t.Helper()
	var all []rule
	for _, command := range []string{"iptables", "ip6tables"} {
		out, err := exec.Command(command + "-save").Output()
		if err != nil {
			n.t.Fatalf("running %s-save: %v", command, err)
		}
		table := ""
		for line := range strings.Lines(string(out)) {
			line = strings.TrimSpace(line)
			if t, ok := strings.CutPrefix(line, "*"); ok {
				table = t
			} else if strings.HasPrefix(line, "-A ") || strings.HasPrefix(line, ":CNI-") {
				all = append(all, rule{command, table, line})
			}
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
			out = append(out, r.command+" "+r.table+" "+r.line)
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
		// The chain that the rule stands in, and the one that it leads to: rules in that may have addresses alone.
		for _, c := range []string{strings.Fields(r.line)[1], target(r)} {
			if n.ours(r.line) && strings.HasPrefix(c, "CNI-") && !strings.HasPrefix(c, "CNI-HOSTPORT") {
				chains[rule{r.command, r.table, c}] = true
			}
		}
	}
	for _, r := range all {
		f := strings.Fields(r.line)
		if f[0] != "-A" || chains[rule{r.command, r.table, f[1]}] || (!n.ours(r.line) && !chains[rule{r.command, r.table, target(r)}]) {
			continue
		}
		n.iptables(r.command, r.table, append([]string{"-D"}, words(r.line)[1:]...)...)
	}
	for c := range chains {
		n.iptables(c.command, c.table, "-F", c.line)
		n.iptables(c.command, c.table, "-X", c.line)
	}
}

// target is where a rule leads to, its last word.
func target(r rule) string {
	f := strings.Fields(r.line)
	return f[len(f)-1]
}

func (n *Node) iptables(command, table string, args ...string) {
	n.t.Helper()
	cmd := exec.Command(command, append([]string{"-w", "10", "-t", table}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		n.t.Errorf("running %s -t %s %q: %v: %s", command, table, args, err, bytes.TrimSpace(out))
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
