package ctl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"edgepod.dev/agent/manifests"
	"golang.org/x/sys/unix"
)

// ApplyOptions say which manifests to put where.
type ApplyOptions struct {
	Files []string // files, directories, or "-"
	// Dir is the manifest directory; empty means the first one of the running agent.
	Dir    string
	DryRun bool
}

// manifestDir is the directory that the agent reads manifests from.
func (c *Client) manifestDir(ctx context.Context, given string) (string, error) {
	if given != "" {
		return given, nil
	}
	var conf struct {
		Agent struct {
			Manifests []string `json:"manifests"`
		} `json:"agent"`
	}
	if err := c.get(ctx, "/configz", nil, &conf); err != nil {
		return "", fmt.Errorf("finding the manifest directory (or name it with --manifests): %w", err)
	}
	if len(conf.Agent.Manifests) == 0 {
		return "", errors.New("the agent reads no manifest directory: name one with --manifests")
	}
	if c.base.Scheme == "https" {
		return "", errors.New("manifests are files of the node, and this is another machine: apply there")
	}
	return conf.Agent.Manifests[0], nil
}

// source is a manifest to be applied.
type source struct {
	name string // of the file it becomes, in the manifest directory
	from string // for messages
	data []byte
	docs manifests.Documents
}

// readSources reads and validates manifests, and prints what is wrong with them.
func readSources(s Streams, files []string) ([]source, error) {
	if len(files) == 0 {
		return nil, UsageError("name the manifests with -f")
	}
	var out []source
	add := func(from string, r io.Reader) error {
		data, err := io.ReadAll(io.LimitReader(r, manifests.MaxFileSize+1))
		if err != nil {
			return fmt.Errorf("reading %s: %w", from, err)
		}
		out = append(out, source{from: from, name: filepath.Base(from), data: data, docs: manifests.DecodeAll(from, data, manifests.Options{})})
		return nil
	}
	for _, f := range files {
		if f == "-" {
			if err := add("<stdin>", s.In); err != nil {
				return nil, err
			}
			continue
		}
		paths := []string{f}
		if st, err := os.Stat(f); err == nil && st.IsDir() {
			if paths, err = manifestFiles(f); err != nil {
				return nil, err
			}
		}
		for _, p := range paths {
			r, err := os.Open(p)
			if err != nil {
				return nil, fmt.Errorf("reading a manifest: %w", err)
			}
			err = add(p, r)
			_ = r.Close()
			if err != nil {
				return nil, err
			}
		}
	}
	bad := false
	for i := range out {
		for _, p := range out[i].docs.Problems {
			bad = true
			fmt.Fprintln(s.Err, p)
		}
		if out[i].from == "<stdin>" && !bad {
			out[i].name = firstName(out[i].docs)
		}
		if ext := filepath.Ext(out[i].name); !slices.Contains([]string{".yaml", ".yml", ".json"}, ext) {
			out[i].name += ".yaml"
		}
		out[i].name = strings.TrimLeft(out[i].name, ".")
	}
	if bad {
		return nil, errInvalid
	}
	return out, nil
}

// manifestFiles are the files in a directory that the agent would read.
func manifestFiles(dir string) (out []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", dir, err)
	}
	for _, e := range entries {
		p := filepath.Join(dir, e.Name())
		if e.Name()[0] == '.' || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(p)) {
			continue
		}
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() {
			out = append(out, p)
		}
	}
	return out, nil
}

// firstName names a file after the first thing in it: "namespace-name".
func firstName(d manifests.Documents) string {
	if len(d.Pods) > 0 {
		return d.Pods[0].Object.Namespace + "-" + d.Pods[0].Object.Name
	}
	if len(d.Configs) > 0 {
		return strings.ToLower(d.Configs[0].Kind) + "-" + d.Configs[0].Namespace + "-" + d.Configs[0].Name
	}
	return "manifest"
}

