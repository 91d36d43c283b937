package metrics

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// textContent is the Prometheus text format.
const textContent = "text/plain; version=0.0.4; charset=utf-8"

// textHandler answers with the metrics of collectors, each turned into text as it comes. Registry and promhttp hold all
// metrics as objects until the last is there: 5 000 series of 30 pods are 6 MB of objects and 1 MB of text.
func textHandler(collectors ...prometheus.Collector) http.Handler {
	slots := make(chan struct{}, scrapesAtOnce)
	var last atomic.Pointer[text] // sizes only
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		default:
			http.Error(w, "too many scrapes at once", http.StatusServiceUnavailable)
			return
		}
		t, err := collectText(last.Load(), collectors...)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", textContent)
		var out io.Writer = w
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			defer func() { _ = z.Close() }()
			out = z
		}
		t.writeTo(out)
		last.Store(t.sizes())
	})
}

// text gathers lines by metric family.
type text struct {
	families map[string]*textFamily
	last     *text // the sizes of the one before; may be nil
}

type textFamily struct {
	help, kind string
	lines      []byte
	size       int // of lines, in bytes
	// devices are the series with a device that are there already. cAdvisor shows the I/O of a device twice where it is a
	// filesystem, too: from the cgroup, and then from the filesystem, which for a container is 0. The first is the right one.
	devices map[string]struct{}
}

// sizes is a text of the same families without their lines.
func (t *text) sizes() *text {
	out := &text{families: make(map[string]*textFamily, len(t.families))}
	for name, f := range t.families {
		out.families[name] = &textFamily{size: len(f.lines)}
	}
	return out
}

// collectText collects once. It makes room for what there was last time, so that lines are not copied while they grow.
func collectText(last *text, collectors ...prometheus.Collector) (*text, error) {
	t := &text{families: map[string]*textFamily{}, last: last}
	ch := make(chan prometheus.Metric, 64)
	go func() {
		defer close(ch)
		for _, c := range collectors {
			c.Collect(ch)
		}
	}()
	var failed error
	for m := range ch { // to the end, whatever happens: the collector must not be left behind
		if err := t.add(m); err != nil && failed == nil {
			failed = err
		}
	}
	return t, failed
}

func (t *text) add(m prometheus.Metric) error {
	name, rest, err := descName(m.Desc())
	if err != nil {
		return err
	}
	var d dto.Metric
	if err := m.Write(&d); err != nil {
		return fmt.Errorf("writing metric %s: %w", name, err)
	}
	var value float64
	kind := "untyped"
	switch {
	case d.Counter != nil:
		kind, value = "counter", d.Counter.GetValue()
	case d.Gauge != nil:
		kind, value = "gauge", d.Gauge.GetValue()
	case d.Untyped != nil:
		value = d.Untyped.GetValue()
	default:
		return fmt.Errorf("writing metric %s: only counters and gauges are expected", name)
	}
	f := t.families[name]
	if f == nil {
		f = &textFamily{help: descHelp(rest), kind: kind}
		if t.last != nil && t.last.families[name] != nil {
			f.lines = make([]byte, 0, t.last.families[name].size+64)
		}
		t.families[strings.Clone(name)] = f
	}
	before := len(f.lines)
	f.lines = appendSeries(f.lines, name, &d)
	if slices.ContainsFunc(d.Label, func(l *dto.LabelPair) bool { return l.GetName() == "device" }) {
		series := string(f.lines[before:])
		if _, twice := f.devices[series]; twice {
			f.lines = f.lines[:before]
			return nil
		}
		if f.devices == nil {
			f.devices = map[string]struct{}{}
		}
		f.devices[series] = struct{}{}
	}
	f.lines = appendValue(f.lines, &d, value)
	return nil
}

func appendSeries(b []byte, name string, d *dto.Metric) []byte {
	b = append(b, name...)
	for i, l := range d.Label {
		b = append(b, ",{"[b2i(i == 0)])
		b = append(append(b, l.GetName()...), '=', '"')
		b = appendEscaped(b, l.GetValue(), true)
		b = append(b, '"')
	}
	if len(d.Label) > 0 {
		b = append(b, '}')
	}
	return b
}

func appendValue(b []byte, d *dto.Metric, value float64) []byte {
	b = append(b, ' ')
	switch {
	case math.IsInf(value, 1):
		b = append(b, "+Inf"...)
	case math.IsInf(value, -1):
		b = append(b, "-Inf"...)
	default:
		b = strconv.AppendFloat(b, value, 'g', -1, 64)
	}
	if d.TimestampMs != nil {
		b = strconv.AppendInt(append(b, ' '), d.GetTimestampMs(), 10)
	}
	return append(b, '\n')
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func appendEscaped(b []byte, s string, quotes bool) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\\':
			b = append(b, `\\`...)
		case c == '\n':
			b = append(b, `\n`...)
		case c == '"' && quotes:
			b = append(b, `\"`...)
		default:
			b = append(b, c)
		}
	}
	return b
}

// writeTo writes the families by name. A client that went away is nobody's problem.
func (t *text) writeTo(w io.Writer) {
	for _, name := range slices.Sorted(maps.Keys(t.families)) {
		f := t.families[name]
		var head bytes.Buffer
		head.WriteString("# HELP " + name + " ")
		head.Write(appendEscaped(nil, f.help, false))
		head.WriteString("\n# TYPE " + name + " " + f.kind + "\n")
		if _, err := w.Write(head.Bytes()); err != nil {
			return
		}
		if _, err := w.Write(f.lines); err != nil {
			return
		}
	}
}

// descName takes the name out of a Desc, whose fields client_golang keeps to itself; rest is what descHelp wants.
func descName(d *prometheus.Desc) (name, rest string, err error) {
	s, found := strings.CutPrefix(d.String(), `Desc{fqName: `)
	if !found {
		return "", "", fmt.Errorf("reading the name of metric %s: its form is not known", d)
	}
	quoted, err := strconv.QuotedPrefix(s)
	if err != nil {
		return "", "", fmt.Errorf("reading the name of metric %s: %w", d, err)
	}
	return quoted[1 : len(quoted)-1], s[len(quoted):], nil // names need no escapes
}

func descHelp(rest string) string {
	s, found := strings.CutPrefix(rest, `, help: `)
	if !found {
		return ""
	}
	quoted, err := strconv.QuotedPrefix(s)
	if err != nil {
		return ""
	}
	help, err := strconv.Unquote(quoted)
	if err != nil {
		return ""
	}
	return help
}
