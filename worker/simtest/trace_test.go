package simtest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// trace is what happened, in the order of virtual time. Lines of the very same nanosecond are ordered by their text: two goroutines that do
// something at once have no order.
type trace struct {
	mu    sync.Mutex
	began time.Time
	lines []line
	names *strings.Replacer
}

type line struct {
	at    time.Duration
	text  string
	noise bool // left out of the story
	aside bool // left out of the digest: it is there only when somebody reads
}

func (t *trace) add(noise bool, format string, args ...any) {
	t.put(line{text: fmt.Sprintf(format, args...), noise: noise})
}

func (t *trace) put(l line) {
	l.at = time.Since(t.began)
	t.mu.Lock()
	t.lines = append(t.lines, l)
	t.mu.Unlock()
}

func (t *trace) sorted() []line {
	t.mu.Lock()
	defer t.mu.Unlock()
	slices.SortStableFunc(t.lines, func(a, b line) int {
		if a.at != b.at {
			return int(a.at - b.at)
		}
		return strings.Compare(a.text, b.text)
	})
	return t.lines
}

// digest stands for the whole run.
func (t *trace) digest() string {
	d := sha256.New()
	for _, l := range t.sorted() {
		if !l.aside {
			fmt.Fprintf(d, "%d %s\n", l.at, l.text)
		}
	}
	return hex.EncodeToString(d.Sum(nil)[:12])
}

// story is what a person wants to read of it.
func (t *trace) story() string {
	var s strings.Builder
	for _, l := range t.sorted() {
		if !l.noise {
			fmt.Fprintf(&s, "  +%-18s %s\n", l.at.Round(time.Microsecond), t.names.Replace(l.text))
		}
	}
	return s.String()
}

// full is all of it.
func (t *trace) full() string {
	var s strings.Builder
	for _, l := range t.sorted() {
		if !l.aside {
			fmt.Fprintf(&s, "%d %s\n", l.at, l.text)
		}
	}
	return s.String()
}
