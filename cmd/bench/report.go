package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// measure is one thing that is measured.
type measure uint8

const (
	drainRate measure = iota + 1
	drainRate50ms
	workerCPU
	redisCPU
	redisCommands
	redisRoundTrips
	pendingMemory
	pendingMemoryWithReference
	pendingMemoryMillion
	scheduleClientRate
	scheduleHTTPRate
	latenessP50
	latenessP99
	earlyShare
	maxEarliness
	idleMemory
	idleCPU
	startupTime
	binarySize
	measureCount
)

var measureInfo = [...]struct{ title, unit string }{
	drainRate:                  {"drain, answers at once", "/s"},
	drainRate50ms:              {"drain, 50 ms a call", "/s"},
	workerCPU:                  {"worker CPU a hold", "µs"},
	redisCPU:                   {"Redis CPU a hold", "µs"},
	redisCommands:              {"Redis commands a hold, scripts' own included", ""},
	redisRoundTrips:            {"Redis round trips a hold", ""},
	pendingMemory:              {"Redis memory a pending hold", "B"},
	pendingMemoryWithReference: {"the same with a reference", "B"},
	pendingMemoryMillion:       {"the same, a million pending", "B"},
	scheduleClientRate:         {"schedule, client library", "/s"},
	scheduleHTTPRate:           {"schedule, HTTP batches", "/s"},
	latenessP50:                {"lateness at 200/s, p50", "ms"},
	latenessP99:                {"lateness at 200/s, p99", "ms"},
	earlyShare:                 {"too early", "%"},
	maxEarliness:               {"earliest before its time", "ms"},
	idleMemory:                 {"idle, resident", "MB"},
	idleCPU:                    {"idle, of a core", "%"},
	startupTime:                {"start until ready", "ms"},
	binarySize:                 {"binary, stripped", "MB"},
}

func (m measure) title() string { return measureInfo[m].title }

func (m measure) format(v float64) string {
	s := ""
	switch {
	case v >= 1000:
		s = fmt.Sprintf("%.0f", v)
		s = s[:len(s)-3] + "," + s[len(s)-3:]
	case v >= 100:
		s = fmt.Sprintf("%.0f", v)
	case v >= 10:
		s = fmt.Sprintf("%.1f", v)
	case v == 0:
		s = "0"
	default:
		s = fmt.Sprintf("%.2f", v)
	}
	switch unit := measureInfo[m].unit; unit {
	case "", "/s":
		return s + unit
	default:
		return s + " " + unit
	}
}

// median of what was measured; ok is false if nothing was.
func (b *bench) median(m measure, engine string) (v float64, ok bool) {
	all := slices.Clone(b.samples.by[m][engine])
	if len(all) == 0 {
		return 0, false
	}
	slices.Sort(all)
	n := len(all)
	return (all[n/2] + all[(n-1)/2]) / 2, true
}

// target is what holdd has to reach.
type target struct {
	measure    measure
	versus     string  // the engine it is compared with; empty: with the limit itself
	limit      float64 // of the ratio, or of the value
	atLeast    bool    // the limit is the least, else the most
	worstRound bool    // counts the worst round, not the median
}

var targets = []target{
	{measure: drainRate, versus: "asynq", limit: 3, atLeast: true},
	{measure: drainRate, versus: "bare", limit: 0.8, atLeast: true},
	{measure: drainRate50ms, versus: "bare", limit: 0.97, atLeast: true},
	{measure: redisCPU, versus: "asynq", limit: 0.25},
	{measure: pendingMemory, versus: "asynq", limit: 0.5},
	{measure: scheduleClientRate, versus: "asynq", limit: 2, atLeast: true},
	{measure: scheduleHTTPRate, limit: 10_000, atLeast: true},
	{measure: latenessP99, limit: 100},
	{measure: earlyShare, limit: 0, worstRound: true},
	{measure: idleMemory, limit: 25},
	{measure: idleCPU, limit: 0.25},
}

// targetResult is a bar and what was measured for it.
type targetResult struct {
	name, want, value, versusValue, ratio string
	met                                   bool
}

func (b *bench) checkTargets() (out []targetResult) {
	for _, r := range targets {
		v, ok := b.median(r.measure, "holdd")
		if !ok {
			continue
		}
		if r.worstRound {
			v = slices.Max(b.samples.by[r.measure]["holdd"])
		}
		j := targetResult{name: r.measure.title(), value: r.measure.format(v)}
		sign := "≤"
		if r.atLeast {
			sign = "≥"
		}
		x := v
		if r.versus == "" {
			j.want = sign + " " + r.measure.format(r.limit)
		} else {
			than, ok := b.median(r.measure, r.versus)
			if !ok {
				continue
			}
			x = v / than
			j.want, j.versusValue, j.ratio = fmt.Sprintf("%s %g × %s", sign, r.limit, r.versus),
				r.measure.format(than), fmt.Sprintf("%.2f", x)
		}
		j.met = x <= r.limit
		if r.atLeast {
			j.met = x >= r.limit
		}
		out = append(out, j)
	}
	return out
}

