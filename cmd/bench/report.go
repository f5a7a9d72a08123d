package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// figure is a quantity that is measured.
type figure uint8

const (
	drainRate figure = iota + 1
	drainRate50ms
	workerCPU
	redisCPU
	redisCommands
	redisRoundTrips
	pendingMemory
	pendingMemoryWithReference
	pendingMemoryMillion
	settledMemory
	scheduleClientRate
	scheduleHTTPRate
	latenessP50
	latenessP99
	earlyShare
	maxEarliness
	idleMemory
	idleCPU
	idleCommands
	idleCommandsRun
	idleCommandsPartitioned
	startupTime
	binarySize
	limitedShare
	limitedRejections
	accountsTime
	verifyTime
	stormTime
	reconcileTime
)

// figureInfo has the title and the unit of each figure, and what the bare
// engine does for it: the physical limit.
var figureInfo = [...]struct{ title, unit, bare string }{
	drainRate:                  {"drain, answers at once", "/s", "stripe-go in a loop"},
	drainRate50ms:              {"drain, 50 ms a call", "/s", "stripe-go in a loop"},
	workerCPU:                  {"worker CPU a hold", "µs", "stripe-go in a loop"},
	redisCPU:                   {"Redis CPU a hold", "µs", "a claim and a settle script"},
	redisCommands:              {"Redis commands a hold, scripts' own included", "", "the same"},
	redisRoundTrips:            {"Redis round trips a hold", "", "the same"},
	pendingMemory:              {"Redis memory a pending hold", "B", bareMemoryNote},
	pendingMemoryWithReference: {"the same with a reference", "B", ""},
	pendingMemoryMillion:       {"the same, a million pending", "B", bareMemoryNote},
	settledMemory:              {"Redis memory a settled hold", "B", ""},
	scheduleClientRate:         {"schedule, client library", "/s", "pipelined writes"},
	scheduleHTTPRate:           {"schedule, HTTP batches", "/s", "net/http that echoes"},
	latenessP50:                {"lateness at 200/s, p50", "ms", ""},
	latenessP99:                {"lateness at 200/s, p99", "ms", ""},
	earlyShare:                 {"too early", "%", ""},
	maxEarliness:               {"earliest before its time", "ms", ""},
	idleMemory:                 {"idle, resident", "MB", ""},
	idleCPU:                    {"idle, of a core", "%", ""},
	idleCommands:               {"idle, commands sent to Redis", "/s", ""},
	idleCommandsRun:            {"with those that scripts run", "/s", ""},
	idleCommandsPartitioned:    {"commands sent with 64 partitions", "/s", ""},
	startupTime:                {"start until ready", "ms", ""},
	binarySize:                 {"binary, stripped", "MB", ""},
	limitedShare:               {"of what a limiter allows, median of eight", "%", "with back-off"},
	limitedRejections:          {"requests that it rejects, median of eight", "%", "with back-off"},
	accountsTime:               {"6,000 holds due at once, by accounts", "s", ""},
	verifyTime:                 {"unverified holds, until all are read", "s", "single reads"},
	stormTime:                  {"storm of webhooks, until all are read", "s", "single reads"},
	reconcileTime:              {"reconcile of a complete schedule", "s", "stripe-go lists"},
}

const bareMemoryNote = "two sorted-set entries, a hash field"

func (f figure) title() string { return figureInfo[f].title }

func (f figure) format(v float64) string {
	s := ""
	switch {
	case v >= 1000:
		s = fmt.Sprintf("%.0f", v)
		for i := len(s) - 3; i > 0; i -= 3 {
			s = s[:i] + "," + s[i:]
		}
	case v >= 100:
		s = fmt.Sprintf("%.0f", v)
	case v >= 10:
		s = fmt.Sprintf("%.1f", v)
	case v == 0:
		s = "0"
	default:
		s = fmt.Sprintf("%.2f", v)
	}
	switch unit := figureInfo[f].unit; unit {
	case "", "/s":
		return s + unit
	default:
		return s + " " + unit
	}
}

// report renders what was measured.
type report struct {
	samples *sampleSet
	tables  []table
	rounds  int
	took    time.Duration
}

