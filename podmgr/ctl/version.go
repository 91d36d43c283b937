package ctl

import (
	"context"
)

// PrintVersion prints the version of this program, and, when an agent answers, of the agent and its engine. An agent that
// does not answer is an error after the first line, as with kubectl.
func PrintVersion(ctx context.Context, c *Client, s Streams, client Version, output string) error {
	var agent Version
	err := c.get(ctx, "/version", nil, &agent)
	if output == "json" || output == "yaml" {
		v := map[string]any{"client": client}
		if err == nil {
			v["server"] = agent
		}
		if perr := printObject(s.Out, output, v); perr != nil {
			return perr
		}
		return err
	}
	t := table{}
	t.add("Client:", describeVersion(client))
	if err == nil {
		t.add("Server:", describeVersion(agent))
		t.add("Containerd:", orNone(agent.Containerd))
		t.add("Runtime:", orNone(agent.Runtime))
	}
	if perr := t.flush(s.Out); perr != nil {
		return perr
	}
	return err
}

func describeVersion(v Version) string {
	out := v.Agent
	if v.Commit != "" {
		out += " (" + v.Commit + ")"
	}
	for _, more := range []string{v.Go, v.Platform} {
		if more != "" {
			out += " " + more
		}
	}
	return out
}
