package containerd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"edgepod.dev/agent/manifests"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/diff"
	remoteserrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
)

// pull is one transfer that any number of callers wait for.
type pull struct {
	done   chan struct{}
	cancel context.CancelFunc
	users  int
	img    client.Image
	err    error
}

// fetchOrAppear fetches an image from its registry. It stops asking when a usable image comes another way, by an import,
// and returns nil then: an unreachable registry can take minutes to say so.
func (x *images) fetchOrAppear(ctx context.Context, name string, cred *manifests.PullCredential, usable func(client.Image) bool) (client.Image, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		img client.Image
		err error
	}
	fetched := make(chan result, 1)
	go func() {
		img, err := x.fetch(ctx, name, cred)
		fetched <- result{img, err}
	}()
	for {
		x.mu.Lock()
		changed := x.changed
		x.mu.Unlock()
		if img, err := x.client.GetImage(ctx, name); err == nil && usable(img) {
			select {
			case r := <-fetched: // it came from the registry after all
				return r.img, r.err
			default:
			}
			cancel()
			<-fetched
			return nil, nil
		}
		select {
		case r := <-fetched:
			return r.img, r.err
		case <-changed:
		}
	}
}

// imported tells pulls that images have appeared.
func (x *images) imported() {
	x.mu.Lock()
	defer x.mu.Unlock()
	close(x.changed)
	x.changed = make(chan struct{})
}

// transfer gets one image; cancel ends ctx, and with it the transfer.
func (x *images) transfer(ctx context.Context, cancel context.CancelFunc, name string, cred *manifests.PullCredential) (client.Image, error) {
	if x.turn != nil {
		select {
		case x.turn <- struct{}{}:
			defer func() { <-x.turn }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	stalled := x.watchStall(ctx, cancel)
	img, err := x.pullAs(ctx, name, cred,
		client.WithResolver(x.registries.resolver(ctx, name, cred)),
		client.WithPullUnpack, client.WithPullSnapshotter(x.snapshotter),
		client.WithMaxConcurrentDownloads(3),
		client.WithUnpackOpts([]client.UnpackOpt{client.WithUnpackApplyOpts(diff.WithSyncFs(true))}))
	cancel()
	if <-stalled {
		err = fmt.Errorf("no data came for %s: %w", stallLimit, errdefs.ErrUnavailable)
	}
	return img, err
}

// fetch asks the registry; callers that want the same name as the same user share one transfer, which ends when none is
// left.
func (x *images) fetch(ctx context.Context, name string, cred *manifests.PullCredential) (client.Image, error) {
	key := name
	if cred != nil {
		key += " " + cred.Hash
	}
	x.mu.Lock()
	p := x.pulls[key]
	if p == nil {
		run, cancel := context.WithCancel(context.WithoutCancel(ctx))
		p = &pull{done: make(chan struct{}), cancel: cancel}
		x.pulls[key] = p
		go func() {
			defer cancel()
			p.img, p.err = x.transfer(run, cancel, name, cred)
			x.mu.Lock()
			if x.pulls[key] == p {
				delete(x.pulls, key)
			}
			x.mu.Unlock()
			close(p.done)
		}()
	}
	p.users++
	x.mu.Unlock()
	select {
	case <-p.done:
		return p.img, p.err
	case <-ctx.Done():
		x.mu.Lock()
		p.users--
		if p.users == 0 {
			p.cancel()
			if x.pulls[key] == p {
				delete(x.pulls, key)
			}
		}
		x.mu.Unlock()
		return nil, ctx.Err()
	}
}

// stallLimit is how long a pull may go on without a byte coming in.
const stallLimit = 2 * time.Minute

// watchStall cancels a pull that makes no progress; its channel says whether it did, when ctx has ended.
func (x *images) watchStall(ctx context.Context, cancel func()) <-chan bool {
	out := make(chan bool, 1)
	go func() {
		t := time.NewTicker(stallLimit / 12)
		defer t.Stop()
		var last int64
		since := time.Now()
		for {
			select {
			case <-ctx.Done():
				out <- false
				return
			case <-t.C:
			}
			var sum int64
			all, err := x.client.ContentStore().ListStatuses(ctx)
			for _, s := range all {
				sum += s.Offset
			}
			switch {
			case err != nil || sum != last || len(all) == 0 && last != 0:
				last, since = sum, time.Now()
			case time.Since(since) > stallLimit && len(all) > 0:
				out <- true
				cancel()
				return
			}
		}
	}()
	return out
}

// unreachable says whether err means that no registry answered, as opposed to one that said no.
func unreachable(err error) bool {
	var (
		netErr net.Error
		urlErr *url.Error
		dnsErr *net.DNSError
	)
	if errors.As(err, &netErr) || errors.As(err, &urlErr) || errors.As(err, &dnsErr) || errdefs.IsUnavailable(err) {
		return true
	}
	var answer remoteserrors.ErrUnexpectedStatus
	if errors.As(err, &answer) {
		// A registry or a proxy that is itself in trouble.
		return answer.StatusCode >= http.StatusInternalServerError || answer.StatusCode == http.StatusTooManyRequests
	}
	return false
}
