package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// WaitOptions are the flags of `kubectl wait`.
type WaitOptions struct {
	Namespace string   // empty means "default"
	Pods      []string // none: those that Selector or All chooses
	Selector  string
	All       bool
	// For is condition=NAME[=STATUS], delete, or jsonpath={PATH}[=VALUE].
	For     string
	Timeout time.Duration // 0: look once
}

// errTimeout is the result of a wait that took too long.
var errTimeout = errors.New("timed out waiting for the condition")

// Wait returns when all pods are as o.For says. A pod that does not exist yet is waited for.
func Wait(ctx context.Context, c *Client, s Streams, o WaitOptions) error {
	if o.Namespace == "" {
		o.Namespace = metav1.NamespaceDefault
	}
	test, err := parseWaitFor(o.For)
	if err != nil {
		return err
	}
	if len(o.Pods) == 0 == (o.Selector == "" && !o.All) {
		return UsageError("wait wants either the names of pods, --selector or --all")
	}
	wanted, err := o.wanted(ctx, c)
	if err != nil {
		return err
	}
	met := map[string]bool{}
	check := func(name string, p *v1.Pod) error {
		if !slices.Contains(wanted, name) || met[name] {
			return nil
		}
		ok, err := test(p)
		if err != nil || !ok {
			return err
		}
		met[name] = true
		_, err = fmt.Fprintf(s.Out, "pod/%s %s\n", name, o.done())
		return err
	}
	errDone := errors.New("done")
	look := func() error {
		list, err := c.Pods(ctx)
		if err != nil {
			return err
		}
		for _, name := range wanted {
			i := slices.IndexFunc(list.Items, func(p v1.Pod) bool { return p.Namespace == o.Namespace && p.Name == name })
			var p *v1.Pod
			if i >= 0 {
				p = &list.Items[i]
			}
			if err := check(name, p); err != nil {
				return err
			}
		}
		if len(met) == len(wanted) {
			return errDone
		}
		return nil
	}
	if err := look(); !errors.Is(err, errDone) && (err != nil || o.Timeout <= 0) {
		if err == nil {
			err = errTimeout
		}
		return err
	} else if err != nil {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	err = c.watch(limited, "/pods", url.Values{}, func(json.RawMessage) error { return look() })
	switch {
	case errors.Is(err, errDone):
		return nil
	case ctx.Err() != nil:
		return errInterrupted
	case limited.Err() != nil:
		for _, name := range wanted {
			if !met[name] {
				fmt.Fprintf(s.Err, "timed out waiting for %s on pods/%s\n", o.For, name)
			}
		}
		return errTimeout
	}
	return err
}

// wanted are the names of the pods to wait for.
func (o *WaitOptions) wanted(ctx context.Context, c *Client) (names []string, err error) {
	for _, p := range o.Pods {
		names = append(names, podName(p))
	}
	if len(names) > 0 {
		return names, nil
	}
	selector, err := labels.Parse(o.Selector)
	if err != nil {
		return nil, UsageError(fmt.Sprintf("selector %q: %v", o.Selector, err))
	}
	list, err := c.Pods(ctx)
	if err != nil {
		return nil, err
	}
	for i := range list.Items {
		if p := &list.Items[i]; p.Namespace == o.Namespace && selector.Matches(labels.Set(p.Labels)) {
			names = append(names, p.Name)
		}
	}
	if len(names) == 0 {
		return nil, notFound("pods", "with "+o.Selector)
	}
	return names, nil
}

func (o *WaitOptions) done() string {
	if o.For == "delete" {
		return "deleted"
	}
	return "condition met"
}

// parseWaitFor returns what says whether a pod, nil when there is none, is as text wants it.
func parseWaitFor(text string) (func(*v1.Pod) (bool, error), error) {
	kind, rest, _ := strings.Cut(text, "=")
	switch {
	case text == "delete":
		return func(p *v1.Pod) (bool, error) { return p == nil, nil }, nil
	case kind == "condition" && rest != "":
		name, status, given := strings.Cut(rest, "=")
		if !given {
			status = string(v1.ConditionTrue)
		}
		return func(p *v1.Pod) (bool, error) {
			return p != nil && slices.ContainsFunc(p.Status.Conditions, func(c v1.PodCondition) bool {
				return strings.EqualFold(string(c.Type), name) && strings.EqualFold(string(c.Status), status)
			}), nil
		}, nil
	case kind == "jsonpath" && rest != "":
		end := strings.LastIndex(rest, "}")
		template, value := rest[:end+1], strings.TrimPrefix(rest[end+1:], "=")
		j, err := parseJSONPath(template)
		if err != nil {
			return nil, err
		}
		return func(p *v1.Pod) (bool, error) {
			if p == nil {
				return false, nil
			}
			got, err := j.text(p)
			return err == nil && got != "" && (value == "" || got == value), nil //nolint:nilerr // what is not there yet may come
		}, nil
	}
	return nil, UsageError(fmt.Sprintf("--for %q is none of condition=NAME[=STATUS], delete, jsonpath={PATH}[=VALUE]", text))
}
