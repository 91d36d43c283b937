package server

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"edgepod.dev/agent/podmgr/logs"
	v1 "k8s.io/api/core/v1"
)

// containerLogs is the kubelet's /containerLogs.
func (s *Server) containerLogs(w http.ResponseWriter, r *http.Request) {
	o, previous, err := logOptions(r, time.Now())
	if err != nil {
		writeError(w, err)
		return
	}
	k := s.key(r)
	container := r.PathValue("container")
	e, ok := s.Board.Get(k)
	if !ok || e.Pod == nil {
		writeError(w, notFound(fmt.Sprintf("pod %q not found in namespace %q", k.Name, k.Namespace)))
		return
	}
	attempt, err := attemptOf(e, container, previous)
	if err != nil {
		writeError(w, err)
		return
	}
	path := s.Logs.File(k.Namespace, k.Name, e.Pod.UID(), container, attempt)
	if _, err := os.Lstat(path); err != nil {
		writeError(w, notFound(fmt.Sprintf("container %q in pod %q has no log of attempt %d", container, k.Name, attempt)))
		return
	}
	if o.Follow {
		release, err := s.followers.take(k)
		if err != nil {
			writeError(w, err)
			return
		}
		defer release()
	}
	out := &flusher{w: w, flush: http.NewResponseController(w).Flush}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if o.Follow {
		_ = out.flush() // so that the client knows that it is being listened to, however silent the container
	}
	o.Wake = s.Board.Changed
	err = s.Logs.Read(r.Context(), out, path, o, func() bool { return s.runs(k, e.Pod, container, attempt) })
	switch {
	case err == nil || r.Context().Err() != nil:
	case !out.begun && !o.Follow && errors.Is(err, fs.ErrNotExist):
		writeError(w, notFound(fmt.Sprintf("the log of container %q is gone", container)))
	case !out.begun && !o.Follow:
		writeError(w, err)
	default:
		// Too late for a status: break the connection, so that a cut log is not taken for a whole one.
		s.Log.Warn().Err(err).Stringer("pod", k).Str("container", container).Msg("reading log")
		panic(http.ErrAbortHandler)
	}
}

// runs says whether the instance whose log is read may still write to it.
func (s *Server) runs(k manifests.Key, p *manifests.Pod, container string, attempt int) bool {
	e, ok := s.Board.Get(k)
	if !ok || e.Pod == nil || e.Pod.UID() != p.UID() {
		return false
	}
	c := statusOf(e, container)
	if c == nil || int(c.RestartCount) != attempt || c.State.Terminated != nil {
		return false
	}
	return c.State.Running != nil || !endedLast(c)
}

func statusOf(e *podmgr.Entry, container string) *v1.ContainerStatus {
	for _, list := range [][]v1.ContainerStatus{
		e.Status.ContainerStatuses, e.Status.InitContainerStatuses, e.Status.EphemeralContainerStatuses,
	} {
		for i := range list {
			if list[i].Name == container {
				return &list[i]
			}
		}
	}
	return nil
}

// endedLast says whether the newest instance is the one in the last termination state: it ended, and the container waits
// for its next start.
func endedLast(c *v1.ContainerStatus) bool {
	t := c.LastTerminationState.Terminated
	return t != nil && t.ContainerID == c.ContainerID
}

// attemptOf says which instance's log is asked for. As with the kubelet, a container that waits after a crash shows the
// instance that crashed, as the current and as the previous one.
func attemptOf(e *podmgr.Entry, container string, previous bool) (int, error) {
	if podmgr.Spec(e.Pod.Object, container) == nil {
		return 0, notFound(fmt.Sprintf("container %s is not valid for pod %s", container, e.Key.Name))
	}
	c := statusOf(e, container)
	switch {
	case previous && (c == nil || c.LastTerminationState.Terminated == nil):
		return 0, badRequest(fmt.Sprintf("previous terminated container %q in pod %q not found", container, e.Key.Name))
	case previous && !endedLast(c):
		return int(c.RestartCount) - 1, nil
	case c == nil || c.ContainerID == "":
		why := "ContainerCreating"
		if c != nil && c.State.Waiting != nil {
			why = c.State.Waiting.Reason
		}
		return 0, badRequest(fmt.Sprintf("container %q in pod %q is waiting to start: %s", container, e.Key.Name, why))
	default:
		return int(c.RestartCount), nil
	}
}

// logOptions reads the query, named and checked as v1.PodLogOptions is.
func logOptions(r *http.Request, now time.Time) (o logs.ReadOptions, previous bool, err error) {
	for _, f := range []struct {
		name string
		to   *bool
	}{{"follow", &o.Follow}, {"previous", &previous}, {"timestamps", &o.Timestamps}} {
		if *f.to, err = boolParam(r, f.name); err != nil {
			return o, previous, err
		}
	}
	if o.Tail, err = intParam(r, "tailLines", 0); err != nil {
		return o, previous, err
	}
	if o.LimitBytes, err = intParam(r, "limitBytes", 1); err != nil {
		return o, previous, err
	}
	seconds, err := intParam(r, "sinceSeconds", 1)
	if err != nil {
		return o, previous, err
	}
	since := r.FormValue("sinceTime")
	switch {
	case seconds != nil && since != "":
		return o, previous, badRequest("at most one of sinceTime or sinceSeconds may be specified")
	case seconds != nil:
		o.Since = now.Add(-time.Duration(*seconds) * time.Second)
	case since != "":
		if o.Since, err = time.Parse(time.RFC3339, since); err != nil {
			return o, previous, badRequest("sinceTime: " + err.Error())
		}
	}
	return o, previous, nil
}

// boolParam reads a query parameter; present without a value it is true, as with the kubelet.
func boolParam(r *http.Request, name string) (bool, error) {
	if !r.URL.Query().Has(name) {
		return false, nil
	}
	switch v := r.URL.Query().Get(name); v {
	case "", "1", "true":
		return true, nil
	case "0", "false":
		return false, nil
	default:
		return false, badRequest(fmt.Sprintf("%s: %q is neither true nor false", name, v))
	}
}

// intParam reads a query parameter that is at least low; nil when it is absent.
func intParam(r *http.Request, name string, low int64) (*int64, error) {
	v := r.URL.Query().Get(name)
	if v == "" {
		return nil, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < low {
		return nil, badRequest(fmt.Sprintf("%s: %q is not a number of at least %d", name, v, low))
	}
	return &n, nil
}

// flusher hands on every write at once.
type flusher struct {
	w     http.ResponseWriter
	flush func() error
	begun bool
}

func (f *flusher) Write(p []byte) (int, error) {
	f.begun = true
	n, err := f.w.Write(p)
	if err == nil {
		err = f.flush()
	}
	return n, err
}
