package pods

import (
	"context"
	"slices"
	"sync"
	"time"

	"edgepod.dev/agent/manifests"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
)

// Annotations of mirror pods and of pods of files (pkg/kubelet/types).
const (
	annotationMirror = "kubernetes.io/config.mirror"
	annotationHash   = "kubernetes.io/config.hash"
)

// wanted is what the source knows of one pod. Owner: the goroutine of Run.
type wanted struct {
	// api is the pod as the API server had it when it last differed in something that matters to a node.
	api *v1.Pod
	// decided says that the pod was admitted, refused, or found to be over; run that it is part of the snapshot.
	decided, run bool
	// said is why the pod is held back, as its event says.
	said string
	// pod is as it was sent last; nil before. configs is the most ConfigMaps and Secrets that it had.
	pod     *manifests.Pod
	configs int
	// from and to are the last pod whose RuntimeClass was replaced, and what came out; see handled.
	from, to *v1.Pod
}

// run is one Run of the source.
type run struct {
	*Pods
	begun  time.Time
	known  map[types.UID]*wanted
	stored bool // pods of an earlier agent are known
	sent   *manifests.Snapshot
}

// Run sends the whole set of pods whenever it differs, until ctx ends. The first one is a whole list of the API server, or
// what an earlier agent kept when the API server cannot be reached.
func (p *Pods) Run(ctx context.Context, out chan<- manifests.Snapshot) error {
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer func() {
		cancel()
		group.Wait()
		p.objects.watch(ctx, nil)
		p.tokens.want(ctx, nil)
		p.claims.want(ctx, nil)
		p.classes.want(ctx, nil)
		p.classes.group.Wait()
		p.objects.group.Wait()
		p.tokens.group.Wait()
		p.claims.group.Wait()
	}()
	r := &run{Pods: p, begun: time.Now(), known: map[types.UID]*wanted{}}
	r.stored = p.load()
	doubts := newPoke()
	group.Go(func() { p.follow(ctx) })
	group.Go(func() { p.services.run(ctx) })
	group.Go(func() { p.confirm(ctx, doubts) })
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			if _, due := p.offline.wait(time.Now()); due {
				p.keep(r.sent)
			}
			return nil
		case <-p.source:
		case <-timer.C:
		}
		doubts.now()
		snapshot, wait := r.step(ctx, time.Now())
		if snapshot == nil {
			timer.Reset(wait)
			continue
		}
		if r.sent == nil || !slices.Equal(r.sent.Pods, snapshot.Pods) {
			if gains(r.sent, snapshot) {
				// Before it can run: a pod that runs and was not kept is unknown to the next agent, which would take it down.
				p.keep(snapshot)
			}
			select {
			case out <- *snapshot:
			case <-ctx.Done():
				return nil
			}
			r.sent = snapshot
			p.reports.now()
			p.cfg.Log.Debug().Int("pods", len(snapshot.Pods)).Msg("pods of the API server changed")
			p.offline.due()
		}
		if later, due := p.offline.wait(time.Now()); due && later <= 0 {
			p.keep(r.sent)
		} else if due {
			wait = min(wait, later)
		}
		timer.Reset(wait)
	}
}

// gains says whether a pod is new in the later snapshot.
func gains(before, after *manifests.Snapshot) bool {
	return slices.ContainsFunc(after.Pods, func(a *manifests.Pod) bool {
		return before == nil || !slices.ContainsFunc(before.Pods, func(b *manifests.Pod) bool { return a.UID() == b.UID() })
	})
}

// follow watches the pods of this node.
func (p *Pods) follow(ctx context.Context) {
	c := p.cfg.Client.CoreV1().Pods(v1.NamespaceAll)
	selector := fields.OneTermEqualSelector("spec.nodeName", p.cfg.NodeName).String()
	kindOf[*v1.PodList]{c.List, c.Watch}.follow(ctx, selector, &v1.Pod{}, p.set, func(err error) {
		switch {
		case ctx.Err() != nil:
		case !p.set.hear(err == nil):
			p.cfg.Log.Debug().Err(err).Msg("asked the API server for pods")
		case err == nil:
			p.cfg.Log.Info().Msg("the API server answers again")
		default:
			p.cfg.Log.Warn().Err(err).Msg("the API server does not answer; its pods stay as they are")
		}
	})
}

