package main

import (
	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/hold"
)

// captureParamFlags is the flags for what a capture sends beside its amount,
// common to schedule, reschedule and capture.
type captureParamFlags struct {
	feeAmount, transferAmount int64
	descriptorSuffix          string
	captureMetadata           []string
}

func (p *captureParamFlags) addTo(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Int64Var(&p.feeAmount, "application-fee-amount", 0,
		"your platform's fee for the capture, in minor units; at most the captured amount")
	f.Int64Var(&p.transferAmount, "transfer-data-amount", 0,
		"what a destination charge transfers, in minor units; at most the captured amount")
	f.StringVar(&p.descriptorSuffix, "statement-descriptor-suffix", "",
		"follows your prefix on the cardholder's statement")
	f.StringArrayVar(&p.captureMetadata, "capture-metadata", nil,
		"key=value that Stripe adds to the PaymentIntent at the capture; may be repeated")
}

// newCaptureParams returns the parameters of a new hold.
func (p *captureParamFlags) newCaptureParams() (hold.CaptureParams, error) {
	pairs, err := parsePairs("capture-metadata", p.captureMetadata)
	return hold.CaptureParams{ApplicationFeeAmount: p.feeAmount,
		TransferData:              hold.TransferData{Amount: p.transferAmount},
		StatementDescriptorSuffix: p.descriptorSuffix, CaptureMetadata: pairs}, err
}

// feeAndTransferLines describes the fee and the transfer that a capture changes.
func feeAndTransferLines(p *hold.CaptureParamsPatch, currency string) (f []labeledValue) {
	if p.ApplicationFeeAmount != nil {
		f = append(f, labeledValue{"new fee", hold.FormatAmount(*p.ApplicationFeeAmount, currency)})
	}
	if p.TransferData != nil {
		f = append(f, labeledValue{"new transfer",
			hold.FormatAmount(*p.TransferData.Amount, currency)})
	}
	return f
}

// newCaptureParamsPatch returns the change of the flags that were given.
func (p *captureParamFlags) newCaptureParamsPatch(
	given func(flag string) bool,
) (hold.CaptureParamsPatch, error) {
	var c hold.CaptureParamsPatch
	if given("application-fee-amount") {
		c.ApplicationFeeAmount = &p.feeAmount
	}
	if given("transfer-data-amount") {
		c.TransferData = &hold.TransferDataPatch{Amount: &p.transferAmount}
	}
	if given("statement-descriptor-suffix") {
		c.StatementDescriptorSuffix = &p.descriptorSuffix
	}
	var err error
	c.CaptureMetadata, err = parsePairs("capture-metadata", p.captureMetadata)
	return c, err
}
