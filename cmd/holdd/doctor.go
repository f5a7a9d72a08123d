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
	"github.com/holdd/holdd/worker/hold"
)

// Time limits, for a Redis or a Stripe that does not answer.
const (
	doctorRedisTimeout      = 8 * time.Second // for all commands
	doctorStripeCallTimeout = 5 * time.Second // for each of five requests
)

// doctorCheckStatus is the severity of a check's result.
type doctorCheckStatus int

const (
	statusOK doctorCheckStatus = iota + 1
	statusWarning
	statusError
)

var statusNames = [...]string{"", "ok", "warning", "wrong"}

func (v doctorCheckStatus) String() string { return statusNames[v] }

// MarshalText implements [encoding.TextMarshaler], for JSON.
func (v doctorCheckStatus) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// doctorCheckResult is the result of one check.
type doctorCheckResult struct {
	Check  string            `json:"check"`
	Status doctorCheckStatus `json:"status"`
	Detail string            `json:"detail"`
	Hint   string            `json:"hint,omitempty"` // what to do, unless Detail says it
}

func okResult(check, format string, args ...any) doctorCheckResult {
	return doctorCheckResult{Check: check, Status: statusOK, Detail: fmt.Sprintf(format, args...)}
}

func warningResult(check, hint, format string, args ...any) doctorCheckResult {
	return doctorCheckResult{Check: check, Status: statusWarning, Detail: fmt.Sprintf(format,
		args...),
		Hint: hint}
}

func errorResult(check, hint, format string, args ...any) doctorCheckResult {
	return doctorCheckResult{Check: check, Status: statusError, Detail: fmt.Sprintf(format,
		args...),
		Hint: hint}
}

// doctorReport is the report that --json prints.
type doctorReport struct {
	Status   doctorCheckStatus   `json:"status"` // the worst of all
	Livemode bool                `json:"livemode"`
	Checks   []doctorCheckResult `json:"checks"`
}

func newDoctorCommand(out *terminal, env environList) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "doctor", Short: "Check settings, Redis and Stripe, with a hint for each fault",
		Args: cobra.NoArgs,
		Long: `Check the settings, the Redis and the Stripe account that "holdd serve" would use.
Each check is ok, a warning, or wrong: then holdd cannot work. Each fault has a hint.

The command needs no running daemon, writes nothing to Redis, and moves no money. To learn whether
the key may capture, it captures a PaymentIntent that does not exist. Stripe's log of requests shows
this as a 404. The command takes at most half a minute.

Exit code 0 means that no check is wrong; 1 means that a check is wrong.`,
		Example: `  holdd doctor --config /etc/holdd/holdd.yaml
  holdd doctor --json | jq '.checks[] | select(.status!="ok")'`,
	}
	load := addConfigFlagAndLoader(cmd, env, nil)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := load()
		d := runDoctorChecks(cmd.Context(), s, err)
		if ctxErr := cmd.Context().Err(); ctxErr != nil {
			return toExitError(ctxErr, "")
		}
		if asJSON {
			if err := out.printJSONLine(d); err != nil {
				return err
			}
		} else {
			printDoctorReport(out, d)
		}
		return d.failure()
	}
	return cmd
}

// failure returns the error of a report with a check that is wrong.
func (d *doctorReport) failure() error {
	if n := d.countStatus(statusError); n > 0 {
		verb := "are"
		if n == 1 {
			verb = "is"
		}
		return &exitError{code: exitFailed,
			err: fmt.Errorf("%d of %s %s wrong", n,
				hold.FormatCount(len(d.Checks), "check", "checks"), verb)}
	}
	return nil
}

func (d *doctorReport) countStatus(v doctorCheckStatus) (n int) {
	for i := range d.Checks {
		if d.Checks[i].Status == v {
			n++
		}
	}
	return n
}

// runDoctorChecks runs all checks. s is nil if the settings are invalid, and
// settingsErr says why.
func runDoctorChecks(ctx context.Context, s *config.Settings, settingsErr error) doctorReport {
	logging.Disable() // go-redis logs each failed connection to standard error
	d := doctorReport{Status: statusOK, Checks: checkSettings(s, settingsErr)}
	if s != nil {
		d.Livemode = s.Livemode()
		d.Checks = append(d.Checks, checkRedisAndStripe(ctx, s)...)
	}
	for _, f := range d.Checks {
		d.Status = max(d.Status, f.Status)
	}
	return d
}

// checkRedisAndStripe inspects Redis and Stripe at the same time and checks what it
// finds.
func checkRedisAndStripe(ctx context.Context, s *config.Settings) (out []doctorCheckResult) {
	var (
		inspections         sync.WaitGroup
		redis               store.Inspection
		stripe              gateway.Inspection
		redisErr, stripeErr error
	)
	inspections.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, doctorRedisTimeout)
		defer cancel()
		redis, redisErr = store.Inspect(ctx, store.Options{URL: s.RedisURL.Reveal(),
			Partitions: s.Partitions})
	})
	inspections.Go(func() { stripe, stripeErr = inspectStripe(ctx, s) })
	inspections.Wait()
	out = append(out, checkRedisInspection(s, redis, redisErr)...)
	out = append(out, checkStripeInspection(s, stripe, stripeErr)...)
	out = append(out, checkAccount(redis.Account, &stripe)...)
	return append(out, checkClocks(worstRedisClockOffset(redis), stripeClockOffset(stripe))...)
}

func inspectStripe(ctx context.Context, s *config.Settings) (gateway.Inspection, error) {
	g, err := gateway.New(gateway.Options{APIKey: gateway.APIKey(s.StripeAPIKey.Reveal()),
		Context: s.StripeContext, BaseURL: s.StripeAPIBase, Concurrency: 1,
		Timeout: min(doctorStripeCallTimeout, s.CallTimeout)})
	if err != nil {
		return gateway.Inspection{}, err
	}
	defer g.CloseIdleConnections()
	return g.InspectAPIKeyAndAccount(ctx), nil
}

var statusColors = map[doctorCheckStatus]string{statusOK: green,
	statusWarning: yellow, statusError: boldRed}

func printDoctorReport(out *terminal, d doctorReport) {
	out.printLiveModeNotice(d.Livemode)
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
		fmt.Fprintf(out.stdout, "%s  %-*s  %s\n", out.colorTextForStdout(statusColors[f.Status],
			fmt.Sprintf("%-*s", status, f.Status)), width, f.Check, lines[0])
		for _, l := range lines[1:] {
			fmt.Fprintf(out.stdout, "%*s  %*s  %s\n", status, "", width, "", l)
		}
	}
	var parts []string
	for _, v := range []doctorCheckStatus{statusError, statusWarning, statusOK} {
		if n := d.countStatus(v); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, pluralizeStatus(n, v)))
		}
	}
	fmt.Fprintf(out.stdout, "\n%s.\n", strings.Join(parts, ", "))
}

func pluralizeStatus(n int, v doctorCheckStatus) string {
	if v == statusWarning && n > 1 {
		return "warnings"
	}
	return v.String()
}
