package logs

import (
	"bytes"
	"compress/gzip"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestStampsGrowWhateverTheClockSays(t *testing.T) {
	now := time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct{ name, last, want string }{
		{"the first is the time", "", "20250601-120000"},
		{"a later second is the time", "20250601-115959.0007", "20250601-120000"},
		{"a second in the same second is numbered", "20250601-120000", "20250601-120000.0001"},
		{"and so on", "20250601-120000.0009", "20250601-120000.0010"},
		{"a clock that went back changes nothing", "20290101-000000", "20290101-000000.0001"},
		{"when the numbers are used up the next second begins", "20290101-235959.9999", "20290102-000000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := nextStamp(c.last, now)
			if got != c.want || got <= c.last {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestRotatedFilesAreTheOnesOfThisLog(t *testing.T) {
	got := listRotated("0.log", []string{
		"0.log", "0.log.20250601-120000.gz", "0.log.20250601-120000", "0.log.20250601-120000.0001",
		"0.log.20250531-000000.gz", "0.log.20250601-120001.gz.tmp", "10.log.20250601-120000", "0.log.bak", "0.log.20250601x120000",
	})
	want := []rotated{{"20250531-000000", true}, {"20250601-120000", false}, {"20250601-120000.0001", false}}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(rotated{})); d != "" {
		t.Error(d)
	}
}

func TestOlderFilesAreCompressedAndTheOldestDeleted(t *testing.T) {
	w, path := newWriter(t, Options{MaxSize: 20 << 10, MaxFiles: 4})
	for i := range 3000 {
		w.write(Stdout, []byte(numbered(i, i+1)), false)
		w.background.Wait()
	}
	names, _ := filepath.Glob(path + "*")
	slices.SortFunc(names, func(a, b string) int {
		return strings.Compare(strings.TrimSuffix(a, gzSuffix), strings.TrimSuffix(b, gzSuffix))
	})
	var kinds []string
	for _, n := range names {
		kinds = append(kinds, regexp.MustCompile(`\d{8}-\d{6}(\.\d{4})?`).ReplaceAllString(filepath.Base(n), "T"))
	}
	if d := cmp.Diff([]string{"0.log", "0.log.T.gz", "0.log.T.gz", "0.log.T"}, kinds); d != "" {
		t.Error(d)
	}
	f, err := os.Open(names[1])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(z); err != nil || !bytes.HasSuffix(b, []byte("\n")) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

func TestARestartRemovesWhatAnInterruptedCompressionLeft(t *testing.T) {
	w, path := newWriter(t, Options{MaxFiles: 2})
	_ = w.Close()
	for _, s := range []string{".20250101-000000.gz.tmp", ".20250101-000000", ".20250102-000000"} {
		_ = os.WriteFile(path+s, []byte("x\n"), 0o600)
	}
	w, err := NewWriter(path, Options{MaxFiles: 2, Hub: w.hub})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	names, _ := filepath.Glob(path + "*")
	if d := cmp.Diff([]string{path, path + ".20250102-000000"}, names); d != "" {
		t.Error(d)
	}
}

// TestAFloodStaysWithinItsDisk writes as fast as it can, well compressible and not, and looks at the disk all the time.
func TestAFloodStaysWithinItsDisk(t *testing.T) {
	noise := make([]byte, 1<<20)
	for i := range noise {
		noise[i] = byte(rand.IntN(256))
	}
	for name, data := range map[string][]byte{
		"text":  []byte(strings.Repeat("the same line of text again and again\n", 30000)),
		"noise": noise,
	} {
		t.Run(name, func(t *testing.T) {
			const size, files = 1 << 20, 5
			w, path := newWriter(t, Options{MaxSize: size, MaxFiles: files})
			stop, most := make(chan struct{}), int64(0)
			var watch sync.WaitGroup
			watch.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						most = max(most, used(path))
					}
				}
			})
			for range 60 {
				if err := w.Copy(t.Context(), Stdout, bytes.NewReader(data)); err != nil {
					t.Fatal(err)
				}
			}
			close(stop)
			watch.Wait()
			if limit := int64(size * files * 11 / 10); most > limit {
				t.Errorf("%d bytes of %d", most, limit)
			}
			if most < size*2 {
				t.Errorf("only %d bytes were ever seen", most)
			}
		})
	}
}

// used is the size of all files of the log. A file renamed while it looks is counted once, by its inode.
func used(path string) int64 {
	var sum int64
	seen := map[uint64]bool{}
	names, _ := filepath.Glob(path + "*")
	for _, n := range names {
		var st unix.Stat_t
		if unix.Stat(n, &st) == nil && !seen[st.Ino] {
			seen[st.Ino] = true
			sum += st.Size
		}
	}
	return sum
}

// TestAFullDiskDropsAndSaysSo needs root, for a small tmpfs.
func TestAFullDiskDropsAndSaysSo(t *testing.T) {
	root := t.TempDir()
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=128k"); err != nil {
		t.Fatalf("this test needs root: mounting a tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(root, unix.MNT_DETACH) })
	h := NewHub(root)
	w, path := newWriter(t, Options{Hub: h})
	ballast := filepath.Join(root, "ballast")
	_ = os.WriteFile(ballast, make([]byte, 96<<10), 0o600)

	const lines = 5000
	for i := range lines {
		w.write(Stdout, []byte(numbered(i, i+1)), false)
	}
	_ = os.Remove(ballast)
	w.write(Stdout, []byte("again\n"), false)

	got := printed(t, h, path, ReadOptions{})
	m := regexp.MustCompile(`(?s)^(.*)\[agent\] dropped (\d+) lines: no space left on device\nagain\n$`).FindStringSubmatch(got)
	if m == nil {
		t.Fatalf("the log ends in %q", got[max(0, len(got)-200):])
	}
	kept := strings.Count(m[1], "\n")
	if d := cmp.Diff(numbered(0, kept), m[1]); d != "" {
		t.Error(d)
	}
	if want := lines - kept; m[2] != strconv.Itoa(want) || kept == 0 {
		t.Errorf("kept %d of %d lines, and the marker says that %s were dropped", kept, lines, m[2])
	}
}

// TestALogCanBeginOnAFullDisk needs root, for a small tmpfs.
func TestALogCanBeginOnAFullDisk(t *testing.T) {
	root := t.TempDir()
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "nr_inodes=2"); err != nil {
		t.Fatalf("this test needs root: mounting a tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(root, unix.MNT_DETACH) })
	_ = os.WriteFile(filepath.Join(root, "ballast"), nil, 0o600)
	h := NewHub(root)
	w, path := newWriter(t, Options{Hub: h})
	w.write(Stdout, []byte("one\n"), false)
	if err := unix.Mount("tmpfs", root, "tmpfs", unix.MS_REMOUNT, "nr_inodes=100"); err != nil {
		t.Fatal(err)
	}
	w.write(Stdout, []byte("two\n"), false)
	want := "[agent] dropped 1 lines: no space left on device\ntwo\n"
	if d := cmp.Diff(want, printed(t, h, path, ReadOptions{})); d != "" {
		t.Error(d)
	}
}
