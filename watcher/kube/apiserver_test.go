//go:build !nokube

package kube

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	certificatesv1 "k8s.io/api/certificates/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes/scheme"
)

// theToken may ask for a first certificate.
const theToken = "bootstrap-token"

// apiServer has as much of an API server as a node's own object needs: TLS with client certificates and a token, objects by
// path, patches of nodes, watches, and a signer that approves every request.
type apiServer struct {
	t        *testing.T
	web      *httptest.Server
	ca       *x509.Certificate
	caKey    *ecdsa.PrivateKey
	lifetime time.Duration // of client certificates

	mu      sync.Mutex
	objects map[string]runtime.Object // by path
	version int
	calls   []string // "CALLER METHOD path"
	down    bool
	changed chan struct{}
}

func newAPIServer(t *testing.T) *apiServer {
	s := &apiServer{t: t, lifetime: time.Hour, objects: map[string]runtime.Object{}, changed: make(chan struct{})}
	var err error
	if s.caKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, s.caKey.Public(), s.caKey)
	if err != nil {
		t.Fatal(err)
	}
	if s.ca, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(s.ca)
	s.web = httptest.NewUnstartedServer(s)
	s.web.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.web.TLS = &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: s.caKey}}, ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven,
		MinVersion: tls.VersionTLS12,
	}
	s.web.StartTLS()
	t.Cleanup(func() { s.web.CloseClientConnections(); s.web.Close() })
	return s
}

