package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "bench: stopped")
		os.Exit(130)
	default:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// workload is the size of each measurement.
type workload struct {
	rounds                 int
	drain, slowDrain       int // holds to drain, at once and at 50 ms a call
	latenessSpan, idleSpan time.Duration
	pending, httpHolds     int
	limitSpan              time.Duration
	accounts               accountsWorkload
	reads                  readsWorkload
	renewals               renewalsWorkload
	references             bool  // measure pending holds with a reference as well
	withMillion            bool  // and a million without
	scale                  []int // pending holds
	settled                int   // settled holds, with a tenth as many pending
}

var (
	fullWorkload = workload{rounds: 3, drain: 10_000, slowDrain: 2_000,
		latenessSpan: 10 * time.Second, idleSpan: 30 * time.Second, pending: 100_000,
		httpHolds: 20_000, limitSpan: 95 * time.Second,
		accounts: accountsWorkload{holds: 6_000, accounts: []int{1, 1_000, 6_000},
			fairnessRounds: 1, others: 999, othersHolds: 10, busyHolds: 100_000},
		reads: readsWorkload{unverified: 20_000, stormIntents: 5_000, eventsOfEach: 4,
			reconciled: 100_000},
		renewals: renewalsWorkload{holds: 10_000, captures: 3_000, span: 2 * time.Minute,
			prepare: 40 * time.Second},
		references: true, withMillion: true, scale: []int{10_000, 1_000_000}, settled: 1_000_000}
	quickWorkload = workload{rounds: 1, drain: 6_000, slowDrain: 1_200,
		latenessSpan: 2 * time.Second, idleSpan: 4 * time.Second, pending: 100_000,
		httpHolds: 10_000, limitSpan: 30 * time.Second,
		accounts: accountsWorkload{holds: 6_000, accounts: []int{1, 1_000, 6_000},
			fairnessRounds: 1, others: 299, othersHolds: 10, busyHolds: 20_000},
		reads: readsWorkload{unverified: 4_000, stormIntents: 1_000, eventsOfEach: 4,
			reconciled: 20_000},
		renewals: renewalsWorkload{holds: 1_000, captures: 300, span: 12 * time.Second,
			prepare: 15 * time.Second}, scale: []int{10_000, 100_000}, settled: 100_000}
)

// flags are the command line's.
type flags struct {
	binDir, results, parts, profiles string
	docs                             []string
	quick, million, tenMillion       bool
	rounds                           int
}

func parseFlags(args []string) (f flags, err error) {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.StringVar(&f.binDir, "bin", ".build/bench",
		"folder of the programs that are measured; make bench builds them")
	fs.StringVar(&f.results, "results", "", "folder for the tables and the chart, which need every part; empty: none")
	fs.BoolVar(&f.quick, "quick", false, "one round, less of everything")
	fs.StringVar(&f.parts, "parts", "",
		"parts to measure, with commas: "+strings.Join(partNames(), ", ")+
			"; empty: all but "+strings.Join(extraPartNames(), " and "))
	fs.BoolVar(&f.million, "million", false, "reconcile: a million intents (minutes)")
	fs.BoolVar(&f.tenMillion, "ten-million", false,
		"scale: ten million pending as well (6 GB of memory, a quarter of an hour); "+
			"retention: ten million settled")
	fs.StringVar(&f.profiles, "profile", "",
		"only drain holdd, under profilers, and write the profiles to this folder")
	fs.IntVar(&f.rounds, "rounds", 0, "rounds; the table shows medians")
	fs.Usage = func() {
		fmt.Fprintln(fs.Output(), "bench [flags] [Markdown files in which -results rewrites the figures]")
		fs.PrintDefaults()
	}
	err = fs.Parse(args)
	f.docs = fs.Args()
	return f, err
}

func (f flags) workload() workload {
	w := fullWorkload
	if f.quick {
		w = quickWorkload
	}
	if f.rounds > 0 {
		w.rounds = f.rounds
	}
	if f.million {
		w.reads.reconciled = 1_000_000
	}
	if f.tenMillion {
		w.scale = append(slices.Clone(w.scale), 10_000_000)
		w.settled = 10_000_000
	}
	return w
}

// lab is what every measurement uses.
type lab struct {
	*launcher
	*progressLog
	stripe   *stripeStub
	samples  *sampleSet
	workload workload
}

// progressLog prints what is measured, with the seconds since the start.
type progressLog struct{ startedAt time.Time }

func (l *progressLog) logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%5.0fs "+format+"\n",
		append([]any{time.Since(l.startedAt).Seconds()}, args...)...)
}

func run(ctx context.Context, args []string) error {
	f, err := parseFlags(args)
	if err != nil {
		return err
	}
	l := &launcher{}
	if l.binDir, err = filepath.Abs(f.binDir); err != nil {
		return err
	}
	if l.tempDir, err = os.MkdirTemp("", "holdd-bench"); err != nil {
		return err
	}
	defer os.RemoveAll(l.tempDir)
	stripe, err := l.startStub()
	if err != nil {
		return err
	}
	defer stripe.stop()
	progress := &progressLog{startedAt: time.Now()}
	return measure(ctx, f, lab{launcher: l, progressLog: progress, stripe: stripe,
		samples: newSampleSet(progress), workload: f.workload()})
}

// measure measures the parts that the flags name, and prints their tables.
func measure(ctx context.Context, f flags, b lab) error {
	if f.profiles != "" {
		return newDrainBench(b).profileDrain(ctx, f.profiles)
	}
	chosen, err := chooseParts(f.parts)
	if err != nil {
		return err
	}
	machine, err := describeMachine(ctx)
	if err != nil {
		return err
	}
	tables, err := runParts(ctx, b, chosen)
	if err != nil {
		return err
	}
	r := &report{samples: b.samples, tables: append([]table{machine}, tables...),
		rounds: b.workload.rounds, took: time.Since(b.startedAt)}
	r.print(os.Stdout)
	if f.results == "" {
		return nil
	}
	return r.publish(f.results, f.docs)
}
