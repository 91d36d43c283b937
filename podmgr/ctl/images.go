package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"edgepod.dev/agent/podmgr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// GetImages prints the images of the node; of o only Output and NoHeaders count.
func GetImages(ctx context.Context, c *Client, s Streams, o GetOptions) error {
	if _, err := o.check(); err != nil {
		return err
	}
	var list []podmgr.Image
	if err := c.get(ctx, "/images", nil, &list); err != nil {
		return err
	}
	if o.structured() {
		return printObject(s.Out, o.Output, list)
	}
	slices.SortFunc(list, func(a, b podmgr.Image) int {
		return strings.Compare(strings.Join(a.Names, " "), strings.Join(b.Names, " "))
	})
	t := table{}
	if o.Output != "name" && !o.NoHeaders {
		t.add("IMAGE", "IMAGE ID", "SIZE", "CREATED", "PINNED")
	}
	for _, i := range list {
		names, pinned := i.Names, "no"
		if len(names) == 0 {
			names = []string{"<none>"}
		}
		if i.Pinned {
			pinned = "yes"
		}
		for _, n := range names {
			if o.Output == "name" {
				t.add(n)
				continue
			}
			t.add(n, shortID(i.ID), size(i.Size), age(c.now(), metav1.Time{Time: i.Created}), pinned)
		}
	}
	return t.flush(s.Out)
}

// shortID is the twelve digits that docker shows.
func shortID(id string) string {
	_, hex, ok := strings.Cut(id, ":")
	if !ok {
		hex = id
	}
	return orNone(hex[:min(len(hex), 12)])
}

// size is a number of bytes as docker writes it.
func size(n int64) string {
	f := float64(n)
	for _, unit := range []string{"B", "kB", "MB", "GB"} {
		if f < 1000 {
			return fmt.Sprintf("%.3g%s", f, unit)
		}
		f /= 1000
	}
	return fmt.Sprintf("%.3gTB", f)
}

// PullImage pulls one image and prints its name.
func PullImage(ctx context.Context, c *Client, s Streams, ref string) error {
	return c.transfer(ctx, s, "/images/pull", url.Values{"ref": {ref}}, nil)
}

// ImportImages imports an OCI or docker archive, from standard input when file is "-", and prints the names it held.
func ImportImages(ctx context.Context, c *Client, s Streams, file string) error {
	in := s.In
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return fmt.Errorf("importing images: %w", err)
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	return c.transfer(ctx, s, "/images/import", nil, io.NopCloser(in))
}

// RemoveImages removes each image and prints its name. With force, also those that pods use.
func RemoveImages(ctx context.Context, c *Client, s Streams, refs []string, force bool) error {
	var errs []error
	for _, ref := range refs {
		q := url.Values{"ref": {ref}}
		if force {
			q.Set("force", "true")
		}
		body, err := c.do(ctx, http.MethodDelete, "/images", q, nil)
		if err != nil {
			errs = append(errs, fmt.Errorf("removing %s: %w", ref, err))
			continue
		}
		_ = body.Close()
		fmt.Fprintln(s.Out, ref)
	}
	return errors.Join(errs...)
}

// PinImages keeps each image whether a manifest names it or not, or ends that, and prints its name.
func PinImages(ctx context.Context, c *Client, s Streams, refs []string, pinned bool) error {
	if len(refs) == 0 {
		return UsageError("pin and unpin want the references of images")
	}
	var errs []error
	for _, ref := range refs {
		q := url.Values{"ref": {ref}, "pinned": {strconv.FormatBool(pinned)}}
		body, err := c.do(ctx, http.MethodPost, "/images/pin", q, nil)
		if err != nil {
			errs = append(errs, fmt.Errorf("pinning %s: %w", ref, err))
			continue
		}
		_ = body.Close()
		fmt.Fprintln(s.Out, ref)
	}
	return errors.Join(errs...)
}

// transfer shows the progress of a pull or an import on s.Err, and what came of it on s.Out.
func (c *Client) transfer(ctx context.Context, s Streams, path string, q url.Values, in io.Reader) error {
	body, err := c.do(ctx, http.MethodPost, path, q, in)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	show := newProgress(s.Err)
	defer show.clear()
	for d := json.NewDecoder(body); ; {
		var line podmgr.ImageLine
		if err := d.Decode(&line); err != nil {
			return fmt.Errorf("the agent's answer ended early: %w", err)
		}
		switch {
		case line.Error != "":
			return errors.New(line.Error)
		case line.Progress != nil:
			show.show(*line.Progress)
		default:
			show.clear()
			for _, i := range line.Images {
				fmt.Fprintln(s.Out, strings.Join(i.Names, "\n"))
			}
			return nil
		}
	}
}
