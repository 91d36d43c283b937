//go:build !nokube

package kube

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"edgepod.dev/agent/watcher/kube/pods"
	"github.com/rs/zerolog"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// built says whether there is API-server mode in this binary.
const built = true

// Node is the agent as a node of a cluster: a source of pods, and what tells the API server of them and of itself.
type Node struct {
	cfg     Config
	host    Host
	log     zerolog.Logger
	conn    *connection
	clients clients
	auth    *reviews
	board   Board
	pods    *pods.Pods
	serving *servingCertificate // nil when nobody asks for one
	events  *nodeEvents

	// seen is the Node as the API server last showed it; nil before.
	seen atomic.Pointer[v1.Node]
	// initial is the Node as it would be registered.
	initial atomic.Pointer[v1.Node]
	// pressed is what eviction found last.
	pressed atomic.Pointer[pressures]
	// registered is closed when the Node object is there.
	registered chan struct{}
	ready      chan struct{} // closed when the board shows every pod
	kick       chan struct{} // cap 1: look at the status now
}

// New reads credentials and prepares everything; nothing is sent before Run.
func New(cfg Config, host Host, board Board) (*Node, error) {
	host = host.withDefaults()
	conn, err := connect(cfg.Credentials, host.Name)
	if err != nil {
		return nil, err
	}
	clients, err := newClients(conn.config, host.Version, cfg.Node.UpdateEvery)
	if err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, host: host, log: host.Log.With().Str("api", clients.host).Logger(), conn: conn, clients: clients,
		auth: newReviews(clients.kube), board: board,
		registered: make(chan struct{}), ready: make(chan struct{}), kick: make(chan struct{}, 1),
	}
	if n.pods, err = newPods(n); err != nil {
		return nil, err
	}
	n.events = newNodeEvents(n)
	if cfg.Credentials.RotateServer {
		if n.serving, err = newServingCertificate(cfg.Credentials.CertDir, n); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// Run works until ctx ends, joins everything it started and returns nil. The Node object stays: a node that leaves for a
// restart is not one that is taken away.
func (n *Node) Run(ctx context.Context) error {
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { n.conn.run(ctx, n.log) })
	group.Go(func() { n.events.run(ctx) })
	if n.serving != nil {
		group.Go(func() { n.serving.run(ctx) })
	}
	n.initial.Store(n.wantedNode(n.look(ctx)))
	group.Go(func() { n.await(ctx) })
	group.Go(func() { n.report(ctx) })
	for n.conn.id != nil && n.conn.id.Current() == nil && pause(ctx, 100*time.Millisecond) {
		// The first certificate is still being asked for.
	}
	n.register(ctx)
	if ctx.Err() != nil {
		return nil
	}
	group.Go(func() { n.watchNode(ctx) })
	group.Go(func() { n.runLease(ctx) })
	group.Go(func() { n.runStatus(ctx) })
	group.Go(func() { n.runEviction(ctx) })
	<-ctx.Done()
	return nil
}

// await closes ready when the board is.
func (n *Node) await(ctx context.Context) {
	select {
	case <-n.board.Ready():
		close(n.ready)
	case <-ctx.Done():
	}
}

// Registered is closed when the Node object is known to be there; without it the API server lets a node see nothing.
func (n *Node) Registered() <-chan struct{} { return n.registered }

// Object is the Node as it was last seen in the API, or, before that, as it would be registered: what pods are admitted
// by. It is nil before Run has looked at the machine, and must not be written to.
func (n *Node) Object() *v1.Node {
	if seen := n.seen.Load(); seen != nil {
		return seen
	}
	return n.initial.Load()
}

// Look has the status looked at now rather than at the next interval.
func (n *Node) Look() {
	select {
	case n.kick <- struct{}{}:
	default:
	}
}

func (n *Node) pressures() pressures {
	if p := n.pressed.Load(); p != nil {
		return *p
	}
	return pressures{}
}

// register tries until the Node is there: 100 ms, doubled up to 7 s, each with jitter so that a thousand boxes whose power
// came back do not ask at one moment.
func (n *Node) register(ctx context.Context) {
	var trouble complaint
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 7*time.Second) {
		err := n.tryRegister(ctx)
		if err == nil {
			close(n.registered)
			n.events.record(v1.EventTypeNormal, "Starting", "Starting kubelet.")
			return
		}
		if ctx.Err() != nil {
			return
		}
		trouble.event(n.log).Err(err).Msg("registering the node, will try again")
		if !pause(ctx, wait/2+rand.N(wait)) {
			return
		}
	}
}

// tryRegister creates the Node, or reconciles the one that is there: the labels that are the agent's to set, and capacity.
func (n *Node) tryRegister(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	nodes := n.clients.heartbeat.CoreV1().Nodes()
	if !n.cfg.Node.Register {
		there, err := nodes.Get(ctx, n.host.Name, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("looking for the node, as --register-node is off: %w", err)
		}
		n.seen.Store(there)
		return nil
	}
	want := n.initial.Load().DeepCopy()
	n.fillStatus(&want.Status, n.look(ctx))
	made, err := nodes.Create(ctx, want, metav1.CreateOptions{})
	if err == nil {
		n.log.Info().Str("node", made.Name).Msg("registered the node")
		n.seen.Store(made)
		return nil
	}
	if !apierrors.IsAlreadyExists(err) && !apierrors.IsForbidden(err) {
		return fmt.Errorf("creating the node: %w", err)
	}
	there, getErr := nodes.Get(ctx, n.host.Name, metav1.GetOptions{})
	if getErr != nil {
		return fmt.Errorf("creating the node: %w", err)
	}
	next := there.DeepCopy()
	if reconcile(next, want) {
		if there, err = patchNode(n.clients.heartbeat.CoreV1(), there, next); err != nil {
			return fmt.Errorf("reconciling the node: %w", err)
		}
	}
	n.log.Info().Str("node", there.Name).Msg("the node was registered before")
	n.seen.Store(there)
	return nil
}

