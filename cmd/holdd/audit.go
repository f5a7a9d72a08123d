package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/holdd/holdd/config"
	"github.com/holdd/holdd/worker/audit"
	"github.com/holdd/holdd/worker/auditread"
	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/hold"
)

const (
	// maxAuditSince bounds the period. Nothing older says how an integration
	// works today.
	maxAuditSince = 10 * 365 * 24 * time.Hour
	// maxAuditRate is Stripe's limit for one kind of request.
	maxAuditRate = 25
	// defaultCheckpoint is where an interrupted audit is kept.
	defaultCheckpoint = "holdd-audit.checkpoint"
)

// auditFlags is the flags of holdd audit.
type auditFlags struct {
	since, account, htmlPath, checkpoint, timeZone string
	rate                                           float64
	resume, asJSON                                 bool
	load                                           func() (*config.Settings, error)
}

func newAuditCommand(out *terminal, env environList) *cobra.Command {
	var f auditFlags
	cmd := &cobra.Command{
		Use: "audit", Short: "Show what an integration with Stripe loses on manual captures",
		Args: cobra.NoArgs,
		Long: `Read the PaymentIntents of an account with their charges, and report the
authorizations that expired uncaptured, captures in the last hours, money held twice for one
customer, the time to capture, and what is held now and when it ends.

The command needs a Stripe key and nothing else: no Redis and no daemon. A restricted key with
PaymentIntents: Read, Charges: Read and Balance: Read is enough. The command sends reads only, also
with a key that may write.

If it is interrupted, it keeps what it has read in the checkpoint file, and --resume continues.`,
		Example: `  STRIPE_API_KEY=rk_live_... holdd audit --since 90d --html audit.html
  holdd audit --since 1y --json > audit.json
  holdd audit --resume`,
	}
	fs := cmd.Flags()
	fs.StringVar(&f.since, "since", "90d",
		"the period, back from now: 24h, 90d, 52w, 1y, or a date such as 2026-01-01")
	fs.StringVar(&f.account, "account", "", "read this connected account")
	configPath := addConfigFlag(cmd)
	f.load = func() (*config.Settings, error) {
		s, err := config.LoadStripe(env, cmp.Or(*configPath, env.get("HOLDD_CONFIG")))
		return s, toExitError(err, "")
	}
	fs.StringVar(&f.htmlPath, "html", "", "write the report to this file too, as one HTML page")
	fs.StringVar(&f.checkpoint, "checkpoint", defaultCheckpoint,
		"file that keeps an interrupted audit")
	fs.BoolVar(&f.resume, "resume", false, "continue the audit of the checkpoint file")
	fs.Float64Var(&f.rate, "rate", 5, "requests a second, at most 25; the integration shares "+
		"Stripe's limit")
	fs.StringVar(&f.timeZone, "time-zone", "", "time zone of weeks and printed times, such as "+
		"Europe/Paris (HOLDD_TIME_ZONE; default: this machine's)")
	fs.BoolVar(&f.asJSON, "json", false, "print one JSON object with every payment")
	cmd.MarkFlagsMutuallyExclusive("resume", "since")
	cmd.MarkFlagsMutuallyExclusive("resume", "account")
	for _, name := range []string{"html", "checkpoint"} {
		_ = cmd.MarkFlagFilename(name)
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.checkpoint == "" || fs.Changed("html") && f.htmlPath == "" {
			return usageErrorf("", "--html and --checkpoint want the name of a file")
		}
		return toExitError(runAudit(cmd.Context(), out, env, &f), "")
	}
	return cmd
}