// tableRow is a line of a table.
type tableRow []string

// comparisonRows is the table of everything, engines side by side.
func (b *bench) comparisonRows() (head tableRow, rows []tableRow) {
	names := []string{"holdd", "asynq", "BullMQ", "bare"}
	names = slices.DeleteFunc(names,
		func(n string) bool { return b.samples.by[drainRate][n] == nil })
	head = append(tableRow{""}, names...)
	for m := drainRate; m < measureCount; m++ {
		if b.samples.by[m] == nil {
			continue
		}
		r := tableRow{m.title()}
		for _, n := range names {
			if v, ok := b.median(m, n); ok {
				r = append(r, m.format(v))
			} else {
				r = append(r, "–")
			}
		}
		rows = append(rows, r)
	}
	return head, rows
}

func targetRows(all []targetResult) (head tableRow, rows []tableRow) {
	for _, j := range all {
		met := "met"
		if !j.met {
			met = "NOT MET"
		}
		rows = append(rows, tableRow{j.name, j.want, j.value, j.versusValue, j.ratio, met})
	}
	return tableRow{"bar", "wanted", "holdd", "the other", "ratio", ""}, rows
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
	fmt.Fprintln(w)
}

// limitRows are the runs under a rate limit, engines side by side, and whether
// each met its bars.
func (b *bench) limitRows() (head tableRow, rows []tableRow) {
	for _, r := range b.limits {
		met := ""
		if r.engine == "holdd" {
			met = "met"
			if !r.meetsTargets() {
				met = "NOT MET"
			}
		}
		took := fmt.Sprintf("%.2f s", r.took.Seconds())
		if r.open > 0 {
			took = "> " + took
		}
		rows = append(rows, tableRow{r.engine, fmt.Sprintf("%.2f s", r.idealTime().Seconds()), took,
			fmt.Sprintf("%.3f", r.took.Seconds()/r.idealTime().Seconds()),
			fmt.Sprint(r.rateLimited), fmt.Sprint(r.captured), fmt.Sprint(r.expired),
			fmt.Sprint(r.open), r.passedOverBy.String(), met})
	}
	return tableRow{"under a limit", "it allows", "took", "ratio", "429s", "captured", "lapsed",
		"open", "passed over by", ""}, rows
}

// table is one of those that are printed and written.
type table struct {
	title  string
	header tableRow
	rows   []tableRow
}

func (b *bench) tables() []table {
	var out []table
	head, rows := b.comparisonRows()
	out = append(out, table{"Side by side", head, rows})
	head, rows = targetRows(b.checkTargets())
	out = append(out, table{"Bars", head, rows})
	if head, rows = b.limitRows(); len(rows) > 0 {
		out = append(
			out, table{fmt.Sprintf("%d holds due at one instant, %d a second allowed, %d workers, enough time for all", b.limits[0].holds, limitRate, replicas), head, rows})
	}
	return out
}

// writeReport prints the tables, and writes them and the chart to a folder if
// one is named.
func (b *bench) writeReport(w io.Writer, dir string) error {
	fmt.Fprintln(w)
	tables := b.tables()
	for _, t := range tables {
		writeTextTable(w, t.header, t.rows)
	}
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var md strings.Builder
	fmt.Fprintf(
		&md, "# holdd beside other ways to capture later\n\nWritten by `make bench`: %d rounds, medians, %s, %d cores. Figures of different runs can't be compared, ratios within one can.\n"+
			"What is measured and how stands in [doc.go](../doc.go).\n", b.workload.rounds,
		runtime.Version(), runtime.NumCPU())
	for _, t := range tables {
		fmt.Fprintf(&md, "\n## %s\n\n", t.title)
		writeMarkdownTable(&md, t.header, t.rows)
	}
	if err := os.WriteFile(filepath.Join(dir, "results.md"),
		[]byte(md.String()), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "chart.svg"),
		[]byte(b.renderChart(tables[0].header[1:])), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(w, "Written to %s: results.md, chart.svg\n", dir)
	return nil
}

func writeMarkdownTable(w io.Writer, head tableRow, rows []tableRow) {
	fmt.Fprintf(w, "| %s |\n|---|%s\n", strings.Join(head, " | "),
		strings.Repeat("---:|", len(head)-1))
	for _, r := range rows {
		fmt.Fprintf(w, "| %s |\n", strings.Join(r, " | "))
	}
}
