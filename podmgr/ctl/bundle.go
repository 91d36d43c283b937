package ctl

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
)

// BundleOptions say what a support bundle holds.
type BundleOptions struct {
	// File is where it is written; "-" is standard output, and empty is agent-support-<time>.tar.gz here.
	File string
	// Lines is how many of the last lines of each container's log it holds; 0 leaves logs out.
	Lines int64
	// Version is that of this program, Check what to check.
	Version Version
	Check   CheckOptions
}

// Bounds of a bundle: one that cannot be sent by mail is of no use.
const (
	bundleEntry   = 8 << 20 // bytes of one file in it
	bundleCommand = 10 * time.Second
)

// SupportBundle writes everything that somebody needs who looks into a problem: states, events, logs, versions, the
// configuration, and the state of the machine. Secrets are taken out; what cannot be had is noted in errors.txt.
func SupportBundle(ctx context.Context, c *Client, s Streams, o BundleOptions) (err error) {
	file := o.File
	if file == "" {
		file = "agent-support-" + c.now().UTC().Format("20060102-150405") + ".tar.gz"
	}
	out := s.Out
	if file != "-" {
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return fmt.Errorf("writing the bundle: %w", err)
		}
		defer func() {
			if cerr := f.Close(); err == nil && cerr != nil {
				err = fmt.Errorf("writing the bundle: %w", cerr)
			}
		}()
		out = f
	}
	z := gzip.NewWriter(out)
	b := &bundle{client: c, tar: tar.NewWriter(z), at: c.now(), redactor: newRedactor()}
	b.fill(ctx, o)
	if ctx.Err() != nil {
		return errInterrupted
	}
	if err := errors.Join(b.err, b.tar.Close(), z.Close()); err != nil {
		return fmt.Errorf("writing the bundle: %w", err)
	}
	if file != "-" {
		fmt.Fprintf(s.Out, "%s\n", file)
		fmt.Fprintln(s.Err, "Values that look like secrets were taken out. Look through it before you send it all the same.")
	}
	return nil
}

// bundle is an archive in the making.
type bundle struct {
	client   *Client
	tar      *tar.Writer
	at       time.Time
	redactor *redactor
	missing  strings.Builder // what could not be had
	err      error           // of writing the archive
}

func (b *bundle) fill(ctx context.Context, o BundleOptions) {
	b.text("version-client.txt", describeVersion(o.Version)+"\n")
	list, err := b.client.Pods(ctx)
	if err != nil {
		b.miss("pods.yaml", err)
		list = &v1.PodList{}
	}
	for i := range list.Items { // before anything else, which may repeat what a pod's environment holds
		b.redactor.pod(&list.Items[i])
	}
	for name, p := range map[string]string{
		"version.json": "/version", "problems.json": "/problems", "events.json": "/events", "images.json": "/images",
		"healthz.txt": "/healthz", "configz.json": "/configz", "metrics.txt": "/metrics", "stats.json": "/stats/summary",
	} {
		q := url.Values{}
		if p == "/healthz" {
			q.Set("verbose", "true")
		}
		b.answer(ctx, name, p, q)
	}
	if err == nil {
		var text bytes.Buffer
		if err := printObject(&text, "yaml", list); err != nil {
			b.miss("pods.yaml", err)
		}
		b.text("pods.yaml", text.String())
		b.logs(ctx, list, o.Lines)
	}
	var text bytes.Buffer
	if err := Check(ctx, Streams{Out: &text}, o.Check); err != nil && !errors.Is(err, errUnfit) {
		b.miss("check.txt", err)
	}
	b.text("check.txt", text.String())
	for _, dir := range o.Check.Manifests {
		b.listing("manifests.txt", dir) // names, sizes and modes: what they hold is in pods.yaml
	}
	b.machine(ctx)
	b.text("errors.txt", b.missing.String())
}

