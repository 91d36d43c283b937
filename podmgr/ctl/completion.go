package ctl

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// scripts hand completion over to the program itself, so that they never grow old.
var scripts = map[string]string{
	"bash": `_agent() {
	local IFS=$'\n'
	COMPREPLY=($(agent __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
	[[ ${COMPREPLY[0]} == :files ]] && COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o filenames -F _agent agent
`,
	"zsh": `#compdef agent
_agent() {
	local -a found
	found=("${(@f)$(agent __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
	if [[ ${found[1]} == :files ]]; then
		_files
	else
		compadd -- ${found:#}
	fi
}
compdef _agent agent
`,
	"fish": `function __agent_complete
	set -l found (agent __complete (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)
	if test "$found[1]" = ":files"
		__fish_complete_path (commandline -ct)
	else
		printf '%s\n' $found
	end
end
complete -c agent -f -a '(__agent_complete)'
`,
}

// completionCommands print the scripts, and answer them.
func completionCommands() []Command {
	var shells []Command
	for _, name := range []string{"bash", "fish", "zsh"} {
		shells = append(shells, Command{
			Name: name, Usage: "print the completion script for " + name,
			Run: func(_ context.Context, e Env, _ Input) error {
				_, err := fmt.Fprint(e.Out, scripts[name])
				return err
			},
		})
	}
	return []Command{
		{Name: "completion", Usage: "print a shell's completion script: source <(agent completion bash)", Commands: shells},
		{
			Name: "__complete", Raw: true, Hidden: true, Usage: "print what could stand in place of the last argument",
			Run: func(ctx context.Context, e Env, in Input) error {
				for _, word := range Complete(ctx, e.Client, Commands(), in.Args) {
					fmt.Fprintln(e.Out, word)
				}
				return nil
			},
		},
	}
}

// completeFiles as the only answer lets the shell complete file names.
const completeFiles = ":files"

// completeTime bounds how long the agent is asked: who pressed the key waits.
const completeTime = time.Second

// Complete says what could stand in place of the last of words, which follow the program's name.
func Complete(ctx context.Context, c *Client, commands []Command, words []string) (out []string) {
	if len(words) == 0 {
		words = []string{""}
	}
	last := words[len(words)-1]
	w := walkWords(commands, words[:len(words)-1])
	switch {
	case w.behindDashes:
		return []string{completeFiles}
	case w.value != nil:
		out = w.flagValues(ctx, c)
	case strings.HasPrefix(last, "-"):
		for _, f := range w.command.Flags {
			out = append(out, "--"+f.Name)
		}
	case len(w.command.Commands) > 0:
		for _, k := range w.command.Commands {
			if !k.Hidden {
				out = append(out, k.Name)
			}
		}
	default:
		out = w.arguments(ctx, c)
	}
	out = slices.DeleteFunc(out, func(s string) bool { return s != completeFiles && !strings.HasPrefix(s, last) })
	slices.Sort(out)
	return slices.Compact(out)
}

// walked is where the words before the last one have led.
type walked struct {
	command      Command
	args         []string
	namespace    string
	value        *Flag // whose value comes next
	behindDashes bool
}

func walkWords(commands []Command, words []string) walked {
	w := walked{command: Command{Commands: commands}, namespace: metav1.NamespaceDefault}
	for _, word := range words {
		if w.value != nil {
			if w.value.Name == "namespace" {
				w.namespace = word
			}
			w.value = nil
			continue
		}
		if word == "--" {
			w.behindDashes = true
			return w
		}
		if name, isFlag := strings.CutPrefix(word, "-"); isFlag {
			name, value, given := strings.Cut(strings.TrimPrefix(name, "-"), "=")
			i := slices.IndexFunc(w.command.Flags, func(f Flag) bool { return f.Name == name || f.Short == name && name != "" })
			if i < 0 {
				continue
			}
			f := w.command.Flags[i]
			if _, isBool := f.Default.(bool); !isBool && !given {
				w.value = &f
			} else if f.Name == "namespace" {
				w.namespace = value
			}
			continue
		}
		i := slices.IndexFunc(w.command.Commands, func(k Command) bool { return k.Name == word || slices.Contains(k.Aliases, word) })
		if i >= 0 {
			w.command = w.command.Commands[i]
			continue
		}
		w.args = append(w.args, word)
	}
	return w
}

// arguments are what a command's next argument could be.
func (w walked) arguments(ctx context.Context, c *Client) []string {
	first := strings.Trim(w.command.Args, "[]. ")
	switch {
	case strings.HasPrefix(first, "POD"):
		if len(w.args) == 0 || strings.HasPrefix(w.command.Args, "POD ...") || strings.HasPrefix(w.command.Args, "[POD ...") {
			return w.pods(ctx, c)
		}
		if strings.HasPrefix(w.command.Args, "POD [CONTAINER]") {
			return w.containers(ctx, c)
		}
	case strings.HasPrefix(first, "NAME") && w.command.Name == "pods":
		return w.pods(ctx, c)
	case strings.HasPrefix(first, "FILE"), strings.HasPrefix(first, "FROM"):
		return []string{completeFiles}
	}
	return nil
}

func (w walked) flagValues(ctx context.Context, c *Client) []string {
	switch w.value.Name {
	case "namespace":
		return w.namespaces(ctx, c)
	case "container":
		return w.containers(ctx, c)
	case "output":
		if w.command.Name == "support-bundle" {
			return []string{completeFiles}
		}
		return []string{"wide", "json", "yaml", "name", "jsonpath="}
	case "filename", "manifests":
		return []string{completeFiles}
	}
	return nil
}

func (w walked) pods(ctx context.Context, c *Client) (out []string) {
	ctx, cancel := context.WithTimeout(ctx, completeTime)
	defer cancel()
	list, err := c.Pods(ctx)
	if err != nil {
		return nil
	}
	for _, p := range list.Items {
		if p.Namespace == w.namespace {
			out = append(out, p.Name)
		}
	}
	return out
}

func (w walked) namespaces(ctx context.Context, c *Client) (out []string) {
	ctx, cancel := context.WithTimeout(ctx, completeTime)
	defer cancel()
	list, err := c.Pods(ctx)
	if err != nil {
		return nil
	}
	for _, p := range list.Items {
		out = append(out, p.Namespace)
	}
	return out
}

func (w walked) containers(ctx context.Context, c *Client) (out []string) {
	if len(w.args) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, completeTime)
	defer cancel()
	p, err := c.pod(ctx, w.namespace, podName(w.args[0]))
	if err != nil {
		return nil
	}
	for _, k := range slices.Concat(p.Spec.Containers, p.Spec.InitContainers) {
		out = append(out, k.Name)
	}
	for i := range p.Spec.EphemeralContainers {
		out = append(out, p.Spec.EphemeralContainers[i].Name)
	}
	return out
}
