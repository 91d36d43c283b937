package ctl

import (
	"context"
	"time"
)

// Commands are all commands of the client. The table is built anew with each call.
func Commands() []Command {
	all := []Command{
		getCommands(),
		{Name: "describe", Usage: "show all there is to know of a pod", Commands: []Command{{
			Name: "pod", Aliases: []string{"pods", "po"}, Usage: "show all there is to know of a pod", Args: "POD", Flags: []Flag{flagNamespace},
			Run: func(ctx context.Context, e Env, in Input) error {
				name, err := in.one("the name of one pod")
				if err != nil {
					return err
				}
				return DescribePod(ctx, e.Client, e.Streams, in.String("namespace"), name)
			},
		}}},
		logsCommand(),
		execCommand(), attachCommand(), portForwardCommand(), copyCommand(),
		topCommands(),
		getCommand("events", "show what happened to pods", GetEvents),
		restartCommand(), waitCommand(),
	}
	all = append(all, manifestCommands()...)
	all = append(all, imagesCommands(), mountCommand())
	all = append(all, machineCommands()...)
	return append(all, completionCommands()...)
}

func getCommands() Command {
	return Command{Name: "get", Usage: "list pods, events, images, the node, ConfigMaps, Secrets or manifest problems", Commands: []Command{
		getCommand("pods", "list pods", GetPods, "pod", "po"),
		getCommand("events", "list what happened to pods", GetEvents, "event", "ev"),
		getCommand("images", "list images", GetImages, "image"),
		getCommand("node", "show the node", GetNode, "nodes", "no"),
		getCommand("configmaps", "list ConfigMaps", GetConfigMaps, "configmap", "cm"),
		getCommand("secrets", "list Secrets, without their values", GetSecrets, "secret"),
		getCommand("problems", "list what is wrong with manifests", GetProblems, "problem"),
	}}
}

func getCommand(name, usage string, get func(context.Context, *Client, Streams, GetOptions) error, aliases ...string) Command {
	return Command{
		Name: name, Aliases: aliases, Usage: usage, Args: "[NAME ...]",
		Flags: []Flag{flagNamespace, flagAll, flagSelector, flagOutput, flagWatch, flagNoHeaders},
		Run: func(ctx context.Context, e Env, in Input) error {
			return get(ctx, e.Client, e.Streams, GetOptions{
				Namespace: in.String("namespace"), AllNamespaces: in.Bool("all-namespaces"), Selector: in.String("selector"),
				Names: in.Args, Output: in.String("output"), Watch: in.Bool("watch"), NoHeaders: in.Bool("no-headers"),
			})
		},
	}
}

func logsCommand() Command {
	return Command{
		Name: "logs", Usage: "print what the containers of a pod printed", Args: "POD [CONTAINER]",
		Flags: []Flag{
			flagNamespace, flagSelector, flagContainer,
			{"all-containers", "", false, "all containers of the pod"},
			{"follow", "f", false, "go on with what will be printed"},
			{"previous", "p", false, "the instance before the current one"},
			{"timestamps", "", false, "begin lines with their time"},
			{"prefix", "", false, "begin lines with pod and container"},
			{"tail", "", int64(-1), "only the last `LINES` (default: all, with a selector 10)"},
			{"limit-bytes", "", int64(0), "at most so many `BYTES`"},
			{"since", "", time.Duration(0), "only what is not older, such as 5m"},
			{"since-time", "", "", "only what was printed after this `TIME` (RFC 3339)"},
		},
		Run: func(ctx context.Context, e Env, in Input) error {
			pod, rest := in.behind()
			container := in.String("container")
			if len(rest) == 1 {
				container = rest[0]
			}
			if pod == "" && in.String("selector") == "" || len(rest) > 1 {
				return UsageError("logs wants the name of one pod, or a selector")
			}
			return Logs(ctx, e.Client, e.Streams, LogsOptions{
				Namespace: in.String("namespace"), Pod: podName(pod), Selector: in.String("selector"), Container: container, AllContainers: in.Bool("all-containers"),
				Follow: in.Bool("follow"), Previous: in.Bool("previous"), Timestamps: in.Bool("timestamps"), Prefix: in.Bool("prefix"),
				Tail: in.Int64("tail"), LimitBytes: in.Int64("limit-bytes"), Since: in.Duration("since"), SinceTime: in.String("since-time"),
			})
		},
	}
}

func execOptions(in Input) ExecOptions {
	return ExecOptions{
		Namespace: in.String("namespace"), Container: in.String("container"), Stdin: in.Bool("stdin"), TTY: in.Bool("tty"), Quiet: in.Bool("quiet"),
	}
}

