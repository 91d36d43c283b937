package pods

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"edgepod.dev/agent/manifests"
	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
)

// services follows the services of the cluster, for the variables that containers find them by.
type services struct {
	client   kubernetes.Interface
	patience time.Duration
	changed  func()

	mu     sync.Mutex // guards what follows
	begun  time.Time
	listed bool
	all    map[manifests.Key]service
}

// service is what the variables are made of.
type service struct {
	Namespace, Name, IP string
	Ports               []v1.ServicePort
}

func newServices(client kubernetes.Interface, patience time.Duration, changed func()) *services {
	return &services{client: client, patience: patience, changed: changed, all: map[manifests.Key]service{}}
}

func (s *services) run(ctx context.Context) {
	s.mu.Lock()
	s.begun = time.Now()
	s.mu.Unlock()
	c := s.client.CoreV1().Services(v1.NamespaceAll)
	kindOf[*v1.ServiceList]{c.List, c.Watch}.follow(ctx, "", &v1.Service{}, s, func(error) {})
}

// Replace is the whole list.
func (s *services) Replace(list []any, _ string) error {
	s.update(func() {
		clear(s.all)
		for _, o := range list {
			s.put(o)
		}
		s.listed = true
	})
	return nil
}

// Add is a service as it is now.
func (s *services) Add(o any) error {
	s.update(func() { s.put(o) })
	return nil
}

// Update is Add.
func (s *services) Update(o any) error { return s.Add(o) }

// Delete says that a service is gone.
func (s *services) Delete(o any) error {
	if x, ok := o.(*v1.Service); ok {
		s.update(func() { delete(s.all, manifests.Key{Namespace: x.Namespace, Name: x.Name}) })
	}
	return nil
}

// Resync has no meaning here.
func (s *services) Resync() error { return nil }

func (s *services) update(change func()) {
	s.mu.Lock()
	change()
	s.mu.Unlock()
	s.changed()
}

// put takes over a service; one without an address of its own has no variables. The caller holds mu.
func (s *services) put(o any) {
	x, ok := o.(*v1.Service)
	if !ok {
		return
	}
	k := manifests.Key{Namespace: x.Namespace, Name: x.Name}
	if x.Spec.ClusterIP == "" || x.Spec.ClusterIP == v1.ClusterIPNone || len(x.Spec.Ports) == 0 {
		delete(s.all, k)
		return
	}
	s.all[k] = service{x.Namespace, x.Name, x.Spec.ClusterIP, x.Spec.Ports}
}

// keep and preload are for the store.
func (s *services) keep() []service {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]service, 0, len(s.all))
	for _, x := range s.all {
		list = append(list, x)
	}
	slices.SortFunc(list, func(a, b service) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return list
}

func (s *services) preload(list []service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range list {
		s.all[manifests.Key{Namespace: x.Namespace, Name: x.Name}] = x
	}
	s.listed = s.listed || len(list) > 0
}

// env are the variables of the services that a pod sees: the API server's own, and those of its namespace unless it
// does without (spec.enableServiceLinks).
func (s *services) env(p *v1.Pod, now time.Time) (env []manifests.EnvVar, known bool) {
	links := p.Spec.EnableServiceLinks == nil || *p.Spec.EnableServiceLinks
	s.mu.Lock()
	seen := map[string]service{}
	for _, x := range s.all {
		_, taken := seen[x.Name]
		switch master := x.Namespace == v1.NamespaceDefault && x.Name == "kubernetes"; {
		case master && !taken, links && x.Namespace == p.Namespace && !master:
			seen[x.Name] = x
		}
	}
	known = s.listed || now.Sub(s.begun) >= s.patience
	s.mu.Unlock()
	for _, x := range seen {
		env = append(env, x.env()...)
	}
	// Two services may give one variable, as foo and foo-service do FOO_SERVICE_PORT: it must be the same one each time.
	slices.SortFunc(env, func(a, b manifests.EnvVar) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Value, b.Value))
	})
	return slices.CompactFunc(env, func(a, b manifests.EnvVar) bool { return a.Name == b.Name }), known
}

// env is the kubelet's (pkg/kubelet/envvars): the variables of Kubernetes and those of Docker links.
func (x service) env() []manifests.EnvVar {
	name := variable(x.Name)
	first := strconv.Itoa(int(x.Ports[0].Port))
	env := []manifests.EnvVar{{Name: name + "_SERVICE_HOST", Value: x.IP}, {Name: name + "_SERVICE_PORT", Value: first}}
	for i, p := range x.Ports {
		port := strconv.Itoa(int(p.Port))
		if p.Name != "" {
			env = append(env, manifests.EnvVar{Name: name + "_SERVICE_PORT_" + variable(p.Name), Value: port})
		}
		protocol := cmp.Or(string(p.Protocol), string(v1.ProtocolTCP))
		url := strings.ToLower(protocol) + "://" + net.JoinHostPort(x.IP, port)
		if i == 0 {
			env = append(env, manifests.EnvVar{Name: name + "_PORT", Value: url})
		}
		prefix := fmt.Sprintf("%s_PORT_%s_%s", name, port, strings.ToUpper(protocol))
		env = append(env,
			manifests.EnvVar{Name: prefix, Value: url},
			manifests.EnvVar{Name: prefix + "_PROTO", Value: strings.ToLower(protocol)},
			manifests.EnvVar{Name: prefix + "_PORT", Value: port},
			manifests.EnvVar{Name: prefix + "_ADDR", Value: x.IP},
		)
	}
	return env
}

func variable(s string) string { return strings.ToUpper(strings.ReplaceAll(s, "-", "_")) }
