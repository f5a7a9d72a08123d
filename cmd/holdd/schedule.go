package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/hold"
)

// termFlags are the flags that say what is to become of a hold, the same for
// schedule and reschedule.
type termFlags struct {
	captureAt, cancelAt string
	captureAmount       int64
	onExpiry, reference string
	metadata            []string
}

func (t *termFlags) addTo(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&t.captureAt, "capture-at", "",
		"when to capture: 2026-12-01T11:00:00+01:00, a local time with --time-zone, +36h, or now")
	f.StringVar(&t.cancelAt, "cancel-at", "", "when to release instead")
	f.Int64Var(&t.captureAmount, "capture-amount", 0,
		"take only this much, in minor units: 1250 is 12.50; the rest is released")
	f.StringVar(&t.onExpiry, "on-expiry", "",
		"what to do with a hold still open near its deadline: cancel, capture or alert")
	f.StringVar(&t.reference, "reference", "", "your booking")
	f.StringArrayVar(&t.metadata, "metadata", nil,
		"a pair of your own, as key=value; can be given several times")
	_ = cmd.RegisterFlagCompletionFunc("on-expiry",
		cobra.FixedCompletions([]cobra.Completion{"cancel", "capture", "alert"},
			cobra.ShellCompDirectiveNoFileComp))
}

// resolveTimes turns "now" and "+36h" into instants.
func (t *termFlags) resolveTimes(now time.Time) (err error) {
	if t.captureAt, err = parseTimeFlag(t.captureAt, now); err != nil {
		return err
	}
	t.cancelAt, err = parseTimeFlag(t.cancelAt, now)
	return err
}

func (t *termFlags) metadataMap() (map[string]string, error) {
	if len(t.metadata) == 0 {
		return nil, nil
	}
	m := map[string]string{}
	for _, kv := range t.metadata {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return nil, usageErrorf("", "--metadata %.60q is no pair: write key=value", kv)
		}
		if _, twice := m[k]; twice {
			return nil, usageErrorf("", "--metadata has %.60q twice: give it once", k)
		}
		m[k] = v
	}
	return m, nil
}

func (a *app) rescheduleCommand() *cobra.Command {
	var t termFlags
	cmd := &cobra.Command{
		Use:   "reschedule HOLD",
		Short: "Change a hold's time, amount or policy; asks first if that is now",
		Long: `Change a hold's terms. What isn't given stays. Setting one time clears the other; an empty time ("") clears it, and the hold
then waits for a trigger.

If the new time is now or past, or on_expiry would act at once after the change, money moves at once: then it shows booking and amount
and asks first.`,
		Example: "  holdd reschedule BK-2071 --capture-at '2026-12-02 11:00' --time-zone Europe/Paris\n  holdd reschedule BK-2071 --capture-at +6h --capture-amount 9900",
	}
	c := a.addChangeFlags(cmd)
	c.addYesFlag(cmd)
	t.addTo(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		now := time.Now()
		if err := t.resolveTimes(now); err != nil {
			return err
		}
		p, err := c.newPatch(cmd, &t)
		if err != nil {
			return err
		}
		client, err := c.newClient()
		if err != nil {
			return err
		}
		defer client.Close()
		zone := c.timeZoneName()
		captureNow, cancelNow := isDueNow(t.captureAt, zone, now), isDueNow(t.cancelAt, zone, now)
		var id string
		if captureNow || cancelNow {
			id, err = c.confirmOnHold(cmd.Context(), client, args[0],
				func(v *hold.View, _ timeFormatter) ([]labeledValue, string) {
					if cancelNow {
						return nil, cancelQuestion(v)
					}
					return captureQuestion(v, t.captureAmount)
				})
		} else {
			id, err = c.resolveHoldID(cmd.Context(), client, args[0])
		}
		if err != nil {
			return err
		}
		var v hold.View
		err = c.confirmedHold(cmd.Context(), client, id, func(confirm bool) (err error) {
			p.Confirm = confirm
			v, err = client.Patch(cmd.Context(), id, p, c.revision)
			return err
		})
		if err != nil {
			return addExitCode(err, id)
		}
		return c.printHold(&v)
	}
	return cmd
}

func (c *changeFlags) newPatch(cmd *cobra.Command, t *termFlags) (hold.Patch, error) {
	var p hold.Patch
	given := cmd.Flags().Changed
	if given("capture-at") {
		p.CaptureAt = &t.captureAt
	}
	if given("cancel-at") {
		p.CancelAt = &t.cancelAt
	}
	if given("capture-at") || given("cancel-at") {
		p.TimeZone = c.timeZoneName()
	}
	if given("capture-amount") {
		p.CaptureAmount = &t.captureAmount
	}
	if given("on-expiry") {
		p.OnExpiry = &t.onExpiry
	}
	if given("reference") {
		p.Reference = &t.reference
	}
	var err error
	if p.Metadata, err = t.metadataMap(); err != nil {
		return p, err
	}
	if p.CaptureAt == nil && p.CancelAt == nil && p.CaptureAmount == nil && p.OnExpiry == nil &&
		p.Reference == nil && p.Metadata == nil {
		return p, usageErrorf("give --capture-at, --cancel-at, --capture-amount, --on-expiry, --reference or --metadata", "there is nothing to change")
	}
	return p, nil
}