func runAudit(
	ctx context.Context, out *terminal, env environList, f *auditFlags,
) error {
	now := time.Now()
	since, err := parseSince(f.since, now)
	if err != nil {
		return err
	}
	if f.rate <= 0 || f.rate > maxAuditRate {
		return usageErrorf("", "invalid --rate %g: want more than 0 and at most %d", f.rate,
			maxAuditRate)
	}
	if err := hold.CheckAccountID(f.account); err != nil {
		return usageErrorf("", "%s", replaceAPIWordsWithCommands(err.Error()))
	}
	c := connectionFlags{env: env, timeZone: f.timeZone}
	times, err := c.newTimeFormatter(now)
	if err != nil {
		return err
	}
	s, err := f.load()
	if err != nil {
		return err
	}
	if err := checkAuditFiles(out, f); err != nil {
		return err
	}
	g, err := newReadOnlyGateway(s)
	if err != nil {
		return usageErrorf("", "%w", err)
	}
	defer g.CloseIdleConnections()
	account, _ := g.RetrieveAccountID(ctx) // "" if the key may not
	file := &auditCheckpoint{path: f.checkpoint, Since: since, Account: account,
		Livemode: s.Livemode(), Progress: auditread.ReadProgress{Account: f.account, Until: now,
			From: since.Add(-audit.LongestAuthorization)}}
	if err := file.createOrResume(f.resume); err != nil {
		return err
	}
	if err := readPaymentsWithProgress(ctx, out, g, file, f); err != nil {
		return err
	}
	p := &file.Progress
	audit.SetMissingCaptureTimes(p.Payments, p.Captures)
	r := audit.ComputeReport(p.Payments, audit.ReportScope{Account: auditedAccountID(file),
		Livemode: file.Livemode, From: file.Since, Until: p.Until, ReadFrom: p.From,
		IntentsRead: p.IntentsRead, Location: times.location})
	if err := outputAuditReportAndHTMLPage(out, &r, times, f); err != nil {
		return err
	}
	return file.remove()
}

// checkAuditFiles checks that the files can be written, before minutes of reads.
// An audit works without the default checkpoint, on a read-only disk for
// example: then it warns.
func checkAuditFiles(out *terminal, f *auditFlags) error {
	if f.htmlPath != "" {
		if err := checkFileWritable(f.htmlPath); err != nil {
			return usageErrorf("", "invalid --html: cannot write the page: %w", err)
		}
	}
	err := checkFileWritable(f.checkpoint)
	if err == nil {
		return nil
	}
	if f.checkpoint != defaultCheckpoint {
		return usageErrorf("", "invalid --checkpoint: cannot keep an interrupted audit: %w", err)
	}
	out.printNote("warning: cannot keep an interrupted audit: %v: name a file with --checkpoint", err)
	return nil
}

// auditedAccountID returns the account of a report.
func auditedAccountID(c *auditCheckpoint) string {
	if c.Progress.Account != "" {
		return c.Progress.Account
	}
	return c.Account
}

// newReadOnlyGateway returns a gateway that sends reads only.
func newReadOnlyGateway(s *config.Settings) (*gateway.Gateway, error) {
	return gateway.New(gateway.Options{APIKey: gateway.APIKey(s.StripeAPIKey.Reveal()),
		Context: s.StripeContext, BaseURL: s.StripeAPIBase, Concurrency: 1,
		Timeout: auditCallTimeout, ReadOnly: true})
}

// auditCallTimeout is longer than a capture's: a page of 100 intents takes
// seconds.
const auditCallTimeout = 60 * time.Second

