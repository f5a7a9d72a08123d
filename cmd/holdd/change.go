package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

// changeFlags is the flags of the commands that change one hold.
type changeFlags struct {
	*connectionFlags
	confirmationPrompt
	revision uint64
	wait     time.Duration
	dryRun   bool
}

func addChangeFlags(cmd *cobra.Command, out *terminal, env environList) *changeFlags {
	c := &changeFlags{connectionFlags: addConnectionFlags(cmd, out, env),
		confirmationPrompt: confirmationPrompt{out: out}}
	cmd.Args = requireOneHoldArg
	cmd.ValidArgsFunction = c.completeHolds
	cmd.Flags().Uint64Var(&c.revision, "revision", 0,
		"change the hold only if it still has this revision")
	addDryRunFlag(cmd, &c.dryRun)
	return c
}

// holdChange is one change of a hold.
type holdChange struct {
	// question returns what the operator confirms before the request, or "" if
	// the change moves no money at once. A nil question asks nothing.
	question func(v *hold.View) (details []labeledValue, question string)
	request  func(id string, confirmed bool) (hold.View, error)
	outcome  string         // the state to wait for; "" waits for none
	action   string         // what a change without a question does, such as pause
	terms    []labeledValue // that the change sets, for --dry-run
	// decide is what holdd decides of the request, for --dry-run.
	decide func(h hold.Hold, now time.Time) (hold.Decision, error)
	// finish waits for the outcome in place of outcome, and prints the hold.
	finish func(accepted hold.View) error
}

// runChange makes a change to the hold that name means, and prints the hold.
func (c *changeFlags) runChange(
	ctx context.Context, client *api.Client, name string, change holdChange,
) error {
	if c.dryRun {
		return c.findHoldAndPrintDryRun(ctx, client, name, change)
	}
	id, err := c.findHoldAndConfirmChange(ctx, client, name, change)
	if err != nil {
		return err
	}
	var v hold.View
	describe := func(refusal *api.Problem) (string, []labeledValue, error) {
		shown, err := client.Get(ctx, id)
		if err != nil {
			return "", nil, err
		}
		c.pinRevision(&shown)
		changed := holdOfView(&shown)
		if d, err := change.decide(changed, time.Now()); err == nil {
			changed = d.Hold // the change may set another amount
		}
		about, err := c.describeHold(&shown)
		return describePolicyMoney(&changed, refusal.Code) + " of " + holdDisplayName(&shown), about, err
	}
	err = c.sendWithConfirmation(ctx, client, describe, func(confirmed bool) (err error) {
		v, err = change.request(id, confirmed)
		return err
	})
	if err != nil {
		return toExitError(err, id)
	}
	if change.finish != nil && c.wait > 0 {
		return change.finish(v)
	}
	if change.outcome != "" && c.wait > 0 {
		return c.waitAndPrintOutcome(ctx, client, v, change.outcome)
	}
	return c.printHold(&v)
}

// findHoldAndConfirmChange finds the hold that name means and asks the change's question.
func (c *changeFlags) findHoldAndConfirmChange(
	ctx context.Context, client *api.Client, name string, change holdChange,
) (string, error) {
	if c.yes || change.question == nil {
		return resolveHoldIDOrReference(ctx, client, name)
	}
	v, err := findHold(ctx, client, name)
	if err != nil {
		return "", err
	}
	details, question := change.question(&v)
	if question == "" || v.SettledAt != nil || v.State == "working" {
		return v.ID, nil // nothing moves at once, or holdd rejects the request
	}
	c.pinRevision(&v)
	about, err := c.describeHold(&v)
	if err != nil {
		return "", err
	}
	return v.ID, c.ask(ctx, client, append(about, details...), question)
}

// describeHold describes a hold for a question.
func (c *changeFlags) describeHold(v *hold.View) ([]labeledValue, error) {
	times, err := c.newTimeFormatter(time.Now())
	if err != nil {
		return nil, err
	}
	return holdSummaryValues(v, times), nil
}

// pinRevision keeps the hold's revision for the request unless --revision
// is given, so that holdd rejects the request if the hold changes before the
// operator answers.
func (c *changeFlags) pinRevision(v *hold.View) {
	if c.revision == 0 {
		c.revision = v.Revision
	}
}

// printHold prints a hold after a change.
func (c *connectionFlags) printHold(v *hold.View) error {
	return c.printJSONOrText(v, func(times timeFormatter) {
		w := c.out.stdout
		c.out.printLiveModeNotice(v.Livemode)
		fmt.Fprint(w, holdDisplayName(v)+" ")
		if v.Amount > 0 {
			fmt.Fprint(w, formatHoldAmount(v)+" ")
		}
		fmt.Fprint(w, c.out.colorTextForStdout(stateColors[v.State], v.State))
		if n := describeNextAction(v, times); n != "" && n != v.State {
			fmt.Fprintf(w, ": %s", sanitize(n))
		}
		fmt.Fprintln(w)
		for _, warning := range v.Warnings {
			c.out.printSummary("warning: %s: %s", sanitize(warning.Field), sanitize(warning.Detail))
		}
	})
}