func (a *app) scheduleCommand() *cobra.Command {
	var t termFlags
	var req hold.ScheduleRequest
	var file string
	cmd := &cobra.Command{
		Use: "schedule PAYMENT_INTENT", Short: "Have a hold captured or released at its time",
		Long: `Have a hold captured (--capture-at) or released (--cancel-at) at its time. Without a time it waits for a trigger, and its deadline is
watched all the same. The same again does no harm.

With --file, many: one JSON object a line, as for the API ({"payment_intent": "pi_…", "capture_at": "…"}); "-" is standard input. What was
refused is listed with its line number, and the exit code is 1. Run again, it leaves alone what is scheduled already.

A time that is now or past moves money at once, and so does on_expiry for a hold that ends within the expiry margin: that is asked first.`,
		Example: `  holdd schedule pi_3PxYzA2eZvKYlo2C1gQmT0aB --capture-at 2026-12-01T11:00 --time-zone Europe/Paris --reference BK-2071
  holdd schedule --file holds.ndjson`,
	}
	c := &changeFlags{connectionFlags: a.addConnectionFlags(cmd)}
	c.addYesFlag(cmd)
	t.addTo(cmd)
	f := cmd.Flags()
	f.StringVar(&req.Account, "account", "", "connected account (acct_…), if it isn't your own")
	f.Int64Var(&req.Amount, "amount", 0,
		"authorized amount in minor units; with --currency and --expires-at it saves a read at Stripe")
	f.StringVar(&req.Currency, "currency", "", "ISO 4217, such as eur")
	f.StringVar(&req.ExpiresAt, "expires-at", "", "capture_before of the charge, where you know it")
	f.StringVarP(&file, "file", "f", "",
		"schedule many: a file of one JSON object a line, or - for standard input")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if file == "" && len(args) != 1 {
			return fmt.Errorf("give one PaymentIntent (pi_…), or --file for many")
		}
		if file != "" {
			if len(args) > 0 {
				return fmt.Errorf("give a PaymentIntent or --file, not both")
			}
			for _, name := range []string{"capture-at", "cancel-at", "capture-amount", "on-expiry",
				"reference", "metadata", "account", "amount", "currency", "expires-at"} {
				if cmd.Flags().Changed(name) {
					return fmt.Errorf("--%s goes into the lines of --file, not beside it", name)
				}
			}
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if file != "" {
			return c.scheduleFile(cmd.Context(), file)
		}
		now := time.Now()
		if err := t.resolveTimes(now); err != nil {
			return err
		}
		var err error
		if req.Metadata, err = t.metadataMap(); err != nil {
			return err
		}
		req.PaymentIntent, req.Reference, req.TimeZone = args[0], t.reference, c.timeZoneName()
		req.CaptureAt, req.CancelAt, req.CaptureAmount, req.OnExpiry = t.captureAt, t.cancelAt,
			t.captureAmount, t.onExpiry
		return c.scheduleOne(cmd, &req, now)
	}
	return cmd
}

func (c *changeFlags) scheduleOne(
	cmd *cobra.Command, req *hold.ScheduleRequest, now time.Time,
) error {
	client, err := c.newClient()
	if err != nil {
		return err
	}
	defer client.Close()
	if requestIsDueNow(req, now) && !c.skipConfirm {
		if err := c.confirmSchedule(cmd, client.Health, req); err != nil {
			return err
		}
	}
	var v hold.View
	var created bool
	err = c.confirmed(cmd.Context(), client, func(ends time.Time, times timeFormatter) (string,
		[]labeledValue, error) {
		return sanitize(cmp.Or(req.Reference, req.PaymentIntent)), []labeledValue{
			{"booking", sanitize(req.Reference)}, {"hold", sanitize(req.PaymentIntent)},
			{"account", sanitize(req.Account)}, {"expires", times.formatWithRelative(ends)},
		}, nil
	}, func(confirm bool) (err error) {
		req.Confirm = confirm
		v, created, err = client.Schedule(cmd.Context(), *req)
		return err
	})
	if err != nil {
		return addExitCode(err, "")
	}
	if !created && !c.asJSON {
		c.app.printNote("it was scheduled before, with the same terms")
	}
	return c.printHold(&v)
}

func requestIsDueNow(req *hold.ScheduleRequest, now time.Time) bool {
	return isDueNow(req.CaptureAt, req.TimeZone, now) || isDueNow(req.CancelAt, req.TimeZone, now)
}