// table is a table of the report.
type table struct {
	title  string
	header tableRow
	rows   []tableRow
	inDocs bool // performance.md has it as well
}

// tableRow is a row of a table.
type tableRow []string

// engineNames are the engines in the order of the columns.
var engineNames = []string{"holdd", "asynq", "BullMQ", "bare"}

// enginesWith returns the engines that have a value of any of some figures.
func enginesWith(s *sampleSet, figures ...figure) (names []string) {
	for _, n := range engineNames {
		if slices.ContainsFunc(figures, func(f figure) bool { return s.by[f][n] != nil }) {
			names = append(names, n)
		}
	}
	return names
}

// comparisonTable returns figures, engines side by side, and holdd's ratio to
// each of the others.
func comparisonTable(s *sampleSet, title string, figures ...figure) table {
	names := enginesWith(s, figures...)
	t := table{title: title, header: append(tableRow{""}, names...)}
	for _, n := range names {
		if n != "holdd" {
			t.header = append(t.header, "holdd / "+n)
		}
	}
	hasBare := slices.Contains(names, "bare")
	if hasBare {
		t.header = append(t.header, "bare is")
	}
	for _, f := range figures {
		if s.by[f] == nil {
			continue
		}
		row := tableRow{f.title()}
		for _, n := range names {
			row = append(row, s.formatMedian(f, n))
		}
		for _, n := range names {
			if n != "holdd" {
				row = append(row, s.formatRatio(f, n))
			}
		}
		if hasBare {
			row = append(row, figureInfo[f].bare)
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// formatMedian returns a median, or a dash if there is none.
func (s *sampleSet) formatMedian(f figure, engine string) string {
	if v, ok := s.median(f, engine); ok {
		return f.format(v)
	}
	return "–"
}

// formatRatio returns holdd's median divided by that of another engine.
func (s *sampleSet) formatRatio(f figure, other string) string {
	v, ok := s.median(f, "holdd")
	than, found := s.median(f, other)
	if !ok || !found || than == 0 {
		return "–"
	}
	if v/than < 0.1 {
		return fmt.Sprintf("%.3f", v/than)
	}
	return fmt.Sprintf("%.2f", v/than)
}

// writeTextTable writes a table for a terminal.
func writeTextTable(w io.Writer, head tableRow, rows []tableRow) {
	width := make([]int, len(head))
	for _, r := range append([]tableRow{head}, rows...) {
		for i, c := range r {
			width[i] = max(width[i], len([]rune(c)))
		}
	}
	for _, r := range append([]tableRow{head}, rows...) {
		var s strings.Builder
		for i, c := range r {
			pad := strings.Repeat(" ", width[i]-len([]rune(c)))
			if i == 0 {
				s.WriteString(c + pad)
			} else {
				s.WriteString("  " + pad + c)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(s.String(), " "))
	}
}

// print prints the tables for a terminal.
func (r *report) print(w io.Writer) {
	for _, t := range r.tables {
		fmt.Fprintf(w, "\n%s\n\n", t.title)
		writeTextTable(w, t.header, t.rows)
	}
}

// save writes the tables and the chart to a folder.
func (r *report) save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var md strings.Builder
	fmt.Fprintf(&md, "# holdd beside other ways to capture later\n\n"+
		"Written by `make bench`: medians of %d rounds, measured in %s. Figures of different runs "+
		"can't be compared, ratios within one can.\n"+
		"What is measured and how stands in [doc.go](../doc.go).\n", r.rounds,
		r.took.Round(time.Second))
	for _, t := range r.tables {
		fmt.Fprintf(&md, "\n## %s\n\n", t.title)
		writeMarkdownTable(&md, t.header, t.rows)
	}
	if err := os.WriteFile(filepath.Join(dir, "results.md"),
		[]byte(md.String()), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "chart.svg"), []byte(r.renderChart()), 0o644)
}

func writeMarkdownTable(w io.Writer, head tableRow, rows []tableRow) {
	fmt.Fprintf(w, "| %s |\n|---|%s\n", strings.Join(head, " | "),
		strings.Repeat("---:|", len(head)-1))
	for _, r := range rows {
		fmt.Fprintf(w, "| %s |\n", strings.Join(r, " | "))
	}
}
