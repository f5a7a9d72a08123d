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

// size is how much each run has to do.
type size struct {
	rounds          int
	drain, slow     int // holds to drain, at once and at 50 ms a call
	late, idle      time.Duration
	pending, http   int
	limited         int
	limitedPatience time.Duration
	references      bool // pending holds with a reference as well
	million         bool // and a million of them without
}

var (
	full  = size{rounds: 3, drain: 20_000, slow: 4_000, late: 10 * time.Second, idle: 20 * time.Second, pending: 100_000, http: 20_000, limited: 10_000, limitedPatience: 2 * time.Minute, references: true, million: true}
	quick = size{rounds: 1, drain: 6_000, slow: 1_200, late: 2 * time.Second, idle: 4 * time.Second, pending: 100_000, http: 10_000, limited: 3_000, limitedPatience: 20 * time.Second}
)

// bench is one run of everything.
type bench struct {
	dir     string // for what is only needed while it runs
	bins    string
	size    size
	stripe  *stub
	samples samples
	limits  []underLimit
	seeded  map[string]float64 // tasks a second, by engine
	began   time.Time
}

func (b *bench) bin(name string) string { return filepath.Join(b.bins, name) }

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%5.0fs "+format+"\n", append([]any{time.Since(b.began).Seconds()}, args...)...)
}

func run(ctx context.Context, args []string) (err error) {
	b := &bench{size: full, began: time.Now(), seeded: map[string]float64{}, samples: samples{by: map[measure]map[string][]float64{}}}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.StringVar(&b.bins, "bin", ".build/bench", "folder of the programs that are measured; make bench builds them")
	results := fs.String("results", "", "folder to write table and chart to; empty: nowhere")
	short := fs.Bool("quick", false, "one round, less of everything")
	only := fs.String("only", "", "one part alone: limit, scale or cluster")
	ten := fs.Bool("ten-million", false, "scale: ten million pending as well (6 GB of memory, a quarter of an hour)")
	profiles := fs.String("profile", "", "only drain holdd, under profilers, and write the profiles to this folder")
	rounds := fs.Int("rounds", 0, "rounds; the table shows medians")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *short {
		b.size = quick
	}
	if *rounds > 0 {
		b.size.rounds = *rounds
	}
	if b.bins, err = filepath.Abs(b.bins); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "holdd-bench"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if b.stripe, err = b.stub(); err != nil {
		return err
	}
	defer b.stripe.stop()
	if *profiles != "" {
		return b.profile(ctx, *profiles)
	}
	switch *only {
	case "limit":
		if err := b.underLimit(ctx); err != nil {
			return err
		}
		fmt.Println()
		head, rows := b.limitRows()
		text(os.Stdout, head, rows)
		return nil
	case "scale":
		sizes := []int{10_000, 1_000_000}
		if *short {
			sizes = []int{10_000, 100_000}
		}
		if *ten {
			sizes = append(sizes, 10_000_000)
		}
		if err := b.scale(ctx, sizes, os.Stdout); err != nil {
			return err
		}
		return b.cluster(ctx, os.Stdout)
	case "cluster":
		return b.cluster(ctx, os.Stdout)
	case "":
	default:
		return fmt.Errorf("-only %q: it is limit, scale or cluster", *only)
	}
	if err := b.all(ctx); err != nil {
		return err
	}
	return b.report(os.Stdout, *results)
}

// all runs the engines in turn, so that what else the machine does falls on all of them.
func (b *bench) all(ctx context.Context) error {
	h := holdd{b: b}
	engines := []engine{bare{b}, h, asynqEngine{b: b}}
	if e := newBullMQ(b); e != nil {
		engines = append(engines, *e)
	} else {
		b.say("BullMQ is left out: there is no node, or its packages were not installed")
	}
	queues := engines[1:]
	if err := b.sizes(); err != nil {
		return err
	}
	for r := range b.size.rounds {
		b.say("round %d of %d", r+1, b.size.rounds)
		for i := range engines {
			if err := b.drain(ctx, engines[(i+r)%len(engines)], b.size.drain, 0); err != nil {
				return err
			}
		}
		for i := range engines {
			if err := b.drain(ctx, engines[(i+r)%len(engines)], b.size.slow, 50*time.Millisecond); err != nil {
				return err
			}
		}
		if err := b.http(ctx, h, b.size.http); err != nil {
			return err
		}
		for _, e := range queues {
			if err := b.late(ctx, e, b.size.late); err != nil {
				return err
			}
			if err := b.startUp(ctx, e); err != nil {
				return err
			}
		}
	}
	b.say("pending")
	for _, e := range queues {
		if _, ok := e.(bullmq); ok && !b.size.references {
			continue // it takes longest and no bar is about it
		}
		if err := b.memory(ctx, e, b.size.pending, pending, false); err != nil {
			return err
		}
		if !b.size.references {
			continue
		}
		if err := b.memory(ctx, e, b.size.pending, pendingRef, true); err != nil {
			return err
		}
		if b.size.million {
			if err := b.memory(ctx, e, 1_000_000, pendingMillion, false); err != nil {
				return err
			}
		}
	}
	b.say("idle")
	if err := b.idle(ctx, queues, b.size.idle); err != nil {
		return err
	}
	return b.underLimit(ctx)
}
