package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

func newCancelCommand(out *terminal, env environList) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "cancel HOLD", Short: "Release a hold now",
		Long: `Release a hold now. Once holdd accepts this, nothing captures the hold any more.

The command shows booking and amount and asks for confirmation. Then it waits for the outcome. Exit
code 0 means canceled.`,
		Example: `  holdd cancel BK-2071
  holdd cancel BK-2071 --reason duplicate`,
	}
	c := addChangeFlags(cmd, out, env)
	c.addYesFlag(cmd)
	c.addWaitFlag(cmd)
	reasons := hold.CancellationReasons()
	cmd.Flags().StringVar(&reason, "reason", "", "the reason that Stripe keeps: "+
		strings.Join(reasons, ", ")+" (default: the setting cancellation_reason)")
	_ = cmd.RegisterFlagCompletionFunc("reason",
		cobra.FixedCompletions(reasons, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = c.newRunEWithClient(func(ctx context.Context, client *api.Client, args []string) error {
		return c.runChange(ctx, client, args[0], holdChange{
			question: cancelQuestion,
			request: func(id string, _ bool) (hold.View, error) {
				return client.Cancel(ctx, id, reason, c.revision)
			},
			decide: func(h hold.Hold, now time.Time) (hold.Decision, error) {
				return h.RequestCancel(reason, "", now)
			},
			outcome: "canceled",
		})
	})
	return cmd
}

func cancelQuestion(v *hold.View) ([]labeledValue, string) {
	amount := "all"
	if v.Amount != 0 {
		amount = hold.FormatAmount(v.Amount, v.Currency)
	}
	return nil, fmt.Sprintf("Release %s of %s now? %s", amount, holdDisplayName(v), releaseIsFinal)
}
