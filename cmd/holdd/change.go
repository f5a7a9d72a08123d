package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

// changeFlags is what all commands share that change one hold.
type changeFlags struct {
	*connectionFlags
	skipConfirm bool
	revision    uint64
}

func (a *app) addChangeFlags(cmd *cobra.Command) *changeFlags {
	c := &changeFlags{connectionFlags: a.addConnectionFlags(cmd)}
	cmd.Args = requireOneHold
	cmd.ValidArgsFunction = c.completeHolds
	cmd.Flags().Uint64Var(&c.revision, "revision", 0,
		"do it only if the hold still has this revision")
	return c
}

// addYesFlag adds --yes.
func (c *changeFlags) addYesFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&c.skipConfirm, "yes", "y", false, "don't ask")
}

// isChangeFutile reports whether asking is pointless: holdd is going to say no,
// and its answer is the better one.
func isChangeFutile(v *hold.View) bool { return v.SettledAt != nil || v.State == "working" }

// confirmOnHold finds the hold that name means. Unless --yes was given it shows
// the hold and asks ask's question, where that is not empty, and keeps the
// revision that was shown, so that what was confirmed is what happens.
func (c *changeFlags) confirmOnHold(
	ctx context.Context, client *api.Client, name string,
	ask func(v *hold.View, times timeFormatter) (extra []labeledValue, question string),
) (string, error) {
	if c.skipConfirm {
		return c.resolveHoldID(ctx, client, name)
	}
	times, err := c.newTimeFormatter(time.Now())
	if err != nil {
		return "", err
	}
	v, err := c.getHold(ctx, client, name)
	if err != nil {
		return "", err
	}
	extra, question := ask(&v, times)
	if question == "" || isChangeFutile(&v) {
		return v.ID, nil
	}
	if c.revision == 0 {
		c.revision = v.Revision
	}
	return v.ID, c.app.confirm(ctx, v.Livemode, append(holdSummary(&v, times), extra...), question)
}

const confirmHint = "add --yes to do it without being asked"

// movesMoneyNow reports whether holdd refused because the deadline's policy
// would act at once.
func movesMoneyNow(err error) (*api.Problem, bool) {
	p, ok := errors.AsType[*api.Problem](err)
	return p, ok && (p.Code == hold.WouldCancelNow || p.Code == hold.WouldCaptureNow)
}

// confirmed sends a request. If holdd refuses it because money would move at
// once, it asks, and after a yes sends it again with confirm. --yes confirms
// from the start. about describes the hold.
func (c *changeFlags) confirmed(
	ctx context.Context, client *api.Client, about func(ends time.Time, times timeFormatter) (
		name string, shown []labeledValue, err error), send func(confirm bool) error,
) error {
	err := send(c.skipConfirm)
	p, now := movesMoneyNow(err)
	if !now || c.skipConfirm {
		return err
	}
	if !c.app.terminal.interactive {
		why, _, _ := strings.Cut(p.Detail, "; ")
		return usageErrorf(confirmHint, "%s, and there is no terminal to ask on: nothing was done",
			why)
	}
	times, err := c.newTimeFormatter(time.Now())
	if err != nil {
		return err
	}
	info, err := client.Health(ctx)
	if err != nil {
		return addExitCode(err, "")
	}
	var ends time.Time
	if p.Deadline != nil {
		ends = *p.Deadline
	}
	name, shown, err := about(ends, times)
	if err != nil {
		return err
	}
	question := fmt.Sprintf(
		"It ends so soon that on_expiry acts at once. Let the money of %s go now? It can't be captured any more.", name)
	if p.Code == hold.WouldCaptureNow {
		question = fmt.Sprintf(
			"It ends so soon that on_expiry acts at once. Capture the money of %s now?", name)
	}
	if err := c.app.confirm(ctx, info.Livemode != nil && *info.Livemode,
		shown, question); err != nil {
		return err
	}
	return send(true)
}

// confirmedHold is confirmed for a hold that holdd knows. What is shown is what
// happens: the revision is kept.
func (c *changeFlags) confirmedHold(
	ctx context.Context, client *api.Client, id string, send func(confirm bool) error,
) error {
	return c.confirmed(ctx, client, func(_ time.Time, times timeFormatter) (string,
		[]labeledValue, error) {
		v, err := client.Get(ctx, id)
		if err != nil {
			return "", nil, addExitCode(err, id)
		}
		if c.revision == 0 {
			c.revision = v.Revision
		}
		return holdName(&v), holdSummary(&v, times), nil
	}, send)
}

// printHold shows a hold after a change.
func (c *changeFlags) printHold(v *hold.View) error {
	if c.asJSON {
		return c.app.printJSONLine(v)
	}
	times, err := c.newTimeFormatter(time.Now())
	if err != nil {
		return err
	}
	a := c.app
	printLiveModeNotice(a.stdout, a.terminal.colorStdout, v.Livemode)
	fmt.Fprint(a.stdout, holdName(v)+" ")
	if v.Amount > 0 {
		fmt.Fprint(a.stdout, formatHoldAmount(v)+" ")
	}
	fmt.Fprint(a.stdout, a.colorizeStdout(stateColors[v.State], v.State))
	if n := describeNext(v, times); n != "" && n != v.State {
		fmt.Fprintf(a.stdout, ": %s", sanitize(n))
	}
	fmt.Fprintln(a.stdout)
	return nil
}

