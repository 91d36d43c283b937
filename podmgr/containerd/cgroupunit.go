package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/cgroups/v3/cgroup2"
	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// systemdPatience is how long systemd may take to answer.
const systemdPatience = 30 * time.Second

// tellSlice tells systemd what was written to a slice's cgroup: it would write what it knows at the next daemon-reload,
// and a pod that had grown be killed for its memory.
func tellSlice(name string, res *specs.LinuxResources) error {
	wants := sliceProperties(res)
	if len(wants) == 0 {
		return nil
	}
	return withSystemd(func(ctx context.Context, conn *systemd.Conn) error {
		if err := conn.SetUnitPropertiesContext(ctx, name, true, wants...); err != nil {
			return fmt.Errorf("setting properties of %s: %w", name, err)
		}
		return nil
	})
}

// sliceProperties are a pod's limits in systemd's words. It counts a quota in whole percents of a CPU, rounded up here as
// runc and the kubelet do.
func sliceProperties(res *specs.LinuxResources) []systemd.Property {
	var out []systemd.Property
	add := func(name string, value uint64) {
		out = append(out, systemd.Property{Name: name, Value: dbus.MakeVariant(value)})
	}
	if cpu := res.CPU; cpu != nil && cpu.Shares != nil {
		add("CPUWeight", cgroup2.ConvertCPUSharesToCgroupV2Value(*cpu.Shares))
	}
	if cpu := res.CPU; cpu != nil && cpu.Quota != nil && cpu.Period != nil {
		const percent = 10_000 // µs of CPU in a second
		perSecond := uint64(math.MaxUint64)
		if *cpu.Quota > 0 {
			perSecond = (uint64(*cpu.Quota)*1_000_000 / *cpu.Period + percent - 1) / percent * percent
		}
		add("CPUQuotaPeriodUSec", *cpu.Period)
		add("CPUQuotaPerSecUSec", perSecond)
	}
	if res.Memory != nil && res.Memory.Limit != nil {
		limit := uint64(math.MaxUint64)
		if *res.Memory.Limit > 0 {
			limit = uint64(*res.Memory.Limit)
		}
		add("MemoryMax", limit)
	}
	return out
}

// stopSlice ends a pod's slice: systemd keeps one whose cgroup is gone, with its file, until it is stopped or the machine
// restarts. What systemd never knew or has dropped is no error.
func stopSlice(name string) error {
	if _, err := os.Stat(filepath.Join("/run/systemd/transient", name)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return withSystemd(func(ctx context.Context, conn *systemd.Conn) error {
		done := make(chan string, 1)
		_, err := conn.StopUnitContext(ctx, name, "replace", done)
		if said := (dbus.Error{}); errors.As(err, &said) && said.Name == "org.freedesktop.systemd1.NoSuchUnit" {
			return nil
		}
		if err != nil {
			return fmt.Errorf("stopping %s: %w", name, err)
		}
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("stopping %s: %w", name, ctx.Err())
		}
	})
}

func withSystemd(do func(context.Context, *systemd.Conn) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), systemdPatience)
	defer cancel()
	conn, err := systemd.NewWithContext(ctx)
	if err != nil {
		return fmt.Errorf("talking to systemd: %w", err)
	}
	defer conn.Close()
	return do(ctx, conn)
}
