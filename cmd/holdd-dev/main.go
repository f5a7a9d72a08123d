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
	context.AfterFunc(ctx, stop) // the second signal ends the process at once
	code := Run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // a part did not start, or the summary shows a double capture
	exitUsage  = 2
)

// options are the flags.
type options struct {
	runFor    time.Duration // 0: until the context ends
	perMinute int
	day       time.Duration // how long a day takes
}

const (
	maxPerMinute = 600
	minDay       = time.Second // authorizations end at whole seconds
	maxDay       = time.Minute
)

// Run runs holdd-dev until ctx or --for ends and every part has stopped. It
// returns the exit code.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseFlags(args, stdout)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "holdd-dev: %v; see --help\n", err)
		return exitUsage
	}
	if err := runDemo(ctx, o, stdout); err != nil {
		fmt.Fprintf(stderr, "holdd-dev: %v\n", err)
		return exitFailed
	}
	return exitOK
}

func parseFlags(args []string, stdout io.Writer) (options, error) {
	var o options
	fs := pflag.NewFlagSet("holdd-dev", pflag.ContinueOnError)
	fs.SetOutput(io.Discard) // Run prints the error
	fs.DurationVar(&o.runFor, "for", 0, "stop after this time, such as 60s; 0: run until Ctrl-C")
	fs.IntVar(&o.perMinute, "bookings-per-minute", 30,
		fmt.Sprintf("bookings per minute, 1 to %d", maxPerMinute))
	fs.DurationVar(&o.day, "day", 3*time.Second,
		fmt.Sprintf("how long a day takes, %s to %s", minDay, maxDay))
	fs.Usage = func() {
		fmt.Fprintf(stdout,
			"holdd-dev shows holdd at work: the daemon, a Redis, a Stripe simulator"+
				" and a hotel's\nbooking system in one process. It needs nothing else and moves "+
				"no money."+
				"\n\nFlags:\n%s", fs.FlagUsages())
	}
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	switch {
	case fs.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q: want flags only", fs.Arg(0))
	case o.runFor < 0:
		return o, fmt.Errorf("invalid --for %s: want a positive time such as 60s, or 0", o.runFor)
	case o.perMinute < 1 || o.perMinute > maxPerMinute:
		return o, fmt.Errorf("invalid --bookings-per-minute %d: want 1 to %d", o.perMinute,
			maxPerMinute)
	case o.day < minDay || o.day > maxDay:
		return o, fmt.Errorf("invalid --day %s: want %s to %s", o.day, minDay, maxDay)
	}
	return o, nil
}
