package ctl

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// LogsOptions are the flags of `kubectl logs`.
type LogsOptions struct {
	Namespace     string // empty means "default"
	Pod           string
	Selector      string // instead of Pod: by labels
	Container     string
	AllContainers bool
	Follow        bool
	Previous      bool
	Timestamps    bool
	Prefix        bool
	Tail          int64 // negative: all
	LimitBytes    int64 // 0: no limit
	Since         time.Duration
	SinceTime     string // RFC 3339
}

// defaultContainer is the annotation that names the container whose logs are shown unless another is asked for.
const defaultContainer = "kubectl.kubernetes.io/default-container"

// Logs prints what the containers of a pod printed.
func Logs(ctx context.Context, c *Client, s Streams, o LogsOptions) error {
	if o.Namespace == "" {
		o.Namespace = metav1.NamespaceDefault
	}
	if err := o.check(); err != nil {
		return err
	}
	all, err := c.logTargets(ctx, s, o)
	if err != nil {
		return err
	}
	if !o.Follow || len(all) == 1 {
		for _, t := range all {
			if err := c.logs(ctx, s.Out, t.LogsOptions, t.container); err != nil {
				return err
			}
		}
		return nil
	}
	out := &lineWriter{w: s.Out}
	g, ctx := errgroup.WithContext(ctx)
	for _, t := range all {
		g.Go(func() error { return c.logs(ctx, out, t.LogsOptions, t.container) })
	}
	return g.Wait()
}

// logTarget is one container whose log is printed, with its pod in the options.
type logTarget struct {
	LogsOptions
	container string
}

// tailOfMany is how many lines of each container are printed where pods are selected, as with kubectl.
const tailOfMany = 10

// logTargets says whose logs to print.
func (c *Client) logTargets(ctx context.Context, s Streams, o LogsOptions) (out []logTarget, err error) {
	var pods []*v1.Pod
	if o.Selector == "" {
		p, err := c.pod(ctx, o.Namespace, o.Pod)
		if err != nil {
			return nil, err
		}
		pods = append(pods, p)
	} else {
		get := GetOptions{Namespace: o.Namespace, Selector: o.Selector}
		match, err := get.check()
		if err != nil {
			return nil, err
		}
		list, err := c.Pods(ctx)
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			if match(&list.Items[i]) {
				pods = append(pods, &list.Items[i])
			}
		}
		if len(pods) == 0 {
			get.sayNone(s.Err, 0)
		}
		if o.Tail < 0 {
			o.Tail = tailOfMany
		}
	}
	for _, p := range pods {
		names, err := o.containers(p, s.Err)
		if err != nil {
			return nil, err
		}
		o.Pod = p.Name
		for _, n := range names {
			out = append(out, logTarget{o, n})
		}
	}
	return out, nil
}

func (o *LogsOptions) check() error {
	switch {
	case o.Pod != "" && o.Selector != "":
		return UsageError("a pod and a selector cannot be given together")
	case o.Pod == "" && o.Selector == "":
		return UsageError("name the pod whose logs to print")
	case o.AllContainers && o.Container != "":
		return UsageError("--all-containers and a container cannot be given together")
	case o.Since != 0 && o.SinceTime != "":
		return UsageError("at most one of --since and --since-time may be used")
	case o.Since < 0:
		return UsageError("--since must be greater than 0")
	case o.LimitBytes < 0:
		return UsageError("--limit-bytes must be greater than 0")
	}
	if _, err := time.Parse(time.RFC3339, o.SinceTime); o.SinceTime != "" && err != nil {
		return UsageError("--since-time: " + err.Error())
	}
	return nil
}

// containers says whose logs to print, and tells the user when it had to choose.
func (o *LogsOptions) containers(p *v1.Pod, w io.Writer) ([]string, error) {
	var main, all []string
	for _, c := range p.Spec.Containers {
		main = append(main, c.Name)
	}
	all = slices.Clone(main)
	for _, c := range p.Spec.InitContainers {
		all = append(all, c.Name)
	}
	for i := range p.Spec.EphemeralContainers {
		all = append(all, p.Spec.EphemeralContainers[i].Name)
	}
	switch name := p.Annotations[defaultContainer]; {
	case o.AllContainers:
		return slices.Concat(all[len(main):], main), nil
	case o.Container != "" && !slices.Contains(all, o.Container):
		return nil, notFound("container", o.Container)
	case o.Container != "":
		return []string{o.Container}, nil
	case slices.Contains(all, name):
		return []string{name}, nil
	case len(main) == 0:
		return nil, fmt.Errorf("pod %s has no containers", p.Name)
	case len(all) > 1:
		fmt.Fprintf(w, "Defaulted container %q out of: %s\n", main[0], strings.Join(all, ", "))
	}
	return main[:1], nil
}

// logs copies one container's log to w.
func (c *Client) logs(ctx context.Context, w io.Writer, o LogsOptions, container string) error {
	q := url.Values{}
	for name, set := range map[string]bool{"follow": o.Follow, "previous": o.Previous, "timestamps": o.Timestamps} {
		if set {
			q.Set(name, "true")
		}
	}
	if o.Tail >= 0 {
		q.Set("tailLines", strconv.FormatInt(o.Tail, 10))
	}
	if o.LimitBytes > 0 {
		q.Set("limitBytes", strconv.FormatInt(o.LimitBytes, 10))
	}
	if o.Since > 0 {
		q.Set("sinceSeconds", strconv.FormatInt(int64((o.Since+time.Second-1)/time.Second), 10))
	}
	if o.SinceTime != "" {
		q.Set("sinceTime", o.SinceTime)
	}
	body, err := c.do(ctx, http.MethodGet, path.Join("/containerLogs", o.Namespace, o.Pod, container), q, nil)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	prefix := ""
	if o.Prefix {
		prefix = fmt.Sprintf("[pod/%s/%s] ", o.Pod, container)
	}
	if _, whole := w.(*lineWriter); prefix == "" && !whole {
		_, err = io.CopyBuffer(struct{ io.Writer }{w}, body, make([]byte, copySize)) // a file's own ReadFrom copies less at once
	} else {
		err = copyLines(w, body, prefix)
	}
	if ctx.Err() != nil {
		return nil // the user ended it
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the agent ended the log early")
	}
	return err
}

// copySize is how much of an answer is read and of a log is written at once.
const copySize = 64 << 10

// copyLines writes r in whole lines, each behind the prefix: as many as have come in one Write.
func copyLines(w io.Writer, r io.Reader, prefix string) error {
	b := bufio.NewReaderSize(r, copySize)
	var out []byte
	begun := false // the end of out is a part of a line
	for {
		part, err := b.ReadSlice('\n')
		if len(part) > 0 && !begun {
			out = append(out, prefix...)
		}
		out = append(out, part...)
		if begun = errors.Is(err, bufio.ErrBufferFull); begun {
			continue
		}
		if err == nil && len(out) < copySize {
			if more, _ := b.Peek(b.Buffered()); bytes.IndexByte(more, '\n') >= 0 {
				continue
			}
		}
		if len(out) > 0 {
			if _, werr := w.Write(out); werr != nil {
				return werr
			}
			out = out[:0]
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// lineWriter lets several logs share one output; a line without an end gets one, so that the next is not appended to it.
type lineWriter struct {
	mu sync.Mutex // held while a line is written: lines are what must not mix
	w  io.Writer
}

func (l *lineWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := l.w.Write(p)
	if err == nil && !bytes.HasSuffix(p, []byte("\n")) {
		_, err = l.w.Write([]byte("\n"))
	}
	return n, err
}
