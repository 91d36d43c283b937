package server

import (
	"github.com/go-logr/logr/funcr"
	"github.com/rs/zerolog"
	"k8s.io/klog/v2"
)

// RouteKlog sends what the Kubernetes libraries log into l, for the whole process. They call errors what any client can
// cause, by leaving for one, so that it is for debugging only.
func RouteKlog(l zerolog.Logger) {
	klog.SetLogger(funcr.New(func(prefix, args string) {
		l.Debug().Str("from", "kubernetes").Str("logger", prefix).Msg(args)
	}, funcr.Options{}))
}
