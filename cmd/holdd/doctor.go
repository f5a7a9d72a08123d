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

// Bounds of an examination: a Redis or a Stripe that doesn't answer must not keep somebody waiting who wants to know why.
const (
	doctorRedisTime  = 8 * time.Second // for all of Redis
	doctorStripeCall = 5 * time.Second // for each request to Stripe, of which there are four
)

// verdict says how bad a finding is.
type verdict int

const (
	verdictOK verdict = iota + 1
	verdictWarning
	verdictWrong
)

var verdictNames = [...]string{"", "ok", "warning", "wrong"}

func (v verdict) String() string { return verdictNames[v] }

// MarshalText is for JSON.
func (v verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// finding is one line of the doctor's report.
type finding struct {
	Check  string  `json:"check"`
	Status verdict `json:"status"`
	Detail string  `json:"detail"`
	Mend   string  `json:"mend,omitempty"` // what to do; empty if all is well, or if Detail says it
}

func fine(check, format string, args ...any) finding {
	return finding{Check: check, Status: verdictOK, Detail: fmt.Sprintf(format, args...)}
}

func doubtful(check, mend, format string, args ...any) finding {
	return finding{Check: check, Status: verdictWarning, Detail: fmt.Sprintf(format, args...), Mend: mend}
}

func ill(check, mend, format string, args ...any) finding {
	return finding{Check: check, Status: verdictWrong, Detail: fmt.Sprintf(format, args...), Mend: mend}
}

// diagnosis is the report as JSON has it.
type diagnosis struct {
	Status   verdict   `json:"status"` // the worst of all
	Livemode bool      `json:"livemode"`
	Checks   []finding `json:"checks"`
}

func (a *app) doctorCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "doctor", Short: "Examine settings, Redis and Stripe, and say what to do about each fault", Args: cobra.NoArgs,
		Long: `Examine the settings, the Redis and the Stripe account that "holdd serve" would use, and say of each thing whether it is ok, deserves a look
(warning), or keeps holdd from its work (wrong), with what to do.

It needs no running daemon, writes nothing to Redis, and moves no money: whether the key may capture is learned from the capture of a PaymentIntent
that there isn't, which Stripe's log of requests shows as a 404. It takes half a minute at the most.

Exit code 0: nothing is wrong, though there may be warnings; 1: something is wrong.`,
		Example: "  holdd doctor --config /etc/holdd/holdd.yaml\n  holdd doctor --json | jq '.checks[] | select(.status!=\"ok\")'",
	}
	load := a.settingsFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "for machines: one JSON object")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := load()
		d := examination(cmd.Context(), s, err)
		if ctxErr := cmd.Context().Err(); ctxErr != nil {
			return explain(ctxErr, "")
		}
		if asJSON {
			if err := a.line(d); err != nil {
				return err
			}
		} else {
			a.showDiagnosis(d)
		}
		if n := d.count(verdictWrong); n > 0 {
			return &exit{code: exitFailed, err: fmt.Errorf("%d of %d checks found something wrong", n, len(d.Checks))}
		}
		return nil
	}
	return cmd
}

func (d *diagnosis) count(v verdict) (n int) {
	for i := range d.Checks {
		if d.Checks[i].Status == v {
			n++
		}
	}
	return n
}

// examination looks at everything. s is nil where the settings can't be used, and problem says why.
func examination(ctx context.Context, s *config.Settings, problem error) diagnosis {
	d := diagnosis{Status: verdictOK, Checks: judgeSettings(s, problem)}
	if s != nil {
		d.Livemode = s.Live()
		var (
			seen     sync.WaitGroup
			redis    store.Inspection
			redisErr error
			stripe   gateway.Inspection
			keyErr   error
		)
		logging.Disable() // go-redis tells standard error of each connection that it can't have; the finding says it once
		seen.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, doctorRedisTime)
			defer cancel()
			redis, redisErr = store.Inspect(ctx, store.Options{URL: s.RedisURL.Reveal(), Partitions: s.Partitions})
		})
		seen.Go(func() {
			var g *gateway.Gateway
			g, keyErr = gateway.New(gateway.Options{APIKey: gateway.APIKey(s.StripeAPIKey.Reveal()), BaseURL: s.StripeAPIBase, Concurrency: 1,
				Timeout: min(doctorStripeCall, s.CallTimeout)})
			if keyErr == nil {
				stripe = g.Inspect(ctx)
				g.Close()
			}
		})
		seen.Wait()
		d.Checks = append(d.Checks, judgeRedis(s, redis, redisErr)...)
		d.Checks = append(d.Checks, judgeStripe(s, stripe, keyErr)...)
		d.Checks = append(d.Checks, judgeClocks(redisClock(redis), stripeClock(stripe))...)
	}
	for _, f := range d.Checks {
		d.Status = max(d.Status, f.Status)
	}
	return d
}

