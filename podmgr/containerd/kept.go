package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// markFile in <state>/containers/<id> holds the instance's mark; it is on a tmpfs, so that a mark costs no flash write.
const markFile = "mark.json"

// Mark implements podmgr.Runtime.
func (r *Runtime) Mark(_ context.Context, id string, m podmgr.Mark) error {
	dir := r.containerState(id)
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encoding the mark of container %s: %w", id, err)
	}
	// Renamed into place: a mark that was cut off half-way would read as none.
	fresh := filepath.Join(dir, markFile+".new")
	err = os.WriteFile(fresh, b, 0o600)
	if err == nil {
		err = os.Rename(fresh, filepath.Join(dir, markFile))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("marking container %s: %w", id, err)
	}
	return nil
}

// markOf reads the mark of an instance; one that cannot be read is none.
func (r *Runtime) markOf(id string) (m podmgr.Mark) {
	b, err := os.ReadFile(filepath.Join(r.containerState(id), markFile))
	if err != nil || json.Unmarshal(b, &m) != nil {
		return podmgr.Mark{}
	}
	return m
}

// Recall implements podmgr.Runtime: the pod's file, which is written once, when the pod's directory is made.
func (r *Runtime) Recall(_ context.Context, _ manifests.Key, uid types.UID) (podmgr.Recalled, error) {
	file := filepath.Join(r.podDir(uid), "pod.json")
	st, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return podmgr.Recalled{}, nil
	}
	if err != nil {
		return podmgr.Recalled{}, fmt.Errorf("reading the pod's file: %w", err)
	}
	kept := podmgr.Recalled{Since: st.ModTime()}
	var held struct {
		Pod *v1.Pod `json:"pod"`
	}
	b, err := os.ReadFile(file)
	if err == nil && json.Unmarshal(b, &held) == nil {
		kept.Pod = held.Pod
	}
	return kept, nil
}
