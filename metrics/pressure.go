package metrics

import (
	"os"
	"strconv"
	"strings"
	"time"

	info "github.com/google/cadvisor/lib/model"
	"github.com/prometheus/client_golang/prometheus"
)

// nodePressure fills in the pressure stall information of the node from /proc/pressure. On cgroup v1 there is no other;
// on v2 the root cgroup has none before Linux 5.20.
func nodePressure(stats *info.ContainerStats) {
	if stats.Cpu != nil && stats.Cpu.PSI == (info.PSIStats{}) {
		stats.Cpu.PSI = readPressure("/proc/pressure/cpu")
	}
	if stats.Memory != nil && stats.Memory.PSI == (info.PSIStats{}) {
		stats.Memory.PSI = readPressure("/proc/pressure/memory")
	}
	if stats.DiskIo != nil && stats.DiskIo.PSI == (info.PSIStats{}) {
		stats.DiskIo.PSI = readPressure("/proc/pressure/io")
	}
}

// pressureAvailable says whether the kernel keeps pressure stall information (CONFIG_PSI, psi=1). Reading must work, not
// only opening: with psi=0 the files are there and fail with EOPNOTSUPP.
func pressureAvailable() bool {
	_, err := os.ReadFile("/proc/pressure/cpu")
	return err == nil
}

// readPressure is zero for what cannot be read: the kernel may have been built without it.
func readPressure(file string) info.PSIStats {
	b, err := os.ReadFile(file)
	if err != nil {
		return info.PSIStats{}
	}
	return parsePressure(string(b))
}

// parsePressure reads the format of Documentation/accounting/psi.rst: averages in percent, totals in microseconds.
func parsePressure(text string) info.PSIStats {
	var out info.PSIStats
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		var d info.PSIData
		for _, f := range fields[1:] {
			key, value, _ := strings.Cut(f, "=")
			switch key {
			case "total":
				d.Total, _ = strconv.ParseUint(value, 10, 64)
			case "avg10":
				d.Avg10, _ = strconv.ParseFloat(value, 64)
			case "avg60":
				d.Avg60, _ = strconv.ParseFloat(value, 64)
			case "avg300":
				d.Avg300, _ = strconv.ParseFloat(value, 64)
			}
		}
		switch fields[0] {
		case "some":
			out.Some = d
		case "full":
			out.Full = d
		}
	}
	return out
}

// nodePressureCollector shows the node's pressure on cgroup v1, under the names and with the labels that cAdvisor's
// collector has for every cgroup. There, that one stays without: it would show 0 for every container, which is not so
// but unknown.
type nodePressureCollector struct {
	latest func() *samples
}

var pressureHelp = map[string]string{
	"cpu_stalled":    "Total time duration no tasks in the container could make progress due to CPU congestion.",
	"cpu_waiting":    "Total time duration tasks in the container have waited due to CPU congestion.",
	"memory_stalled": "Total time duration no tasks in the container could make progress due to memory congestion.",
	"memory_waiting": "Total time duration tasks in the container have waited due to memory congestion.",
	"io_stalled":     "Total time duration no tasks in the container could make progress due to IO congestion.",
	"io_waiting":     "Total time duration tasks in the container have waited due to IO congestion.",
}

func pressureDesc(what string) *prometheus.Desc {
	return prometheus.NewDesc("container_pressure_"+what+"_seconds_total", pressureHelp[what],
		[]string{"container", "id", "image", "name", "namespace", "pod"}, nil)
}

func (c *nodePressureCollector) Describe(ch chan<- *prometheus.Desc) {
	for what := range pressureHelp {
		ch <- pressureDesc(what)
	}
}

func (c *nodePressureCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.latest()
	if s == nil || s.root == nil {
		return
	}
	stats := s.root.stats
	send := func(what string, microseconds uint64) {
		m := prometheus.MustNewConstMetric(pressureDesc(what), prometheus.CounterValue,
			(time.Duration(microseconds) * time.Microsecond).Seconds(), "", rootCgroup, "", "", "", "")
		ch <- prometheus.NewMetricWithTimestamp(stats.Timestamp, m)
	}
	if stats.Cpu != nil {
		send("cpu_stalled", stats.Cpu.PSI.Full.Total)
		send("cpu_waiting", stats.Cpu.PSI.Some.Total)
	}
	if stats.Memory != nil {
		send("memory_stalled", stats.Memory.PSI.Full.Total)
		send("memory_waiting", stats.Memory.PSI.Some.Total)
	}
	if stats.DiskIo != nil {
		send("io_stalled", stats.DiskIo.PSI.Full.Total)
		send("io_waiting", stats.DiskIo.PSI.Some.Total)
	}
}
