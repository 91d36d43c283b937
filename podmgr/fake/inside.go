package fake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"k8s.io/apimachinery/pkg/types"
)

// Exec implements podmgr.Runtime.
func (r *Runtime) Exec(ctx context.Context, id string, cmd podmgr.Command) error {
	c := r.call("Exec", id)
	c.Target = strings.Join(cmd.Args, " ")
	r.mu.Lock()
	r.execs++
	lane := fmt.Sprintf("exec %d", r.execs)
	r.mu.Unlock()
	done, err := r.step(ctx, c, lane)
	if err != nil {
		return err
	}
	defer done()
	r.mu.Lock()
	_, inst := r.find(id)
	if inst == nil || inst.State != podmgr.Running {
		r.mu.Unlock()
		return errors.New("the container does not run")
	}
	ended := inst.ended
	r.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-ended:
			cancel(errors.New("the container has ended"))
		case <-ctx.Done():
		}
	}()
	code, output, err := r.command(ctx, c, cmd.Args)
	cause := context.Cause(ctx)
	cancel(nil)
	<-watched
	switch {
	case cause != nil:
		return cause
	case err != nil:
		return err
	}
	if cmd.Stdout != nil {
		if _, err := io.WriteString(cmd.Stdout, output); err != nil {
			return err
		}
	}
	if code != 0 {
		return &podmgr.ExitError{Code: code}
	}
	return nil
}

// command does what a command does, until ctx ends.
func (r *Runtime) command(ctx context.Context, c Call, args []string) (code int, output string, err error) {
	if r.Command != nil {
		return r.Command(ctx, c, args)
	}
	p := programOf(args)
	if p.Ends && p.After == 0 {
		return int(p.Code), "", ctx.Err()
	}
	after := make(<-chan time.Time)
	if p.Ends {
		timer := time.NewTimer(p.After)
		defer timer.Stop()
		after = timer.C
	}
	select {
	case <-after:
		return int(p.Code), "", nil
	case <-ctx.Done():
		return 0, "", ctx.Err()
	}
}

// Mark implements podmgr.Runtime.
func (r *Runtime) Mark(ctx context.Context, id string, m podmgr.Mark) error {
	c := r.call("Mark", id)
	c.Mark = m
	done, err := r.step(ctx, c, "mark "+id)
	if err != nil {
		return err
	}
	defer done()
	r.mu.Lock()
	if _, inst := r.find(id); inst != nil {
		inst.Mark = m
	}
	r.mu.Unlock()
	return r.at(ctx, c, After)
}

// Refresh implements podmgr.Runtime.
func (r *Runtime) Refresh(ctx context.Context, p *manifests.Pod) error {
	c := Call{Verb: "Refresh", Key: p.Key(), UID: p.UID(), Target: p.Bound.Hash()}
	done, err := r.step(ctx, c, "refresh")
	if err != nil {
		return err
	}
	defer done()
	r.mu.Lock()
	if have := r.pod(c.Key); have.shown[c.UID] != nil {
		have.shown[c.UID] = p
	}
	r.mu.Unlock()
	return r.at(ctx, c, After)
}

// Resize implements podmgr.Runtime. It fails below Used.
func (r *Runtime) Resize(ctx context.Context, p *manifests.Pod, containers []string) error {
	c := Call{Verb: "Resize", Key: p.Key(), UID: p.UID(), Target: strings.Join(containers, " ")}
	done, err := r.step(ctx, c, "resize")
	if err != nil {
		return err
	}
	defer done()
	r.mu.Lock()
	have := r.pod(c.Key)
	for _, o := range have.containers {
		if o.UID != c.UID || o.State != podmgr.Running || !slices.Contains(containers, o.Name) {
			continue
		}
		wants := podmgr.ResourcesOf(&specOf(p, o.Name).Resources)
		if wants.MemoryLimit > 0 && wants.MemoryLimit < r.Used {
			r.mu.Unlock()
			return errors.New("the memory limit is below what is in use")
		}
		o.Resources = &wants
	}
	if sb := have.sandbox(c.UID); sb != nil && p.Object.Spec.Resources != nil {
		sb.Resources = new(podmgr.ResourcesOf(p.Object.Spec.Resources))
	}
	r.changed(c.Key)
	r.mu.Unlock()
	return r.at(ctx, c, After)
}

// Shown is the pod whose data the volumes of a UID show; nil when it has none.
func (r *Runtime) Shown(k manifests.Key, uid types.UID) *manifests.Pod {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pod(k).shown[uid]
}

// Recall implements podmgr.Runtime.
func (r *Runtime) Recall(ctx context.Context, k manifests.Key, uid types.UID) (podmgr.Recalled, error) {
	if err := r.at(ctx, Call{Verb: "Recall", Key: k, UID: uid}, Before); err != nil {
		return podmgr.Recalled{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pod(k).stored[uid], nil
}
