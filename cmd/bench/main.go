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

// workload is how much each run has to do.
type workload struct {
	rounds                 int
	drain, slowDrain       int // holds to drain, at once and at 50 ms a call
	latenessSpan, idleSpan time.Duration
	pending, httpHolds     int
	limitedHolds           int
	limitedTimeout         time.Duration
	references             bool // pending holds with a reference as well
	withMillion            bool // and a million of them without
}

var (
	fullWorkload = workload{rounds: 3, drain: 20_000, slowDrain: 4_000,
		latenessSpan: 10 * time.Second, idleSpan: 20 * time.Second, pending: 100_000,
		httpHolds: 20_000, limitedHolds: 10_000, limitedTimeout: 2 * time.Minute,
		references: true, withMillion: true}
	quickWorkload = workload{rounds: 1, drain: 6_000, slowDrain: 1_200,
		latenessSpan: 2 * time.Second, idleSpan: 4 * time.Second, pending: 100_000,
		httpHolds: 10_000, limitedHolds: 3_000, limitedTimeout: 20 * time.Second}
)

// bench is one run of everything.
type bench struct {
	tempDir   string // for what is only needed while it runs
	binDir    string
	workload  workload
	stripe    *stripeStub
	samples   sampleSet
	limits    []limitResult
	seedRates map[string]float64 // tasks a second, by engine
	startedAt time.Time
}

func (b *bench) binPath(name string) string { return filepath.Join(b.binDir, name) }

func (b *bench) logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%5.0fs "+format+"\n",
		append([]any{time.Since(b.startedAt).Seconds()}, args...)...)
}

func run(ctx context.Context, args []string) (err error) {
	b := &bench{workload: fullWorkload, startedAt: time.Now(), seedRates: map[string]float64{},
		samples: sampleSet{by: map[measure]map[string][]float64{}}}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.StringVar(&b.binDir, "bin", ".build/bench",
		"folder of the programs that are measured; make bench builds them")
	results := fs.String("results", "", "folder to write table and chart to; empty: nowhere")
	quickRun := fs.Bool("quick", false, "one round, less of everything")
	only := fs.String("only", "", "one part alone: limit, scale or cluster")
	tenMillion := fs.Bool("ten-million", false,
		"scale: ten million pending as well (6 GB of memory, a quarter of an hour)")
	profiles := fs.String("profile", "",
		"only drain holdd, under profilers, and write the profiles to this folder")
	rounds := fs.Int("rounds", 0, "rounds; the table shows medians")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *quickRun {
		b.workload = quickWorkload
	}
	if *rounds > 0 {
		b.workload.rounds = *rounds
	}
	if b.binDir, err = filepath.Abs(b.binDir); err != nil {
		return err
	}
	if b.tempDir, err = os.MkdirTemp("", "holdd-bench"); err != nil {
		return err
	}
	defer os.RemoveAll(b.tempDir)
	if b.stripe, err = b.startStub(); err != nil {
		return err
	}
	defer b.stripe.stop()
	if *profiles != "" {
		return b.profileDrain(ctx, *profiles)
	}
	switch *only {
	case "limit":
		if err := b.measureUnderLimit(ctx); err != nil {
			return err
		}
		fmt.Println()
		head, rows := b.limitRows()
		writeTextTable(os.Stdout, head, rows)
		return nil
	case "scale":
		sizes := []int{10_000, 1_000_000}
		if *quickRun {
			sizes = []int{10_000, 100_000}
		}
		if *tenMillion {
			sizes = append(sizes, 10_000_000)
		}
		if err := b.measureScale(ctx, sizes, os.Stdout); err != nil {
			return err
		}
		return b.measureCluster(ctx, os.Stdout)
	case "cluster":
		return b.measureCluster(ctx, os.Stdout)
	case "":
	default:
		return fmt.Errorf("-only %q: it is limit, scale or cluster", *only)
	}
	if err := b.measureAll(ctx); err != nil {
		return err
	}
	return b.writeReport(os.Stdout, *results)
}

// measureAll runs the engines in turn, so that what else the machine does falls
// on all of them.
func (b *bench) measureAll(ctx context.Context) error {
	h := holddEngine{bench: b}
	engines := []engine{bareEngine{b}, h, asynqEngine{bench: b}}
	if e := newBullMQEngine(b); e != nil {
		engines = append(engines, *e)
	} else {
		b.logf("BullMQ is left out: there is no node, or its packages were not installed")
	}
	queues := engines[1:]
	if err := b.measureBinarySizes(); err != nil {
		return err
	}
	for r := range b.workload.rounds {
		b.logf("round %d of %d", r+1, b.workload.rounds)
		for i := range engines {
			if err := b.measureDrain(ctx, engines[(i+r)%len(engines)],
				b.workload.drain, 0); err != nil {
				return err
			}
		}
		for i := range engines {
			if err := b.measureDrain(ctx, engines[(i+r)%len(engines)], b.workload.slowDrain,
				50*time.Millisecond); err != nil {
				return err
			}
		}
		if err := b.measureHTTP(ctx, h, b.workload.httpHolds); err != nil {
			return err
		}
		for _, e := range queues {
			if err := b.measureLateness(ctx, e, b.workload.latenessSpan); err != nil {
				return err
			}
			if err := b.measureStartup(ctx, e); err != nil {
				return err
			}
		}
	}
	b.logf("pending")
	for _, e := range queues {
		if _, ok := e.(bullmqEngine); ok && !b.workload.references {
			continue // it takes longest and no bar is about it
		}
		if err := b.measureMemory(ctx, e, b.workload.pending, pendingMemory, false); err != nil {
			return err
		}
		if !b.workload.references {
			continue
		}
		if err := b.measureMemory(ctx, e, b.workload.pending, pendingMemoryWithReference,
			true); err != nil {
			return err
		}
		if b.workload.withMillion {
			if err := b.measureMemory(ctx, e, 1_000_000, pendingMemoryMillion, false); err != nil {
				return err
			}
		}
	}
	b.logf("idle")
	if err := b.measureIdle(ctx, queues, b.workload.idleSpan); err != nil {
		return err
	}
	return b.measureUnderLimit(ctx)
}
