package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
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
	limitedHolds           int
	limitedTimeout         time.Duration
	accounts               accountsWorkload
	references             bool // measure pending holds with a reference as well
	withMillion            bool // and a million without
}

var (
	fullWorkload = workload{rounds: 3, drain: 20_000, slowDrain: 4_000,
		latenessSpan: 10 * time.Second, idleSpan: 20 * time.Second, pending: 100_000,
		httpHolds: 20_000, limitedHolds: 10_000, limitedTimeout: 2 * time.Minute,
		accounts: accountsWorkload{holds: 6_000, accounts: []int{1, 100, 1_000, 2_000, 6_000},
			others: 999, othersHolds: 10, busyHolds: 100_000},
		references: true, withMillion: true}
	quickWorkload = workload{rounds: 1, drain: 6_000, slowDrain: 1_200,
		latenessSpan: 2 * time.Second, idleSpan: 4 * time.Second, pending: 100_000,
		httpHolds: 10_000, limitedHolds: 3_000, limitedTimeout: 20 * time.Second,
		accounts: accountsWorkload{holds: 6_000, accounts: []int{1, 1_000, 6_000},
			others: 299, othersHolds: 10, busyHolds: 20_000}}
)

// flags are the command line's.
type flags struct {
	binDir, results, only, profiles string
	quick, tenMillion               bool
	rounds                          int
}

func parseFlags(args []string) (f flags, err error) {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.StringVar(&f.binDir, "bin", ".build/bench",
		"folder of the programs that are measured; make bench builds them")
	fs.StringVar(&f.results, "results", "", "folder for the tables and the chart; empty: none")
	fs.BoolVar(&f.quick, "quick", false, "one round, less of everything")
	fs.StringVar(&f.only, "only", "", "one part alone: limit, accounts, scale, retention or cluster")
	fs.BoolVar(&f.tenMillion, "ten-million", false,
		"scale: ten million pending as well (6 GB of memory, a quarter of an hour); "+
			"retention: ten million settled")
	fs.StringVar(&f.profiles, "profile", "",
		"only drain holdd, under profilers, and write the profiles to this folder")
	fs.IntVar(&f.rounds, "rounds", 0, "rounds; the table shows medians")
	err = fs.Parse(args)
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
	return w
}

// sizes returns the numbers of pending holds of the scale benchmark.
func (f flags) sizes() []int {
	sizes := []int{10_000, 1_000_000}
	if f.quick {
		sizes = []int{10_000, 100_000}
	}
	if f.tenMillion {
		sizes = append(sizes, 10_000_000)
	}
	return sizes
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

// measure measures what the flags ask for, and prints it.
func measure(ctx context.Context, f flags, b lab) error {
	if f.profiles != "" {
		return newDrainBench(b).profileDrain(ctx, f.profiles)
	}
	switch f.only {
	case "limit":
		limits, err := (&limitBench{b}).measureUnderLimit(ctx)
		if err != nil {
			return err
		}
		fmt.Println()
		head, rows := limitRows(limits)
		writeTextTable(os.Stdout, head, rows)
		return nil
	case "accounts":
		tables, err := newAccountsBench(b).measureAccounts(ctx)
		if err != nil {
			return err
		}
		fmt.Println()
		for _, t := range tables {
			writeTextTable(os.Stdout, t.header, t.rows)
		}
		return nil
	case "scale":
		if err := (&scaleBench{b}).measureScale(ctx, f.sizes(), os.Stdout); err != nil {
			return err
		}
		return (&clusterBench{b}).measureCluster(ctx, os.Stdout)
	case "retention":
		settled, pending := f.retentionSizes()
		return (&scaleBench{b}).measureRetention(ctx, settled, pending, os.Stdout)
	case "cluster":
		return (&clusterBench{b}).measureCluster(ctx, os.Stdout)
	case "":
		return measureAll(ctx, b, f.results)
	}
	return fmt.Errorf("invalid -only %q: want limit, accounts, scale, retention or cluster", f.only)
}

// measureAll measures every engine and writes the report.
func measureAll(ctx context.Context, b lab, results string) error {
	engines := []engine{bareEngine{b.launcher}, holddEngine{launcher: b.launcher},
		asynqEngine{launcher: b.launcher}}
	if e := newBullMQEngine(b.launcher); e != nil {
		engines = append(engines, *e)
	} else {
		b.logf("BullMQ is left out: node or its packages are not installed")
	}
	queues := engines[1:]
	resources := &resourceBench{b}
	if err := resources.measureBinarySizes(); err != nil {
		return err
	}
	if err := measureRounds(ctx, b, resources, engines); err != nil {
		return err
	}
	b.logf("pending")
	for _, e := range queues {
		if err := resources.measurePending(ctx, e); err != nil {
			return err
		}
	}
	b.logf("idle")
	if err := resources.measureIdle(ctx, queues, b.workload.idleSpan); err != nil {
		return err
	}
	limits, err := (&limitBench{b}).measureUnderLimit(ctx)
	if err != nil {
		return err
	}
	accounts, err := newAccountsBench(b).measureAccounts(ctx)
	if err != nil {
		return err
	}
	r := &report{samples: b.samples, limits: limits, accounts: accounts, rounds: b.workload.rounds}
	return r.write(os.Stdout, results)
}

// measureRounds measures drains, lateness and startup. The engines take turns,
// so that other load on the machine falls on all of them.
func measureRounds(ctx context.Context, b lab, resources *resourceBench, engines []engine) error {
	drains := newDrainBench(b)
	for r := range b.workload.rounds {
		b.logf("round %d of %d", r+1, b.workload.rounds)
		for i := range engines {
			if err := drains.measureDrain(ctx, engines[(i+r)%len(engines)],
				b.workload.drain, 0); err != nil {
				return err
			}
		}
		for i := range engines {
			if err := drains.measureDrain(ctx, engines[(i+r)%len(engines)],
				b.workload.slowDrain, 50*time.Millisecond); err != nil {
				return err
			}
		}
		if err := resources.measureHTTP(ctx, holddEngine{launcher: b.launcher},
			b.workload.httpHolds); err != nil {
			return err
		}
		for _, e := range engines[1:] {
			if err := drains.measureLateness(ctx, e, b.workload.latenessSpan); err != nil {
				return err
			}
			if err := resources.measureStartup(ctx, e); err != nil {
				return err
			}
		}
	}
	return nil
}
