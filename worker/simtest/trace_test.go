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

// trace records a run in the order of virtual time. Lines of the very same
// nanosecond are ordered by their text: two goroutines that do something at
// once have no order.
type trace struct {
	mu        sync.Mutex
	startedAt time.Time
	lines     []traceLine
	names     *strings.Replacer
}

type traceLine struct {
	at                 time.Duration
	text               string
	background         bool // left out of the story
	excludedFromDigest bool // log lines, which are not part of the digest
}

func (t *trace) add(background bool, format string, args ...any) {
	t.addLine(traceLine{text: fmt.Sprintf(format, args...), background: background})
}

func (t *trace) addLine(l traceLine) {
	l.at = time.Since(t.startedAt)
	t.mu.Lock()
	t.lines = append(t.lines, l)
	t.mu.Unlock()
}

func (t *trace) sortedLines() []traceLine {
	t.mu.Lock()
	defer t.mu.Unlock()
	slices.SortStableFunc(t.lines, func(a, b traceLine) int {
		if a.at != b.at {
			return int(a.at - b.at)
		}
		return strings.Compare(a.text, b.text)
	})
	return t.lines
}

// digest is a hash of the whole run.
func (t *trace) digest() string {
	d := sha256.New()
	for _, l := range t.sortedLines() {
		if !l.excludedFromDigest {
			fmt.Fprintf(d, "%d %s\n", l.at, l.text)
		}
	}
	return hex.EncodeToString(d.Sum(nil)[:12])
}

// summary is the trace without background lines.
func (t *trace) summary() string {
	var s strings.Builder
	for _, l := range t.sortedLines() {
		if !l.background {
			fmt.Fprintf(&s, "  +%-18s %s\n", l.at.Round(time.Microsecond), t.names.Replace(l.text))
		}
	}
	return s.String()
}

// fullText is the whole trace.
func (t *trace) fullText() string {
	var s strings.Builder
	for _, l := range t.sortedLines() {
		if !l.excludedFromDigest {
			fmt.Fprintf(&s, "%d %s\n", l.at, l.text)
		}
	}
	return s.String()
}
