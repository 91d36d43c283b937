package podmgr

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"edgepod.dev/agent/manifests"
	"github.com/rs/zerolog"
)

// keysMin and keysJitter say how often the runtime is asked which pods it has, in case a hint was lost.
const (
	keysMin    = 30 * time.Second
	keysJitter = 30 * time.Second
)

// Options are what a Manager needs.
type Options struct {
	Runtime Runtime
	// Sources in order of precedence: when two want a pod of one key, the first has it.
	Sources []Source
	// MaxRestartPeriod is the longest wait before a container that fails again and again is started anew (the kubelet's
	// crashLoopBackOff.maxContainerRestartPeriod); 0 is the kubelet's 5 minutes.
	MaxRestartPeriod time.Duration
	// NodeName is the name of this node, for the log.
	NodeName string
	// HostIP returns the node's address, empty when it has none; it is asked at each status, so it must be quick. May
	// be nil.
	HostIP func() string
	Hooks  Hooks
	// EventFile is where the newest events outlive the agent; empty: nowhere.
	EventFile string
	Log       zerolog.Logger
}

// Manager brings the pods that the sources want into being, each by a worker of its own. All fields below ready belong
// to the goroutine of Run.
type Manager struct {
	options Options
	log     zerolog.Logger
	board   *Board
	file    eventFile
	ready   chan struct{}

	sources sourceSet
	wants   map[manifests.Key]want
	workers map[manifests.Key]*worker
	unseen  map[*worker]bool // workers that have not observed their pod yet
	listed  bool             // the runtime's keys were listed after every source had spoken
	isReady bool
	group   sync.WaitGroup // of the workers
	news    chan workerNews
	images  chan struct{} // cap 1; see ImagesCame
	anew    chan anew     // see Restart
}

// New returns a Manager; Run makes it work.
func New(o Options) *Manager {
	o.Runtime = measure(o.Runtime, o.Hooks)
	log := o.Log
	if o.NodeName != "" {
		log = log.With().Str("node", o.NodeName).Logger()
	}
	m := &Manager{
		options: o,
		log:     log,
		board:   NewBoard(),
		ready:   make(chan struct{}),
		sources: newSourceSet(o.Sources),
		wants:   map[manifests.Key]want{},
		workers: map[manifests.Key]*worker{},
		unseen:  map[*worker]bool{},
		news:    make(chan workerNews),
		images:  make(chan struct{}, 1),
		anew:    make(chan anew),
	}
	m.file = eventFile{path: o.EventFile, ring: &m.board.events, log: log}
	if o.EventFile != "" {
		m.file.load()
	}
	return m
}

// ImagesCame says that images came to the node by another way than a pull for a pod (an import, a person): pods that wait
// for the next try of a pull look at once.
func (m *Manager) ImagesCame() { poke(m.images) }

// ErrNoPod says that no pod of that name is wanted.
const ErrNoPod = podError("no such pod")

// podError is a constant error about a pod.
type podError string

func (e podError) Error() string { return string(e) }

// anew asks for a restart of a pod. The manager always answers.
type anew struct {
	key    manifests.Key
	answer chan error // cap 1
}

// Restart has a wanted pod begin anew in its sandbox: its containers are stopped gracefully, sidecars last, and start
// again, init containers first, at once and whatever their restart policy. It returns when that has been asked for.
func (m *Manager) Restart(ctx context.Context, k manifests.Key) error {
	a := anew{key: k, answer: make(chan error, 1)}
	select {
	case m.anew <- a:
		return <-a.answer
	case <-ctx.Done():
		return ctx.Err()
	}
}

// restart passes the wish for a restart on to the pod's worker.
func (m *Manager) restart(k manifests.Key) error {
	w, works := m.workers[k]
	if !works || m.wants[k].uid() == "" {
		return fmt.Errorf("restarting pod %s: %w", k, ErrNoPod)
	}
	poke(w.restarts)
	return nil
}

// Board returns the board on which the pods can be read, from before Run on.
func (m *Manager) Board() *Board { return m.board }

// Ready returns a channel that is closed when every source has sent its first snapshot and every pod that exists has
// been observed once.
func (m *Manager) Ready() <-chan struct{} { return m.ready }

