package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"edgepod.dev/agent/manifests"
)

// errInvalid is the result of a validation that found something; what it found is printed already.
var errInvalid = errors.New("the manifests have problems")

// Validate checks manifests without an agent: the files named, those of the directories named, and standard input for
// "-". It prints "file:line: field: message" for each problem and "file: ok, pod namespace/name" for each good pod, and
// returns an error when there is a problem.
func Validate(s Streams, of manifests.Options, args []string) error {
	if len(args) == 0 {
		return UsageError("name the files or directories to validate, or - for standard input")
	}
	v := &validator{streams: s, options: of, seen: map[manifests.Key]manifests.Origin{}}
	for _, arg := range args {
		v.arg(arg)
	}
	for _, p := range v.pods {
		for _, w := range p.Warnings {
			fmt.Fprintf(s.Err, "warning: %s\n", w)
		}
	}
	for _, p := range manifests.CheckReferences(v.pods, v.configs) {
		fmt.Fprintf(s.Err, "warning: %s\n", p)
	}
	if v.bad {
		return errInvalid
	}
	return nil
}

// runtimeClasses are those that a pod of the node may name: the given ones, as --runtime-class of `agent run` has them,
// else those of the agent, if one runs. Nil: nobody knows.
func (c *Client) runtimeClasses(ctx context.Context, given []string) []string {
	if len(given) == 0 {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		var conf struct {
			Agent struct {
				Root    string   `json:"root"` // an agent always has one
				Classes []string `json:"runtime-class"`
			} `json:"agent"`
		}
		if err := c.get(ctx, "/configz", nil, &conf); err != nil || conf.Agent.Root == "" {
			return nil
		}
		given = conf.Agent.Classes
	}
	names := make([]string, 0, len(given))
	for _, g := range given {
		name, _, _ := strings.Cut(g, "=")
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// validator is one validation; names must be unique over all of its files.
type validator struct {
	streams Streams
	options manifests.Options
	seen    map[manifests.Key]manifests.Origin
	bad     bool

	pods    []*manifests.Pod // all good ones
	configs []*manifests.Config
}

func (v *validator) arg(arg string) {
	if arg == "-" {
		v.read("<stdin>", v.streams.In)
		return
	}
	st, err := os.Stat(arg)
	switch {
	case err != nil:
		v.fail(arg, err)
	case st.IsDir():
		v.directory(arg)
	default:
		v.file(arg)
	}
}

// directory validates the files that the agent would read in it.
func (v *validator) directory(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		v.fail(dir, err)
		return
	}
	found := false
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if e.Name()[0] == '.' || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)) {
			continue
		}
		st, err := os.Stat(path)
		if err != nil {
			v.fail(path, err)
			continue
		}
		if st.Mode().IsRegular() { // a FIFO would block
			found = true
			v.file(path)
		}
	}
	if !found {
		fmt.Fprintf(v.streams.Err, "%s: no *.yaml, *.yml or *.json file\n", dir)
	}
}

func (v *validator) file(path string) {
	f, err := os.Open(path)
	if err != nil {
		v.fail(path, err)
		return
	}
	defer func() { _ = f.Close() }()
	v.read(path, f)
}

func (v *validator) fail(path string, err error) {
	v.bad = true
	if pe := (*os.PathError)(nil); errors.As(err, &pe) {
		err = pe.Err
	}
	fmt.Fprintf(v.streams.Out, "%s: %v\n", path, err)
}

func (v *validator) read(name string, r io.Reader) {
	// One byte more than is allowed, so that Decode sees that it is too much.
	data, err := io.ReadAll(io.LimitReader(r, manifests.MaxFileSize+1))
	if err != nil {
		v.fail(name, err)
		return
	}
	docs := manifests.DecodeAll(name, data, v.options)
	pods, problems := docs.Pods, docs.Problems
	good := pods[:0:0]
	for _, p := range pods {
		if first, taken := v.seen[p.Key()]; taken {
			problems = append(problems, manifests.Problem{
				Origin: p.Origin, Pod: p.Key(), Field: "metadata.name",
				Message: fmt.Sprintf("pod %s is already defined at %s", p.Key(), first),
			})
			continue
		}
		v.seen[p.Key()] = p.Origin
		good = append(good, p)
	}
	for _, p := range problems {
		v.bad = true
		fmt.Fprintln(v.streams.Out, p)
	}
	for _, p := range good {
		fmt.Fprintf(v.streams.Out, "%s: ok, pod %s\n", name, p.Key())
	}
	for _, c := range docs.Configs {
		fmt.Fprintf(v.streams.Out, "%s: ok, %s\n", name, c)
	}
	v.pods, v.configs = append(v.pods, good...), append(v.configs, docs.Configs...)
	if len(pods) == 0 && len(docs.Configs) == 0 && len(problems) == 0 {
		fmt.Fprintf(v.streams.Out, "%s: ok, no pod\n", name)
	}
}
