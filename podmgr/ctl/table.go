package ctl

import (
	"io"
	"strings"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// table writes aligned columns as kubectl does. Unlike text/tabwriter it remembers widths, so that rows that a watch
// brings later stand under the first ones.
type table struct {
	rows   [][]string // not yet written
	widths []int
	paint  func(cell string) string // how a cell is shown; its width is that of the cell. Nil: as it is
}

// Least width of a column and the space behind it, as in kubectl.
const (
	minColumn = 6
	padding   = 3
)

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// flush writes the rows added since the last flush.
func (t *table) flush(w io.Writer) error {
	for _, r := range t.rows {
		for i, c := range r {
			if i == len(t.widths) {
				t.widths = append(t.widths, minColumn)
			}
			t.widths[i] = max(t.widths[i], utf8.RuneCountInString(c)+padding)
		}
	}
	var b strings.Builder
	for _, r := range t.rows {
		for i, c := range r {
			if t.paint != nil {
				b.WriteString(t.paint(c))
			} else {
				b.WriteString(c)
			}
			if i < len(r)-1 {
				b.WriteString(strings.Repeat(" ", t.widths[i]-utf8.RuneCountInString(c)))
			}
		}
		b.WriteByte('\n')
	}
	t.rows = nil
	_, err := io.WriteString(w, b.String())
	return err
}

// age is how long ago t was, as kubectl writes it.
func age(now time.Time, t metav1.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(now.Sub(t.Time))
}

// orNone is s, or kubectl's word for nothing.
func orNone(s string) string {
	if s == "" {
		return "<none>"
	}
	return s
}
