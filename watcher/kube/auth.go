//go:build !nokube

package kube

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// How long an answer of the API server counts, as for the kubelet, and how many are kept.
const (
	tokenTTL   = 2 * time.Minute
	allowedTTL = 5 * time.Minute
	deniedTTL  = 30 * time.Second
	maxAnswers = 4096
	reviewTime = 10 * time.Second
)

// reviews asks the API server who a caller is and what it may do, and remembers the answers for a while. Tokens are
// remembered by a hash with a key of this process.
type reviews struct {
	kube   kubernetes.Interface
	secret []byte
	tokens answers[authenticationv1.TokenReviewStatus]
	access answers[authorizationv1.SubjectAccessReviewStatus]
}

func newReviews(kube kubernetes.Interface) *reviews {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	return &reviews{kube: kube, secret: secret}
}

// ReviewToken says whose a bearer token is; false for one that is nobody's.
func (n *Node) ReviewToken(ctx context.Context, token string) (authenticationv1.UserInfo, bool, error) {
	r := n.auth
	key := sha256.Sum256(append(append([]byte{}, r.secret...), token...))
	status, known := r.tokens.get(key)
	if !known {
		ctx, cancel := context.WithTimeout(ctx, reviewTime)
		defer cancel()
		got, err := r.kube.AuthenticationV1().TokenReviews().Create(ctx,
			&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
		if err != nil {
			return authenticationv1.UserInfo{}, false, fmt.Errorf("asking the API server whose a token is: %w", err)
		}
		status = got.Status
		r.tokens.put(key, status, tokenTTL)
	}
	return status.User, status.Authenticated && status.User.Username != "", nil
}

// ReviewAccess says whether a caller may do something.
func (n *Node) ReviewAccess(ctx context.Context, spec authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error) {
	r := n.auth
	b, err := json.Marshal(spec)
	if err != nil {
		return authorizationv1.SubjectAccessReviewStatus{}, fmt.Errorf("encoding an access review: %w", err)
	}
	key := sha256.Sum256(b)
	if status, known := r.access.get(key); known {
		return status, nil
	}
	ctx, cancel := context.WithTimeout(ctx, reviewTime)
	defer cancel()
	got, err := r.kube.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		return authorizationv1.SubjectAccessReviewStatus{}, fmt.Errorf("asking the API server what %q may do: %w", spec.User, err)
	}
	ttl := deniedTTL
	if got.Status.Allowed {
		ttl = allowedTTL
	}
	r.access.put(key, got.Status, ttl)
	return got.Status, nil
}

// answers keeps answers for their time. The zero value is ready.
type answers[T any] struct {
	mu    sync.Mutex // guards items
	items map[[sha256.Size]byte]answer[T]
}

type answer[T any] struct {
	value T
	until time.Time
}

func (a *answers[T]) get(key [sha256.Size]byte) (value T, known bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	found, ok := a.items[key]
	if !ok || time.Now().After(found.until) {
		return value, false
	}
	return found.value, true
}

func (a *answers[T]) put(key [sha256.Size]byte, value T, ttl time.Duration) {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.items == nil {
		a.items = map[[sha256.Size]byte]answer[T]{}
	}
	if len(a.items) >= maxAnswers {
		for k, v := range a.items {
			if now.After(v.until) {
				delete(a.items, k)
			}
		}
	}
	for k := range a.items { // all still count: any of them makes place
		if len(a.items) < maxAnswers {
			break
		}
		delete(a.items, k)
	}
	a.items[key] = answer[T]{value, now.Add(ttl)}
}