// Apply validates manifests and puts them into the manifest directory, each file at once and whole. Nothing is written
// when anything is wrong, also with what other files there already define.
func Apply(ctx context.Context, c *Client, s Streams, o ApplyOptions) error {
	dir, err := c.manifestDir(ctx, o.Dir)
	if err != nil {
		return err
	}
	sources, err := readSources(s, o.Files)
	if err != nil {
		return err
	}
	if err := checkClashes(dir, sources); err != nil {
		return err
	}
	for _, src := range sources {
		path := filepath.Join(dir, src.name)
		old, err := os.ReadFile(path)
		done := "configured"
		switch {
		case errors.Is(err, fs.ErrNotExist):
			done = "created"
		case err != nil:
			return fmt.Errorf("reading what is there: %w", err)
		case bytes.Equal(old, src.data):
			done = "unchanged"
		}
		if o.DryRun {
			done += " (dry run)"
		} else if done != "unchanged" {
			if err := putFile(path, src.data); err != nil {
				return err
			}
		}
		for _, p := range src.docs.Pods {
			fmt.Fprintf(s.Out, "pod/%s %s\n", p.Object.Name, done)
		}
		for _, k := range src.docs.Configs {
			fmt.Fprintf(s.Out, "%s/%s %s\n", strings.ToLower(k.Kind), k.Name, done)
		}
	}
	return nil
}

// checkClashes refuses what is defined twice, among the sources or by a source and by another file of the directory, and a
// source that would take the place of a file that has nothing in common with it but the name.
func checkClashes(dir string, sources []source) error {
	defined := map[string]string{} // kind/namespace/name → file
	define := func(file string, d manifests.Documents) error {
		for _, n := range definitions(d) {
			if first, ok := defined[n]; ok {
				return fmt.Errorf("%s: %s is already defined in %s: apply a file of that name, or delete it first", file, n, first)
			}
			defined[n] = file
		}
		return nil
	}
	there, err := manifestFiles(dir)
	if err != nil {
		return err
	}
	replacing := map[string]source{}
	for _, src := range sources {
		if _, twice := replacing[src.name]; twice {
			return fmt.Errorf("two of the manifests would become %s", filepath.Join(dir, src.name))
		}
		replacing[src.name] = src
	}
	for _, f := range there {
		data, err := os.ReadFile(f)
		if err != nil || len(data) > manifests.MaxFileSize {
			continue // the agent reports it
		}
		old := manifests.DecodeAll(f, data, manifests.Options{})
		if src, ok := replacing[filepath.Base(f)]; ok {
			if gone, kept := definitions(old), definitions(src.docs); len(gone) > 0 && !slices.ContainsFunc(gone, func(n string) bool { return slices.Contains(kept, n) }) {
				return fmt.Errorf("%s: %s is another manifest, with %s, which would go: rename yours, or delete that first",
					src.from, f, strings.Join(gone, ", "))
			}
			continue
		}
		_ = define(f, old) // a clash that is there already is the agent's to report
	}
	for _, src := range sources {
		if err := define(src.from, src.docs); err != nil {
			return err
		}
	}
	return nil
}

// definitions are the pods and objects that documents define: kind namespace/name.
func definitions(d manifests.Documents) (out []string) {
	for _, p := range d.Pods {
		out = append(out, "pod "+p.Key().String())
	}
	for _, k := range d.Configs {
		out = append(out, strings.ToLower(k.Kind)+" "+k.Namespace+"/"+k.Name)
	}
	return out
}

// putFile writes a file so that the agent, and whoever looks after a power cut, sees the old one or the new one whole.
func putFile(path string, data []byte) error {
	dir := filepath.Dir(path)
	// The agent does not look at files that begin with a dot.
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("writing the manifest: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o600), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing the manifest: %w", err)
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("syncing the manifest directory: %w", err)
	}
	defer func() { _ = d.Close() }()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("syncing the manifest directory: %w", err)
	}
	return nil
}
