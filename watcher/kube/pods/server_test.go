package pods

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// apiServer is an API server as far as these tests need one: core/v1 objects in memory, list and watch with field
// selectors, strategic merge patches of statuses with a UID as the condition, deletion with grace, tokens.
type apiServer struct {
	t    *testing.T
	http *httptest.Server

	mu      sync.Mutex
	version int
	objects map[string]map[string]any // by "resource/namespace/name"
	log     []change
	news    chan struct{} // closed at the next change
	calls   []string
	down    bool
	oldest  int // the version from which on a watch may begin
	tokens  int
	life    time.Duration // of tokens
	behind  time.Duration // its clock, of ours
}

type change struct {
	resource, kind string
	version        int
	object         map[string]any
}

func newAPIServer(t *testing.T) *apiServer {
	s := &apiServer{t: t, objects: map[string]map[string]any{}, news: make(chan struct{}), life: time.Hour}
	s.http = httptest.NewServer(s)
	t.Cleanup(s.http.Close)
	s.put("nodes", &v1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "node1", UID: "uid-node1"},
		Status:     v1.NodeStatus{Allocatable: list("cpu", "1", "memory", "1Gi", "pods", "20")},
	})
	return s
}

func (s *apiServer) client() kubernetes.Interface {
	c, err := kubernetes.NewForConfig(&rest.Config{Host: s.http.URL, QPS: -1, ContentConfig: rest.ContentConfig{ContentType: "application/json"}})
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// put creates or replaces an object and returns it.
func (s *apiServer) put(resource string, o metav1.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := json.Marshal(o)
	if err != nil {
		s.t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		s.t.Fatal(err)
	}
	kind := "MODIFIED"
	if s.objects[id(resource, o.GetNamespace(), o.GetName())] == nil {
		kind = "ADDED"
	}
	s.store(kind, resource, m)
}

var kinds = map[string]string{
	"pods": "Pod", "nodes": "Node", "secrets": "Secret", "configmaps": "ConfigMap", "services": "Service", "events": "Event",
	"persistentvolumeclaims": "PersistentVolumeClaim", "persistentvolumes": "PersistentVolume",
	"runtimeclasses": "RuntimeClass",
}

func id(resource, namespace, name string) string { return resource + "/" + namespace + "/" + name }

func meta(m map[string]any) map[string]any { o, _ := m["metadata"].(map[string]any); return o }

func text(m map[string]any, name string) string { s, _ := m[name].(string); return s }

// store notes a change; the caller holds mu.
func (s *apiServer) store(kind, resource string, m map[string]any) {
	s.version++
	meta(m)["resourceVersion"] = strconv.Itoa(s.version)
	m["apiVersion"], m["kind"] = "v1", kinds[resource]
	if resource == "runtimeclasses" {
		m["apiVersion"] = "node.k8s.io/v1"
	}
	k := id(resource, text(meta(m), "namespace"), text(meta(m), "name"))
	if kind == "DELETED" {
		delete(s.objects, k)
	} else {
		s.objects[k] = m
	}
	s.log = append(s.log, change{resource, kind, s.version, m})
	close(s.news)
	s.news = make(chan struct{})
}

// forget takes an object away without telling any watch, as if the server had lost it; watches have to list anew.
func (s *apiServer) forget(resource, namespace, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, id(resource, namespace, name))
	s.version++
	s.oldest = s.version
}

// remove deletes an object.
func (s *apiServer) remove(resource, namespace, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.objects[id(resource, namespace, name)]; m != nil {
		s.store("DELETED", resource, m)
	}
}

// setDown breaks or mends the server.
func (s *apiServer) setDown(down bool) {
	s.mu.Lock()
	s.down = down
	close(s.news)
	s.news = make(chan struct{})
	s.mu.Unlock()
	if down {
		s.http.CloseClientConnections()
	}
}

// pod reads a pod as the server has it, nil when it has none.
func (s *apiServer) pod(namespace, name string) *v1.Pod {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.objects[id("pods", namespace, name)]
	if m == nil {
		return nil
	}
	b, _ := json.Marshal(m)
	p := &v1.Pod{}
	if err := json.Unmarshal(b, p); err != nil {
		s.t.Error(err)
	}
	return p
}

// events reads all events.
func (s *apiServer) events() (all []v1.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, m := range s.objects {
		if strings.HasPrefix(k, "events/") {
			b, _ := json.Marshal(m)
			var e v1.Event
			if err := json.Unmarshal(b, &e); err != nil {
				s.t.Error(err)
			}
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b v1.Event) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// called lists the calls with a prefix, such as "PATCH pods/".
func (s *apiServer) called(prefix string) (found []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		if strings.HasPrefix(c, prefix) {
			found = append(found, c)
		}
	}
	return found
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/api/v1/"), "/apis/node.k8s.io/v1/"), "/")
	namespace := ""
	if parts[0] == "namespaces" && len(parts) > 2 {
		namespace, parts = parts[1], parts[2:]
	}
	resource, name, sub := parts[0], "", ""
	if len(parts) > 1 {
		name = parts[1]
	}
	if len(parts) > 2 {
		sub = parts[2]
	}
	q := r.URL.Query()
	s.mu.Lock()
	what := r.Method
	if q.Get("watch") != "" {
		what = "WATCH"
	}
	s.calls = append(s.calls, strings.TrimSuffix(what+" "+id(resource, namespace, name)+"/"+sub+" "+q.Get("fieldSelector"), "/ "))
	down := s.down
	s.mu.Unlock()
	switch {
	case down:
		fail(w, http.StatusServiceUnavailable, "down")
	case q.Get("watch") != "" && q.Get("sendInitialEvents") != "":
		fail(w, http.StatusUnprocessableEntity, "sendInitialEvents is forbidden")
	case q.Get("watch") != "":
		s.watch(w, r, resource, namespace, q.Get("fieldSelector"))
	case r.Method == http.MethodGet && name == "":
		s.list(w, resource, namespace, q.Get("fieldSelector"))
	case r.Method == http.MethodPost && sub == "token":
		s.token(w, name)
	default:
		s.one(w, r, resource, namespace, name)
	}
}

func fail(w http.ResponseWriter, code int, message string) {
	reasons := map[int]metav1.StatusReason{404: metav1.StatusReasonNotFound, 409: metav1.StatusReasonConflict, 410: metav1.StatusReasonExpired, 422: metav1.StatusReasonInvalid}
	answer(w, code, metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Code: int32(code), Message: message, Reason: reasons[code],
	})
}