// kubeconfig writes one with a user as YAML, and returns its path.
func (s *apiServer) kubeconfig(name, user string) string {
	path := filepath.Join(s.t.TempDir(), name)
	ca := filepath.Join(s.t.TempDir(), "ca.crt")
	write(s.t, ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.ca.Raw}))
	write(s.t, path, fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: u, user: %s}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`, s.web.URL, ca, user))
	return path
}

// issue signs a client certificate and writes it with its key.
func (s *apiServer) issue(name, certFile, keyFile string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	write(s.t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	write(s.t, certFile, s.sign(pkix.Name{CommonName: name, Organization: []string{"system:nodes"}}, key.Public()))
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *apiServer) sign(subject pkix.Name, key any) []byte {
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<60))
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, Subject: subject, NotBefore: time.Now().Add(-time.Second).Truncate(time.Second), NotAfter: time.Now().Add(s.lifetime),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, s.ca, key, s.caKey)
	if err != nil {
		s.t.Error(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func (s *apiServer) setDown(down bool) {
	s.mu.Lock()
	s.down = down
	s.mu.Unlock()
	s.web.CloseClientConnections()
}

// called are the calls that begin so.
func (s *apiServer) called(prefix string) (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		if strings.HasPrefix(c, prefix) {
			out = append(out, c)
		}
	}
	return out
}

// node is the Node as it is in the API; nil without one.
func (s *apiServer) node() *v1.Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, _ := s.objects["/api/v1/nodes/box"].(*v1.Node)
	return n
}

// change changes the Node as somebody else would.
func (s *apiServer) change(how func(n *v1.Node)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.objects["/api/v1/nodes/box"].(*v1.Node).DeepCopy()
	how(n)
	s.put("/api/v1/nodes/box", n)
}

// put stores an object; mu is held.
func (s *apiServer) put(path string, o runtime.Object) {
	m, err := meta.Accessor(o)
	if err != nil {
		s.t.Error(err)
		return
	}
	s.version++
	m.SetResourceVersion(fmt.Sprint(s.version))
	if m.GetUID() == "" {
		m.SetUID(types.UID(fmt.Sprintf("uid-%d", s.version)))
	}
	s.objects[path] = o
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *apiServer) remove(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, path)
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	caller := ""
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		caller = r.TLS.PeerCertificates[0].Subject.CommonName
	} else if r.Header.Get("Authorization") == "Bearer "+theToken {
		caller = "token"
	}
	s.mu.Lock()
	down := s.down
	if !down {
		s.calls = append(s.calls, caller+" "+r.Method+" "+r.URL.Path)
	}
	s.mu.Unlock()
	switch {
	case down:
		panic(http.ErrAbortHandler)
	case caller == "":
		fail(w, http.StatusUnauthorized, metav1.StatusReasonUnauthorized)
	case r.URL.Query().Get("watch") != "":
		s.watch(w, r)
	case r.Method == http.MethodGet:
		s.get(w, r)
	case r.Method == http.MethodPost:
		s.post(w, r)
	case r.Method == http.MethodPatch:
		s.patch(w, r)
	case r.Method == http.MethodPut:
		o := decode(s.t, r.Body)
		s.mu.Lock()
		s.put(r.URL.Path, o)
		s.mu.Unlock()
		reply(w, o)
	default:
		fail(w, http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed)
	}
}

func decode(t *testing.T, body io.Reader) runtime.Object {
	b, err := io.ReadAll(body)
	if err != nil {
		t.Error(err)
	}
	o, _, err := scheme.Codecs.UniversalDeserializer().Decode(b, nil, nil)
	if err != nil {
		t.Error(err)
	}
	return o
}

func reply(w http.ResponseWriter, o any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(kinded(o))
}

// kinded is the object with apiVersion and kind, without which no client reads it.
func kinded(o any) any {
	object, ok := o.(runtime.Object)
	if !ok {
		return o
	}
	object = object.DeepCopyObject()
	if kinds, _, err := scheme.Scheme.ObjectKinds(object); err == nil {
		object.GetObjectKind().SetGroupVersionKind(kinds[0])
	}
	return object
}

func fail(w http.ResponseWriter, code int, reason metav1.StatusReason) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Reason: reason, Code: int32(code), Message: string(reason),
	})
}

func (s *apiServer) get(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.objects[r.URL.Path]; o != nil {
		reply(w, o)
		return
	}
	if last := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]; !strings.HasSuffix(last, "s") {
		fail(w, http.StatusNotFound, metav1.StatusReasonNotFound)
		return
	}
	items := []any{}
	for _, path := range slices.Sorted(maps.Keys(s.objects)) {
		if strings.HasPrefix(path, r.URL.Path+"/") {
			items = append(items, kinded(s.objects[path]))
		}
	}
	kind := map[string][2]string{
		"nodes": {"v1", "NodeList"}, "pods": {"v1", "PodList"}, "services": {"v1", "ServiceList"},
		"certificatesigningrequests": {"certificates.k8s.io/v1", "CertificateSigningRequestList"},
	}[r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]]
	reply(w, map[string]any{"apiVersion": kind[0], "kind": kind[1], "metadata": map[string]any{"resourceVersion": fmt.Sprint(s.version)}, "items": items})
}

// watch sends what is there, and again what changes or goes, until the client leaves.
func (s *apiServer) watch(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("sendInitialEvents") == "true" {
		fail(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	flusher := http.NewResponseController(w)
	sent := map[string]runtime.Object{}
	send := func(kind string, o runtime.Object) {
		_ = json.NewEncoder(w).Encode(map[string]any{"type": kind, "object": kinded(o)})
	}
	for {
		s.mu.Lock()
		changed := s.changed
		for path, o := range s.objects {
			if strings.HasPrefix(path, r.URL.Path+"/") && sent[path] != o {
				kind := "ADDED"
				if sent[path] != nil {
					kind = "MODIFIED"
				}
				send(kind, o)
				sent[path] = o
			}
		}
		for path, o := range sent {
			if s.objects[path] == nil {
				send("DELETED", o)
				delete(sent, path)
			}
		}
		s.mu.Unlock()
		_ = flusher.Flush()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func (s *apiServer) post(w http.ResponseWriter, r *http.Request) {
	o := decode(s.t, r.Body)
	if csr, ok := o.(*certificatesv1.CertificateSigningRequest); ok {
		s.approve(csr)
	}
	m, err := meta.Accessor(o)
	if err != nil {
		s.t.Error(err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.GetName() == "" {
		m.SetName(fmt.Sprintf("%s%d", m.GetGenerateName(), s.version))
	}
	path := r.URL.Path + "/" + m.GetName()
	if s.objects[path] != nil {
		fail(w, http.StatusConflict, metav1.StatusReasonAlreadyExists)
		return
	}
	s.put(path, o)
	reply(w, o)
}

func (s *apiServer) approve(csr *certificatesv1.CertificateSigningRequest) {
	block, _ := pem.Decode(csr.Spec.Request)
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		s.t.Error(err)
		return
	}
	csr.Status.Certificate = s.sign(request.Subject, request.PublicKey)
	csr.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: v1.ConditionTrue}}
}

func (s *apiServer) patch(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimSuffix(r.URL.Path, "/status")
	s.mu.Lock()
	defer s.mu.Unlock()
	old, _ := s.objects[path].(*v1.Node)
	if old == nil {
		fail(w, http.StatusNotFound, metav1.StatusReasonNotFound)
		return
	}
	var patch, before bytes.Buffer
	_, _ = io.Copy(&patch, r.Body)
	_ = json.NewEncoder(&before).Encode(old)
	after, err := strategicpatch.StrategicMergePatch(before.Bytes(), patch.Bytes(), v1.Node{})
	if err != nil {
		s.t.Error(err)
	}
	next := &v1.Node{}
	if err := json.Unmarshal(after, next); err != nil {
		s.t.Error(err)
	}
	s.put(path, next)
	reply(w, next)
}

func (s *apiServer) log() zerolog.Logger { return zerolog.New(zerolog.NewTestWriter(s.t)) }

// until waits for something to become true.
func (s *apiServer) until(what string, is func() bool) {
	s.t.Helper()
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if is() {
			return
		}
	}
	s.t.Fatalf("%s did not come true; the calls were:\n%s", what, strings.Join(s.called(""), "\n"))
}

// run is a Node at work; the function ends it.
func (s *apiServer) run(c Credentials, more ...func(*Config, *Host)) (n *Node, stop func()) {
	s.t.Helper()
	cfg := Config{Credentials: c, Node: NodeConfig{Register: true, MaxPods: 110, UpdateEvery: 50 * time.Millisecond, ReportEvery: time.Hour, Port: 10250}}
	host := Host{Name: "box", Version: "1", KubeletVersion: "v1.37.2", Root: s.t.TempDir(), Log: s.log()}
	for _, m := range more {
		m(&cfg, &host)
	}
	ready := make(chan struct{})
	close(ready)
	never := make(chan struct{})
	n, err := New(cfg, host, Board{
		Entries: func() []Entry { return nil }, Events: func() []Event { return nil }, Record: func(Event) {},
		Changed: func() <-chan struct{} { return never }, Ready: func() <-chan struct{} { return ready },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := contextOf(s.t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := n.Run(ctx); err != nil {
			s.t.Error(err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	s.t.Cleanup(stop)
	return n, stop
}
