package containerd

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// onOwnThread runs f on a thread that f may change for good (its namespaces): Go ends the thread with f. It is never the
// main thread, which Go cannot end: /proc/self would show that one's namespaces ever after, and a pod's that is gone would
// be kept by it.
func onOwnThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() != os.Getpid() {
			f() // the thread stays locked
			return
		}
		onOwnThread(f) // on another one, since this one is taken
		runtime.UnlockOSThread()
	}()
	<-done
}