func (a *app) captureCommand() *cobra.Command {
	var amount int64
	var wait time.Duration
	cmd := &cobra.Command{
		Use: "capture HOLD", Short: "Take the money now",
		Long: `Take the money of a hold now: all that its terms say, or --amount.

Shows booking and amount and asks first. Then it waits for the outcome: exit code 0 means captured.`,
		Example: "  holdd capture BK-2071\n  holdd capture pi_3PxYzA2eZvKYlo2C1gQmT0aB --amount 12500 --yes",
	}
	c := a.addChangeFlags(cmd)
	c.addYesFlag(cmd)
	cmd.Flags().Int64Var(&amount, "amount", 0,
		"take only this much, in minor units: 1250 is 12.50 (default: what the hold's terms say)")
	addWaitFlag(cmd, &wait)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("amount") && amount <= 0 {
			return usageErrorf("leave --amount out to take what the hold's terms say",
				"--amount %d is no amount: give minor units above zero, such as 1250 for 12.50",
				amount)
		}
		client, err := c.newClient()
		if err != nil {
			return err
		}
		defer client.Close()
		id, err := c.confirmOnHold(cmd.Context(), client, args[0],
			func(v *hold.View, _ timeFormatter) ([]labeledValue, string) {
				return captureQuestion(v, amount)
			})
		if err != nil {
			return err
		}
		v, err := client.Capture(cmd.Context(), id, amount, c.revision)
		if err != nil {
			return addExitCode(err, id)
		}
		return c.waitForOutcome(cmd.Context(), client, v, "captured", wait)
	}
	return cmd
}

func captureQuestion(v *hold.View, wanted int64) ([]labeledValue, string) {
	if wanted == 0 {
		wanted = v.CaptureAmount
	}
	switch {
	case wanted == 0 && v.Amount == 0:
		return nil, fmt.Sprintf("Capture all of %s now?", holdName(v))
	case wanted == 0:
		wanted = v.Amount
	}
	var extra []labeledValue
	if v.Amount > wanted {
		extra = []labeledValue{{"released", hold.FormatAmount(v.Amount-wanted, v.Currency)}}
	}
	return extra, fmt.Sprintf("Capture %s of %s now?", hold.FormatAmount(wanted, v.Currency),
		holdName(v))
}

func cancelQuestion(v *hold.View) string {
	if v.Amount == 0 {
		return fmt.Sprintf("Let all of %s go now? It can't be captured any more.", holdName(v))
	}
	return fmt.Sprintf("Let %s of %s go now? It can't be captured any more.",
		hold.FormatAmount(v.Amount, v.Currency), holdName(v))
}

func (a *app) cancelCommand() *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use: "cancel HOLD", Short: "Let the money go now",
		Long: `Release a hold now. Once accepted, nothing captures it any more.

Shows booking and amount and asks first. Then it waits for the outcome: exit code 0 means canceled.`,
		Example: "  holdd cancel BK-2071",
	}
	c := a.addChangeFlags(cmd)
	c.addYesFlag(cmd)
	addWaitFlag(cmd, &wait)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := c.newClient()
		if err != nil {
			return err
		}
		defer client.Close()
		id, err := c.confirmOnHold(cmd.Context(), client, args[0],
			func(v *hold.View, _ timeFormatter) ([]labeledValue, string) {
				return nil, cancelQuestion(v)
			})
		if err != nil {
			return err
		}
		v, err := client.Cancel(cmd.Context(), id, c.revision)
		if err != nil {
			return addExitCode(err, id)
		}
		return c.waitForOutcome(cmd.Context(), client, v, "canceled", wait)
	}
	return cmd
}

func (a *app) pauseCommand() *cobra.Command {
	return a.simpleChangeCommand("pause HOLD",
		"Put off a hold's own time until it is resumed; its deadline still counts",
		(*api.Client).Pause,
		func(*hold.View, timeFormatter) ([]labeledValue, string) { return nil, "" })
}

func (a *app) acknowledgeCommand() *cobra.Command {
	return a.simpleChangeCommand("acknowledge HOLD",
		"Say that a person knows of a hold's deadline: no further warnings",
		func(client *api.Client, ctx context.Context, id string, revision uint64,
			_ bool) (hold.View, error) {
			return client.Acknowledge(ctx, id, revision)
		}, nil)
}

func (a *app) resumeCommand() *cobra.Command {
	return a.simpleChangeCommand("resume HOLD",
		"Go on with a paused hold; asks first if its time has passed", (*api.Client).Resume,
		func(v *hold.View, times timeFormatter) ([]labeledValue, string) {
			switch passed := func(t *time.Time) bool {
				return t != nil &&
					!t.After(times.now.Add(dueNowTolerance))
			}; {
			case passed(v.CaptureAt):
				return captureQuestion(v, 0)
			case passed(v.CancelAt):
				return nil, cancelQuestion(v)
			}
			return nil, ""
		})
}

// simpleChangeCommand is a command with no terms of its own.
func (a *app) simpleChangeCommand(
	use, short string, do func(*api.Client, context.Context, string, uint64, bool) (hold.View,
		error), ask func(*hold.View, timeFormatter) ([]labeledValue, string),
) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short}
	c := a.addChangeFlags(cmd)
	if ask != nil {
		c.addYesFlag(cmd)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := c.newClient()
		if err != nil {
			return err
		}
		defer client.Close()
		var id string
		if ask != nil {
			id, err = c.confirmOnHold(cmd.Context(), client, args[0], ask)
		} else {
			id, err = c.resolveHoldID(cmd.Context(), client, args[0])
		}
		if err != nil {
			return err
		}
		var v hold.View
		err = c.confirmedHold(cmd.Context(), client, id, func(confirm bool) (err error) {
			v, err = do(client, cmd.Context(), id, c.revision, confirm)
			return err
		})
		if err != nil {
			return addExitCode(err, id)
		}
		return c.printHold(&v)
	}
	return cmd
}
