package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9/logging"
	"github.com/spf13/cobra"

	"github.com/holdd/holdd/config"
	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker/gateway"
)

// Bounds of an examination: a Redis or a Stripe that doesn't answer must not
// keep somebody waiting who wants to know why.
const (
	doctorRedisTimeout      = 8 * time.Second // for all of Redis
	doctorStripeCallTimeout = 5 * time.Second // for each request to Stripe, of which there are four
)

// checkStatus says how bad a finding is.
type checkStatus int

const (
	statusOK checkStatus = iota + 1
	statusWarning
	statusError
)

var statusNames = [...]string{"", "ok", "warning", "wrong"}

func (v checkStatus) String() string { return statusNames[v] }

// MarshalText is for JSON.
func (v checkStatus) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// checkResult is one line of the doctor's report.
type checkResult struct {
	Check  string      `json:"check"`
	Status checkStatus `json:"status"`
	Detail string      `json:"detail"`
	// what to do; empty if all is well, or if Detail says it
	Hint string `json:"mend,omitempty"`
}

func okResult(check, format string, args ...any) checkResult {
	return checkResult{Check: check, Status: statusOK, Detail: fmt.Sprintf(format, args...)}
}

func warningResult(check, hint, format string, args ...any) checkResult {
	return checkResult{Check: check, Status: statusWarning, Detail: fmt.Sprintf(format, args...),
		Hint: hint}
}

func errorResult(check, hint, format string, args ...any) checkResult {
	return checkResult{Check: check, Status: statusError, Detail: fmt.Sprintf(format, args...),
		Hint: hint}
}

// doctorReport is the report as JSON has it.
type doctorReport struct {
	Status   checkStatus   `json:"status"` // the worst of all
	Livemode bool          `json:"livemode"`
	Checks   []checkResult `json:"checks"`
}

func (a *app) doctorCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Examine settings, Redis and Stripe, and say what to do about each fault",
		Args:  cobra.NoArgs,
		Long: `Examine the settings, the Redis and the Stripe account that "holdd serve" would use, and say of each thing whether it is ok, deserves a look
(warning), or keeps holdd from its work (wrong), with what to do.

It needs no running daemon, writes nothing to Redis, and moves no money: whether the key may capture is learned from the capture of a PaymentIntent
that there isn't, which Stripe's log of requests shows as a 404. It takes half a minute at the most.

Exit code 0: nothing is wrong, though there may be warnings; 1: something is wrong.`,
		Example: "  holdd doctor --config /etc/holdd/holdd.yaml\n  holdd doctor --json | jq '.checks[] | select(.status!=\"ok\")'",
	}
	load := a.addSettingsFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "for machines: one JSON object")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := load()
		d := runDoctor(cmd.Context(), s, err)
		if ctxErr := cmd.Context().Err(); ctxErr != nil {
			return addExitCode(ctxErr, "")
		}
		if asJSON {
			if err := a.printJSONLine(d); err != nil {
				return err
			}
		} else {
			a.printDoctorReport(d)
		}
		if n := d.countStatus(statusError); n > 0 {
			return &exitError{code: exitFailed,
				err: fmt.Errorf("%d of %d checks found something wrong", n, len(d.Checks))}
		}
		return nil
	}
	return cmd
}

func (d *doctorReport) countStatus(v checkStatus) (n int) {
	for i := range d.Checks {
		if d.Checks[i].Status == v {
			n++
		}
	}
	return n
}

// runDoctor looks at everything. s is nil where the settings can't be used, and
// problem says why.
func runDoctor(ctx context.Context, s *config.Settings, problem error) doctorReport {
	d := doctorReport{Status: statusOK, Checks: checkSettings(s, problem)}
	if s != nil {
		d.Livemode = s.Livemode()
		var (
			inspections sync.WaitGroup
			redis       store.Inspection
			redisErr    error
			stripe      gateway.Inspection
			gatewayErr  error
		)
		// go-redis tells standard error of each connection that it can't have;
		// the finding says it once
		logging.Disable()
		inspections.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, doctorRedisTimeout)
			defer cancel()
			redis, redisErr = store.Inspect(ctx, store.Options{URL: s.RedisURL.Reveal(),
				Partitions: s.Partitions})
		})
		inspections.Go(func() {
			var g *gateway.Gateway
			g, gatewayErr = gateway.New(
				gateway.Options{APIKey: gateway.APIKey(s.StripeAPIKey.Reveal()),
					BaseURL: s.StripeAPIBase, Concurrency: 1,
					Timeout: min(doctorStripeCallTimeout, s.CallTimeout)})
			if gatewayErr == nil {
				stripe = g.Inspect(ctx)
				g.Close()
			}
		})
		inspections.Wait()
		d.Checks = append(d.Checks, checkRedis(s, redis, redisErr)...)
		d.Checks = append(d.Checks, checkStripe(s, stripe, gatewayErr)...)
		d.Checks = append(d.Checks, checkClocks(worstRedisClockOffset(redis),
			stripeClockOffset(stripe))...)
	}
	for _, f := range d.Checks {
		d.Status = max(d.Status, f.Status)
	}
	return d
}

