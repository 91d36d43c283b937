package health

import (
	"time"

	"golang.org/x/sys/unix"
)

// suspended is how long this machine has slept since it booted. Go's clock (CLOCK_MONOTONIC) stands still meanwhile,
// CLOCK_BOOTTIME does not; unlike the wall clock, neither is moved by NTP.
func suspended() time.Duration {
	var boot, mono unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono) != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil {
		return 0
	}
	return time.Duration(boot.Nano() - mono.Nano())
}
