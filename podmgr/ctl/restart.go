package ctl

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"path"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Restart ends the containers of pods, or the named one of each, so that they are started again.
func Restart(ctx context.Context, c *Client, s Streams, namespace, container string, pods []string) error {
	if len(pods) == 0 {
		return UsageError("restart wants the names of pods")
	}
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	q := url.Values{}
	if container != "" {
		q.Set("container", container)
	}
	for _, p := range pods {
		body, err := c.do(ctx, http.MethodPost, path.Join("/restart", namespace, podName(p)), q, nil)
		if err != nil {
			return err
		}
		_ = body.Close()
		fmt.Fprintf(s.Out, "pod/%s restarted\n", podName(p))
	}
	return nil
}
