package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/pflag"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends it at once
	code := Run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // something could not start, or the books differ
	exitUsage  = 2
)

// options are what the flags say.
type options struct {
	runFor    time.Duration // 0: until the context ends
	perMinute int
	seed      uint64
	dayLength time.Duration // how long a day takes here
}

const (
	maxPerMinute = 600
	minDay       = time.Second // authorizations end at whole seconds
	maxDay       = time.Minute
)

// Run is the whole program. It returns when ctx or --for has ended and
// everything has stopped, with the exit code.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseFlags(args, stdout)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "holdd-dev: %v; see --help\n", err)
		return exitUsage
	}
	agrees, err := runDemo(ctx, o, stdout)
	if err != nil {
		fmt.Fprintf(stderr, "holdd-dev: %v\n", err)
	}
	if err != nil || !agrees {
		return exitFailed
	}
	return exitOK
}

func parseFlags(args []string, stdout io.Writer) (options, error) {
	var o options
	fs := pflag.NewFlagSet("holdd-dev", pflag.ContinueOnError)
	fs.SetOutput(io.Discard) // errors are told once, by Run
	fs.DurationVar(&o.runFor, "for", 0,
		"stop by itself after this time, such as 60s; 0: run until Ctrl-C")
	fs.IntVar(&o.perMinute, "bookings-per-minute", 30,
		fmt.Sprintf("pace of the hotel, 1 to %d", maxPerMinute))
	fs.Uint64Var(&o.seed, "seed", 1, "the same seed makes the same bookings")
	fs.DurationVar(&o.dayLength, "day", 3*time.Second,
		fmt.Sprintf("how long a day takes here, %s to %s", minDay, maxDay))
	fs.Usage = func() {
		fmt.Fprintf(stdout,
			"holdd-dev shows holdd at work: the daemon, a Redis, a simulator of Stripe and a hotel that makes bookings, in one process.\n"+
				"It needs nothing else and moves no money.\n\nFlags:\n%s", fs.FlagUsages())
	}
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	switch {
	case fs.NArg() > 0:
		return o, fmt.Errorf("%q is not a flag, and everything is set by flags", fs.Arg(0))
	case o.runFor < 0:
		return o, fmt.Errorf("--for %s lies in the past: give a time such as 60s, or 0 for no end",
			o.runFor)
	case o.perMinute < 1 || o.perMinute > maxPerMinute:
		return o, fmt.Errorf("--bookings-per-minute %d is out of range: give 1 to %d",
			o.perMinute, maxPerMinute)
	case o.dayLength < minDay || o.dayLength > maxDay:
		return o, fmt.Errorf("--day %s is out of range: give %s to %s", o.dayLength, minDay, maxDay)
	}
	return o, nil
}
