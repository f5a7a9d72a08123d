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
	drain0 measure = iota + 1
	drain50
	workerCPU
	redisCPU
	commands
	trips
	pending
	pendingRef
	pendingMillion
	schedule
	scheduleHTTP
	late50
	late99
	earlyShare
	earlyMost
	idleMB
	idleCPU
	startMS
	binaryMB
	lastMeasure
)

var measures = [...]struct{ title, unit string }{
	drain0:         {"drain, answers at once", "/s"},
	drain50:        {"drain, 50 ms a call", "/s"},
	workerCPU:      {"worker CPU a hold", "µs"},
	redisCPU:       {"Redis CPU a hold", "µs"},
	commands:       {"Redis commands a hold, scripts' own included", ""},
	trips:          {"Redis round trips a hold", ""},
	pending:        {"Redis memory a pending hold", "B"},
	pendingRef:     {"the same with a reference", "B"},
	pendingMillion: {"the same, a million pending", "B"},
	schedule:       {"schedule, client library", "/s"},
	scheduleHTTP:   {"schedule, HTTP batches", "/s"},
	late50:         {"lateness at 200/s, p50", "ms"},
	late99:         {"lateness at 200/s, p99", "ms"},
	earlyShare:     {"too early", "%"},
	earlyMost:      {"earliest before its time", "ms"},
	idleMB:         {"idle, resident", "MB"},
	idleCPU:        {"idle, of a core", "%"},
	startMS:        {"start until ready", "ms"},
	binaryMB:       {"binary, stripped", "MB"},
}

func (m measure) title() string { return measures[m].title }

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
	switch unit := measures[m].unit; unit {
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

// bar is what holdd has to reach.
type bar struct {
	m     measure
	than  string  // the engine it is compared with; empty: with the limit itself
	limit float64 // of the ratio, or of the value
	least bool    // the limit is the least, else the most
	worst bool    // counts the worst round, not the median
}

var bars = []bar{
	{m: drain0, than: "asynq", limit: 3, least: true},
	{m: drain0, than: "bare", limit: 0.8, least: true},
	{m: drain50, than: "bare", limit: 0.97, least: true},
	{m: redisCPU, than: "asynq", limit: 0.25},
	{m: pending, than: "asynq", limit: 0.5},
	{m: schedule, than: "asynq", limit: 2, least: true},
	{m: scheduleHTTP, limit: 10_000, least: true},
	{m: late99, limit: 100},
	{m: earlyShare, limit: 0, worst: true},
	{m: idleMB, limit: 25},
	{m: idleCPU, limit: 0.25},
}

// judged is a bar and what was measured for it.
type judged struct {
	name, want, value, against, ratio string
	met                               bool
}

func (b *bench) judge() (out []judged) {
	for _, r := range bars {
		v, ok := b.median(r.m, "holdd")
		if !ok {
			continue
		}
		if r.worst {
			v = slices.Max(b.samples.by[r.m]["holdd"])
		}
		j := judged{name: r.m.title(), value: r.m.format(v)}
		sign := "≤"
		if r.least {
			sign = "≥"
		}
		x := v
		if r.than == "" {
			j.want = sign + " " + r.m.format(r.limit)
		} else {
			than, ok := b.median(r.m, r.than)
			if !ok {
				continue
			}
			x = v / than
			j.want, j.against, j.ratio = fmt.Sprintf("%s %g × %s", sign, r.limit, r.than), r.m.format(than), fmt.Sprintf("%.2f", x)
		}
		j.met = x <= r.limit
		if r.least {
			j.met = x >= r.limit
		}
		out = append(out, j)
	}
	return out
}

// row is a line of a table.
type row []string

// figures is the table of everything, engines side by side.
func (b *bench) figures() (head row, rows []row) {
	names := []string{"holdd", "asynq", "BullMQ", "bare"}
	names = slices.DeleteFunc(names, func(n string) bool { return b.samples.by[drain0][n] == nil })
	head = append(row{""}, names...)
	for m := drain0; m < lastMeasure; m++ {
		if b.samples.by[m] == nil {
			continue
		}
		r := row{m.title()}
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

func barRows(all []judged) (head row, rows []row) {
	for _, j := range all {
		met := "met"
		if !j.met {
			met = "NOT MET"
		}
		rows = append(rows, row{j.name, j.want, j.value, j.against, j.ratio, met})
	}
	return row{"bar", "wanted", "holdd", "the other", "ratio", ""}, rows
}

// text writes a table for a terminal.
func text(w io.Writer, head row, rows []row) {
	width := make([]int, len(head))
	for _, r := range append([]row{head}, rows...) {
		for i, c := range r {
			width[i] = max(width[i], len([]rune(c)))
		}
	}
	for _, r := range append([]row{head}, rows...) {
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

// limitRows are the runs under a rate limit, engines side by side, and whether each met its bars.
func (b *bench) limitRows() (head row, rows []row) {
	for _, r := range b.limits {
		met := ""
		if r.engine == "holdd" {
			met = "met"
			if !r.good() {
				met = "NOT MET"
			}
		}
		took := fmt.Sprintf("%.2f s", r.took.Seconds())
		if r.open > 0 {
			took = "> " + took
		}
		rows = append(rows, row{r.engine, fmt.Sprintf("%.2f s", r.ideal().Seconds()), took, fmt.Sprintf("%.3f", r.took.Seconds()/r.ideal().Seconds()),
			fmt.Sprint(r.limited), fmt.Sprint(r.captured), fmt.Sprint(r.lapsed), fmt.Sprint(r.open), r.passed.String(), met})
	}
	return row{"under a limit", "it allows", "took", "ratio", "429s", "captured", "lapsed", "open", "passed over by", ""}, rows
}

// table is one of those that are printed and written.
type table struct {
	title string
	head  row
	rows  []row
}

func (b *bench) tables() []table {
	var out []table
	head, rows := b.figures()
	out = append(out, table{"Side by side", head, rows})
	head, rows = barRows(b.judge())
	out = append(out, table{"Bars", head, rows})
	if head, rows = b.limitRows(); len(rows) > 0 {
		out = append(out, table{fmt.Sprintf("%d holds due at one instant, %d a second allowed, %d workers, enough time for all", b.limits[0].holds, limitRate, replicas), head, rows})
	}
	return out
}

// report prints the tables, and writes them and the chart to a folder if one is named.
func (b *bench) report(w io.Writer, dir string) error {
	fmt.Fprintln(w)
	tables := b.tables()
	for _, t := range tables {
		text(w, t.head, t.rows)
	}
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var md strings.Builder
	fmt.Fprintf(&md, "# holdd beside other ways to capture later\n\nWritten by `make bench`: %d rounds, medians, %s, %d cores. Figures of different runs can't be compared, ratios within one can.\n"+
		"What is measured and how stands in [doc.go](../doc.go).\n", b.size.rounds, runtime.Version(), runtime.NumCPU())
	for _, t := range tables {
		fmt.Fprintf(&md, "\n## %s\n\n", t.title)
		markdown(&md, t.head, t.rows)
	}
	if err := os.WriteFile(filepath.Join(dir, "results.md"), []byte(md.String()), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "chart.svg"), []byte(b.chart(tables[0].head[1:])), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(w, "Written to %s: results.md, chart.svg\n", dir)
	return nil
}

func markdown(w io.Writer, head row, rows []row) {
	fmt.Fprintf(w, "| %s |\n|---|%s\n", strings.Join(head, " | "), strings.Repeat("---:|", len(head)-1))
	for _, r := range rows {
		fmt.Fprintf(w, "| %s |\n", strings.Join(r, " | "))
	}
}