// reconcile sets what the kubelet sets on a Node that is there already: labels that every node has (those of --node-labels
// are for new ones), and the annotation of volumes. Capacity is the next status' work.
func reconcile(node, want *v1.Node) (changed bool) {
	for _, name := range []string{
		v1.LabelHostname, v1.LabelTopologyZone, v1.LabelTopologyRegion, v1.LabelFailureDomainBetaZone, v1.LabelFailureDomainBetaRegion,
		v1.LabelInstanceTypeStable, v1.LabelInstanceType, v1.LabelOSStable, v1.LabelArchStable, "beta.kubernetes.io/os", "beta.kubernetes.io/arch",
	} {
		if value, ours := want.Labels[name]; ours && node.Labels[name] != value {
			if node.Labels == nil {
				node.Labels = map[string]string{}
			}
			node.Labels[name], changed = value, true
		}
	}
	for name, value := range want.Annotations {
		if node.Annotations[name] != value {
			if node.Annotations == nil {
				node.Annotations = map[string]string{}
			}
			node.Annotations[name], changed = value, true
		}
	}
	return changed
}

// runStatus reports the node's status until ctx ends.
func (n *Node) runStatus(ctx context.Context) {
	r := reporter{node: n}
	for {
		r.sync(ctx)
		wait := n.cfg.Node.UpdateEvery + rand.N(n.cfg.Node.UpdateEvery/25+1)
		if !r.ready && time.Since(r.begun) < fastFor {
			wait = fastEvery
		}
		select {
		case <-ctx.Done():
			return
		case <-n.kick:
		case <-time.After(wait):
		}
	}
}

// While a node has just begun and is not Ready, it is looked at more often, as by the kubelet.
const (
	fastEvery = 200 * time.Millisecond
	fastFor   = 2 * time.Minute
)

// tries is how often one report is tried before the next interval.
const tries = 5

// reporter remembers what was reported. It belongs to one goroutine.
type reporter struct {
	node   *Node
	begun  time.Time
	last   time.Time     // of the last report
	spread time.Duration // added to the interval of reports, once after each change
	ready  bool
	booted string // the bootID that Rebooted was recorded for

	trouble complaint
}

// sync reports the status when it has changed or the last report is old.
func (r *reporter) sync(ctx context.Context) {
	if r.begun.IsZero() {
		r.begun = time.Now()
	}
	n := r.node
	f := n.look(ctx)
	for try := range tries {
		err := r.report(ctx, f, try)
		if err == nil || ctx.Err() != nil {
			return
		}
		n.log.Debug().Err(err).Int("try", try+1).Msg("reporting the node's status")
		if try == tries-1 {
			r.trouble.event(n.log).Err(err).Msg("the node's status cannot be reported, will try again")
			n.conn.closeAll()
		}
		if !pause(ctx, 50*time.Millisecond+rand.N(200*time.Millisecond)) {
			return
		}
	}
}

// report does one try. The first takes what was last seen as the base of the patch, the others ask.
func (r *reporter) report(ctx context.Context, f facts, try int) error {
	n := r.node
	nodes := n.clients.heartbeat.CoreV1().Nodes()
	old := n.seen.Load()
	if try > 0 || old == nil {
		var err error
		if old, err = nodes.Get(ctx, n.host.Name, metav1.GetOptions{}); apierrors.IsNotFound(err) && n.cfg.Node.Register {
			// Somebody deleted the Node while the agent runs. The kubelet would need a restart to come back.
			return n.tryRegister(ctx)
		} else if err != nil {
			return fmt.Errorf("reading the node: %w", err)
		}
		n.see(old)
	}
	next := old.DeepCopy()
	n.fillStatus(&next.Status, f)
	reconciled := reconcile(next, &v1.Node{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{
		v1.LabelOSStable: runtime.GOOS, v1.LabelArchStable: runtime.GOARCH,
	}}})
	r.ready = f.notReady == nil
	changed := reconciled || statusChanged(&old.Status, &next.Status)
	if !changed && !r.last.IsZero() && time.Since(r.last) < n.cfg.Node.ReportEvery+r.spread {
		return nil
	}
	shown, err := patchNode(n.clients.heartbeat.CoreV1(), old, next)
	if err != nil {
		return fmt.Errorf("patching the node's status: %w", err)
	}
	r.spread = 0
	if changed || r.last.IsZero() { // so that boxes that began together do not go on reporting together
		r.spread = time.Duration(float64(n.cfg.Node.ReportEvery) * (rand.Float64() - 0.5))
	}
	r.last = time.Now()
	r.trouble.over(n.log)
	n.see(shown)
	n.events.changes(&old.Status, &shown.Status, &r.booted)
	return nil
}

// pause waits; false when ctx ended meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
