package metrics

import (
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/rs/zerolog"
	"k8s.io/klog/v2"
)

// TestTheLogOfTheLibrariesIsLeftAlone: it is one for the process, and its errors are what any client can cause.
func TestTheLogOfTheLibrariesIsLeftAlone(t *testing.T) {
	var said []string
	klog.SetLogger(funcr.New(func(_, args string) { said = append(said, args) }, funcr.Options{}))
	defer klog.ClearLogger()
	if _, err := New(Config{
		NodeName: "node-1", Housekeeping: time.Hour, Root: "/", ImageRoot: "/", Pods: func() []Pod { return nil }, Log: zerolog.Nop(),
	}, NewRecorder()); err != nil {
		t.Fatal(err)
	}
	klog.Error("a client has gone")
	if all := strings.Join(said, "\n"); !strings.Contains(all, "a client has gone") {
		t.Errorf("the log that main has set was replaced: %q", all)
	}
}