// readPaymentsWithProgress reads on and keeps the progress in the checkpoint
// file.
func readPaymentsWithProgress(
	ctx context.Context, out *terminal, g *gateway.Gateway, file *auditCheckpoint, f *auditFlags,
) error {
	// main lets a second signal end the process at once. While this channel
	// receives signals it does not, so that the checkpoint is written.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	caller := gateway.NewCaller(g, auditread.NewRequestPacer(f.rate), gateway.CallerOptions{
		Timeout: auditCallTimeout, Logger: zap.NewNop()})
	bar := out.newProgressBar("reading PaymentIntents", 100)
	shown := int64(0)
	advance := func() {
		if percent := int64(100 * file.Progress.ShareDone()); percent > shown {
			bar.add(percent - shown)
			shown = percent
		}
	}
	advance()
	observer := auditread.ReadObserver{
		PageRead: func() {
			bar.describe("reading PaymentIntents")
			advance()
			file.trySaveIfDue(time.Now())
		},
		Waiting: func(reason string) {
			if !bar.describe("no answer from Stripe, trying again") {
				out.printNote("no answer from Stripe, trying again for some minutes: %s", sanitize(reason))
			}
		},
	}
	err := auditread.ReadPayments(ctx, caller, &file.Progress, observer)
	bar.stop(err == nil)
	if err == nil {
		return nil
	}
	hint := ""
	if saveErr := file.save(); saveErr != nil {
		out.printNote("cannot keep what was read: %v", saveErr)
	} else if file.Progress.IntentsRead+file.Progress.ChargesRead > 0 {
		out.printNote("%s keeps %s and %s that were read", f.checkpoint,
			hold.FormatCount(file.Progress.IntentsRead, "PaymentIntent", "PaymentIntents"),
			hold.FormatCount(file.Progress.ChargesRead, "charge", "charges"))
		hint = "continue with: holdd audit --resume"
		if f.checkpoint != defaultCheckpoint {
			hint += " --checkpoint " + f.checkpoint
		}
	}
	return explainAuditError(err, hint)
}

// explainAuditError returns the exit code and the hint of an error of reading.
// resumeHint says how to continue, "" if nothing was kept.
func explainAuditError(err error, resumeHint string) error {
	const permissions = "grant the key PaymentIntents: Read, Charges: Read and Balance: Read in the " +
		"Dashboard (Developers, API keys)"
	first := func(remedy string) string {
		if resumeHint == "" {
			return remedy
		}
		return remedy + ", then " + resumeHint
	}
	switch {
	case errors.Is(err, context.Canceled):
		return &exitError{code: exitInterrupted, err: errors.New("interrupted"), hint: resumeHint}
	case errors.Is(err, auditread.ErrUnavailable):
		return &exitError{code: exitUnreachable, err: err, hint: resumeHint}
	case errors.Is(err, auditread.ErrForbidden):
		return &exitError{code: exitUsage, err: err, hint: first(permissions)}
	case errors.Is(err, auditread.ErrKeyRejected):
		return &exitError{code: exitUsage, err: err,
			hint: first("set STRIPE_API_KEY to a valid key")}
	}
	return &exitError{code: exitFailed, err: err, hint: resumeHint}
}

// parseSince returns the beginning of the period.
func parseSince(text string, now time.Time) (time.Time, error) {
	at, err := time.ParseInLocation(time.DateOnly, text, time.Local)
	if err != nil {
		d, ok := parseLongDuration(text)
		if !ok {
			return at, usageErrorf("", "invalid --since %.40q: want a span such as 24h, 90d, 52w or "+
				"1y, or a date such as 2026-01-01", text)
		}
		at = now.Add(-d)
	}
	if !at.Before(now) || now.Sub(at) > maxAuditSince {
		return at, usageErrorf("", "invalid --since %.40q: want a time in the past, at most 10 years "+
			"ago", text)
	}
	return at, nil
}

// parseLongDuration parses a number of hours, days, weeks or years.
func parseLongDuration(text string) (time.Duration, bool) {
	var n int
	var unit string
	if _, err := fmt.Sscanf(text, "%d%1s", &n, &unit); err != nil ||
		text != fmt.Sprintf("%d%s", n, unit) || n < 0 || n > 100_000 {
		return 0, false
	}
	size, ok := map[string]time.Duration{"h": time.Hour, "d": 24 * time.Hour,
		"w": 7 * 24 * time.Hour, "y": 365 * 24 * time.Hour}[unit]
	return time.Duration(n) * size, ok
}
