package server

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"strings"

	"edgepod.dev/agent/podmgr"
	"github.com/rs/zerolog"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// apiError is an error with an HTTP status.
type apiError struct {
	code    int
	message string
}

func (e *apiError) Error() string { return e.message }

func badRequest(message string) error { return &apiError{http.StatusBadRequest, message} }
func notFound(message string) error   { return &apiError{http.StatusNotFound, message} }
func conflict(message string) error   { return &apiError{http.StatusConflict, message} }
func forbidden(message string) error  { return &apiError{http.StatusForbidden, message} }
func tooMany(message string) error    { return &apiError{http.StatusTooManyRequests, message} }

// notHere answers for what this agent was built or started without.
func notHere(what string) error {
	return &apiError{http.StatusNotImplemented, what + " is not available"}
}

// reason is the Kubernetes reason for an HTTP status.
func reason(code int) metav1.StatusReason {
	switch code {
	case http.StatusBadRequest:
		return metav1.StatusReasonBadRequest
	case http.StatusUnauthorized:
		return metav1.StatusReasonUnauthorized
	case http.StatusForbidden:
		return metav1.StatusReasonForbidden
	case http.StatusTooManyRequests:
		return metav1.StatusReasonTooManyRequests
	case http.StatusNotFound:
		return metav1.StatusReasonNotFound
	case http.StatusMethodNotAllowed:
		return metav1.StatusReasonMethodNotAllowed
	case http.StatusConflict:
		return metav1.StatusReasonConflict
	case http.StatusRequestEntityTooLarge:
		return metav1.StatusReasonRequestEntityTooLarge
	case http.StatusServiceUnavailable:
		return metav1.StatusReasonServiceUnavailable
	default:
		return metav1.StatusReasonInternalError
	}
}

// writeError answers with err as a metav1.Status.
func writeError(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	switch api := (*apiError)(nil); {
	case errors.As(err, &api):
		code = api.code
	case errors.Is(err, podmgr.ErrNoImage):
		code = http.StatusNotFound
	case errors.Is(err, context.Canceled):
		code = http.StatusServiceUnavailable // the agent is ending, or nobody listens any more
	}
	b, err := json.Marshal(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure, Message: err.Error(), Reason: reason(code), Code: int32(code),
	})
	if err != nil {
		b = []byte(`{"kind":"Status","apiVersion":"v1","status":"Failure"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	if code == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(code)
	_, _ = w.Write(append(b, '\n'))
}

// newErrorLog routes what net/http complains about into l.
func newErrorLog(l zerolog.Logger) *log.Logger { return log.New(errorWriter{l}, "", 0) }

type errorWriter struct{ log zerolog.Logger }

func (w errorWriter) Write(p []byte) (int, error) {
	w.log.Warn().Str("why", strings.TrimSpace(string(p))).Msg("serving")
	return len(p), nil
}
