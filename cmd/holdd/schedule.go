package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

func newScheduleCommand(out *terminal, env environList) *cobra.Command {
	var t termFlags
	var dryRun bool
	var req hold.ScheduleRequest
	var amount amountFlag
	var file string
	cmd := &cobra.Command{
		Use: "schedule PAYMENT_INTENT", Short: "Schedule a hold's capture or release",
		Long: `Schedule a hold's capture (--capture-at) or release (--cancel-at). A hold without a
time waits for a trigger, and its deadline is watched all the same. Repeating a command has no
effect.

With --file the command schedules many holds. The file has one JSON object a line, as the API takes
it ({"payment_intent": "pi_…", "capture_at": "…"}); "-" is standard input. Rejected lines are listed
with their numbers (long ids are cut; --json has all), and the exit code is 1. A second run skips
the holds that are scheduled.

Money moves at once if the time is now or past, or if the hold expires within the expiry margin and
its on_expiry is cancel or capture. The command then asks for confirmation.`,
		Example: `  holdd schedule pi_3PxYzA2eZvKYlo2C1gQmT0aB --capture-at 2026-12-01T11:00 \
    --time-zone Europe/Paris --reference BK-2071
  holdd schedule pi_3PxYzA2eZvKYlo2C1gQmT0aB --capture +24h='45.00 EUR' \
    --capture +72h='30.00 EUR'
  holdd schedule --file holds.ndjson`,
	}
	c := addConnectionFlags(cmd, out, env)
	p := addConfirmationPrompt(cmd, out)
	addDryRunFlag(cmd, &dryRun)
	t.addFlags(cmd)
	addAccountAmountAndExpiryFlags(cmd, &req, &amount)
	cmd.Flags().StringVarP(&file, "file", "f", "",
		"schedule many holds: a file of one JSON object a line, or - for standard input")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		return checkScheduleArgs(cmd.Flags().Changed, file, args)
	}
	cmd.RunE = c.newRunEWithClient(func(ctx context.Context, client *api.Client, args []string) error {
		if file != "" {
			return scheduleFile(ctx, c, p, client, file, dryRun)
		}
		if err := setScheduleTerms(&req, &t, &amount); err != nil {
			return err
		}
		req.PaymentIntent, req.TimeZone = args[0], c.timeZoneName()
		if dryRun {
			return c.printScheduleDryRun(ctx, client, &req, findingAboutRequest(ctx, client, &req),
				givenTermFlagLines(cmd, req.Currency))
		}
		return scheduleOne(ctx, c, p, client, &req, nil)
	})
	return cmd
}

// setScheduleTerms sets the times, the amount and the other terms of a request
// from the flags.
func setScheduleTerms(req *hold.ScheduleRequest, t *termFlags, amount *amountFlag) error {
	if err := t.resolveTimes(time.Now()); err != nil {
		return err
	}
	if err := setAuthorizedAmountAndCurrency(req, amount, t.amountFlags()); err != nil {
		return err
	}
	return t.setTerms(req, req.Currency)
}

func addConfirmationPrompt(cmd *cobra.Command, out *terminal) *confirmationPrompt {
	p := &confirmationPrompt{out: out}
	p.addYesFlag(cmd)
	return p
}

// addAccountAmountAndExpiryFlags adds the flags that describe the authorization.
func addAccountAmountAndExpiryFlags(
	cmd *cobra.Command, req *hold.ScheduleRequest, amount *amountFlag,
) {
	f := cmd.Flags()
	f.StringVar(&req.Account, "account", "", "connected account (acct_…), if it is not your own")
	f.Var(amount, "amount", "authorized amount: "+amountHelp+
		"; with --currency and --expires-at it saves a read at Stripe")
	f.StringVar(&req.Currency, "currency", "", "currency of the amounts, ISO 4217, such as eur")
	f.StringVar(&req.ExpiresAt, "expires-at", "", "capture_before of the charge, if you know it")
}

// setAuthorizedAmountAndCurrency sets the amount and the currency of a new hold. One of the flags or
// --currency names the currency.
func setAuthorizedAmountAndCurrency(
	req *hold.ScheduleRequest, amount *amountFlag, others []*amountFlag) (err error,
) {
	req.Currency = cmp.Or(req.Currency, firstCurrencyOfAmountFlags(append(others, amount)...))
	req.Amount, err = amount.minorUnits("amount", req.Currency)
	return err
}

