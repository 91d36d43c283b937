package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rs/zerolog"
	v1 "k8s.io/api/core/v1"
)

// images pulls, imports and reads images.
type images struct {
	client      *client.Client
	registries  registries
	snapshotter string
	log         zerolog.Logger

	// turn, when not nil, is taken by the one transfer that may run at a time.
	turn    chan struct{}
	reading sync.Mutex // held while an image is parsed: pods that start together often share one

	mu     sync.Mutex // guards all below
	pulls  map[string]*pull
	parsed map[digest.Digest]*image // by target digest; small, and dropped when it grows
	// changed is closed, and replaced, when an import has brought images.
	changed chan struct{}
}

// image is what a container start needs to know of an image. All of it is hostile input.
type image struct {
	name    string // normalised reference
	target  digest.Digest
	config  ocispec.ImageConfig
	id      digest.Digest // of the configuration
	chainID string        // of the unpacked root filesystem
	passwd  []byte        // /etc/passwd and /etc/group of the root filesystem, bounded
	group   []byte
	volumes []declaredVolume
}

func newImages(c *client.Client, cfg Config, snapshotter string, log zerolog.Logger) *images {
	x := &images{
		client: c, registries: newRegistries(cfg), snapshotter: snapshotter, log: log,
		pulls: map[string]*pull{}, parsed: map[digest.Digest]*image{},
		changed: make(chan struct{}),
	}
	if cfg.SerialPulls {
		x.turn = make(chan struct{}, 1)
	}
	return x
}

// normalise gives a reference its full name, as docker does: nginx is docker.io/library/nginx:latest.
func normalise(ref string) (string, error) {
	n, err := reference.ParseDockerRef(ref)
	if err != nil {
		return "", &podmgr.ReasonError{Reason: "InvalidImageName", Err: fmt.Errorf("reading image name %q: %w", ref, err)}
	}
	return n.String(), nil
}

// Pull implements podmgr.Runtime.
func (r *Runtime) Pull(ctx context.Context, p *manifests.Pod, ref string, policy podmgr.PullPolicy) (podmgr.PullResult, error) {
	ctx = r.ns(ctx)
	name, err := normalise(ref)
	if err != nil {
		return podmgr.PullResult{}, err
	}
	var res podmgr.PullResult
	begun := time.Now()
	img, err := r.images.local(ctx, name)
	if err != nil && !errdefs.IsNotFound(err) {
		return res, r.images.refused(ctx, name, err)
	}
	here := err == nil
	creds, err := r.credentialsOf(p, name)
	if err != nil {
		return res, r.images.refused(ctx, name, err)
	}
	if here && !accessOf(img.Labels()).allows(creds) {
		here = false // for this pod
	}
	switch {
	case here && policy != podmgr.PullPolicy(v1.PullAlways):
	case !here && policy == podmgr.PullPolicy(v1.PullNever):
		return res, &podmgr.ReasonError{Reason: "ErrImageNeverPull", Err: fmt.Errorf("image %q is not present with pull policy of Never", ref)}
	default:
		pulled, err := r.images.fetchAs(ctx, name, !here, creds)
		switch {
		case err == nil && pulled == nil:
			if img, err = r.images.local(ctx, name); err != nil {
				return res, r.images.refused(ctx, name, err)
			}
		case err == nil:
			img, res.Pulled = pulled, true
		case here && unreachable(err):
			res.Note = fmt.Sprintf("registry of %q cannot be reached, using the image that is here: %v", ref, err)
		default:
			return res, r.images.refused(ctx, name, fmt.Errorf("pulling image %q: %w", ref, err))
		}
	}
	i, err := r.images.parse(ctx, img)
	if err != nil {
		return res, r.images.refused(ctx, name, fmt.Errorf("reading image %q: %w", ref, err))
	}
	res.ImageID, res.Took = i.repoDigest(), time.Since(begun)
	if res.Pulled {
		res.Bytes, _ = img.Size(ctx)
	}
	if err := r.keepImage(ctx, p, i); err != nil {
		return res, r.images.refused(ctx, name, err)
	}
	return res, nil
}

// local finds an image that is here and unpacked; one that came without being unpacked (a registry mirror, ctr) is.
func (x *images) local(ctx context.Context, name string) (client.Image, error) {
	img, err := x.client.GetImage(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("finding image %q: %w", name, err)
	}
	x.mu.Lock()
	known := x.parsed[img.Target().Digest] != nil
	x.mu.Unlock()
	if known {
		return img, nil
	}
	unpacked, err := img.IsUnpacked(ctx, x.snapshotter)
	if err != nil {
		return nil, fmt.Errorf("finding image %q: %w", name, err)
	}
	if !unpacked {
		if err := img.Unpack(ctx, x.snapshotter, client.WithUnpackApplyOpts(diff.WithSyncFs(true))); err != nil {
			return nil, fmt.Errorf("unpacking image %q: %w", name, err)
		}
	}
	return img, nil
}

// parse reads configuration and users of an unpacked image, once for each.
func (x *images) parse(ctx context.Context, img client.Image) (*image, error) {
	x.reading.Lock()
	defer x.reading.Unlock()
	target := img.Target().Digest
	x.mu.Lock()
	known := x.parsed[target]
	x.mu.Unlock()
	if known != nil {
		i := *known
		i.name = img.Name()
		return &i, nil
	}
	desc, err := img.Config(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading image configuration: %w", err)
	}
	const most = 4 << 20
	if desc.Size > most {
		return nil, fmt.Errorf("image configuration of %d bytes is too large", desc.Size)
	}
	b, err := content.ReadBlob(ctx, x.client.ContentStore(), desc)
	if err != nil {
		return nil, fmt.Errorf("reading image configuration: %w", err)
	}
	var cfg ocispec.Image
	if err := json.Unmarshal(b, &cfg); err != nil {
		return nil, fmt.Errorf("reading image configuration: %w", err)
	}
	if err := checkImageConfig(&cfg.Config); err != nil {
		return nil, err
	}
	i := &image{
		name: img.Name(), target: target, config: cfg.Config, id: desc.Digest,
		chainID: identity.ChainID(cfg.RootFS.DiffIDs).String(),
	}
	if i.chainID == "" {
		return nil, errors.New("it has no layers, so no root filesystem")
	}
	if err := x.readRoot(ctx, i); err != nil {
		return nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	const cached = 64
	if len(x.parsed) >= cached {
		clear(x.parsed)
	}
	x.parsed[target] = i
	return i, nil
}

// forStart returns a pulled image for a container.
func (x *images) forStart(ctx context.Context, ref string) (*image, error) {
	name, err := normalise(ref)
	if err != nil {
		return nil, err
	}
	img, err := x.local(ctx, name)
	if err != nil {
		return nil, err
	}
	return x.parse(ctx, img)
}

// repoDigest is status.containerStatuses[].imageID.
func (i *image) repoDigest() string {
	n, err := reference.ParseDockerRef(i.name)
	if err != nil {
		return i.id.String()
	}
	return n.Name() + "@" + i.target.String()
}
