package containerd

import (
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// It needs root, and fails without.
func TestTheMainThreadKeepsItsNamespaces(t *testing.T) {
	const link = "/proc/self/ns/uts" // the main thread's
	before, err := os.Readlink(link)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 300 {
		all.Go(func() {
			onOwnThread(func() {
				if unix.Gettid() == os.Getpid() {
					t.Error("it runs on the main thread")
				}
				if err := unix.Unshare(unix.CLONE_NEWUTS); err != nil {
					t.Error(err)
				}
			})
		})
	}
	all.Wait()
	if after, err := os.Readlink(link); err != nil || after != before {
		t.Errorf("the main thread went from %s to %s, error %v", before, after, err)
	}
}
