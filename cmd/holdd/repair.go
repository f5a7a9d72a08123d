package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

func newRepairUnreadableRecordCommand(out *terminal, env environList) *cobra.Command {
	var req api.RepairRequest
	cmd := &cobra.Command{
		Use: "repair HOLD", Short: "Replace a hold's unreadable record",
		Long: `Replace a hold's unreadable record. HOLD is the id (pi_…).

The command puts the bytes of the record into the quarantine and prints them. holdd rebuilds the
hold from the PaymentIntent, its charge, and the terms in its metadata. If the terms are not known
for sure, the hold needs attention: nothing captures or releases it until you set them.

It asks for confirmation: terms of the metadata that are due act at once.`,
		Example: "  holdd repair pi_3PxYzA2eZvKYlo2C1gQmT0aB",
		Args:    requireOneHoldArg,
	}
	c := addConnectionFlags(cmd, out, env)
	prompt := confirmationPrompt{out: out}
	prompt.addYesFlag(cmd)
	cmd.Flags().StringVar(&req.Account, "account", "",
		"the hold's connected account (default: the one in the record)")
	cmd.Flags().BoolVar(&req.Force, "force", false,
		"also replace a record of a newer holdd, and lose what it says")
	var dryRun bool
	addDryRunFlag(cmd, &dryRun)
	cmd.RunE = c.newRunEWithClient(func(ctx context.Context, client *api.Client, args []string) error {
		if hold.CheckPaymentIntentID(args[0]) != nil {
			return usageErrorf(bookingHint, "a repair needs the id of the hold (pi_…)")
		}
		if dryRun {
			return c.getHoldAndPrintRepairDryRun(ctx, client, args[0])
		}
		err := prompt.ask(ctx, client, nil, fmt.Sprintf("Replace the record of hold %s?",
			sanitize(args[0])))
		if err != nil {
			return err
		}
		r, err := client.RepairUnreadableRecord(ctx, args[0], req)
		if err != nil {
			return toExitError(err, args[0])
		}
		return c.printRepairedRecord(args[0], &r)
	})
	return cmd
}

// getHoldAndPrintRepairDryRun prints whether the record would be replaced. It does not read what Stripe says.
func (c *connectionFlags) getHoldAndPrintRepairDryRun(
	ctx context.Context, client *api.Client, id string,
) error {
	_, err := client.Get(ctx, id)
	switch {
	case err == nil:
		return c.printDryRun("do nothing: the record of hold "+sanitize(id)+" is readable", nil, nil)
	case errors.Is(err, &api.Problem{Code: hold.RecordUnreadable}):
		return c.printDryRun("put the record of hold "+sanitize(id)+
			" into the quarantine, and rebuild the hold from Stripe", nil, nil)
	}
	return toExitError(err, id)
}

// printRepairedRecord prints the rebuilt hold and the record that it replaces.
func (c *connectionFlags) printRepairedRecord(id string, r *api.RepairResult) error {
	if r.Hold != nil && !c.asJSON {
		if err := c.printHold(r.Hold); err != nil {
			return err
		}
	}
	return c.printJSONOrText(r, func(times timeFormatter) {
		w, q := c.out.stdout, &r.Quarantined
		if r.Hold == nil {
			fmt.Fprintf(w, "%s has no hold now: %s\n", sanitize(id), sanitize(r.Reason))
		}
		fmt.Fprintf(w, "\nquarantined %s, %s\n%s", times.formatMillisecond(q.At),
			hold.FormatCount(q.Size, "byte", "bytes"),
			hex.Dump(q.Record))
	})
}