func answer(w http.ResponseWriter, code int, o any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(o)
}

func selects(selector string, m map[string]any) bool {
	for _, term := range strings.Split(selector, ",") {
		switch field, value, _ := strings.Cut(term, "="); field {
		case "metadata.name":
			if text(meta(m), "name") != value {
				return false
			}
		case "spec.nodeName":
			if spec, _ := m["spec"].(map[string]any); text(spec, "nodeName") != value {
				return false
			}
		}
	}
	return true
}

func (s *apiServer) list(w http.ResponseWriter, resource, namespace, selector string) {
	s.mu.Lock()
	items := []any{}
	for k, m := range s.objects {
		if strings.HasPrefix(k, resource+"/"+namespace) && selects(selector, m) && (namespace == "" || text(meta(m), "namespace") == namespace) {
			items = append(items, m)
		}
	}
	b, _ := json.Marshal(map[string]any{"apiVersion": "v1", "kind": kinds[resource] + "List", "metadata": map[string]any{"resourceVersion": strconv.Itoa(s.version)}, "items": items})
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b)
}

func (s *apiServer) watch(w http.ResponseWriter, r *http.Request, resource, namespace, selector string) {
	since, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	s.mu.Lock()
	oldest := s.oldest
	s.mu.Unlock()
	if since < oldest {
		fail(w, http.StatusGone, "too old resource version")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	for {
		s.mu.Lock()
		var out []byte
		for _, c := range s.log {
			if c.version <= since {
				continue
			}
			since = c.version
			if c.resource == resource && selects(selector, c.object) && (namespace == "" || text(meta(c.object), "namespace") == namespace) {
				b, _ := json.Marshal(map[string]any{"type": c.kind, "object": c.object})
				out = append(append(out, b...), '\n')
			}
		}
		news, down := s.news, s.down
		s.mu.Unlock()
		if down {
			return
		}
		_, _ = w.Write(out)
		w.(http.Flusher).Flush()
		select {
		case <-news:
		case <-r.Context().Done():
			return
		}
	}
}

func (s *apiServer) token(w http.ResponseWriter, account string) {
	s.mu.Lock()
	s.tokens++
	n, life, behind := s.tokens, s.life, s.behind
	s.mu.Unlock()
	answer(w, http.StatusCreated, map[string]any{
		"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
		"spec":   map[string]any{"expirationSeconds": int64(life / time.Second)},
		"status": map[string]any{"token": fmt.Sprintf("%s-%d", account, n), "expirationTimestamp": time.Now().Add(life - behind).UTC().Format(time.RFC3339)},
	})
}

func (s *apiServer) one(w http.ResponseWriter, r *http.Request, resource, namespace, name string) {
	var body json.RawMessage
	_ = json.NewDecoder(r.Body).Decode(&body)
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.objects[id(resource, namespace, name)]
	if r.Method == http.MethodPost {
		var created map[string]any
		_ = json.Unmarshal(body, &created)
		if s.objects[id(resource, namespace, text(meta(created), "name"))] != nil {
			fail(w, http.StatusConflict, "it exists")
			return
		}
		meta(created)["uid"] = fmt.Sprintf("made-%d", s.version)
		s.store("ADDED", resource, created)
		answer(w, http.StatusCreated, created)
		return
	}
	if m == nil {
		fail(w, http.StatusNotFound, "not found")
		return
	}
	switch r.Method {
	case http.MethodPatch:
		was, _ := json.Marshal(m)
		var kind any = v1.Pod{}
		if resource == "events" {
			kind = v1.Event{}
		}
		now, err := strategicpatch.StrategicMergePatch(was, body, kind)
		if err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		var next map[string]any
		_ = json.Unmarshal(now, &next)
		if text(meta(next), "uid") != text(meta(m), "uid") {
			fail(w, http.StatusConflict, "the UID differs")
			return
		}
		s.store("MODIFIED", resource, next)
		answer(w, http.StatusOK, next)
	case http.MethodDelete:
		var o metav1.DeleteOptions
		_ = json.Unmarshal(body, &o)
		if p := o.Preconditions; p != nil && p.UID != nil && string(*p.UID) != text(meta(m), "uid") {
			fail(w, http.StatusConflict, "the UID differs")
			return
		}
		s.store("DELETED", resource, m)
		answer(w, http.StatusOK, m)
	default:
		answer(w, http.StatusOK, m)
	}
}
