package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/api"
)

func newCardholderLinkCommand(out *terminal, env environList) *cobra.Command {
	cmd := &cobra.Command{
		Use: "cardholder-link HOLD", Short: "Make a link with which the cardholder goes on",
		Long: `Make a link for the cardholder of a hold whose renewal the bank refused.

The page behind it leads to the bank, or to Stripe's form for another card. The link expires at the
authorization's deadline. Whoever has it can act for the cardholder: send it to nobody else.`,
		Example: `  holdd cardholder-link BK-2071
  holdd cardholder-link BK-2071 --json`,
		Args: requireOneHoldArg,
	}
	c := addConnectionFlags(cmd, out, env)
	cmd.ValidArgsFunction = c.completeHolds
	cmd.RunE = c.newRunEWithClient(func(ctx context.Context, client *api.Client, args []string) error {
		id, err := resolveHoldIDOrReference(ctx, client, args[0])
		if err != nil {
			return err
		}
		l, err := client.CreateCardholderLink(ctx, id)
		if err != nil {
			return toExitError(err, id)
		}
		return c.printJSONOrText(&l, func(times timeFormatter) {
			fmt.Fprintln(c.out.stdout, l.URL)
			c.out.printNote("expires %s", times.formatWithRelative(l.ExpiresAt))
		})
	})
	return cmd
}
