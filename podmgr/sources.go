package podmgr

import (
	"context"
	"fmt"
	"time"

	"edgepod.dev/agent/manifests"
)

// sourceSet holds the last snapshot of each source. Owner: the manager.
type sourceSet struct {
	names     []string
	snapshots []*manifests.Snapshot // in order of precedence; nil before the first
	missing   int                   // how many have not spoken
}

// fromSource is a snapshot with the index of its source.
type fromSource struct {
	index    int
	snapshot manifests.Snapshot
}

func newSourceSet(sources []Source) sourceSet {
	s := sourceSet{snapshots: make([]*manifests.Snapshot, len(sources)), missing: len(sources)}
	for _, source := range sources {
		s.names = append(s.names, source.Name())
	}
	return s
}

func (s *sourceSet) set(f fromSource) {
	if s.snapshots[f.index] == nil {
		s.missing--
	}
	s.snapshots[f.index] = &f.snapshot
}

// synced says whether every source has spoken.
func (s *sourceSet) synced() bool { return s.missing == 0 }

// merge is the union of what the sources want, and what there is to complain about. A pod that an earlier source wants
// hides one of the same key; as long as an earlier source has not spoken, a want is on hold.
func (s *sourceSet) merge() (map[manifests.Key]want, []manifests.Problem) {
	wants := map[manifests.Key]want{}
	var problems []manifests.Problem
	hold := false
	for i, snapshot := range s.snapshots {
		if snapshot == nil {
			hold = true
			continue
		}
		problems = append(problems, snapshot.Problems...)
		for _, pod := range snapshot.Pods {
			k := pod.Key()
			if first, taken := wants[k]; taken {
				problems = append(problems, clash(k, first, pod))
				continue
			}
			wants[k] = want{pod: pod, source: s.names[i], hold: hold}
		}
	}
	return wants, problems
}

// configs are the ConfigMaps and Secrets of all sources.
func (s *sourceSet) configs() (all []*manifests.Config) {
	for _, snapshot := range s.snapshots {
		if snapshot != nil {
			all = append(all, snapshot.Configs...)
		}
	}
	return all
}

func clash(k manifests.Key, first want, second *manifests.Pod) manifests.Problem {
	return manifests.Problem{
		Origin:  second.Origin,
		Pod:     k,
		Field:   "metadata.name",
		Message: fmt.Sprintf("pod %s is already wanted by %s (%s), which has precedence", k, first.source, first.pod.Origin),
		Hint:    "rename one of them",
	}
}

// runSources runs every source, again when it fails, and gathers their snapshots.
func (m *Manager) runSources(ctx context.Context) <-chan fromSource {
	gathered := make(chan fromSource)
	for i, source := range m.options.Sources {
		out := make(chan manifests.Snapshot)
		m.group.Go(func() {
			for failures := 1; ; failures++ {
				err := m.runSource(ctx, source, out)
				if ctx.Err() != nil {
					return
				}
				m.log.Error().Err(err).Str("source", source.Name()).Msg("a source ended; its pods stay and it is run again")
				sleep(ctx, double(time.Second, 30*time.Second, failures))
			}
		})
		m.group.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case s := <-out:
					select {
					case gathered <- fromSource{index: i, snapshot: s}:
					case <-ctx.Done():
					}
				}
			}
		})
	}
	return gathered
}

func (m *Manager) runSource(ctx context.Context, s Source, out chan<- manifests.Snapshot) (err error) {
	defer recovered(m.log, &err)
	return s.Run(ctx, out)
}

// runHints passes the runtime's hints on; they are asked for before it returns, so that nothing done later is missed.
// When their channel closes, anything may have happened: it asks again and hints at everything.
func (m *Manager) runHints(ctx context.Context) <-chan manifests.Key {
	out := make(chan manifests.Key)
	send := func(k manifests.Key) {
		select {
		case out <- k:
		case <-ctx.Done():
		}
	}
	hints := m.options.Runtime.Events(ctx)
	m.group.Go(func() {
		for ctx.Err() == nil {
			for k := range hints {
				send(k)
			}
			sleep(ctx, time.Second)
			hints = m.options.Runtime.Events(ctx)
			send(manifests.Key{})
		}
	})
	return out
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