// Run works until ctx ends, then joins everything it started and returns nil. The pods go on. It is called once.
func (m *Manager) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer m.group.Wait()
	defer cancel()
	if m.options.EventFile != "" {
		m.group.Go(func() { m.file.keep(ctx, m.board.Changed) })
	}
	hints := m.runHints(ctx)
	snapshots := m.runSources(ctx)
	keys := make(chan keyList)
	timer := time.NewTimer(0)
	defer timer.Stop()
	listing, failures := false, 0
	list := func() {
		if !listing {
			listing = true
			m.group.Go(func() { m.listKeys(ctx, keys) })
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case s := <-snapshots:
			synced := m.sources.synced()
			m.sources.set(s)
			m.merge(ctx)
			if !synced && m.sources.synced() {
				list()
			}
		case k := <-hints:
			if m.hint(k) {
				list()
			}
		case <-m.images:
			for _, w := range m.workers {
				poke(w.images)
			}
		case a := <-m.anew:
			a.answer <- m.restart(a.key)
		case n := <-m.news:
			m.hear(ctx, n)
		case <-timer.C:
			list()
		case l := <-keys:
			listing = false
			timer.Reset(keysMin + rand.N(keysJitter))
			if l.err != nil {
				failures++
				m.log.Warn().Err(l.err).Msg("cannot list what the runtime has")
				timer.Reset(double(observeRetry, keysMin, failures))
				break
			}
			failures = 0
			m.adopt(ctx, l)
		}
		m.checkReady()
	}
}

// merge brings the wants of all sources to the workers.
func (m *Manager) merge(ctx context.Context) {
	wants, problems := m.sources.merge()
	m.board.SetProblems(problems)
	m.board.SetConfigs(m.sources.configs())
	old := m.wants
	m.wants = wants
	for k, before := range old {
		if _, still := wants[k]; still {
			continue
		}
		if before.hold && !m.sources.synced() {
			wants[k] = want{hold: true} // what runs there may be what a source that has not spoken wants
		} else if w, works := m.workers[k]; works {
			w.assign(want{})
		}
	}
	for k, wanted := range wants {
		if before, was := old[k]; was && before == wanted {
			continue
		}
		if w, works := m.workers[k]; works {
			w.assign(wanted)
		} else if wanted.pod != nil {
			m.employ(ctx, k, wanted)
		}
	}
}

// employ starts the worker of a key.
func (m *Manager) employ(ctx context.Context, k manifests.Key, wanted want) {
	w := &worker{
		key:      k,
		runtime:  m.options.Runtime,
		hooks:    m.options.Hooks,
		mem:      memory{crashMax: m.options.MaxRestartPeriod},
		born:     time.Now(),
		restarts: make(chan struct{}, 1),
		board:    m.board,
		node:     node{hostIP: m.options.HostIP},
		log:      m.log.With().Str("pod", k.String()).Logger(),
		wants:    make(chan want, 1),
		hints:    make(chan struct{}, 1),
		images:   make(chan struct{}, 1),
		finished: make(chan stepResult),
		reports:  m.news,
	}
	w.assign(wanted)
	m.workers[k] = w
	m.unseen[w] = true
	m.group.Go(func() { w.run(ctx) })
}

// hint passes a hint of the runtime on. It returns whether the runtime's keys have to be listed: something happened to
// a pod that nobody looks after.
func (m *Manager) hint(k manifests.Key) (list bool) {
	if k != (manifests.Key{}) {
		w, works := m.workers[k]
		if works {
			w.hint()
		}
		return !works && m.sources.synced()
	}
	for w := range maps.Values(m.workers) {
		w.hint()
	}
	return true
}

// hear takes in what a worker tells.
func (m *Manager) hear(ctx context.Context, n workerNews) {
	delete(m.unseen, n.worker)
	if !n.ended {
		return
	}
	k := n.worker.key
	delete(m.workers, k)
	if wanted := m.wants[k]; wanted.pod != nil { // wanted again while the worker was about to end
		m.employ(ctx, k, wanted)
	}
}

// keyList is what the runtime has, or why that is not known.
type keyList struct {
	keys []manifests.Key
	err  error
}

func (m *Manager) listKeys(ctx context.Context, out chan<- keyList) {
	var l keyList
	l.keys, l.err = m.keys(ctx)
	select {
	case out <- l:
	case <-ctx.Done():
	}
}

func (m *Manager) keys(ctx context.Context) (keys []manifests.Key, err error) {
	defer recovered(m.log, &err)
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	return m.options.Runtime.Keys(ctx)
}

// adopt gives every pod that exists but is not wanted a worker, which takes it down. As long as a source has not spoken
// that pod may be its, and nothing happens to it.
func (m *Manager) adopt(ctx context.Context, l keyList) {
	if !m.sources.synced() {
		return
	}
	m.listed = true
	for _, k := range l.keys {
		if _, works := m.workers[k]; !works {
			m.employ(ctx, k, m.wants[k])
		}
	}
}

func (m *Manager) checkReady() {
	if !m.isReady && m.listed && len(m.unseen) == 0 {
		m.isReady = true
		close(m.ready)
	}
}
