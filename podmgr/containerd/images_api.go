package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"edgepod.dev/agent/podmgr"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/diff"
	ctrimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
)

var _ podmgr.Images = (*Images)(nil)

// Images implements podmgr.Images.
type Images struct{ r *Runtime }

// Images is what a person may do with the images of this engine.
func (r *Runtime) Images() *Images { return &Images{r} }

// List implements podmgr.Images.
func (x *Images) List(ctx context.Context) ([]podmgr.Image, error) {
	ctx = x.r.ns(ctx)
	all, err := x.r.client.ListImages(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing images: %w", err)
	}
	pinned, err := x.pinned(ctx)
	if err != nil {
		return nil, err
	}
	byDigest := map[string]*podmgr.Image{}
	for _, img := range all {
		i := byDigest[img.Target().Digest.String()]
		if i == nil {
			i = x.describe(ctx, img)
			i.Pinned = pinned[i.Digest]
			byDigest[i.Digest] = i
		} else {
			i.Names = append(i.Names, img.Name())
		}
		i.ByHand = i.ByHand || img.Labels()[labelPinned] != ""
		i.Pinned = i.Pinned || i.ByHand
	}
	out := make([]podmgr.Image, 0, len(byDigest))
	for _, i := range byDigest {
		slices.Sort(i.Names)
		out = append(out, *i)
	}
	slices.SortFunc(out, func(a, b podmgr.Image) int { return strings.Compare(a.Names[0], b.Names[0]) })
	return out, nil
}

// Sum is how many images there are, how many of them stay, and what they take in the content store, compressed.
func (x *Images) Sum(ctx context.Context) (count, pinned int, bytes int64, err error) {
	all, err := x.List(ctx)
	for _, i := range all {
		bytes += i.Size
		if i.Pinned {
			pinned++
		}
	}
	return len(all), pinned, bytes, err
}

// pinned are the digests that the leases of pods hold.
func (x *Images) pinned(ctx context.Context) (map[string]bool, error) {
	ls := x.r.client.LeasesService()
	all, err := ls.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing leases: %w", err)
	}
	out := map[string]bool{}
	for _, l := range all {
		if !strings.HasPrefix(l.ID, leasePrefix) {
			continue
		}
		res, err := ls.ListResources(ctx, l)
		if err != nil && !errdefs.IsNotFound(err) {
			return nil, fmt.Errorf("listing leases: %w", err)
		}
		for _, r := range res {
			if r.Type == "content" {
				out[r.ID] = true
			}
		}
	}
	return out, nil
}

func (x *Images) describe(ctx context.Context, img client.Image) *podmgr.Image {
	i := &podmgr.Image{Names: []string{img.Name()}, Digest: img.Target().Digest.String(), Created: img.Metadata().CreatedAt}
	if size, err := img.Size(ctx); err == nil {
		i.Size = size
	}
	if c, err := img.Config(ctx); err == nil {
		i.ID = c.Digest.String()
	}
	return i
}

// Pull implements podmgr.Images.
func (x *Images) Pull(ctx context.Context, ref string, progress func(podmgr.Progress)) (podmgr.Image, error) {
	ctx = x.r.ns(ctx)
	name, err := normalise(ref)
	if err != nil {
		return podmgr.Image{}, err
	}
	stop := x.watch(ctx, name, progress)
	img, err := x.r.images.fetch(ctx, name, nil)
	stop()
	if err != nil {
		return podmgr.Image{}, fmt.Errorf("pulling image %q: %w", ref, err)
	}
	return *x.describe(ctx, img), nil
}

// watch reports the transfers that are going on, until the returned function is called.
func (x *Images) watch(ctx context.Context, name string, progress func(podmgr.Progress)) (stop func()) {
	if progress == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		progress(podmgr.Progress{Ref: name, Status: "resolving"})
		const often = 200 * time.Millisecond
		t := time.NewTicker(often)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
			all, err := x.r.client.ContentStore().ListStatuses(ctx)
			if err != nil {
				continue
			}
			for _, s := range all {
				progress(podmgr.Progress{Ref: s.Ref, Status: "downloading", Done: s.Offset, Total: s.Total})
			}
		}
	}()
	return func() { cancel(); <-done }
}

// Import implements podmgr.Images.
func (x *Images) Import(ctx context.Context, r io.Reader, progress func(podmgr.Progress)) ([]podmgr.Image, error) {
	ctx = x.r.ns(ctx)
	if progress == nil {
		progress = func(podmgr.Progress) {}
	}
	plain, err := compression.DecompressStream(r)
	if err != nil {
		return nil, fmt.Errorf("reading the archive: %w", err)
	}
	defer plain.Close()
	ctx, release, err := x.r.client.WithLease(ctx, leases.WithRandomID(), leases.WithExpiration(time.Hour))
	if err != nil {
		return nil, fmt.Errorf("creating a lease for the import: %w", err)
	}
	defer func() {
		ctx, cancel := cleanup(ctx)
		defer cancel()
		_ = release(ctx)
	}()
	progress(podmgr.Progress{Status: "reading"})
	found, err := x.r.client.Import(ctx, plain, client.WithImportPlatform(platforms.Default()), client.WithImageRefTranslator(archiveName))
	if err != nil {
		return nil, fmt.Errorf("importing the archive: %w", err)
	}
	if len(found) == 0 {
		return nil, errors.New("importing the archive: it names no image (save it with a name, such as `docker save NAME` or `skopeo copy … oci-archive:FILE:NAME`)")
	}
	var out []podmgr.Image
	for _, f := range found {
		progress(podmgr.Progress{Ref: f.Name, Status: "unpacking"})
		img := client.NewImageWithPlatform(x.r.client, f, platforms.Default())
		if err := img.Unpack(ctx, x.r.snapshotter, client.WithUnpackApplyOpts(diff.WithSyncFs(true))); err != nil {
			return out, fmt.Errorf("unpacking image %q: %w", f.Name, err)
		}
		out = append(out, *x.describe(ctx, img))
		progress(podmgr.Progress{Ref: f.Name, Status: "done"})
	}
	x.r.images.imported()
	return out, nil
}

// archiveName gives an image of an archive its full name; what is no reference (a bare tag of an OCI layout) gives none.
func archiveName(name string) string {
	if !strings.ContainsAny(name, ":/@") {
		return ""
	}
	full, err := normalise(name)
	if err != nil {
		return ""
	}
	return full
}

// ImportFile imports the archive at path.
func (x *Images) ImportFile(ctx context.Context, path string) ([]podmgr.Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("importing images: %w", err)
	}
	defer f.Close()
	return x.Import(ctx, f, nil)
}

// Remove implements podmgr.Images.
func (x *Images) Remove(ctx context.Context, ref string) error {
	ctx = x.r.ns(ctx)
	name, err := normalise(ref)
	if err != nil {
		return err
	}
	err = x.r.client.ImageService().Delete(ctx, name, ctrimages.SynchronousDelete())
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("removing image %q: %w", ref, podmgr.ErrNoImage)
	}
	if err != nil {
		return fmt.Errorf("removing image %q: %w", ref, err)
	}
	return nil
}
