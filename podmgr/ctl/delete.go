package ctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"edgepod.dev/agent/manifests"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DeleteOptions say what to delete: pods by name, or what manifests define.
type DeleteOptions struct {
	Namespace string // empty means "default"
	Pods      []string
	Files     []string // of manifests, which need not be in the directory
	Dir       string   // as in ApplyOptions
	DryRun    bool
}

// Delete removes the files that define pods from the manifest directory. A file that also defines something else is left,
// and that is an error.
func Delete(ctx context.Context, c *Client, s Streams, o DeleteOptions) error {
	if o.Namespace == "" {
		o.Namespace = metav1.NamespaceDefault
	}
	if len(o.Pods) == 0 == (len(o.Files) == 0) {
		return UsageError("delete wants the names of pods, or manifests with -f")
	}
	dir, err := c.manifestDir(ctx, o.Dir)
	if err != nil {
		return err
	}
	doomed := map[manifests.Key]bool{}
	for _, p := range o.Pods {
		doomed[manifests.Key{Namespace: o.Namespace, Name: podName(p)}] = true
	}
	if len(o.Files) > 0 {
		sources, err := readSources(s, o.Files)
		if err != nil {
			return err
		}
		for _, src := range sources {
			for _, p := range src.docs.Pods {
				doomed[p.Key()] = true
			}
		}
	}
	return deleteFiles(ctx, c, s, o, dir, doomed)
}

func deleteFiles(ctx context.Context, c *Client, s Streams, o DeleteOptions, dir string, doomed map[manifests.Key]bool) error {
	files, err := manifestFiles(dir)
	if err != nil {
		return err
	}
	var errs []error
	found := map[manifests.Key]bool{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil || len(data) > manifests.MaxFileSize {
			continue
		}
		d := manifests.DecodeAll(f, data, manifests.Options{})
		var here, others []string
		for _, p := range d.Pods {
			if doomed[p.Key()] {
				found[p.Key()] = true
				here = append(here, p.Object.Name)
			} else {
				others = append(others, "pod "+p.Key().String())
			}
		}
		for _, k := range d.Configs {
			others = append(others, strings.ToLower(k.Kind)+" "+k.Name)
		}
		switch {
		case len(here) == 0:
			continue
		case len(others)+len(d.Problems) > 0 && len(o.Files) == 0, anyPod(d, doomed):
			// With -f the ConfigMaps and Secrets in the same file are meant too.
			errs = append(errs, fmt.Errorf("%s also defines %s: edit it instead", f, cmp.Or(strings.Join(others, ", "), "what has problems")))
			continue
		}
		if !o.DryRun {
			if err := os.Remove(f); err != nil {
				errs = append(errs, fmt.Errorf("removing the manifest: %w", err))
				continue
			}
		}
		for _, name := range here {
			fmt.Fprintf(s.Out, "pod %q deleted\n", name)
		}
	}
	for k := range doomed {
		if !found[k] {
			errs = append(errs, c.whyNotFound(ctx, k, dir))
		}
	}
	if len(errs) == 0 && !o.DryRun {
		errs = append(errs, syncDir(dir))
	}
	return errors.Join(errs...)
}

// anyPod says whether a file has pods that are to stay.
func anyPod(d manifests.Documents, doomed map[manifests.Key]bool) bool {
	return slices.ContainsFunc(d.Pods, func(p *manifests.Pod) bool { return !doomed[p.Key()] })
}

// whyNotFound says where a pod comes from that no file of the directory defines.
func (c *Client) whyNotFound(ctx context.Context, k manifests.Key, dir string) error {
	p, err := c.pod(ctx, k.Namespace, k.Name)
	if err != nil {
		return notFound("pods", k.Name)
	}
	return fmt.Errorf("pod %s comes from %s, not from %s", k, orNone(originOf(p)), dir)
}

func originOf(p *v1.Pod) string { return p.Annotations[fileAnnotation] }