func checkScheduleArgs(given func(flag string) bool, file string, args []string) error {
	switch {
	case file == "" && len(args) != 1:
		return errors.New("give one PaymentIntent (pi_…), or --file for many")
	case file == "":
		return nil
	case len(args) > 0:
		return errors.New("give a PaymentIntent or --file, not both")
	}
	for _, name := range []string{"capture-at", "cancel-at", "capture-amount", "on-expiry",
		"reference", "metadata", "account", "amount", "currency", "expires-at",
		"application-fee-amount", "transfer-data-amount", "statement-descriptor-suffix",
		"capture-metadata", "renew-until", "renew-max-amount", "renew-max", "renew-on-failure", "capture"} {
		if given(name) {
			return fmt.Errorf("cannot combine --%s with --file: set it in the lines of the file",
				name)
		}
	}
	return nil
}

const uncheckedIntent = "holdd checks only when the request is sent whether Stripe holds money " +
	"for the PaymentIntent, and its amount and deadline. If on_expiry would act at once, the " +
	"request needs --yes"

// scheduleForecast is what holdd would answer to a request, as far as the request, the hold of its
// intent and the finding about it show it.
type scheduleForecast struct {
	existing *hold.View            // the hold of the intent, nil if there is none
	known    *hold.ScheduleRequest // with the amount and the deadline that the finding has
	refusal  error                 // nil if holdd would accept the request or has done so
	atOnce   string                // the money that it would move at once, "" if none
}

// forecastSchedule decides a request as holdd does. f is nil if no finding is about its intent.
// margin is 0 if it is not known.
func forecastSchedule(
	ctx context.Context, client *api.Client, req *hold.ScheduleRequest, f *api.Finding,
	margin time.Duration, now time.Time,
) (scheduleForecast, error) {
	valid, err := req.Validate(now)
	if err == nil || errors.Is(err, &hold.Problem{Code: hold.InThePast}) {
		// The request may repeat an accepted one, also after its times have passed.
		v, getErr := client.Get(ctx, req.PaymentIntent)
		switch {
		case getErr == nil:
			v.History, v.HistoryOmitted = nil, 0
			h := holdOfView(&v)
			return scheduleForecast{existing: &v, known: req,
				refusal: req.RefuseUnlessRepeats(&h, now)}, nil
		case !errors.Is(getErr, &api.Problem{Code: hold.HoldNotFound}):
			return scheduleForecast{}, getErr
		}
	}
	known := addAmountAndDeadline(req, f)
	if err == nil {
		valid, err = known.Validate(now)
	}
	if err != nil {
		return scheduleForecast{known: known, refusal: err}, nil
	}
	d, err := hold.DecideNewHold(valid, nil, "", now)
	forecast := scheduleForecast{known: known, refusal: err}
	switch {
	case err != nil:
	case isRequestDueNow(known, now):
		forecast.atOnce = questionToStatement(scheduleQuestion(known))
	default:
		forecast.atOnce = describePolicyActionAtOnce(d, &hold.Hold{}, requestDisplayName(known),
			margin, now)
	}
	return forecast, nil
}

// answerWithRefusal returns the problem that holdd answers to a request that it refuses.
func answerWithRefusal(refusal *hold.Problem) *api.Problem {
	status := http.StatusUnprocessableEntity
	if refusal.Code == hold.HoldExists {
		status = http.StatusConflict
	}
	return &api.Problem{Status: status, Code: refusal.Code, Field: refusal.Field,
		Detail: refusal.Detail}
}

// printScheduleDryRun prints what holdd would answer to a request.
func (c *connectionFlags) printScheduleDryRun(
	ctx context.Context, client *api.Client, req *hold.ScheduleRequest, f *api.Finding,
	terms []labeledValue,
) error {
	now := time.Now()
	times, err := c.newTimeFormatter(now)
	if err != nil {
		return err
	}
	forecast, err := forecastSchedule(ctx, client, req, f, readExpiryMargin(ctx, client), now)
	if err != nil {
		return err
	}
	if forecast.existing != nil {
		return c.printRepeatedScheduleDryRun(&forecast, times, terms)
	}
	if err := forecast.refusal; err != nil {
		return &exitError{code: exitFailed, err: errors.New(replaceAPIWordsWithCommands(err.Error()))}
	}
	would := cmp.Or(forecast.atOnce, "schedule "+requestDisplayName(req))
	return c.printDryRunResult(dryRunResult{Would: would, Unchecked: uncheckedIntent},
		append(describeRequestAndFinding(req, f, times), terms...))
}

// isComplete reports whether a finding has the amount and the deadline of its intent.
func isComplete(f *api.Finding) bool { return f != nil && f.Amount != 0 && f.ExpiresAt != nil }

