package pods

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"edgepod.dev/agent/manifests"
	authv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// Bounds of a token's life, as in the kubelet's token manager.
const (
	tokenMaxAge = 24 * time.Hour
	tokenJitter = 10 * time.Second
	// tokenNonsense stands for a life that no token can have.
	tokenNonsense = time.Minute
)

// tokenKey names a token of a pod.
type tokenKey struct {
	Namespace, Account string
	Pod                string
	UID                types.UID
	Audience           string
	Seconds            int64 // of life asked for
}

// token is one token; it stays in use until the next is there.
type token struct {
	since   time.Time
	cancel  context.CancelFunc
	value   string
	issued  time.Time
	expires time.Time
	err     error
}

// tokens asks for the service account tokens of pods, and again at 80 % of their lives.
type tokens struct {
	client   kubernetes.Interface
	patience time.Duration
	changed  func()
	group    sync.WaitGroup

	mu   sync.Mutex // guards what follows and the tokens' values
	held map[tokenKey]*token
}

func newTokens(client kubernetes.Interface, patience time.Duration, changed func()) *tokens {
	return &tokens{client: client, patience: patience, changed: changed, held: map[tokenKey]*token{}}
}

// want keeps exactly these tokens from now on.
func (t *tokens) want(ctx context.Context, keys map[tokenKey]bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, x := range t.held {
		if !keys[k] {
			if x.cancel != nil {
				x.cancel()
			}
			delete(t.held, k)
		}
	}
	for k := range keys {
		x := t.held[k]
		if x == nil {
			x = &token{}
			t.held[k] = x
		}
		if x.cancel == nil {
			ctx, cancel := context.WithCancel(ctx)
			x.cancel, x.since = cancel, time.Now()
			t.group.Go(func() { t.renew(ctx, k, x) })
		}
	}
}

// renew keeps one token fresh until ctx ends.
func (t *tokens) renew(ctx context.Context, k tokenKey, x *token) {
	t.mu.Lock()
	due := refreshAt(x)
	t.mu.Unlock()
	for failures := 0; ; {
		if wait := time.Until(due); wait > 0 && !sleep(ctx, wait) {
			return
		}
		err := t.request(ctx, k, x)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			failures++
			due = time.Now().Add(jittered(backOff(failures)))
			continue
		}
		failures = 0
		t.mu.Lock()
		due = refreshAt(x)
		t.mu.Unlock()
	}
}

// refreshAt is when the next token is asked for: at 80 % of the life of this one, at the latest after a day.
func refreshAt(x *token) time.Time {
	if x.value == "" {
		return time.Time{}
	}
	life := x.expires.Sub(x.issued)
	if life <= 0 {
		life = tokenNonsense
	}
	return x.issued.Add(min(life*8/10, tokenMaxAge) - rand.N(min(tokenJitter, life/20+1)))
}

func (t *tokens) request(ctx context.Context, k tokenKey, x *token) error {
	asked := time.Now()
	r := &authv1.TokenRequest{Spec: authv1.TokenRequestSpec{
		ExpirationSeconds: &k.Seconds,
		BoundObjectRef:    &authv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: k.Pod, UID: k.UID},
	}}
	if k.Audience != "" {
		r.Spec.Audiences = []string{k.Audience}
	}
	got, err := t.client.CoreV1().ServiceAccounts(k.Namespace).CreateToken(ctx, k.Account, r, metav1.CreateOptions{})
	t.mu.Lock()
	if x.err = err; err == nil {
		x.value, x.issued, x.expires = got.Status.Token, asked, got.Status.ExpirationTimestamp.Time
		// The clock that the time was read from may differ from this one by more than a token lives.
		if s := got.Spec.ExpirationSeconds; s != nil && *s > 0 {
			x.expires = asked.Add(time.Duration(*s) * time.Second)
		}
	}
	t.mu.Unlock()
	if err == nil {
		t.changed()
	}
	return err
}

// files are the token files of a pod's projected volumes, and whether all that can be had is there by now.
func (t *tokens) files(p *v1.Pod, now time.Time) (files map[manifests.FileKey][]byte, kept []keptToken, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	files, known = map[manifests.FileKey][]byte{}, true
	for f, k := range tokensOf(p) {
		x := t.held[k]
		switch {
		case x == nil:
			known = false
		case x.value != "":
			files[f] = []byte(x.value)
			kept = append(kept, keptToken{Key: k, Value: x.value, Issued: x.issued, Expires: x.expires})
		case now.Sub(x.since) < t.patience:
			known = false
		}
	}
	return files, kept, known
}

// keptToken is a token in the store.
type keptToken struct {
	Key             tokenKey
	Value           string
	Issued, Expires time.Time
}

// preload takes tokens that an earlier agent kept.
func (t *tokens) preload(list []keptToken) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range list {
		t.held[k.Key] = &token{value: k.Value, issued: k.Issued, expires: k.Expires}
	}
}

// tokensOf are the tokens that a pod asks for, by the files they are for.
func tokensOf(p *v1.Pod) map[manifests.FileKey]tokenKey {
	found := map[manifests.FileKey]tokenKey{}
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			if s.ServiceAccountToken == nil {
				continue
			}
			seconds := int64(3600) // what the API server fills in
			if e := s.ServiceAccountToken.ExpirationSeconds; e != nil {
				seconds = *e
			}
			found[manifests.FileKey{Volume: v.Name, Path: s.ServiceAccountToken.Path}] = tokenKey{
				Namespace: p.Namespace, Account: p.Spec.ServiceAccountName, Pod: p.Name, UID: p.UID,
				Audience: s.ServiceAccountToken.Audience, Seconds: seconds,
			}
		}
	}
	return found
}

// backOff is the wait after a number of failures in a row.
func backOff(failures int) time.Duration {
	d := 200 * time.Millisecond
	for i := 1; i < failures && d < retryMost; i++ {
		d *= 2
	}
	return min(d, retryMost)
}

// jittered spreads retries, so that many boxes do not come back at one moment.
func jittered(d time.Duration) time.Duration { return d/2 + rand.N(d) }
