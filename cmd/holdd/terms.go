package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/hold"
)

// terms are the flags that say what is to become of a hold, the same for schedule and reschedule.
type terms struct {
	captureAt, cancelAt string
	captureAmount       int64
	onExpiry, reference string
	metadata            []string
}

func (t *terms) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&t.captureAt, "capture-at", "", "when to capture: 2026-12-01T11:00:00+01:00, a local time with --time-zone, +36h, or now")
	f.StringVar(&t.cancelAt, "cancel-at", "", "when to release instead")
	f.Int64Var(&t.captureAmount, "capture-amount", 0, "take only this much, in minor units: 1250 is 12.50; the rest is released")
	f.StringVar(&t.onExpiry, "on-expiry", "", "what to do with a hold still open near its deadline: cancel, capture or alert")
	f.StringVar(&t.reference, "reference", "", "your booking")
	f.StringArrayVar(&t.metadata, "metadata", nil, "a pair of your own, as key=value; can be given several times")
	_ = cmd.RegisterFlagCompletionFunc("on-expiry", cobra.FixedCompletions([]cobra.Completion{"cancel", "capture", "alert"}, cobra.ShellCompDirectiveNoFileComp))
}

// resolveTimes turns "now" and "+36h" into instants.
func (t *terms) resolveTimes(now time.Time) (err error) {
	if t.captureAt, err = when(t.captureAt, now); err != nil {
		return err
	}
	t.cancelAt, err = when(t.cancelAt, now)
	return err
}

func (t *terms) pairs() (map[string]string, error) {
	if len(t.metadata) == 0 {
		return nil, nil
	}
	m := map[string]string{}
	for _, kv := range t.metadata {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return nil, usage("", "--metadata %.60q is no pair: write key=value", kv)
		}
		if _, twice := m[k]; twice {
			return nil, usage("", "--metadata has %.60q twice: give it once", k)
		}
		m[k] = v
	}
	return m, nil
}

func (a *app) rescheduleCommand() *cobra.Command {
	var t terms
	cmd := &cobra.Command{
		Use: "reschedule HOLD", Short: "Change a hold's time, amount or policy; asks first if that is now",
		Long: `Change a hold's terms. What isn't given stays. Setting one time clears the other; an empty time ("") clears it, and the hold
then waits for a trigger.

If the new time is now or past, or on_expiry would act at once after the change, money moves at once: then it shows booking and amount
and asks first.`,
		Example: "  holdd reschedule BK-2071 --capture-at '2026-12-02 11:00' --time-zone Europe/Paris\n  holdd reschedule BK-2071 --capture-at +6h --capture-amount 9900",
	}
	c := a.changing(cmd)
	c.mayMoveMoney(cmd)
	t.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		now := time.Now()
		if err := t.resolveTimes(now); err != nil {
			return err
		}
		p, err := c.patch(cmd, &t)
		if err != nil {
			return err
		}
		client, err := c.client()
		if err != nil {
			return err
		}
		defer client.Close()
		zone := c.zoneName()
		captureNow, cancelNow := due(t.captureAt, zone, now), due(t.cancelAt, zone, now)
		var id string
		if captureNow || cancelNow {
			id, err = c.consent(cmd.Context(), client, args[0], func(v *hold.View, _ clock) ([]fact, string) {
				if cancelNow {
					return nil, askCancel(v)
				}
				return askCapture(v, t.captureAmount)
			})
		} else {
			id, err = c.resolve(cmd.Context(), client, args[0])
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
			return explain(err, id)
		}
		return c.tell(&v)
	}
	return cmd
}

func (c *change) patch(cmd *cobra.Command, t *terms) (hold.Patch, error) {
	var p hold.Patch
	given := cmd.Flags().Changed
	if given("capture-at") {
		p.CaptureAt = &t.captureAt
	}
	if given("cancel-at") {
		p.CancelAt = &t.cancelAt
	}
	if given("capture-at") || given("cancel-at") {
		p.TimeZone = c.zoneName()
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
	if p.Metadata, err = t.pairs(); err != nil {
		return p, err
	}
	if p.CaptureAt == nil && p.CancelAt == nil && p.CaptureAmount == nil && p.OnExpiry == nil && p.Reference == nil && p.Metadata == nil {
		return p, usage("give --capture-at, --cancel-at, --capture-amount, --on-expiry, --reference or --metadata", "there is nothing to change")
	}
	return p, nil
}

func (a *app) scheduleCommand() *cobra.Command {
	var t terms
	var w hold.ScheduleRequest
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
	c := &change{connection: a.connect(cmd)}
	c.mayMoveMoney(cmd)
	t.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&w.Account, "account", "", "connected account (acct_…), if it isn't your own")
	f.Int64Var(&w.Amount, "amount", 0, "authorized amount in minor units; with --currency and --expires-at it saves a read at Stripe")
	f.StringVar(&w.Currency, "currency", "", "ISO 4217, such as eur")
	f.StringVar(&w.ExpiresAt, "expires-at", "", "capture_before of the charge, where you know it")
	f.StringVarP(&file, "file", "f", "", "schedule many: a file of one JSON object a line, or - for standard input")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if file == "" && len(args) != 1 {
			return fmt.Errorf("give one PaymentIntent (pi_…), or --file for many")
		}
		if file != "" {
			if len(args) > 0 {
				return fmt.Errorf("give a PaymentIntent or --file, not both")
			}
			for _, name := range []string{"capture-at", "cancel-at", "capture-amount", "on-expiry", "reference", "metadata", "account", "amount", "currency", "expires-at"} {
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
		if w.Metadata, err = t.pairs(); err != nil {
			return err
		}
		w.PaymentIntent, w.Reference, w.TimeZone = args[0], t.reference, c.zoneName()
		w.CaptureAt, w.CancelAt, w.CaptureAmount, w.OnExpiry = t.captureAt, t.cancelAt, t.captureAmount, t.onExpiry
		return c.scheduleOne(cmd, &w, now)
	}
	return cmd
}

func (c *change) scheduleOne(cmd *cobra.Command, w *hold.ScheduleRequest, now time.Time) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	defer client.Close()
	if dueAtOnce(w, now) && !c.yes {
		if err := c.askSchedule(cmd, client.Info, w); err != nil {
			return err
		}
	}
	var v hold.View
	var created bool
	err = c.confirmed(cmd.Context(), client, func(ends time.Time, clk clock) (string, []fact, error) {
		return clean(cmp.Or(w.Reference, w.PaymentIntent)), []fact{
			{"booking", clean(w.Reference)}, {"hold", clean(w.PaymentIntent)}, {"account", clean(w.Account)}, {"expires", clk.both(ends)},
		}, nil
	}, func(confirm bool) (err error) {
		w.Confirm = confirm
		v, created, err = client.Schedule(cmd.Context(), *w)
		return err
	})
	if err != nil {
		return explain(err, "")
	}
	if !created && !c.json {
		c.app.note("it was scheduled before, with the same terms")
	}
	return c.tell(&v)
}

func dueAtOnce(w *hold.ScheduleRequest, now time.Time) bool {
	return due(w.CaptureAt, w.TimeZone, now) || due(w.CancelAt, w.TimeZone, now)
}