var verdictColors = map[verdict]string{verdictOK: green, verdictWarning: yellow, verdictWrong: alarm}

func (a *app) showDiagnosis(d diagnosis) {
	markLive(a.out, a.face.colorOut, d.Livemode)
	width := 0
	for _, f := range d.Checks {
		width = max(width, len(f.Check))
	}
	const status = 7 // "warning"
	for _, f := range d.Checks {
		lines := strings.Split(cleanLines(f.Detail), "\n")
		if f.Mend != "" {
			lines = append(lines, "-> "+clean(f.Mend))
		}
		fmt.Fprintf(a.out, "%s  %-*s  %s\n", a.paint(verdictColors[f.Status], fmt.Sprintf("%-*s", status, f.Status)), width, f.Check, lines[0])
		for _, l := range lines[1:] {
			fmt.Fprintf(a.out, "%*s  %*s  %s\n", status, "", width, "", l)
		}
	}
	var parts []string
	for _, v := range []verdict{verdictWrong, verdictWarning, verdictOK} {
		if n := d.count(v); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, plural(n, v)))
		}
	}
	fmt.Fprintf(a.out, "\n%s.\n", strings.Join(parts, ", "))
}

func plural(n int, v verdict) string {
	if v == verdictWarning && n > 1 {
		return "warnings"
	}
	return v.String()
}

// span holds the bounds of the difference of two clocks.
type span struct {
	least, most time.Duration
	known       bool
}

// off is how far apart the clocks are at least: 0 if they may agree.
func (s span) off() time.Duration {
	switch {
	case !s.known || s.least <= 0 && s.most >= 0:
		return 0
	case s.least > 0:
		return s.least
	}
	return s.most
}

// redisClock is the clock of the Redis server that is farthest off: one is enough to be early or late with its holds.
func redisClock(in store.Inspection) (worst span) {
	for _, s := range in.Servers {
		c := span{s.ClockMin, s.ClockMax, s.ClockKnown}
		if c.known && (!worst.known || c.off().Abs() > worst.off().Abs()) {
			worst = c
		}
	}
	return worst
}

func stripeClock(in gateway.Inspection) span {
	return span{in.ClockOffsetMin, in.ClockOffsetMax, in.ClockOffsetKnown}
}

// Clocks that are so far apart are worth a look, and are wrong. Redis' clock decides what is due, and Stripe's when a hold lapses; this machine's
// dates the log, and tells whether a signed webhook is fresh.
const (
	clockWarning = 5 * time.Second
	clockWrong   = time.Minute
)

// judgeClocks compares this machine's clock with Redis' and Stripe's, both given as their difference from it. Where two agree, the third is
// named as the one to set.
func judgeClocks(redis, stripe span) []finding {
	between := span{least: redis.least - stripe.most, most: redis.most - stripe.least, known: redis.known && stripe.known}
	agree := func(s span) bool { return s.known && s.off().Abs() < clockWarning }
	judge := func(check, name, consequence, mend string, c span) []finding {
		switch off := c.off(); {
		case !c.known:
			return nil
		case off.Abs() < clockWarning:
			return []finding{fine(check, "as this machine's, as far as can be seen")}
		default:
			f := ill(check, mend, "%s clock is %s this machine's: %s", name, apart(off), consequence)
			if off.Abs() < clockWrong {
				f.Status = verdictWarning
			}
			return []finding{f}
		}
	}
	const this, that = "set this machine's clock, by NTP for example", "set the clock of the Redis server, by NTP for example"
	redisMend, stripeMend := that, this
	switch {
	case agree(between):
		redisMend = this
	case agree(redis):
		stripeMend = "set this machine's clock and that of the Redis server, by NTP for example"
	case !stripe.known:
		redisMend = "find out which of the two is right, and set the other, by NTP for example"
	}
	out := judge("redis clock", "Redis'", "it decides when a hold is due", redisMend, redis)
	return append(out, judge("stripe clock", "Stripe's", "it decides when a hold lapses and whether an event's signature is fresh", stripeMend, stripe)...)
}

func apart(d time.Duration) string {
	rounded := d.Abs().Round(100 * time.Millisecond)
	if d > 0 {
		return rounded.String() + " ahead of"
	}
	return rounded.String() + " behind"
}
