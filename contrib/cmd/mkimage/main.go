// Command mkimage packs files of this machine into a container image archive: no container engine, no registry.
//
//	mkimage -name edgepod.dev/demo:1 -entrypoint /demo -o demo.tar bin/demo:/demo
//	mkimage -name edgepod.dev/busybox:1 -busybox -o busybox.tar
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"edgepod.dev/agent/contrib/image"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "mkimage:", err)
		}
		os.Exit(1)
	}
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

func run(args []string) error {
	var (
		fs                   = flag.NewFlagSet("mkimage", flag.ContinueOnError)
		ref                  = fs.String("name", "", "the image's `reference`, with a tag (required)")
		out                  = fs.String("o", "", "the archive `file` to write (required)")
		format               = fs.String("format", string(image.Docker), "archive format: docker or oci")
		busybox              = fs.Bool("busybox", false, "start with the static busybox of this machine")
		workdir              = fs.String("workdir", "", "working directory")
		user                 = fs.String("user", "", "user, as uid[:gid] or name")
		entrypoint, cmd, env list
		ports                list
	)
	fs.Var(&entrypoint, "entrypoint", "one `word` of the entry point; repeat for more")
	fs.Var(&cmd, "cmd", "one `word` of the default arguments; repeat for more")
	fs.Var(&env, "env", "`NAME=VALUE`; repeat for more")
	fs.Var(&ports, "port", "a `port` the image exposes, such as 8080/tcp; repeat for more")
	fs.Usage = func() {
		fmt.Fprintln(fs.Output(), "usage: mkimage -name REF -o FILE [flags] [HOST-FILE:IMAGE-PATH ...]")
		fs.PrintDefaults()
	}
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *ref == "" || *out == "" {
		return errors.New("-name and -o are required; see -help")
	}
	var s image.Spec
	if *busybox {
		var err error
		if s, err = image.Busybox(); err != nil {
			return err
		}
	}
	for _, m := range fs.Args() {
		host, inside, ok := strings.Cut(m, ":")
		if !ok || host == "" || inside == "" {
			return fmt.Errorf("%q is not HOST-FILE:IMAGE-PATH", m)
		}
		s.Files = append(s.Files, image.File{Path: inside, Source: host})
	}
	configure(&s.Config, entrypoint, cmd, env, ports)
	s.Config.WorkingDir, s.Config.User = *workdir, *user
	img, err := image.Build(s)
	if err != nil {
		return fmt.Errorf("building %s: %w", *ref, err)
	}
	return image.Save(*out, *ref, img, image.Format(*format))
}

// configure overrides what the base image says only where a flag was given; environment is added to.
func configure(c *v1.Config, entrypoint, cmd, env, ports list) {
	if entrypoint != nil {
		c.Entrypoint, c.Cmd = entrypoint, nil
	}
	if cmd != nil {
		c.Cmd = cmd
	}
	c.Env = append(c.Env, env...)
	for _, p := range ports {
		if c.ExposedPorts == nil {
			c.ExposedPorts = map[string]struct{}{}
		}
		c.ExposedPorts[p] = struct{}{}
	}
}
