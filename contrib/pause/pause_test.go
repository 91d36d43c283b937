package pause

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// start runs the program, as PID 1 of its own PID namespace when asked (needs root), and waits until it sleeps.
func start(t *testing.T, pid1 bool) *exec.Cmd {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pause")
	if err := os.WriteFile(file, Binary(), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(file)
	if pid1 {
		if os.Geteuid() != 0 {
			t.Fatal("this test needs root: it makes a PID namespace")
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	waitFor(t, "pause to wait for its signals", func() bool {
		return strings.Contains(proc(t, cmd.Process.Pid, "status"), "\nState:\tS")
	})
	return cmd
}

func proc(t *testing.T, pid int, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), file))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 5 s for %s", what)
		}
	}
}

func TestPauseEndsWithExitCodeZero(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		for name, pid1 := range map[string]bool{"as PID 1": true, "in a shared PID namespace": false} {
			t.Run(sig.String()+" "+name, func(t *testing.T) {
				cmd := start(t, pid1)
				if err := cmd.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
				if err := cmd.Wait(); err != nil {
					t.Fatalf("pause ended with %v, want exit code 0", err)
				}
			})
		}
	}
}

func TestPauseReapsOrphansAsPID1(t *testing.T) {
	cmd := start(t, true)
	pid := cmd.Process.Pid
	// A shell in the namespace leaves ten orphans behind that end at once: pause is their parent then.
	out, err := exec.Command("nsenter", "-t", strconv.Itoa(pid), "-p", "sh", "-c",
		"for i in 1 2 3 4 5 6 7 8 9 10; do (sleep 0.2 >/dev/null 2>&1 &); done").CombinedOutput()
	if err != nil {
		t.Fatalf("leaving orphans in the namespace: %v\n%s", err, out)
	}
	children := func() string { return strings.TrimSpace(proc(t, pid, "task/"+strconv.Itoa(pid)+"/children")) }
	waitFor(t, "pause to adopt the orphans", func() bool { return children() != "" })
	waitFor(t, "pause to reap them", func() bool { return children() == "" })
}

func TestPauseNeedsLessThanSixtyFourKilobytes(t *testing.T) {
	cmd := start(t, false)
	if n := strings.Count(proc(t, cmd.Process.Pid, "status"), "Threads:\t1\n"); n != 1 {
		t.Error("pause has more than one thread")
	}
	for line := range strings.Lines(proc(t, cmd.Process.Pid, "smaps_rollup")) {
		if f := strings.Fields(line); f[0] == "Rss:" {
			if kb, _ := strconv.Atoi(f[1]); kb <= 0 || kb > 64 {
				t.Errorf("resident memory is %s kB, want 1 to 64", f[1])
			}
			return
		}
	}
	t.Error("smaps_rollup has no Rss line")
}

func TestCommittedBinaryIsWhatTheSourceBuilds(t *testing.T) {
	prefix := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	if _, err := exec.LookPath(prefix + "-linux-gnu-as"); err != nil {
		t.Fatalf("this test needs binutils (apt install binutils): %v", err)
	}
	dir := t.TempDir()
	if out, err := exec.Command("./build", dir, runtime.GOARCH).CombinedOutput(); err != nil {
		t.Fatalf("building pause: %v\n%s", err, out)
	}
	fresh, err := os.ReadFile(filepath.Join(dir, "pause_"+runtime.GOARCH))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(fresh, Binary()) {
		t.Errorf("pause_%s is not what its source builds (%d and %d bytes): run go generate", runtime.GOARCH, len(Binary()), len(fresh))
	}
}
