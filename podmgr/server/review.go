package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
)

// Reviewer asks an API server about callers; watcher/kube has one. It may keep answers for a while. An error means that it
// could not be asked, never that the answer is no.
type Reviewer interface {
	// ReviewToken says whose a bearer token is; false for a token that is nobody's.
	ReviewToken(ctx context.Context, token string) (authenticationv1.UserInfo, bool, error)
	// ReviewAccess says whether a user may do what spec says.
	ReviewAccess(ctx context.Context, spec authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error)
}

// ReviewedTokens is an Authenticator that has a Reviewer look at bearer tokens.
type ReviewedTokens struct{ Reviewer }

// Authenticate implements Authenticator.
func (t ReviewedTokens) Authenticate(r *http.Request) (Caller, error) {
	token := bearer(r)
	if token == "" {
		return Caller{}, ErrNoCredentials
	}
	user, ok, err := t.ReviewToken(r.Context(), token)
	if err != nil {
		return Caller{}, err
	}
	if !ok {
		return Caller{}, errors.New("the API server does not know the token")
	}
	c := Caller{Name: user.Username, UID: user.UID, Groups: user.Groups}
	if len(user.Extra) > 0 {
		c.Extra = map[string][]string{}
		for k, v := range user.Extra {
			c.Extra[k] = v
		}
	}
	return c, nil
}

// ReviewedAccess is an Authorizer that has a Reviewer look at what the request means for the Node: the kubelet's verbs
// and subresources of nodes, the fine one first (KEP-2862), then nodes/proxy. Unlike the kubelet it has who may only get
// nodes/proxy, as monitoring often may, run nothing in containers: a WebSocket's exec is a GET.
type ReviewedAccess struct {
	Reviewer
	NodeName string
}

// Authorize implements Authorizer.
func (a ReviewedAccess) Authorize(ctx context.Context, c Caller, action Action, r *http.Request) (bool, string, error) {
	spec := authorizationv1.SubjectAccessReviewSpec{User: c.Name, UID: c.UID, Groups: c.Groups}
	if len(c.Extra) > 0 {
		spec.Extra = map[string]authorizationv1.ExtraValue{}
		for k, v := range c.Extra {
			spec.Extra[k] = v
		}
	}
	verb := nodeVerb(r.Method)
	if action == Exec || action == Attach || action == PortForward {
		verb = "create"
	}
	subresources := nodeSubresources(r.URL.Path)
	var errs []error
	for _, sub := range subresources {
		spec.ResourceAttributes = &authorizationv1.ResourceAttributes{
			Verb: verb, Version: "v1", Resource: "nodes", Subresource: sub, Name: a.NodeName,
		}
		status, err := a.ReviewAccess(ctx, spec)
		switch {
		case err != nil:
			errs = append(errs, err)
		case status.Allowed:
			return true, "", nil
		}
	}
	return false, fmt.Sprintf("user=%s, verb=%s, resource=nodes, subresource(s)=%v", c.Name, verb, subresources), errors.Join(errs...)
}

// nodeVerb is the API's verb for an HTTP method.
func nodeVerb(method string) string {
	switch method {
	case http.MethodPost:
		return "create"
	case http.MethodGet, http.MethodHead:
		return "get"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		return "delete"
	}
	return ""
}

// nodeSubresources are the subresources of nodes any of which lets a caller in, as for the kubelet.
func nodeSubresources(path string) []string {
	below := func(dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }
	switch {
	case below("/pods"), below("/runningpods"):
		return []string{"pods", "proxy"}
	case below("/healthz"):
		return []string{"healthz", "proxy"}
	case below("/configz"):
		return []string{"configz", "proxy"}
	case below("/stats"):
		return []string{"stats"}
	case below("/metrics"):
		return []string{"metrics"}
	case below("/logs"):
		return []string{"log"}
	}
	return []string{"proxy"}
}

// Any is an Authorizer that allows what one of its parts allows.
type Any []Authorizer

// Authorize implements Authorizer. An error of one part counts when no other allows.
func (list Any) Authorize(ctx context.Context, c Caller, a Action, r *http.Request) (bool, string, error) {
	var errs []error
	why := ""
	for _, part := range list {
		allowed, reason, err := part.Authorize(ctx, c, a, r)
		if err != nil {
			errs = append(errs, err)
		} else if allowed {
			return true, "", nil
		}
		why = reason
	}
	return false, why, errors.Join(errs...)
}

// Everybody is an Authorizer that allows everything to everybody who is known.
type Everybody struct{}

// Authorize implements Authorizer.
func (Everybody) Authorize(context.Context, Caller, Action, *http.Request) (bool, string, error) {
	return true, "", nil
}
