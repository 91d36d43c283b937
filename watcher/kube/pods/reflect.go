package pods

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// retryMost bounds the wait between tries to reach an API server that is away, so that a box is back soon after its link.
const retryMost = 10 * time.Second

// kindOf is the two calls of a typed client that a watch needs.
type kindOf[L runtime.Object] struct {
	list  func(context.Context, metav1.ListOptions) (L, error)
	watch func(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// follow keeps store as the API server has the objects that selector (a field selector, may be empty) finds, until ctx
// ends. Lists are consistent reads: an API server that lags behind must not take pods away. heard is told how every
// call went: nil when the API server answered.
func (k kindOf[L]) follow(ctx context.Context, selector string, example runtime.Object, store cache.ReflectorStore, heard func(error)) {
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = selector
			if o.ResourceVersion == "0" {
				o.ResourceVersion = ""
			}
			list, err := k.list(ctx, o)
			heard(err)
			if err != nil {
				return nil, err
			}
			return list, nil
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = selector
			w, err := k.watch(ctx, o)
			if err != nil {
				// One without watch-lists says so; then there is a list.
				if o.SendInitialEvents == nil || !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err) {
					heard(err)
				}
				return nil, err
			}
			heard(nil)
			return w, nil
		},
	}
	r := cache.NewReflectorWithOptions(lw, example, store, cache.ReflectorOptions{
		Name:    selector,
		Backoff: &wait.Backoff{Duration: 200 * time.Millisecond, Cap: retryMost, Steps: 10, Factor: 2, Jitter: 0.5},
	})
	r.RunWithContext(ctx)
}
