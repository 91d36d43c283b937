package ctl

import (
	"context"
	"fmt"
	"net/http"
	"path"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Restart ends the containers of pods so that they are started again.
func Restart(ctx context.Context, c *Client, s Streams, namespace string, pods []string) error {
	if len(pods) == 0 {
		return UsageError("restart wants the names of pods")
	}
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	for _, p := range pods {
		body, err := c.do(ctx, http.MethodPost, path.Join("/restart", namespace, podName(p)), nil, nil)
		if err != nil {
			return err
		}
		_ = body.Close()
		fmt.Fprintf(s.Out, "pod/%s restarted\n", podName(p))
	}
	return nil
}