// addAmountAndDeadline returns the request with the amount and the deadline of the finding about
// its intent, unless the request has its own.
func addAmountAndDeadline(req *hold.ScheduleRequest, f *api.Finding) *hold.ScheduleRequest {
	if !isComplete(f) || req.Amount != 0 || req.ExpiresAt != "" {
		return req
	}
	known := *req
	known.Amount, known.Currency = f.Amount, f.Currency
	known.ExpiresAt = f.ExpiresAt.Format(time.RFC3339Nano)
	return &known
}

// describeRequestAndFinding returns the lines that describe a request and the finding about its
// intent.
func describeRequestAndFinding(
	req *hold.ScheduleRequest, f *api.Finding, times timeFormatter,
) []labeledValue {
	about := []labeledValue{{"booking", sanitize(req.Reference)},
		{"hold", sanitize(req.PaymentIntent)}, {"account", sanitize(req.Account)}}
	if !isComplete(f) {
		return about
	}
	return append(about,
		labeledValue{"amount", hold.FormatAmount(f.Amount, f.Currency) + " authorized"},
		labeledValue{"expires", times.formatWithRelative(*f.ExpiresAt)})
}

// printRepeatedScheduleDryRun prints what holdd would answer to a request for the intent of a hold.
func (c *connectionFlags) printRepeatedScheduleDryRun(
	forecast *scheduleForecast, times timeFormatter, terms []labeledValue,
) error {
	v := forecast.existing
	about := append(holdSummaryValues(v, times), terms...)
	if err := forecast.refusal; err != nil {
		return c.printRefusedDryRun(replaceAPIWordsWithCommands(err.Error()), v, about)
	}
	reason := holdDisplayName(v) + " is already scheduled with these terms"
	if v.SettledAt != nil {
		reason = describeEnd(v, times)
	}
	return c.printDryRun("do nothing: "+reason, v, about)
}

// scheduleOne schedules a hold. f is the finding about its intent, nil if it was not read.
func scheduleOne(
	ctx context.Context,
	c *connectionFlags,
	p *confirmationPrompt,
	client *api.Client,
	req *hold.ScheduleRequest,
	f *api.Finding,
) error {
	about := []labeledValue{{"booking", sanitize(req.Reference)},
		{"hold", sanitize(req.PaymentIntent)}, {"account", sanitize(req.Account)}}
	if !p.yes && isRequestDueNow(req, time.Now()) {
		if err := p.askAboutDueRequest(ctx, client, req, f, about); err != nil {
			return err
		}
	}
	describe := func(refusal *api.Problem) (string, []labeledValue, error) {
		times, err := c.newTimeFormatter(time.Now())
		if err != nil {
			return "", nil, err
		}
		known := addFoundAmount(ctx, client, req, f)
		money := hold.Hold{Amount: known.Amount, CaptureAmount: known.CaptureAmount,
			Currency: strings.ToLower(known.Currency)}
		if len(known.Captures) > 0 {
			money.PartialCaptures = &hold.PartialCaptures{}
		}
		if refusal.Deadline != nil {
			about = append(about,
				labeledValue{"expires", times.formatWithRelative(*refusal.Deadline)})
		}
		return describePolicyMoney(&money, refusal.Code) + " of " + requestDisplayName(req), about, nil
	}
	var v hold.View
	var created bool
	err := p.sendWithConfirmation(ctx, client, describe, func(confirmed bool) (err error) {
		req.Confirm = confirmed
		v, created, err = client.Schedule(ctx, *req)
		return err
	})
	if err != nil {
		return err
	}
	if !created && !c.asJSON {
		if err := c.printRepeatNote(&v); err != nil {
			return err
		}
	}
	if err := c.printHold(&v); err != nil || c.asJSON {
		return err
	}
	c.printWhatFollows(req, &v, created)
	return nil
}

// printWhatFollows says what the line about a new hold does not: that it was not read yet, and
// that on_expiry moves the money if nobody requests anything.
func (c *connectionFlags) printWhatFollows(req *hold.ScheduleRequest, v *hold.View, created bool) {
	if created && isUnread(req, v) {
		c.out.printSummary("holdd could not read it at Stripe yet: it does within seconds, and holdd "+
			"show %s then says what is wrong", v.ID)
	}
	if act := map[string]string{"cancel": "releases", "capture": "captures"}[v.OnExpiry]; v.State ==
		hold.Waiting.String() && act != "" {
		c.out.printSummary("without a request, on_expiry %s it when its deadline is near", act)
	}
}

