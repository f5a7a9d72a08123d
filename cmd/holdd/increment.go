package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

func newIncrementCommand(out *terminal, env environList) *cobra.Command {
	var req hold.IncrementRequest
	var total amountFlag
	cmd := &cobra.Command{
		Use: "increment HOLD --amount TOTAL", Short: "Raise the authorized amount of a hold",
		Long: `Raise the authorized amount of a hold to a new total, for extra nights or damage.

The command shows booking and amount and asks for confirmation. Then it waits for the bank's answer.
Exit code 0 means raised. If the bank declines, the old amount stays held, and the exit code is 5.
The charge must have incremental authorization, which holdd show lists under features, or the hold
a renewal with max_amount: then a new authorization of the saved card replaces the old one.`,
		Example: `  holdd increment BK-2071 --amount 540.00 --reason "one more night"
  holdd increment pi_3PxYzA2eZvKYlo2C1gQmT0aB --amount "540.00 EUR" --yes`,
	}
	c := addChangeFlags(cmd, out, env)
	c.addYesFlag(cmd)
	cmd.Flags().Var(&total, "amount", "the new total: "+amountHelp+" (required)")
	cmd.Flags().StringVar(&req.Reason, "reason", "", "why, for the hold's history")
	cmd.RunE = c.newRunEWithClient(func(ctx context.Context, client *api.Client, args []string) error {
		currency, err := resolveCurrencyForAmountFlags(ctx, client, args[0], &total)
		if err != nil {
			return err
		}
		if req.Amount, err = total.minorUnits("amount", currency); err != nil {
			return err
		}
		if req.Amount <= 0 {
			return usageErrorf("the amount is the new total, not the difference",
				"invalid --amount %s: want more than zero, such as 540.00", cmp.Or(total.text, "0"))
		}
		var raised hold.View
		err = c.runChange(ctx, client, args[0], holdChange{
			question: func(v *hold.View) ([]labeledValue, string) {
				return nil, incrementQuestion(v, req.Amount, currency)
			},
			decide: func(h hold.Hold, now time.Time) (hold.Decision, error) {
				return h.RequestIncrement(req, "", now, hold.DecisionRules{})
			},
			request: func(id string, _ bool) (v hold.View, err error) {
				raised, err = client.Increment(ctx, id, req, c.revision)
				return raised, err
			},
		})
		if err != nil || c.dryRun || raised.Increment == nil {
			return err
		}
		return &exitError{code: exitUnknown, hint: "holdd show " + raised.ID, err: fmt.Errorf(
			"holdd has accepted the request, and the bank has not answered it yet")}
	})
	return cmd
}

func incrementQuestion(v *hold.View, amount int64, currency string) string {
	to := hold.FormatAmount(amount, currency)
	if v.Currency == "" {
		return fmt.Sprintf("Raise %s to %s now?", holdDisplayName(v), to)
	}
	return fmt.Sprintf("Raise %s from %s to %s now?", holdDisplayName(v),
		hold.FormatAmount(v.Amount+v.CapturedElsewhere, v.Currency), to)
}