// step looks at everything once. The snapshot is nil while the set is not known; wait is when to look again at the latest.
func (r *run) step(ctx context.Context, now time.Time) (*manifests.Snapshot, time.Duration) {
	all, listed, failed := r.set.all()
	if !listed && !(r.stored && (failed || now.Sub(r.begun) >= r.patience)) {
		return nil, r.patience
	}
	r.take(all)
	r.decide(ctx)
	r.ask(ctx)
	snapshot, pending := &manifests.Snapshot{Source: r.Name()}, false
	for _, w := range r.known {
		if !w.run || r.held(w) {
			continue
		}
		pod, known := r.bind(w, now)
		if !known && w.pod == nil {
			pending = true
			continue
		}
		w.pod = pod
		snapshot.Pods = append(snapshot.Pods, pod)
	}
	if pending && r.sent == nil {
		return nil, r.patience / 4
	}
	slices.SortFunc(snapshot.Pods, func(a, b *manifests.Pod) int { return compareKeys(a.Key(), b.Key()) })
	if pending {
		return snapshot, r.patience / 4
	}
	return snapshot, time.Minute
}

// take brings known up to what the API server has.
func (r *run) take(all []*v1.Pod) {
	there := make(map[types.UID]bool, len(all))
	for _, p := range all {
		if isMirror(p) {
			continue
		}
		there[p.UID] = true
		w := r.known[p.UID]
		switch {
		case w == nil:
			r.known[p.UID] = &wanted{api: p}
		case !sameToNode(w.api, p):
			w.api = p
		}
	}
	for uid := range r.known {
		if !there[uid] {
			delete(r.known, uid)
			r.settle(uid, nil)
			r.mu.Lock()
			delete(r.evicted, uid)
			r.mu.Unlock()
		}
	}
}

// held says whether a new pod has to wait for its RuntimeClass.
func (r *run) held(w *wanted) bool {
	name := classOf(w.api)
	if name == "" || w.pod != nil || acknowledged(w.api) || w.api.DeletionTimestamp != nil {
		return false
	}
	ready, _, problem := r.classes.of(name)
	if problem != "" && problem != w.said {
		w.said = problem
		r.record(w.api, "FailedCreatePodSandBox", "Failed to create pod sandbox: "+problem)
	}
	return !ready
}

// ask has the API server asked for exactly what the pods name.
func (r *run) ask(ctx context.Context) {
	keys, tokens, claims, classes := map[manifests.ConfigKey]bool{}, map[tokenKey]bool{}, map[manifests.Key]bool{}, map[string]bool{}
	for _, w := range r.known {
		if !w.run {
			continue
		}
		for k := range keysOf(w.api) {
			keys[k] = true
		}
		for _, k := range tokensOf(w.api) {
			tokens[k] = true
		}
		for _, k := range claimsOf(w.api) {
			claims[k] = true
		}
		if name := classOf(w.api); name != "" {
			classes[name] = true
		}
	}
	r.classes.want(ctx, classes)
	r.objects.watch(ctx, keys)
	r.tokens.want(ctx, tokens)
	r.claims.want(ctx, claims)
}

// bind makes the pod with all that it names, and says whether all of that is known by now.
func (r *run) bind(w *wanted, now time.Time) (pod *manifests.Pod, known bool) {
	configs, _, a := r.objects.get(keysOf(w.api), now)
	files, _, b := r.tokens.files(w.api, now)
	claims, c := r.claims.of(w.api, now)
	env, d := r.services.env(w.api, now)
	pod = manifests.BindGranted(&manifests.Pod{
		Object: w.handled(r.wantedOf(w.api), r.classes), Origin: manifests.Origin{File: r.cfg.Server + "/namespaces/" + w.api.Namespace + "/pods/" + w.api.Name},
	}, configs, manifests.Grant{Files: files, Claims: claims, Env: env})
	known = a && b && c && d
	if old := w.pod; old != nil {
		// What it had is better than what is not there yet, and what a namespace that is deleted takes away before its pods.
		if !known || w.api.DeletionTimestamp != nil && len(configs) < w.configs {
			pod.Bound = old.Bound
		}
		if old.Object == pod.Object && old.Bound.Equal(pod.Bound) {
			return old, known
		}
	}
	w.configs = max(w.configs, len(configs))
	return pod, known
}

func isMirror(p *v1.Pod) bool { _, is := p.Annotations[annotationMirror]; return is }

// sameToNode says whether two versions of a pod are the same to a node: what it reports itself does not count, nor what
// bookkeeping changes.
func sameToNode(a, b *v1.Pod) bool {
	return a == b || equality.Semantic.DeepEqual(relevant(a), relevant(b))
}

func relevant(p *v1.Pod) *v1.Pod {
	q := *p
	q.ResourceVersion, q.ManagedFields, q.Status = "", nil, v1.PodStatus{}
	if s := &p.Status; terminal(s.Phase) {
		q.Status.Phase, q.Status.Reason, q.Status.Message = s.Phase, s.Reason, s.Message
	}
	for _, c := range p.Status.Conditions {
		if !ours(c.Type) {
			q.Status.Conditions = append(q.Status.Conditions, c)
		}
	}
	return &q
}
