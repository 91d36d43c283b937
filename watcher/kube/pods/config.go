package pods

import (
	"sync"
	"time"

	"edgepod.dev/agent/manifests"
	"github.com/rs/zerolog"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// Config is what Pods needs of the rest of the agent. Its functions may be called from any goroutine and must not block.
type Config struct {
	// Client speaks to the API server as this node; NodeName is the node's name there, Server the URL for people.
	Client   kubernetes.Interface
	NodeName string
	Server   string
	// Node is the node as the API server last had it, else as the agent would register it; nil while neither is known.
	Node func() *v1.Node
	// Handlers are the names of the node's runtimes that a RuntimeClass may name. Nil: the default one alone.
	Handlers func() []string
	// Entries and Events are the pod manager's board; Changed returns a channel that is closed at its next change, to be
	// taken before reading.
	Entries func() []Entry
	Events  func() []Event
	Changed func() <-chan struct{}
	// Record puts an event on that board. May be nil.
	Record func(Event)
	// Ready is closed when every source of pods has spoken and every pod that exists has been seen; mirror pods of files
	// that are gone are removed only then.
	Ready <-chan struct{}
	// OfflineFile keeps the last known pods with all they need, so that they run again after a reboot without the API
	// server; empty keeps nothing. OfflineKey encrypts it when it is not empty.
	OfflineFile string
	OfflineKey  []byte
	Log         zerolog.Logger
}

// Entry is what the pod manager's board shows of one pod.
type Entry struct {
	Key manifests.Key
	// Pod is the pod wanted last, nil when it is not known.
	Pod *manifests.Pod
	// Source is the name of the source that wants it.
	Source string
	// Status must not be written to; another status is another pointer.
	Status *v1.PodStatus
	// Deleted says that no source wants it any more, or that it is being deleted; Gone that nothing of it is left.
	Deleted bool
	Gone    bool
}

// Event is one thing that happened to a pod, counted when it repeats.
type Event struct {
	Pod         manifests.Key
	Container   string // empty: the pod
	Type        string // Normal or Warning
	Reason      string
	Message     string
	Count       int
	First, Last time.Time
}

// Pods is the source of the pods of an API server (Name, Run) and the reporter about all pods of the node (Report).
type Pods struct {
	cfg      Config
	set      *podSet
	objects  *objects
	tokens   *tokens
	claims   *claims
	services *services
	classes  *classes
	offline  *offline
	patience time.Duration // see defaultPatience

	// Each has one reader: Run, the reporter, the mirrors.
	source, reports, mirrorPods poke

	mu       sync.Mutex
	rejected map[types.UID]*v1.PodStatus // of pods that were not admitted; guarded by mu
	evicted  map[types.UID]*eviction     // guarded by mu
}

// New prepares the source; nothing is asked of the API server before Run.
func New(cfg Config) *Pods { return newPods(cfg, defaultPatience) }

func newPods(cfg Config, patience time.Duration) *Pods {
	p := &Pods{
		cfg: cfg, patience: patience, source: newPoke(), reports: newPoke(), mirrorPods: newPoke(),
		rejected: map[types.UID]*v1.PodStatus{}, evicted: map[types.UID]*eviction{},
	}
	p.set = newPodSet(func() { p.source.now(); p.reports.now(); p.mirrorPods.now() })
	p.objects = newObjects(cfg.Client, cfg.Server, patience, p.source.now)
	p.tokens = newTokens(cfg.Client, patience, p.source.now)
	p.claims = newClaims(cfg.Client, patience, p.source.now)
	p.classes = newClasses(cfg.Client, cfg.Handlers, p.source.now)
	p.services = newServices(cfg.Client, patience, p.source.now)
	p.offline = &offline{file: cfg.OfflineFile, key: cfg.OfflineKey, log: cfg.Log}
	return p
}

// Name is "kube:" and the URL of the API server.
func (p *Pods) Name() string { return "kube:" + p.cfg.Server }

// defaultPatience is how long a new pod waits for an answer about what it names; then it comes without, and its containers
// wait. As long waits what was kept by an earlier agent for an API server that does not answer.
const defaultPatience = 3 * time.Second

// poke is a channel of capacity 1 that means "look again".
type poke chan struct{}

func newPoke() poke { return make(poke, 1) }

func (p poke) now() {
	select {
	case p <- struct{}{}:
	default:
	}
}
