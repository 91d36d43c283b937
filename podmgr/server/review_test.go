package server

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
)

// scripted is a Reviewer that knows one token and allows listed subresources.
type scripted struct {
	allowed map[string]bool
	asked   []string
	err     error
}

func (s *scripted) ReviewToken(_ context.Context, token string) (authenticationv1.UserInfo, bool, error) {
	if token != "good" {
		return authenticationv1.UserInfo{}, false, s.err
	}
	return authenticationv1.UserInfo{Username: "u", UID: "1", Groups: []string{"g"}, Extra: map[string]authenticationv1.ExtraValue{"k": {"v"}}}, true, nil
}

func (s *scripted) ReviewAccess(_ context.Context, spec authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error) {
	a := spec.ResourceAttributes
	s.asked = append(s.asked, a.Verb+" "+a.Resource+"/"+a.Subresource+" "+a.Name)
	return authorizationv1.SubjectAccessReviewStatus{Allowed: s.allowed[a.Subresource]}, s.err
}

func TestAccessIsReviewedByTheFineSubresourceFirst(t *testing.T) {
	for _, test := range []struct {
		name, method, path string
		allowed            map[string]bool
		asked              []string
		want               bool
	}{
		{"pods, by pods alone", "GET", "/pods", map[string]bool{"pods": true}, []string{"get nodes/pods n"}, true},
		{"pods, by proxy", "GET", "/pods/", map[string]bool{"proxy": true}, []string{"get nodes/pods n", "get nodes/proxy n"}, true},
		{"pods, by nothing", "GET", "/runningpods/", nil, []string{"get nodes/pods n", "get nodes/proxy n"}, false},
		{"the state of health", "GET", "/healthz/ping", map[string]bool{"healthz": true}, []string{"get nodes/healthz n"}, true},
		{"the configuration", "GET", "/configz", map[string]bool{"configz": true}, []string{"get nodes/configz n"}, true},
		{"numbers never by proxy", "GET", "/metrics/cadvisor", map[string]bool{"proxy": true}, []string{"get nodes/metrics n"}, false},
		{"the summary", "GET", "/stats/summary", map[string]bool{"stats": true}, []string{"get nodes/stats n"}, true},
		{"logs of the host", "GET", "/logs/syslog", map[string]bool{"log": true}, []string{"get nodes/log n"}, true},
		{"an exec by POST", "POST", "/exec/ns/p/c", map[string]bool{"proxy": true}, []string{"create nodes/proxy n"}, true},
		{"an exec by WebSocket", "GET", "/exec/ns/p/c", map[string]bool{"pods": true}, []string{"create nodes/proxy n"}, false},
		{"an attach by WebSocket", "GET", "/attach/ns/p/uid/c", map[string]bool{"proxy": true}, []string{"create nodes/proxy n"}, true},
		{"ports by WebSocket", "GET", "/portForward/ns/p", map[string]bool{"proxy": true}, []string{"create nodes/proxy n"}, true},
		{"logs of a container", "GET", "/containerLogs/ns/p/c", map[string]bool{"proxy": true}, []string{"get nodes/proxy n"}, true},
		{"what only begins like /pods", "GET", "/podsy", map[string]bool{"pods": true}, []string{"get nodes/proxy n"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &scripted{allowed: test.allowed}
			r := httptest.NewRequest(test.method, test.path, nil)
			got, _, err := ReviewedAccess{Reviewer: s, NodeName: "n"}.Authorize(t.Context(), Caller{Name: "u"}, New(Config{}).actionOf(r), r)
			if err != nil || got != test.want {
				t.Errorf("allowed %v, %v", got, err)
			}
			if diff := cmp.Diff(test.asked, s.asked); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAServerThatCannotBeAskedAllowsNothing(t *testing.T) {
	s := &scripted{allowed: map[string]bool{"proxy": true}, err: errors.New("no link")}
	if ok, _, err := (ReviewedAccess{Reviewer: s, NodeName: "n"}).Authorize(t.Context(), Caller{Name: "u"}, Read, httptest.NewRequest(http.MethodGet, "/pods", nil)); ok || err == nil {
		t.Errorf("allowed %v, %v", ok, err)
	}
	grants := Grants{{User: "u", Actions: []Action{Read}}}
	if ok, _, err := (Any{grants, ReviewedAccess{Reviewer: s, NodeName: "n"}}).Authorize(t.Context(), Caller{Name: "u"}, Read, httptest.NewRequest(http.MethodGet, "/pods", nil)); !ok || err != nil {
		t.Errorf("what is granted on this node does not need the server: %v, %v", ok, err)
	}
}

func TestATokenIsReviewed(t *testing.T) {
	request := func(token string) *http.Request {
		r := httptest.NewRequest(http.MethodGet, "/pods", nil)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		return r
	}
	a := ReviewedTokens{&scripted{}}
	got, err := a.Authenticate(request("good"))
	if diff := cmp.Diff(Caller{Name: "u", UID: "1", Groups: []string{"g"}, Extra: map[string][]string{"k": {"v"}}}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if _, err := a.Authenticate(request("")); !errors.Is(err, ErrNoCredentials) {
		t.Errorf("without a token: %v", err)
	}
	if c, err := a.Authenticate(request("bad")); err == nil || c.Name != "" {
		t.Errorf("a token that nobody has: %v %v", c, err)
	}
	if c, err := (ReviewedTokens{&scripted{err: errors.New("no link")}}).Authenticate(request("bad")); err == nil || c.Name != "" {
		t.Errorf("without an answer: %v %v", c, err)
	}
}
