package health

import (
	"bufio"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOnlyCleanMappingsOfTheFileAreReleased(t *testing.T) {
	const smaps = `00400000-01000000 r-xp 00000000 fe:00 123 /usr/bin/agent
Rss:               4096 kB
Anonymous:            0 kB
01000000-02000000 r--p 00c00000 fe:00 123 /usr/bin/agent
Anonymous:            4 kB
02000000-02100000 r--p 01c00000 fe:00 123 /usr/bin/agent
Anonymous:            0 kB
02100000-02200000 rw-p 01d00000 fe:00 123 /usr/bin/agent
Anonymous:            0 kB
7f0000000000-7f0000001000 r-xp 00000000 fe:00 9 /lib/libc.so
Anonymous:            0 kB
7fff00000000-7fff00001000 r-xp 00000000 00:00 0 [vdso]
Anonymous:            0 kB
`
	got := cleanMappings(bufio.NewScanner(strings.NewReader(smaps)), "/usr/bin/agent")
	want := []mapping{{0x400000, 0x1000000}, {0x2000000, 0x2100000}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(mapping{})); diff != "" {
		t.Error(diff)
	}
}

func TestAProcessGoesOnAfterItsPagesWereReleased(t *testing.T) {
	if err := ReleasePages(); err != nil {
		t.Fatal(err)
	}
	if got := strings.ToUpper("still here"); got != "STILL HERE" {
		t.Error(got)
	}
}
