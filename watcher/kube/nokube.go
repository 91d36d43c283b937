//go:build nokube

package kube

import (
	"context"
	"crypto/tls"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	v1 "k8s.io/api/core/v1"
)

// built says whether there is API-server mode in this binary.
const built = false

// Node is never made in this build.
type Node struct{}

// New returns an error.
func New(Config, Host, Board) (*Node, error) { return nil, errNone }

// Run is described at the Node of other builds, as are the methods below.
func (n *Node) Run(context.Context) error { return errNone }

// Pods returns nil.
func (n *Node) Pods() Source { return nil }

// Object returns nil.
func (n *Node) Object() *v1.Node { return nil }

// ReviewToken implements server.Reviewer.
func (n *Node) ReviewToken(context.Context, string) (authenticationv1.UserInfo, bool, error) {
	return authenticationv1.UserInfo{}, false, errNone
}

// ReviewAccess implements server.Reviewer.
func (n *Node) ReviewAccess(context.Context, authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error) {
	return authorizationv1.SubjectAccessReviewStatus{}, errNone
}

// ServingCertificate returns nil.
func (n *Node) ServingCertificate() *tls.Certificate { return nil }
