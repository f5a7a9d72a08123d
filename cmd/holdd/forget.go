package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/api"
)

func newForgetCommand(out *terminal, env environList) *cobra.Command {
	cmd := &cobra.Command{
		Use: "forget HOLD", Short: "Erase the personal data of a settled hold",
		Long: `Erase the personal data of a settled hold: reference, metadata and the texts of requests. They are
erased in the hold, its index, events, dead letters, rejected requests, saved responses and the
quarantine. What the money did stays: amounts, times and the ids of Stripe.

The PaymentIntent at Stripe does not change, and neither do logs. The command can be repeated.`,
		Example: "  holdd forget BK-2071",
		Args:    requireOneHoldArg,
	}
	c := addConnectionFlags(cmd, out, env)
	prompt := confirmationPrompt{out: out}
	prompt.addYesFlag(cmd)
	var dryRun bool
	addDryRunFlag(cmd, &dryRun)
	cmd.RunE = c.newRunEWithClient(func(ctx context.Context, client *api.Client, args []string) error {
		if dryRun {
			return c.findHoldAndPrintForgetDryRun(ctx, client, args[0])
		}
		id, err := resolveHoldIDOrReference(ctx, client, args[0])
		if err != nil {
			return err
		}
		err = prompt.ask(ctx, client, nil, fmt.Sprintf(
			"Erase the personal data of hold %s? It cannot be brought back.", sanitize(id)))
		if err != nil {
			return err
		}
		v, err := client.ErasePersonalData(ctx, id)
		if err != nil {
			return toExitError(err, id)
		}
		return c.printHold(&v)
	})
	return cmd
}

func (c *connectionFlags) findHoldAndPrintForgetDryRun(
	ctx context.Context, client *api.Client, name string,
) error {
	v, err := findHold(ctx, client, name)
	if err != nil {
		return err
	}
	v.History, v.HistoryOmitted = nil, 0
	if v.SettledAt == nil {
		return c.printRefusedDryRun(fmt.Sprintf("%s is %s, and can be erased when it has ended",
			holdDisplayName(&v), v.State), &v, nil)
	}
	return c.printDryRun("erase the personal data of hold "+holdDisplayName(&v), &v, nil)
}