// isUnread reports whether holdd asked Stripe for nothing about a hold that it accepted, though
// the request does not say all.
func isUnread(req *hold.ScheduleRequest, v *hold.View) bool {
	return !v.Verified && (req.Amount == 0 || req.Currency == "" || req.ExpiresAt == "")
}

// printRepeatNote says why a repeated request did nothing.
func (c *connectionFlags) printRepeatNote(v *hold.View) error {
	if v.SettledAt == nil {
		c.out.printNote("already scheduled with the same terms")
		return nil
	}
	times, err := c.newTimeFormatter(time.Now())
	if err == nil {
		c.out.printSummary("%s: nothing to do", describeEnd(v, times))
	}
	return err
}

// describeEnd says how and when a settled hold ended.
func describeEnd(v *hold.View, times timeFormatter) string {
	verb := "was " + v.State
	if v.State == hold.Expired.String() {
		verb = "expired"
	}
	return fmt.Sprintf("%s %s at %s", holdDisplayName(v), verb,
		times.formatWithRelative(*v.SettledAt))
}

// askAboutDueRequest asks about a request whose time is now. There is no question if holdd would
// refuse the request, which is the error then, or has accepted it before. What a comparison found
// decides nothing here: Stripe may say otherwise by now.
func (p *confirmationPrompt) askAboutDueRequest(
	ctx context.Context, client *api.Client, req *hold.ScheduleRequest, f *api.Finding,
	about []labeledValue,
) error {
	forecast, err := forecastSchedule(ctx, client, req, nil, 0, time.Now())
	if err != nil {
		return err
	}
	if refusal, ok := errors.AsType[*hold.Problem](forecast.refusal); ok {
		return answerWithRefusal(refusal)
	}
	if forecast.existing != nil {
		return nil
	}
	first := ""
	if len(req.Captures) > 0 {
		first = req.Captures[0].At
	}
	at := labeledValue{"time", sanitize(cmp.Or(req.CaptureAt, req.CancelAt, first))}
	return p.ask(ctx, client, append(about, at),
		scheduleQuestion(addFoundAmount(ctx, client, req, f)))
}

// addFoundAmount returns the request, with the amount that the last comparison with Stripe found if
// it has none. Only questions use it: Stripe says the amount when the request is sent. f is the
// finding about its intent, nil if it was not read.
func addFoundAmount(
	ctx context.Context, client *api.Client, req *hold.ScheduleRequest, f *api.Finding,
) *hold.ScheduleRequest {
	if f == nil {
		f = findingAboutRequest(ctx, client, req)
	}
	if f == nil || req.Amount != 0 {
		return req
	}
	known := *req
	known.Amount, known.Currency = f.Amount, cmp.Or(f.Currency, req.Currency)
	return &known
}

// findingAboutRequest returns what the last comparison with Stripe found about the intent of a
// request. It returns nil for a request with an amount, which needs none, and if it cannot be read:
// the command then says what it knows without.
func findingAboutRequest(
	ctx context.Context, client *api.Client, req *hold.ScheduleRequest,
) *api.Finding {
	if req.Amount != 0 {
		return nil
	}
	f, err := findIntentWithoutHold(ctx, client, req.PaymentIntent)
	if err != nil {
		return nil
	}
	return &f
}

// scheduleQuestion asks about a request whose time is now. holdd does not know
// the hold yet, so the question has what the operator gave and what a comparison with Stripe found.
func scheduleQuestion(req *hold.ScheduleRequest) string {
	verb := "Capture"
	if req.CaptureAt == "" && len(req.Captures) == 0 {
		verb = "Release"
	}
	amount, currency := "all", strings.ToLower(req.Currency)
	switch {
	case len(req.Captures) > 0:
		amount = hold.FormatAmount(req.Captures[0].Amount, currency)
		if currency == "" {
			amount += " in minor units"
		}
	case req.CaptureAmount > 0 && req.CancelAt == "":
		amount = hold.FormatAmount(req.CaptureAmount, currency)
	case req.Amount > 0:
		amount = hold.FormatAmount(req.Amount, currency)
	}
	return fmt.Sprintf("%s %s of %s now?", verb, amount, requestDisplayName(req))
}

func requestDisplayName(req *hold.ScheduleRequest) string {
	return sanitize(cmp.Or(req.Reference, req.PaymentIntent))
}

func isRequestDueNow(req *hold.ScheduleRequest, now time.Time) bool {
	return isTimeDueNow(req.CaptureAt, req.TimeZone, now) ||
		isTimeDueNow(req.CancelAt, req.TimeZone, now) ||
		len(req.Captures) > 0 && isTimeDueNow(req.Captures[0].At, req.TimeZone, now)
}