var statusColors = map[checkStatus]string{statusOK: green,
	statusWarning: yellow, statusError: boldRed}

func (a *app) printDoctorReport(d doctorReport) {
	printLiveModeNotice(a.stdout, a.terminal.colorStdout, d.Livemode)
	width := 0
	for _, f := range d.Checks {
		width = max(width, len(f.Check))
	}
	const status = 7 // "warning"
	for _, f := range d.Checks {
		lines := strings.Split(sanitizeLines(f.Detail), "\n")
		if f.Hint != "" {
			lines = append(lines, "-> "+sanitize(f.Hint))
		}
		fmt.Fprintf(a.stdout, "%s  %-*s  %s\n", a.colorizeStdout(statusColors[f.Status],
			fmt.Sprintf("%-*s", status, f.Status)), width, f.Check, lines[0])
		for _, l := range lines[1:] {
			fmt.Fprintf(a.stdout, "%*s  %*s  %s\n", status, "", width, "", l)
		}
	}
	var parts []string
	for _, v := range []checkStatus{statusError, statusWarning, statusOK} {
		if n := d.countStatus(v); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, statusLabel(n, v)))
		}
	}
	fmt.Fprintf(a.stdout, "\n%s.\n", strings.Join(parts, ", "))
}

func statusLabel(n int, v checkStatus) string {
	if v == statusWarning && n > 1 {
		return "warnings"
	}
	return v.String()
}

// clockOffset holds the bounds of the difference of two clocks.
type clockOffset struct {
	min, max time.Duration
	known    bool
}

// nearestOffset is how far apart the clocks are at least: 0 if they may agree.
func (s clockOffset) nearestOffset() time.Duration {
	switch {
	case !s.known || s.min <= 0 && s.max >= 0:
		return 0
	case s.min > 0:
		return s.min
	}
	return s.max
}

// worstRedisClockOffset is the clock of the Redis server that is farthest off:
// one is enough to be early or late with its holds.
func worstRedisClockOffset(in store.Inspection) (worst clockOffset) {
	for _, s := range in.Servers {
		c := clockOffset{s.ClockOffsetMin, s.ClockOffsetMax, s.ClockOffsetKnown}
		if c.known && (!worst.known || c.nearestOffset().Abs() > worst.nearestOffset().Abs()) {
			worst = c
		}
	}
	return worst
}

func stripeClockOffset(in gateway.Inspection) clockOffset {
	return clockOffset{in.ClockOffsetMin, in.ClockOffsetMax, in.ClockOffsetKnown}
}

// Clocks that are so far apart are worth a look, and are wrong. Redis' clock
// decides what is due, and Stripe's when a hold lapses; this machine's dates
// the log, and tells whether a signed webhook is fresh.
const (
	clockWarningOffset = 5 * time.Second
	clockErrorOffset   = time.Minute
)

// checkClocks compares this machine's clock with Redis' and Stripe's, both
// given as their difference from it. Where two agree, the third is named as the
// one to set.
func checkClocks(redis, stripe clockOffset) []checkResult {
	between := clockOffset{min: redis.min - stripe.max, max: redis.max - stripe.min,
		known: redis.known && stripe.known}
	agree := func(s clockOffset) bool {
		return s.known &&
			s.nearestOffset().Abs() < clockWarningOffset
	}
	compareClock := func(check, name, consequence, hint string, c clockOffset) []checkResult {
		switch off := c.nearestOffset(); {
		case !c.known:
			return nil
		case off.Abs() < clockWarningOffset:
			return []checkResult{okResult(check, "as this machine's, as far as can be seen")}
		default:
			f := errorResult(check, hint, "%s clock is %s this machine's: %s", name,
				formatClockOffset(off), consequence)
			if off.Abs() < clockErrorOffset {
				f.Status = statusWarning
			}
			return []checkResult{f}
		}
	}
	const this, that = "set this machine's clock, by NTP for example",
		"set the clock of the Redis server, by NTP for example"
	redisHint, stripeHint := that, this
	switch {
	case agree(between):
		redisHint = this
	case agree(redis):
		stripeHint = "set this machine's clock and that of the Redis server, by NTP for example"
	case !stripe.known:
		redisHint = "find out which of the two is right, and set the other, by NTP for example"
	}
	out := compareClock("redis clock", "Redis'", "it decides when a hold is due", redisHint, redis)
	return append(out, compareClock("stripe clock", "Stripe's",
		"it decides when a hold lapses and whether an event's signature is fresh", stripeHint,
		stripe)...)
}

func formatClockOffset(d time.Duration) string {
	rounded := d.Abs().Round(100 * time.Millisecond)
	if d > 0 {
		return rounded.String() + " ahead of"
	}
	return rounded.String() + " behind"
}
