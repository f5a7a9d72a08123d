package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

func newCaptureCommand(out *terminal, env environList) *cobra.Command {
	var given amountFlag
	var params captureParamFlags
	var notFinal bool
	var key string
	cmd := &cobra.Command{
		Use: "capture HOLD", Short: "Capture a hold now",
		Long: `Capture a hold now: the amount of its terms, or --amount. Flags that are not given keep
the hold's terms. With --not-final it captures a part, for an order that ships in parts, and keeps
the rest held. The charge must have multicapture: holdd show says so under features.

The command shows booking and amount and asks for confirmation. Then it waits for the outcome. Exit
code 0 means captured.`,
		Example: `  holdd capture BK-2071
  holdd capture pi_3PxYzA2eZvKYlo2C1gQmT0aB --amount 125.00 --yes
  holdd capture BK-2071 --amount 45.00 --not-final --idempotency-key parcel-1`,
	}
	c := addChangeFlags(cmd, out, env)
	c.addYesFlag(cmd)
	c.addWaitFlag(cmd)
	cmd.Flags().Var(&given, "amount",
		"capture only this much: "+amountHelp+" (default: the amount of the terms)")
	cmd.Flags().BoolVar(&notFinal, "not-final", false, "keep the rest held; needs --amount")
	cmd.Flags().StringVar(&key, "idempotency-key", "",
		"with --not-final: a repetition with the same key captures nothing more (default: drawn)")
	params.addFlags(cmd)
	cmd.RunE = c.newRunEWithClient(func(ctx context.Context, client *api.Client, args []string) error {
		currency, err := resolveCurrencyForAmountFlags(ctx, client, args[0],
			append(params.amounts(), &given)...)
		if err != nil {
			return err
		}
		amount, err := given.minorUnits("amount", currency)
		if err != nil {
			return err
		}
		if err := requirePositiveCaptureAmount(cmd.Flags().Changed("amount"), &given, amount); err != nil {
			return err
		}
		patch, err := params.newCaptureParamsPatch(cmd.Flags().Changed, currency)
		if err != nil {
			return err
		}
		req := hold.CaptureRequest{Amount: amount, CaptureParamsPatch: patch}
		if notFinal {
			return capturePartAndKeepRest(ctx, c, client, args[0], key, req)
		}
		if key != "" {
			return usageErrorf("", "give --idempotency-key with --not-final: a last capture cannot "+
				"take an amount twice")
		}
		return c.runChange(ctx, client, args[0], holdChange{
			question: func(v *hold.View) ([]labeledValue, string) {
				details, question := captureQuestion(v, amount)
				return append(details, feeAndTransferPatchLines(&patch, v.Currency)...), question
			},
			request: func(id string, _ bool) (hold.View, error) {
				v, err := client.Capture(ctx, id, req, c.revision)
				if p, ok := errors.AsType[*api.Problem](err); ok {
					p.Field = captureFieldOfFlag(p.Field)
				}
				return v, err
			},
			decide:  decideCapture(req),
			outcome: "captured",
		})
	})
	return cmd
}

func decideCapture(req hold.CaptureRequest) func(hold.Hold, time.Time) (hold.Decision, error) {
	return func(h hold.Hold, now time.Time) (hold.Decision, error) {
		d, err := h.RequestCapture(req, "", now)
		if p, ok := errors.AsType[*hold.Problem](err); ok {
			p.Field = captureFieldOfFlag(p.Field)
		}
		return d, err
	}
}

// captureFieldOfFlag returns the field whose flag holdd capture has: its --amount
// becomes the capture_amount of the terms.
func captureFieldOfFlag(field string) string {
	if field == "capture_amount" {
		return "amount"
	}
	return field
}

func requirePositiveCaptureAmount(isGiven bool, given *amountFlag, amount int64) error {
	if isGiven && amount <= 0 {
		return usageErrorf("leave --amount out to capture the amount of the terms",
			"invalid --amount %s: want more than zero, such as 12.50", given.text)
	}
	return nil
}

// captureQuestion asks whether to capture amount of a hold. 0 is the amount of
// its terms.
func captureQuestion(v *hold.View, amount int64) ([]labeledValue, string) {
	if amount == 0 {
		amount = v.CaptureAmount
	}
	switch {
	case amount == 0 && v.Amount == 0:
		return nil, fmt.Sprintf("Capture all of %s now?", holdDisplayName(v))
	case amount == 0:
		amount = v.Amount
	}
	var details []labeledValue
	if v.Amount > amount {
		details = []labeledValue{{"released", hold.FormatAmount(v.Amount-amount, v.Currency)}}
	}
	return details, fmt.Sprintf("Capture %s of %s now?", hold.FormatAmount(amount, v.Currency),
		holdDisplayName(v))
}
