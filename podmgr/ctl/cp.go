package ctl

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// CopyOptions are the flags of `kubectl cp`. One of From and To is [NAMESPACE/]POD:PATH.
type CopyOptions struct {
	Namespace string // empty means "default"
	Container string
	From, To  string
	// NoPreserve leaves owner and mode to the container.
	NoPreserve bool
}

// place is one end of a copy; pod is empty for this machine.
type place struct{ namespace, pod, path string }

func parsePlace(text, namespace string) (place, error) {
	pod, p, remote := strings.Cut(text, ":")
	// A local path may have a colon: ./a:b, /a:b.
	if !remote || strings.HasPrefix(text, ".") || strings.HasPrefix(text, "/") {
		if text == "" {
			return place{}, UsageError("a path is empty")
		}
		return place{path: text}, nil
	}
	if ns, name, ok := strings.Cut(pod, "/"); ok && ns != "pod" && ns != "pods" {
		namespace, pod = ns, name
	}
	if pod == "" || p == "" {
		return place{}, UsageError(fmt.Sprintf("%q is not POD:PATH", text))
	}
	return place{namespace, podName(pod), path.Clean(p)}, nil
}

// Copy copies files and directories between this machine and a container, by the tar of the container. What a container
// sends is never written outside of the destination, whatever it says (CVE-2018-1002100, CVE-2019-11246, -11249, -11251).
func Copy(ctx context.Context, c *Client, s Streams, o CopyOptions) error {
	if o.Namespace == "" {
		o.Namespace = metav1.NamespaceDefault
	}
	from, err := parsePlace(o.From, o.Namespace)
	if err != nil {
		return err
	}
	to, err := parsePlace(o.To, o.Namespace)
	if err != nil {
		return err
	}
	switch {
	case from.pod == "" && to.pod != "":
		return c.copyTo(ctx, o, from.path, to)
	case from.pod != "" && to.pod == "":
		return c.copyFrom(ctx, s, o, from, to.path)
	}
	return UsageError("one of the two must be POD:PATH, and only one")
}

// inPod runs a command in the container that a copy is about.
func (c *Client) inPod(ctx context.Context, s Streams, o CopyOptions, at place, args ...string) error {
	p, err := c.pod(ctx, at.namespace, at.pod)
	if err != nil {
		return err
	}
	e := ExecOptions{Container: o.Container, Quiet: true}
	name, err := e.container(p, s)
	if err != nil {
		return err
	}
	return c.runCommand(ctx, command{
		path: path.Join("/exec", at.namespace, at.pod, string(p.UID), name), query: url.Values{"command": args},
		in: s.In, out: s.Out, errOut: s.Err,
	})
}

// copyFrom unpacks what the container's tar sends.
func (c *Client) copyFrom(ctx context.Context, s Streams, o CopyOptions, from place, to string) error {
	dir, base := path.Split(from.path)
	if base == "" {
		base = "."
	}
	if st, err := os.Stat(to); err == nil && st.IsDir() && base != "." {
		to = filepath.Join(to, base)
	}
	r, w := io.Pipe()
	sent := make(chan error, 1)
	var said bytes.Buffer
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		err := c.inPod(ctx, Streams{Out: w, Err: &said}, o, from, "tar", "-cf", "-", "-C", orDot(dir), "./"+base)
		_ = w.CloseWithError(errOr(err, io.EOF))
		sent <- err
	}()
	err := unpack(r, base, to, func(format string, args ...any) { fmt.Fprintf(s.Err, format+"\n", args...) })
	if err == nil {
		_, _ = io.Copy(io.Discard, r) // an archive ends before its stream does
	} else {
		cancel()
	}
	_ = r.CloseWithError(errors.New("the copy has ended"))
	if serr := <-sent; serr != nil && (err == nil || errors.Is(err, serr)) {
		return tarError(serr, said.String())
	}
	return err
}

func orDot(dir string) string {
	if dir == "" {
		return "."
	}
	return dir
}

func errOr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// tarError says what the container's tar said.
func tarError(err error, said string) error {
	if said = strings.TrimSpace(said); said != "" {
		return fmt.Errorf("tar in the container: %s (%w)", said, err)
	}
	return err
}

