package ctl

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	v1 "k8s.io/api/core/v1"
)

// GetProblems prints what is wrong in the manifests; of o only Output and NoHeaders count.
func GetProblems(ctx context.Context, c *Client, s Streams, o GetOptions) error {
	if _, err := o.check(); err != nil {
		return err
	}
	list, err := c.Problems(ctx)
	if err != nil {
		return err
	}
	if o.structured() {
		return printObject(s.Out, o.Output, list)
	}
	if len(list) == 0 {
		fmt.Fprintln(s.Err, "No problems found")
		return nil
	}
	t := table{}
	if !o.NoHeaders {
		t.add("FILE", "LINE", "FIELD", "MESSAGE", "KEPT")
	}
	for _, p := range list {
		line, kept := "", "no"
		if p.Line > 0 {
			line = strconv.Itoa(p.Line)
		}
		if p.Kept {
			kept = "yes"
		}
		message := p.Message
		if p.Hint != "" {
			message += " (" + p.Hint + ")"
		}
		t.add(orNone(p.File), orNone(line), orNone(p.Field), oneLine(message), kept)
	}
	return t.flush(s.Out)
}

// oneLine keeps a table a table, and a terminal sane, whatever a message holds.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
}

// GetEvents prints events as `kubectl get events` does, oldest first.
func GetEvents(ctx context.Context, c *Client, s Streams, o GetOptions) error {
	if _, err := o.check(); err != nil {
		return err
	}
	namespace := o.Namespace
	if o.AllNamespaces {
		namespace = ""
	}
	t := table{paint: painter(s.Out)}
	if !o.NoHeaders {
		h := []string{"LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"}
		if o.AllNamespaces {
			h = append([]string{"NAMESPACE"}, h...)
		}
		t.add(h...)
	}
	if o.Watch {
		return c.watch(ctx, "/events", url.Values{"namespace": {namespace}}, func(line json.RawMessage) error {
			var e struct {
				Type   string
				Object v1.Event
			}
			if err := json.Unmarshal(line, &e); err != nil {
				return fmt.Errorf("reading the agent's answer: %w", err)
			}
			if e.Type == "DELETED" {
				return nil // too old to be kept, which is no news
			}
			t.add(eventCells(&e.Object, o.AllNamespaces, c.now())...)
			return t.flush(s.Out)
		})
	}
	list, err := c.Events(ctx, namespace, "")
	if err != nil {
		return err
	}
	if o.structured() {
		return printObject(s.Out, o.Output, list)
	}
	if len(list.Items) == 0 {
		o.sayNone(s.Err, 0)
		return nil
	}
	sortEvents(list.Items)
	for i := range list.Items {
		t.add(eventCells(&list.Items[i], o.AllNamespaces, c.now())...)
	}
	return t.flush(s.Out)
}

func sortEvents(list []v1.Event) {
	slices.SortStableFunc(list, func(a, b v1.Event) int { return a.LastTimestamp.Compare(b.LastTimestamp.Time) })
}

func eventCells(e *v1.Event, namespaced bool, now time.Time) []string {
	object := strings.ToLower(e.InvolvedObject.Kind) + "/" + e.InvolvedObject.Name
	cells := []string{age(now, e.LastTimestamp), e.Type, e.Reason, object, oneLine(e.Message)}
	if namespaced {
		cells = append([]string{e.Namespace}, cells...)
	}
	return cells
}
