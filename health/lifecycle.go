package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
)

// Handle runs a postStart or preStop handler to its end and says what went wrong. It has no timeout of its own: a preStop
// handler's ctx ends with the grace period. As with the kubelet, an httpGet handler succeeds with any answer, whatever its
// status, one over HTTPS falls back to HTTP when the server does not speak TLS, and tcpSocket is no handler.
func Handle(ctx context.Context, h *v1.LifecycleHandler, at Place) error {
	switch {
	case h.Exec != nil:
		return at.handleExec(ctx, h.Exec.Command)
	case h.HTTPGet != nil:
		return at.handleHTTP(ctx, h.HTTPGet)
	case h.Sleep != nil:
		t := time.NewTimer(time.Duration(h.Sleep.Seconds) * time.Second)
		defer t.Stop()
		select {
		case <-t.C:
			return nil
		case <-ctx.Done():
			return errors.New("container terminated before sleep hook finished")
		}
	default:
		return errors.New("invalid handler: none of exec, httpGet and sleep is set")
	}
}

// handleExec runs the command as it is written: the kubelet expands $(NAME) in probes only.
func (at Place) handleExec(ctx context.Context, command []string) error {
	if at.Exec == nil {
		return errors.New("commands cannot be run here")
	}
	code, output, err := at.Exec(ctx, command)
	if err != nil {
		return fmt.Errorf("running %q: %w", strings.Join(command, " "), err)
	}
	if code != 0 {
		return errors.New(result(Failure, fmt.Sprintf("command %q exited with %d: %s",
			strings.Join(command, " "), code, output[:min(len(output), maxMessage)])).Message)
	}
	return nil
}

func (at Place) handleHTTP(ctx context.Context, a *v1.HTTPGetAction) error {
	t, err := at.http(a)
	if err != nil {
		return err
	}
	t.purpose = "lifecycle"
	err = t.call(ctx)
	if errors.Is(err, http.ErrSchemeMismatch) {
		t.Scheme = "http"
		t.Headers.Del("Authorization") // it was not meant for a plain connection
		err = t.call(ctx)
	}
	return err
}

// call makes the request once; an answer of any status is success.
func (t HTTPTarget) call(ctx context.Context) error {
	req, err := t.request()
	if err != nil {
		return err
	}
	client := &http.Client{Transport: exchange{t.Dial.orHost(), t.Protocol2}, CheckRedirect: sameHost}
	res, err := client.Do(req.WithContext(ctx))
	if err != nil {
		return err
	}
	_, _ = io.CopyN(io.Discard, res.Body, maxMessage)
	return res.Body.Close()
}