// machine adds the state of the machine.
func (b *bundle) machine(ctx context.Context) {
	for _, p := range []string{"/etc/os-release", "/proc/meminfo", "/proc/cpuinfo", "/proc/loadavg", "/proc/mounts", "/proc/cgroups", "/proc/cmdline", "/proc/uptime"} {
		data, err := os.ReadFile(p)
		if err != nil {
			b.miss(p, err)
			continue
		}
		b.text("host"+p+".txt", string(data))
	}
	for name, args := range map[string][]string{
		"uname.txt": {"uname", "-a"}, "df.txt": {"df", "-h"}, "df-inodes.txt": {"df", "-i"}, "addresses.txt": {"ip", "address"},
		"routes.txt": {"ip", "route"}, "iptables.txt": {"iptables-save"}, "processes.txt": {"ps", "-eo", "pid,ppid,stat,rss,etime,comm"},
		"dmesg.txt": {"dmesg"}, "journal.txt": {"journalctl", "--no-pager", "-u", "agent", "-n", "5000"},
	} {
		short, cancel := context.WithTimeout(ctx, bundleCommand)
		out, err := newMachine().run(short, args[0], args[1:]...)
		cancel()
		if err != nil {
			b.miss("host/"+name, err)
		}
		if out != "" {
			b.text("host/"+name, out+"\n")
		}
	}
}

func (b *bundle) logs(ctx context.Context, list *v1.PodList, lines int64) {
	if lines <= 0 {
		return
	}
	for i := range list.Items {
		p := &list.Items[i]
		for _, statuses := range [][]v1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
			for _, k := range statuses {
				q := url.Values{"tailLines": {strconv.FormatInt(lines, 10)}, "timestamps": {"true"}}
				name := path.Join("logs", p.Namespace, p.Name, k.Name)
				route := path.Join("/containerLogs", p.Namespace, p.Name, k.Name)
				b.answer(ctx, name+".log", route, q)
				if k.RestartCount > 0 {
					q.Set("previous", "true")
					b.answer(ctx, name+".previous.log", route, q)
				}
			}
		}
	}
}

// answer adds what the agent answers on a path.
func (b *bundle) answer(ctx context.Context, name, path string, q url.Values) {
	short, cancel := context.WithTimeout(ctx, bundleCommand)
	defer cancel()
	body, err := b.client.do(short, http.MethodGet, path, q, nil)
	if err != nil {
		b.miss(name, err)
		return
	}
	defer func() { _ = body.Close() }()
	data, err := io.ReadAll(io.LimitReader(body, bundleEntry))
	if err != nil {
		b.miss(name, err)
	}
	b.text(name, string(data))
}

func (b *bundle) listing(name, dir string) {
	var out strings.Builder
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err == nil {
			fmt.Fprintf(&out, "%s %10d %s %s\n", st.Mode(), st.Size(), st.ModTime().Format(time.RFC3339), p)
		}
		return nil
	})
	if err != nil {
		b.miss(name, err)
	}
	b.text(path.Join("manifests", strings.ReplaceAll(strings.Trim(dir, "/"), "/", "_")+".txt"), out.String())
}

func (b *bundle) miss(name string, err error) { fmt.Fprintf(&b.missing, "%s: %v\n", name, err) }

// text adds a file, without what looks like a secret.
func (b *bundle) text(name, text string) {
	text = b.redactor.text(text)
	if len(text) > bundleEntry {
		text = text[len(text)-bundleEntry:] // what happened last matters most
	}
	h := &tar.Header{Name: path.Join("agent-support", name), Mode: 0o600, Size: int64(len(text)), ModTime: b.at, Typeflag: tar.TypeReg}
	if err := b.tar.WriteHeader(h); err != nil {
		b.err = errors.Join(b.err, err)
		return
	}
	if _, err := io.WriteString(b.tar, text); err != nil {
		b.err = errors.Join(b.err, err)
	}
}
