package health

import (
	"bufio"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Release gives back what memory an idle process can do without: free memory of the heap, and pages of the program file.
func Release() {
	debug.FreeOSMemory()
	_ = ReleasePages() // without /proc they stay
}

// ReleasePages has the kernel forget which pages of the program file this process has looked at: most were touched once,
// by what hundreds of packages do before main begins (client-go registers every type there is), and never again. Those that
// are needed come back from the page cache. Only mappings that are as in the file are touched, none that was written to.
func ReleasePages() error {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("finding the program file: %w", err)
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return fmt.Errorf("reading the process' mappings: %w", err)
	}
	defer f.Close()
	for _, m := range cleanMappings(bufio.NewScanner(f), exe) {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("releasing pages of the program file: %w", errno)
		}
	}
	return nil
}

type mapping struct{ from, to uintptr }

// cleanMappings are the mappings of a file in /proc/<pid>/smaps that cannot be written to and of which no page is the
// process' own.
func cleanMappings(smaps *bufio.Scanner, file string) (out []mapping) {
	var last *mapping
	for smaps.Scan() {
		fields := strings.Fields(smaps.Text())
		if len(fields) >= 6 && strings.Contains(fields[0], "-") {
			last = nil
			from, to, _ := strings.Cut(fields[0], "-")
			a, errA := strconv.ParseUint(from, 16, 64)
			b, errB := strconv.ParseUint(to, 16, 64)
			if errA == nil && errB == nil && strings.HasPrefix(fields[1], "r-") && fields[5] == file {
				last = &mapping{uintptr(a), uintptr(b)}
			}
			continue
		}
		if len(fields) >= 2 && fields[0] == "Anonymous:" && last != nil {
			if fields[1] == "0" {
				out = append(out, *last)
			}
			last = nil
		}
	}
	return out
}
