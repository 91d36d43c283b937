package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Action is what a caller may do. It is decided by the route alone, never by the HTTP method: a WebSocket exec is a GET.
type Action string

// The actions. Each route has one; Admin is for what changes the node, and for the host's own logs.
const (
	Read        Action = "read"        // pods, events, problems, images, the configuration
	ReadLogs    Action = "logs"        // what containers print
	Metrics     Action = "metrics"     // numbers
	Exec        Action = "exec"        // commands in containers
	Attach      Action = "attach"      // the streams of a container's first process
	PortForward Action = "portforward" // ports of pods
	Admin       Action = "admin"       // images, restarts, /var/log
	// open is /healthz: on the loopback address it needs no credentials, elsewhere it is Read.
	open Action = "healthz"
)

// Actions lists every action that can be granted.
func Actions() []Action { return []Action{Read, ReadLogs, Metrics, Exec, Attach, PortForward, Admin} }

// Caller is who asks.
type Caller struct {
	Name   string
	Groups []string
	// UID and Extra are what else an API server tells of a caller.
	UID   string
	Extra map[string][]string
}

// Authenticator says who sent a request. ErrNoCredentials means that the request has none of its kind, so that the next
// one is asked; any other error refuses the request.
type Authenticator interface {
	Authenticate(r *http.Request) (Caller, error)
}

// ErrNoCredentials is described at Authenticator.
var ErrNoCredentials = errors.New("no credentials")

// Authorizer says whether a caller may do what a request asks for. Reason is for the caller's eyes; an error refuses.
type Authorizer interface {
	Authorize(ctx context.Context, c Caller, a Action, r *http.Request) (allowed bool, reason string, err error)
}

// Grant allows actions to a user, or to a group when Group is set.
type Grant struct {
	User, Group string
	Actions     []Action
}

// Grants is an Authorizer that allows what is listed and nothing else.
type Grants []Grant

// ParseGrants reads "NAME=ACTION+ACTION" and "group:NAME=ACTION+ACTION"; "*" stands for all actions.
func ParseGrants(list []string) (Grants, error) {
	var out Grants
	for _, text := range list {
		who, what, ok := strings.Cut(text, "=")
		if !ok || who == "" || what == "" {
			return nil, fmt.Errorf("reading access %q: want NAME=ACTION+ACTION or group:NAME=ACTION+ACTION", text)
		}
		g := Grant{User: who}
		if group, ok := strings.CutPrefix(who, "group:"); ok {
			g = Grant{Group: group}
		}
		for a := range strings.SplitSeq(what, "+") {
			switch {
			case a == "*":
				g.Actions = Actions()
			case slices.Contains(Actions(), Action(a)):
				g.Actions = append(g.Actions, Action(a))
			default:
				return nil, fmt.Errorf("reading access %q: %q is none of the actions %v", text, a, Actions())
			}
		}
		out = append(out, g)
	}
	return out, nil
}

// Authorize implements Authorizer.
func (g Grants) Authorize(_ context.Context, c Caller, a Action, _ *http.Request) (bool, string, error) {
	for _, grant := range g {
		named := grant.User != "" && grant.User == c.Name || grant.Group != "" && slices.Contains(c.Groups, grant.Group)
		if named && slices.Contains(grant.Actions, a) {
			return true, "", nil
		}
	}
	return false, fmt.Sprintf("%q may not %s", c.Name, a), nil
}

// clientCertificates takes the name from the certificate that the TLS handshake verified: CN is the user, each O a group.
type clientCertificates struct{}

func (clientCertificates) Authenticate(r *http.Request) (Caller, error) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return Caller{}, ErrNoCredentials
	}
	subject := r.TLS.VerifiedChains[0][0].Subject
	if subject.CommonName == "" {
		return Caller{}, errors.New("the client certificate has no common name")
	}
	return Caller{Name: subject.CommonName, Groups: subject.Organization}, nil
}

// bearer is the token of a request; empty without one.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}
