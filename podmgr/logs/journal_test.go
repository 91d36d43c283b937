package logs

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// copierEnv makes the test binary a copier of the FIFOs in that directory, to be killed.
const copierEnv = "AGENT_TEST_COPIER"

// copier copies both streams until it is killed.
func copier(dir string) {
	w, err := NewWriter(filepath.Join(dir, "0.log"), Options{MaxSize: 64 << 10, MaxFiles: 1000})
	if err != nil {
		panic(err)
	}
	done := make(chan error, 2)
	var reads []*os.File
	for _, stream := range []string{Stdout, Stderr} {
		if err := w.Keep(stream, filepath.Join(dir, stream+".kept")); err != nil {
			panic(err)
		}
		read, hold, err := OpenFIFO(filepath.Join(dir, stream))
		if err != nil {
			panic(err)
		}
		_ = hold.Close()
		reads = append(reads, read)
	}
	fmt.Println("copying")
	for i, stream := range []string{Stdout, Stderr} {
		go func() { done <- w.Copy(context.Background(), stream, reads[i]) }()
	}
	for range 2 {
		if err := <-done; err != nil {
			panic(err)
		}
	}
	_ = w.Close()
}

// printer writes numbered lines of many lengths to a FIFO, in pieces that end anywhere, until it has written count.
func printLines(t *testing.T, path, name string, count int) {
	f, err := os.OpenFile(path, os.O_RDWR, 0) // for reading too, as the shim has it
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = f.Close() }()
	r := rand.New(rand.NewPCG(1, 2))
	var buf []byte
	for i := range count {
		buf = fmt.Appendf(buf, "%s %d %s\n", name, i, strings.Repeat("x", r.IntN(300)))
		for len(buf) > 400 {
			n := 1 + r.IntN(len(buf))
			if _, err := f.Write(buf[:n]); err != nil {
				t.Error(err)
				return
			}
			buf = buf[n:]
		}
		if i%16 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	_, _ = f.Write(buf)
	for { // until all is read
		if n, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCINQ); err != nil || n == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func TestNoLineIsLostOrDoubledOverFiftyKills(t *testing.T) {
	dir, err := os.MkdirTemp("/dev/shm", "agent-logs-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	const lines, kills = 40000, 50
	printed := make(chan struct{}, 2)
	for _, stream := range []string{Stdout, Stderr} {
		path := filepath.Join(dir, stream)
		if err := unix.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
		go func() { printLines(t, path, stream, lines); printed <- struct{}{} }()
	}
	start := func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), copierEnv+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 1)); err != nil {
			t.Fatalf("the copier ended: %v", err)
		}
		return cmd
	}
	for range kills {
		cmd := start()
		time.Sleep(time.Duration(rand.IntN(20_000)) * time.Microsecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	last := start()
	<-printed
	<-printed
	_ = last.Wait() // both streams have ended
	var out bytes.Buffer
	if err := NewHub(dir).Read(t.Context(), &out, filepath.Join(dir, "0.log"), ReadOptions{}, nil); err != nil {
		t.Fatal(err)
	}
	next := map[string]int{}
	for line := range strings.Lines(out.String()) {
		var name string
		var n int
		if _, err := fmt.Sscanf(line, "%s %d", &name, &n); err != nil {
			t.Fatalf("a line is torn: %q", line)
		}
		if n != next[name] {
			t.Fatalf("line %d of %s comes where %d should", n, name, next[name])
		}
		next[name]++
	}
	if next[Stdout] != lines || next[Stderr] != lines {
		t.Errorf("%v lines came, want %d of each", next, lines)
	}
}

// TestTheJournalCountsWhatTheLogGot: each row is what a kill left behind, at one of the instructions of a write.
func TestTheJournalCountsWhatTheLogGot(t *testing.T) {
	stamp := "2025-01-02T03:04:05.000000006Z "
	for name, r := range map[string]struct {
		log    string // what the log holds
		before int    // its length before the write that was cut off; -1: none was
		kept   string // what the journal holds of the stream
		done   int64
		want   string // what the log holds of the stream in the end
	}{
		"taken, not written":             {"", -1, "a\nb\n", 0, "a b"},
		"about to be written":            {"", 0, "a\nb\n", 0, "a b"},
		"written, not noted":             {stamp + "stdout F a\n" + stamp + "stdout F b\n", 0, "a\nb\n", 0, "a b"},
		"written in part":                {stamp + "stdout F a\n" + stamp + "stdo", 0, "a\nb\n", 0, "a b"},
		"written and noted":              {stamp + "stdout F a\n", -1, "a\nb", 2, "a b"},
		"the same line again":            {stamp + "stdout F a\n", len(stamp + "stdout F a\n"), "a\na\n", 2, "a a"},
		"the same line written":          {stamp + "stdout F a\n" + stamp + "stdout F a\n", len(stamp + "stdout F a\n"), "a\na\n", 2, "a a"},
		"an unfinished line":             {stamp + "stdout F a\n", -1, "a\nrest", 2, "a rest"},
		"a part of a long line, written": {stamp + "stdout P a\n", 0, "ab\n", 0, "a b"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "0.log")
			if err := os.WriteFile(path, []byte(r.log), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(filepath.Join(dir, "kept"), os.O_RDWR|os.O_CREATE, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			log, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			j := &journal{file: f}
			if err := j.writeHead(head{Done: r.done, Before: int64(r.before) + 1, Inode: inode(log)}); err != nil {
				t.Fatal(err)
			}
			_ = log.Close()
			if _, err := f.WriteAt([]byte(r.kept), headSize); err != nil {
				t.Fatal(err)
			}
			_ = f.Close()
			w, err := NewWriter(path, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Keep(Stdout, filepath.Join(dir, "kept")); err != nil {
				t.Fatal(err)
			}
			read, hold, err := OpenFIFO(filepath.Join(dir, "fifo"))
			if err != nil {
				t.Fatal(err)
			}
			_ = hold.Close() // the container has ended
			if err := w.Copy(t.Context(), Stdout, read); err != nil {
				t.Error(err)
			}
			_ = read.Close()
			_ = w.Close()
			b, _ := os.ReadFile(path)
			var got []string
			for line := range strings.Lines(string(b)) {
				p, err := parse([]byte(strings.TrimSuffix(line, "\n")))
				if err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				got = append(got, string(p.payload))
			}
			if s := strings.Join(got, " "); s != r.want {
				t.Errorf("the log holds %q, want %q", s, r.want)
			}
			if st, err := os.Stat(filepath.Join(dir, "kept")); err != nil || st.Size() != 0 {
				t.Errorf("the journal still holds %d bytes (%v)", st.Size(), err)
			}
		})
	}
}