// unpack writes an archive of base and what is below it as to. Links are left out: where they lead is the sender's choice.
func unpack(r io.Reader, base, to string, warn func(format string, args ...any)) error {
	parent, name := filepath.Dir(to), filepath.Base(to)
	if base == "." {
		parent, name = to, "."
		if err := os.MkdirAll(to, 0o755); err != nil {
			return fmt.Errorf("creating %s: %w", to, err)
		}
	}
	root, err := os.OpenRoot(parent) // it follows no link out of itself
	if err != nil {
		return fmt.Errorf("opening %s: %w", parent, err)
	}
	defer func() { _ = root.Close() }()
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the container's archive: %w", err)
		}
		rel, err := inside(h.Name, base)
		if err != nil {
			return err
		}
		target := filepath.Join(name, rel)
		mode := fs.FileMode(h.Mode) & 0o777 //nolint:gosec // masked
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(target, mode|0o700)
		case tar.TypeReg:
			err = writeEntry(root, target, mode, t)
		case tar.TypeSymlink, tar.TypeLink:
			warn("warning: skipping link: %q -> %q", h.Name, h.Linkname)
		default:
			warn("warning: skipping %q: it is neither a file nor a directory", h.Name)
		}
		if err != nil {
			return fmt.Errorf("writing %s: %w", filepath.Join(parent, target), err)
		}
	}
}

// inside is the part of an entry's name below base; a name elsewhere is an error.
func inside(name, base string) (string, error) {
	clean := path.Clean(name)
	if !filepath.IsLocal(clean) {
		return "", fmt.Errorf("the container's archive holds %q, which leaves the directory", name)
	}
	if base == "." || clean == base {
		return strings.TrimPrefix(clean, base), nil
	}
	rel, ok := strings.CutPrefix(clean, base+"/")
	if !ok {
		return "", fmt.Errorf("the container's archive holds %q, which was not asked for", name)
	}
	return rel, nil
}

func writeEntry(root *os.Root, target string, mode fs.FileMode, r io.Reader) error {
	if err := root.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	// What is there may be a link to a file elsewhere below the root; it is replaced, not written through.
	if err := root.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := root.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// copyTo packs files into the container's tar.
func (c *Client) copyTo(ctx context.Context, o CopyOptions, from string, to place) error {
	if _, err := os.Lstat(from); err != nil {
		return fmt.Errorf("copying: %w", err)
	}
	dir, base := path.Split(to.path)
	switch err := c.inPod(ctx, Streams{Out: io.Discard, Err: io.Discard}, o, to, "test", "-d", to.path); {
	case err == nil:
		abs, err := filepath.Abs(from)
		if err != nil {
			return fmt.Errorf("copying: %w", err)
		}
		dir, base = to.path, filepath.Base(abs)
	case !errors.As(err, new(*ExitError)):
		return err
	}
	args := []string{"tar", "-xmf", "-"}
	if o.NoPreserve {
		args = append(args, "--no-same-permissions", "--no-same-owner")
	}
	args = append(args, "-C", orDot(dir))
	r, w := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := pack(w, from, base)
		_ = w.CloseWithError(errOr(err, io.EOF))
		packed <- err
	}()
	var said bytes.Buffer
	err := c.inPod(ctx, Streams{In: r, Out: io.Discard, Err: &said}, o, to, args...)
	_ = r.CloseWithError(errors.New("the container takes no more"))
	if perr := <-packed; perr != nil && err == nil {
		return perr
	}
	if err != nil {
		return tarError(err, said.String())
	}
	return nil
}

// pack writes an archive of from, under the name base.
func pack(w io.Writer, from, base string) error {
	t := tar.NewWriter(w)
	err := filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		link := ""
		switch {
		case st.Mode()&fs.ModeSymlink != 0:
			if link, err = os.Readlink(p); err != nil {
				return err
			}
		case !st.Mode().IsRegular() && !st.IsDir():
			return nil // sockets and devices stay here
		}
		h, err := tar.FileInfoHeader(st, link)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		h.Name = path.Join(base, filepath.ToSlash(rel))
		h.Uname, h.Gname = "", "" // names of this machine mean nothing there
		if err := t.WriteHeader(h); err != nil || !st.Mode().IsRegular() {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		_, err = io.CopyN(t, f, h.Size)
		return err
	})
	if err != nil {
		return fmt.Errorf("packing %s: %w", from, err)
	}
	return t.Close()
}
