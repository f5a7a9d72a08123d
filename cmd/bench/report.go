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
	figureCount
)

var figureInfo = [...]struct{ title, unit string }{
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

func (f figure) title() string { return figureInfo[f].title }

func (f figure) format(v float64) string {
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
	switch unit := figureInfo[f].unit; unit {
	case "", "/s":
		return s + unit
	default:
		return s + " " + unit
	}
}

// report renders what was measured.
type report struct {
	samples  *sampleSet
	limits   []limitResult
	accounts []table
	rounds   int
}

// target is a bar that holdd has to reach.
type target struct {
	figure     figure
	versus     string  // the engine to compare with; empty: compare with the limit itself
	limit      float64 // for the ratio, or for the value
	atLeast    bool    // the limit is a minimum, otherwise a maximum
	worstRound bool    // use the worst round instead of the median
}

var targets = []target{
	{figure: drainRate, versus: "asynq", limit: 3, atLeast: true},
	{figure: drainRate, versus: "bare", limit: 0.8, atLeast: true},
	{figure: drainRate50ms, versus: "bare", limit: 0.97, atLeast: true},
	{figure: redisCPU, versus: "asynq", limit: 0.25},
	{figure: pendingMemory, versus: "asynq", limit: 0.5},
	{figure: scheduleClientRate, versus: "asynq", limit: 2, atLeast: true},
	{figure: scheduleHTTPRate, limit: 10_000, atLeast: true},
	{figure: latenessP99, limit: 100},
	{figure: earlyShare, limit: 0, worstRound: true},
	{figure: idleMemory, limit: 25},
	{figure: idleCPU, limit: 0.25},
}

// targetResult is a target with the measured values.
type targetResult struct {
	name, want, value, versusValue, ratio string
	met                                   bool
}

func (r *report) checkTargets() (out []targetResult) {
	for _, t := range targets {
		if result, ok := r.checkTarget(t); ok {
			out = append(out, result)
		}
	}
	return out
}

// checkTarget compares a target with the samples. ok is false if there are
// none.
func (r *report) checkTarget(t target) (result targetResult, ok bool) {
	v, ok := r.samples.median(t.figure, "holdd")
	if !ok {
		return result, false
	}
	if t.worstRound {
		v = slices.Max(r.samples.by[t.figure]["holdd"])
	}
	result = targetResult{name: t.figure.title(), value: t.figure.format(v)}
	sign := "≤"
	if t.atLeast {
		sign = "≥"
	}
	compared := v
	if t.versus == "" {
		result.want = sign + " " + t.figure.format(t.limit)
	} else {
		than, ok := r.samples.median(t.figure, t.versus)
		if !ok {
			return result, false
		}
		compared = v / than
		result.want, result.versusValue, result.ratio = fmt.Sprintf("%s %g × %s",
			sign, t.limit, t.versus),
			t.figure.format(than), fmt.Sprintf("%.2f", compared)
	}
	result.met = compared <= t.limit
	if t.atLeast {
		result.met = compared >= t.limit
	}
	return result, true
}

// tableRow is a row of a table.
type tableRow []string

// comparisonRows returns every figure, engines side by side.
func (r *report) comparisonRows() (head tableRow, rows []tableRow) {
	names := []string{"holdd", "asynq", "BullMQ", "bare"}
	names = slices.DeleteFunc(names,
		func(n string) bool { return r.samples.by[drainRate][n] == nil })
	head = append(tableRow{""}, names...)
	for f := drainRate; f < figureCount; f++ {
		if r.samples.by[f] == nil {
			continue
		}
		row := tableRow{f.title()}
		for _, n := range names {
			if v, ok := r.samples.median(f, n); ok {
				row = append(row, f.format(v))
			} else {
				row = append(row, "–")
			}
		}
		rows = append(rows, row)
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

// limitRows returns the runs under a rate limit, and whether holdd met its
// targets.
func limitRows(limits []limitResult) (head tableRow, rows []tableRow) {
	for _, r := range limits {
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
	return tableRow{"under a limit", "it allows", "took", "ratio", "429s", "captured", "expired",
		"open", "passed over by", ""}, rows
}

// table is a table of the report.
type table struct {
	title  string
	header tableRow
	rows   []tableRow
}

func (r *report) tables() []table {
	var out []table
	head, rows := r.comparisonRows()
	out = append(out, table{"Side by side", head, rows})
	head, rows = targetRows(r.checkTargets())
	out = append(out, table{"Bars", head, rows})
	if head, rows = limitRows(r.limits); len(rows) > 0 {
		out = append(
			out, table{fmt.Sprintf("%d holds due at one instant, %d a second allowed, %d "+
				"workers, enough time for all", r.limits[0].holds, limitRate, replicas), head, rows})
	}
	return append(out, r.accounts...)
}

// write prints the tables. If dir is not empty, it writes them and the chart
// there.
func (r *report) write(w io.Writer, dir string) error {
	fmt.Fprintln(w)
	tables := r.tables()
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
		&md, "# holdd beside other ways to capture later\n\nWritten by `make bench`: %d rounds, "+
			"medians, %s, %d cores. Figures of different runs can't be compared, ratios within "+
			"one can.\n"+
			"What is measured and how stands in [doc.go](../doc.go).\n", r.rounds,
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
		[]byte(r.renderChart(tables[0].header[1:])), 0o644); err != nil {
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
