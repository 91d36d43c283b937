package ctl

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// GetOptions say what `agent get` shows and how.
type GetOptions struct {
	Namespace     string // empty means "default"
	AllNamespaces bool
	Selector      string   // by labels, as kubectl's -l
	Names         []string // none means all
	Output        string   // "", wide, json, yaml, name or jsonpath=TEMPLATE
	Watch         bool     // pods and events
	NoHeaders     bool
}

// GetPods prints pods as `kubectl get pods` does.
func GetPods(ctx context.Context, c *Client, s Streams, o GetOptions) error {
	match, err := o.check()
	if err != nil {
		return err
	}
	list, err := c.Pods(ctx)
	if err != nil {
		return err
	}
	all := list.Items
	list.Items = slices.DeleteFunc(slices.Clone(all), func(p v1.Pod) bool { return !match(&p) })
	missing := o.missing(list.Items)
	switch {
	case len(missing) > 0 && len(list.Items) == 0:
		return missing[0]
	case len(list.Items) == 0 && !o.Watch && (o.Output == "" || o.Output == "wide"):
		o.sayNone(s.Err, len(all))
	case !o.Watch:
		if err := o.print(s.Out, list, c); err != nil {
			return err
		}
	}
	c.hintAtProblems(ctx, s.Err)
	if len(missing) > 0 {
		return missing[0]
	}
	if o.Watch {
		return watchPods(ctx, c, s, o, list.Items, match)
	}
	return nil
}

// check completes o and returns what it selects.
func (o *GetOptions) check() (func(*v1.Pod) bool, error) {
	if o.Namespace == "" {
		o.Namespace = metav1.NamespaceDefault
	}
	if template, ok := strings.CutPrefix(o.Output, "jsonpath="); ok {
		if _, err := parseJSONPath(template); err != nil {
			return nil, err
		}
	} else if !slices.Contains([]string{"", "wide", "json", "yaml", "name"}, o.Output) {
		return nil, UsageError(fmt.Sprintf("output %q is none of wide, json, yaml, name, jsonpath=TEMPLATE", o.Output))
	}
	if len(o.Names) > 0 && o.AllNamespaces {
		return nil, UsageError("a pod cannot be retrieved by name across all namespaces")
	}
	if len(o.Names) > 0 && o.Selector != "" {
		return nil, UsageError("name cannot be provided when a selector is specified")
	}
	selector, err := labels.Parse(o.Selector)
	if err != nil {
		return nil, UsageError(fmt.Sprintf("selector %q: %v", o.Selector, err))
	}
	return func(p *v1.Pod) bool {
		return (o.AllNamespaces || p.Namespace == o.Namespace) && selector.Matches(labels.Set(p.Labels)) &&
			(len(o.Names) == 0 || slices.Contains(o.Names, p.Name))
	}, nil
}

// missing is an error for each name that is not among pods.
func (o *GetOptions) missing(pods []v1.Pod) (errs []error) {
	for _, n := range o.Names {
		if !slices.ContainsFunc(pods, func(p v1.Pod) bool { return p.Name == n }) {
			errs = append(errs, notFound("pods", n))
		}
	}
	return errs
}

func (o *GetOptions) sayNone(w io.Writer, elsewhere int) {
	if o.AllNamespaces {
		fmt.Fprintln(w, "No resources found")
		return
	}
	fmt.Fprintf(w, "No resources found in %s namespace.\n", o.Namespace)
	if elsewhere > 0 && o.Selector == "" {
		fmt.Fprintf(w, "%s in other namespaces: agent get pods -A\n", count(elsewhere, "pod"))
	}
}

// count is "1 pod" or "2 pods".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (o *GetOptions) print(w io.Writer, list *v1.PodList, c *Client) error {
	switch {
	case o.structured():
		if len(o.Names) == 1 && len(list.Items) == 1 {
			return printObject(w, o.Output, &list.Items[0])
		}
		return printObject(w, o.Output, list)
	case o.Output == "name":
		for i := range list.Items {
			fmt.Fprintln(w, "pod/"+list.Items[i].Name)
		}
		return nil
	}
	t := table{paint: painter(w)}
	if !o.NoHeaders {
		t.add(podHeader(*o)...)
	}
	for i := range list.Items {
		t.add(podCells(&list.Items[i], *o, c.now())...)
	}
	return t.flush(w)
}

// structured says whether objects are printed, and no table.
func (o *GetOptions) structured() bool {
	return o.Output == "json" || o.Output == "yaml" || strings.HasPrefix(o.Output, "jsonpath=")
}

// printObject prints v as kubectl does.
func printObject(w io.Writer, format string, v any) error {
	if template, ok := strings.CutPrefix(format, "jsonpath="); ok {
		j, err := parseJSONPath(template)
		if err != nil {
			return err
		}
		return j.print(w, v)
	}
	b, err := json.MarshalIndent(v, "", "    ")
	if err != nil {
		return fmt.Errorf("encoding: %w", err)
	}
	b = append(b, '\n')
	if format == "yaml" {
		if b, err = yaml.JSONToYAML(b); err != nil {
			return fmt.Errorf("encoding: %w", err)
		}
	}
	_, err = w.Write(b)
	return err
}

// hintAtProblems says in a line that something is wrong in the manifests: a pod that is missing or old because of that is
// the first thing to look for.
func (c *Client) hintAtProblems(ctx context.Context, w io.Writer) {
	if problems, err := c.Problems(ctx); err == nil && len(problems) > 0 {
		fmt.Fprintf(w, "%s: agent get problems\n", count(len(problems), "manifest problem"))
	}
}

// watchPods prints the pods there are, then each that changes, until ctx ends.
func watchPods(ctx context.Context, c *Client, s Streams, o GetOptions, first []v1.Pod, match func(*v1.Pod) bool) error {
	t, shown := table{paint: painter(s.Out)}, map[string]string{}
	tabular := o.Output == "" || o.Output == "wide"
	row := func(p *v1.Pod) string {
		r := rowOf(p)
		return fmt.Sprint(p.UID, r, p.Status.PodIP)
	}
	if tabular {
		if !o.NoHeaders {
			t.add(podHeader(o)...)
		}
		for i := range first {
			t.add(podCells(&first[i], o, c.now())...)
			shown[first[i].Namespace+"/"+first[i].Name] = row(&first[i])
		}
		if err := t.flush(s.Out); err != nil {
			return err
		}
	}
	return c.watch(ctx, "/pods", url.Values{}, func(line json.RawMessage) error {
		var e struct {
			Type   string
			Object v1.Pod
		}
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("reading the agent's answer: %w", err)
		}
		p := &e.Object
		if !match(p) {
			return nil
		}
		if !tabular {
			if o.Output == "name" {
				_, err := fmt.Fprintln(s.Out, "pod/"+p.Name)
				return err
			}
			if o.Output == "yaml" {
				fmt.Fprintln(s.Out, "---")
			}
			return printObject(s.Out, o.Output, p)
		}
		key, r := p.Namespace+"/"+p.Name, row(p)
		if e.Type != "DELETED" && shown[key] == r {
			return nil // what changed is not in the table
		}
		shown[key] = r
		if e.Type == "DELETED" {
			delete(shown, key)
		}
		t.add(podCells(p, o, c.now())...)
		return t.flush(s.Out)
	})
}
