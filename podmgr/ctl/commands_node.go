package ctl

import (
	"context"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr/volume"
)

// mountCommand is what the agent starts as a process of its own; see volume.MountCommand.
func mountCommand() Command {
	return Command{
		Name: volume.MountCommand, Raw: true, Hidden: true, Usage: "mount an NFS volume",
		Run: func(_ context.Context, e Env, in Input) error { return volume.MountHere(e.Out, in.Args) },
	}
}

// manifestCommands are those about manifests.
func manifestCommands() []Command {
	return []Command{
		{
			Name: "apply", Usage: "validate manifests and put them into the manifest directory", Flags: []Flag{flagFiles, flagManifests, flagDryRun},
			Run: func(ctx context.Context, e Env, in Input) error {
				return Apply(ctx, e.Client, e.Streams, ApplyOptions{Files: in.StringSlice("filename"), Dir: in.String("manifests"), DryRun: in.Bool("dry-run")})
			},
		},
		{
			Name: "delete", Usage: "take pods out of the manifest directory", Args: "[POD ...]",
			Flags: []Flag{flagNamespace, flagFiles, flagManifests, flagDryRun},
			Run: func(ctx context.Context, e Env, in Input) error {
				pods := in.Args
				if len(pods) > 1 && (pods[0] == "pod" || pods[0] == "pods") {
					pods = pods[1:] // as kubectl wants it
				}
				return Delete(ctx, e.Client, e.Streams, DeleteOptions{
					Namespace: in.String("namespace"), Pods: pods, Files: in.StringSlice("filename"), Dir: in.String("manifests"), DryRun: in.Bool("dry-run"),
				})
			},
		},
		{
			Name: "diff", Usage: "show what applying manifests would change, and what would restart", Flags: []Flag{flagFiles},
			Run: func(ctx context.Context, e Env, in Input) error {
				return Diff(ctx, e.Client, e.Streams, in.StringSlice("filename"))
			},
		},
		{
			Name: "validate", Usage: "check manifests without running them", Args: "FILE|DIR|- ...",
			Flags: []Flag{{"runtime-class", "", []string(nil), "`NAME` that spec.runtimeClassName may have (default: those of the running agent)"}},
			Run: func(ctx context.Context, e Env, in Input) error {
				of := manifests.Options{RuntimeClasses: e.Client.runtimeClasses(ctx, in.StringSlice("runtime-class"))}
				return Validate(e.Streams, of, in.Args)
			},
		},
	}
}

// imagesCommands are those about images.
func imagesCommands() Command {
	return Command{Name: "images", Usage: "list, pull, import, pin and remove images", Commands: []Command{
		{
			Name: "ls", Aliases: []string{"list"}, Usage: "list images", Flags: []Flag{flagOutput, flagNoHeaders},
			Run: func(ctx context.Context, e Env, in Input) error {
				return GetImages(ctx, e.Client, e.Streams, GetOptions{Output: in.String("output"), Names: in.Args, NoHeaders: in.Bool("no-headers")})
			},
		},
		{
			Name: "pull", Usage: "fetch an image from its registry", Args: "REFERENCE",
			Run: func(ctx context.Context, e Env, in Input) error {
				ref, err := in.one("one reference")
				if err != nil {
					return err
				}
				return PullImage(ctx, e.Client, e.Streams, ref)
			},
		},
		{
			Name: "import", Usage: "import an OCI or docker archive", Args: "FILE|-",
			Run: func(ctx context.Context, e Env, in Input) error {
				file, err := in.one("one file")
				if err != nil {
					return err
				}
				return ImportImages(ctx, e.Client, e.Streams, file)
			},
		},
		{
			Name: "pin", Usage: "keep images although no manifest names them", Args: "REFERENCE ...",
			Run: func(ctx context.Context, e Env, in Input) error {
				return PinImages(ctx, e.Client, e.Streams, in.Args, true)
			},
		},
		{
			Name: "unpin", Usage: "keep images no longer than manifests name them", Args: "REFERENCE ...",
			Run: func(ctx context.Context, e Env, in Input) error {
				return PinImages(ctx, e.Client, e.Streams, in.Args, false)
			},
		},
		{
			Name: "rm", Aliases: []string{"remove"}, Usage: "remove images", Args: "REFERENCE ...",
			Flags: []Flag{{"force", "", false, "also images that a manifest names"}},
			Run: func(ctx context.Context, e Env, in Input) error {
				return RemoveImages(ctx, e.Client, e.Streams, in.Args, in.Bool("force"))
			},
		},
	}}
}

// machineCommands are those about the machine and the agent.
func machineCommands() []Command {
	return []Command{
		{
			Name: "check", Usage: "check whether this machine is fit to run pods", Flags: []Flag{flagOutputData},
			Run: func(ctx context.Context, e Env, in Input) error {
				o := e.Check
				o.Output = in.String("output")
				return Check(ctx, e.Streams, o)
			},
		},
		{
			Name: "support-bundle", Usage: "write an archive with what helps to find a problem, without secrets",
			Flags: []Flag{
				{"output", "o", "", "`FILE` to write, or - (default: agent-support-<time>.tar.gz here)"},
				{"tail", "", int64(2000), "`LINES` of each container's log; 0 leaves logs out"},
			},
			Run: func(ctx context.Context, e Env, in Input) error {
				return SupportBundle(ctx, e.Client, e.Streams, BundleOptions{File: in.String("output"), Lines: in.Int64("tail"), Version: e.Version, Check: e.Check})
			},
		},
		{
			Name: "version", Usage: "show the versions of this program and of the running agent", Flags: []Flag{flagOutputData},
			Run: func(ctx context.Context, e Env, in Input) error {
				return PrintVersion(ctx, e.Client, e.Streams, e.Version, in.String("output"))
			},
		},
	}
}
