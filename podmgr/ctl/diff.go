package ctl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"edgepod.dev/agent/manifests"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// errDiffers is the result of a diff that found something.
var errDiffers = errors.New("there are differences")

// Diff prints what applying manifests would change, and which pods would be made anew because of it. Differences are an
// error, as with kubectl.
func Diff(ctx context.Context, c *Client, s Streams, files []string) error {
	sources, err := readSources(s, files)
	if err != nil {
		return err
	}
	list, err := c.Pods(ctx)
	if err != nil {
		return err
	}
	live := map[manifests.Key]*v1.Pod{}
	node := ""
	for i := range list.Items {
		p := &list.Items[i]
		live[manifests.Key{Namespace: p.Namespace, Name: p.Name}] = p
		node = p.Spec.NodeName
	}
	differs := false
	for _, src := range sources {
		// As this node decodes it, or every pod would differ in its node.
		for _, p := range manifests.DecodeAll(src.from, src.data, manifests.Options{NodeName: node}).Pods {
			changed, err := diffPod(ctx, s, live[p.Key()], p.Object)
			if err != nil {
				return err
			}
			differs = differs || changed
		}
	}
	if differs {
		return errDiffers
	}
	return nil
}

// diffPod prints how a pod would change; live is nil for one that would be new.
func diffPod(ctx context.Context, s Streams, live, wanted *v1.Pod) (bool, error) {
	name := "pod/" + wanted.Name
	was, err := plainPod(live)
	if err != nil {
		return false, err
	}
	will, err := plainPod(wanted)
	if err != nil {
		return false, err
	}
	paths := differences("", was, will)
	switch {
	case live == nil:
		fmt.Fprintf(s.Out, "%s would be created\n", name)
	case len(paths) == 0:
		return false, nil
	case live.UID == wanted.UID:
		fmt.Fprintf(s.Out, "%s would change in place: %s\n", name, strings.Join(paths, ", "))
	default:
		fmt.Fprintf(s.Out, "%s would be stopped and made anew, because of %s\n", name, strings.Join(paths, ", "))
	}
	return true, unifiedDiff(ctx, s, wanted.Namespace+"."+wanted.Name, was, will)
}

// plainPod is what a manifest says of a pod, with defaults and without what the agent adds; nil for nil.
func plainPod(p *v1.Pod) (map[string]any, error) {
	if p == nil {
		return nil, nil
	}
	p = p.DeepCopy()
	p.Kind, p.APIVersion = "Pod", "v1"
	p.Status, p.UID = v1.PodStatus{}, ""
	p.CreationTimestamp = metav1.Time{}
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds, p.ManagedFields = nil, nil, nil
	delete(p.Annotations, fileAnnotation)
	delete(p.Annotations, sourceAnnotation)
	maps.DeleteFunc(p.Annotations, func(k, _ string) bool { return strings.HasPrefix(k, "kubernetes.io/config.") })
	b, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encoding: %w", err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("encoding: %w", err)
	}
	delete(m, "status")
	return m, nil
}

// differences are the paths of fields in which a and b differ.
func differences(path string, a, b any) (out []string) {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok {
			return []string{path}
		}
		keys := map[string]bool{}
		for k := range x {
			keys[k] = true
		}
		for k := range y {
			keys[k] = true
		}
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			out = append(out, differences(strings.TrimPrefix(path+"."+k, "."), x[k], y[k])...)
		}
		return out
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			return []string{path}
		}
		for i := range x {
			out = append(out, differences(fmt.Sprintf("%s[%d]", path, i), x[i], y[i])...)
		}
		return out
	default:
		if reflect.DeepEqual(a, b) {
			return nil
		}
		return []string{path}
	}
}

// unifiedDiff prints the difference by diff(1), as kubectl does.
func unifiedDiff(ctx context.Context, s Streams, name string, was, will map[string]any) error {
	dir, err := os.MkdirTemp("", "agent-diff-")
	if err != nil {
		return fmt.Errorf("comparing: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for sub, m := range map[string]map[string]any{"LIVE": was, "MANIFEST": will} {
		var b []byte
		if m != nil {
			if b, err = yaml.Marshal(m); err != nil {
				return fmt.Errorf("encoding: %w", err)
			}
		}
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return fmt.Errorf("comparing: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, sub, name), b, 0o600); err != nil {
			return fmt.Errorf("comparing: %w", err)
		}
	}
	cmd := exec.CommandContext(ctx, "diff", "-u", "-N", "--label", "LIVE/"+name, "--label", "MANIFEST/"+name, "LIVE/"+name, "MANIFEST/"+name)
	var said bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, s.Out, &said
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); err == nil || errors.As(err, &exit) && exit.ExitCode() == 1 {
		return nil
	}
	return fmt.Errorf("comparing with diff(1): %w: %s", err, strings.TrimSpace(said.String()))
}