func execFlags() []Flag {
	return []Flag{
		flagNamespace, flagContainer,
		{"stdin", "i", false, "pass standard input on"},
		{"tty", "t", false, "give the command a terminal"},
		{"quiet", "q", false, "say nothing but what the command says"},
	}
}

func execCommand() Command {
	return Command{
		Name: "exec", Usage: "run a command in a container", Args: "POD -- COMMAND [ARG ...]", Flags: execFlags(),
		Run: func(ctx context.Context, e Env, in Input) error {
			o := execOptions(in)
			o.Pod, o.Command = in.behind()
			return Exec(ctx, e.Client, e.Streams, o)
		},
	}
}

func attachCommand() Command {
	return Command{
		Name: "attach", Usage: "show what a container prints from now on, and with -i type into it", Args: "POD", Flags: execFlags(),
		Run: func(ctx context.Context, e Env, in Input) (err error) {
			o := execOptions(in)
			if o.Pod, err = in.one("the name of one pod"); err != nil {
				return err
			}
			return Attach(ctx, e.Client, e.Streams, o)
		},
	}
}

func portForwardCommand() Command {
	return Command{
		Name: "port-forward", Usage: "reach ports of a pod as local ones", Args: "POD [LOCAL:]REMOTE ...",
		Flags: []Flag{flagNamespace, {"address", "", []string(nil), "`ADDRESS` to listen on (default: localhost)"}},
		Run: func(ctx context.Context, e Env, in Input) error {
			pod, ports := in.behind()
			return PortForward(ctx, e.Client, e.Streams, PortForwardOptions{
				Namespace: in.String("namespace"), Pod: pod, Ports: ports, Addresses: in.StringSlice("address"),
			})
		},
	}
}

func copyCommand() Command {
	return Command{
		Name: "cp", Usage: "copy files to or from a container", Args: "FROM TO (one of them [NAMESPACE/]POD:PATH)",
		Flags: []Flag{flagNamespace, flagContainer, {"no-preserve", "", false, "leave owner and mode to the container"}},
		Run: func(ctx context.Context, e Env, in Input) error {
			if len(in.Args) != 2 {
				return UsageError("cp wants two paths, one of them POD:PATH")
			}
			return Copy(ctx, e.Client, e.Streams, CopyOptions{
				Namespace: in.String("namespace"), Container: in.String("container"), From: in.Args[0], To: in.Args[1], NoPreserve: in.Bool("no-preserve"),
			})
		},
	}
}

func topCommands() Command {
	options := func(in Input) TopOptions {
		return TopOptions{
			Namespace: in.String("namespace"), AllNamespaces: in.Bool("all-namespaces"), Names: in.Args, Containers: in.Bool("containers"),
			SortBy: in.String("sort-by"), NoHeaders: in.Bool("no-headers"),
		}
	}
	return Command{Name: "top", Usage: "show what pods or the node use", Commands: []Command{
		{
			Name: "pods", Aliases: []string{"pod", "po"}, Usage: "show what pods use", Args: "[POD ...]",
			Flags: []Flag{
				flagNamespace, flagAll, flagNoHeaders,
				{"containers", "", false, "a line for each container"},
				{"sort-by", "", "", "cpu or memory"},
			},
			Run: func(ctx context.Context, e Env, in Input) error {
				return TopPods(ctx, e.Client, e.Streams, options(in))
			},
		},
		{
			Name: "node", Aliases: []string{"nodes", "no"}, Usage: "show what the node uses", Flags: []Flag{flagNoHeaders},
			Run: func(ctx context.Context, e Env, in Input) error {
				return TopNode(ctx, e.Client, e.Streams, options(in))
			},
		},
	}}
}

func restartCommand() Command {
	return Command{
		Name: "restart", Usage: "end the containers of pods so that they are started again", Args: "POD ...", Flags: []Flag{flagNamespace},
		Run: func(ctx context.Context, e Env, in Input) error {
			return Restart(ctx, e.Client, e.Streams, in.String("namespace"), in.Args)
		},
	}
}

func waitCommand() Command {
	return Command{
		Name: "wait", Usage: "wait until pods are as they should be", Args: "POD ...",
		Flags: []Flag{
			flagNamespace, flagSelector,
			{"all", "", false, "all pods of the namespace"},
			{"for", "", "condition=Ready", "`condition=NAME[=STATUS]`, delete, or jsonpath={PATH}[=VALUE]"},
			{"timeout", "", 30 * time.Second, "how long at most; 0 looks once"},
		},
		Run: func(ctx context.Context, e Env, in Input) error {
			return Wait(ctx, e.Client, e.Streams, WaitOptions{
				Namespace: in.String("namespace"), Pods: in.Args, Selector: in.String("selector"), All: in.Bool("all"), For: in.String("for"), Timeout: in.Duration("timeout"),
			})
		},
	}
}
