package main

import (
	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/hold"
)

// captureParamFlags is the flags for what a capture sends beside its amount,
// common to schedule, reschedule and capture.
type captureParamFlags struct {
	feeAmount, transferAmount amountFlag
	descriptorSuffix          string
	captureMetadata           []string
}

func (p *captureParamFlags) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Var(&p.feeAmount, "application-fee-amount",
		"your platform's fee for the capture, such as 5.00; at most the captured amount")
	f.Var(&p.transferAmount, "transfer-data-amount",
		"what a destination charge transfers, such as 5.00; at most the captured amount")
	f.StringVar(&p.descriptorSuffix, "statement-descriptor-suffix", "",
		"follows your prefix on the cardholder's statement")
	f.StringArrayVar(&p.captureMetadata, "capture-metadata", nil,
		"key=value that Stripe adds to the PaymentIntent at the capture; may be repeated")
}

// amounts returns the flags that take an amount.
func (p *captureParamFlags) amounts() []*amountFlag {
	return []*amountFlag{&p.feeAmount, &p.transferAmount}
}

// minorUnits returns the fee and the transfer in minor units of a currency.
func (p *captureParamFlags) minorUnits(currency string) (fee, transfer int64, err error) {
	if fee, err = p.feeAmount.minorUnits("application-fee-amount", currency); err != nil {
		return 0, 0, err
	}
	transfer, err = p.transferAmount.minorUnits("transfer-data-amount", currency)
	return fee, transfer, err
}

// newCaptureParams returns the parameters of a new hold.
func (p *captureParamFlags) newCaptureParams(currency string) (hold.CaptureParams, error) {
	fee, transfer, err := p.minorUnits(currency)
	if err != nil {
		return hold.CaptureParams{}, err
	}
	pairs, err := parsePairs("capture-metadata", p.captureMetadata)
	return hold.CaptureParams{ApplicationFeeAmount: fee,
		TransferData:              hold.TransferData{Amount: transfer},
		StatementDescriptorSuffix: p.descriptorSuffix, CaptureMetadata: pairs}, err
}

// feeAndTransferPatchLines describes the fee and the transfer that a capture changes.
func feeAndTransferPatchLines(p *hold.CaptureParamsPatch, currency string) (f []labeledValue) {
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
	given func(flag string) bool, currency string,
) (hold.CaptureParamsPatch, error) {
	var c hold.CaptureParamsPatch
	fee, transfer, err := p.minorUnits(currency)
	if err != nil {
		return c, err
	}
	if given("application-fee-amount") {
		c.ApplicationFeeAmount = &fee
	}
	if given("transfer-data-amount") {
		c.TransferData = &hold.TransferDataPatch{Amount: &transfer}
	}
	if given("statement-descriptor-suffix") {
		c.StatementDescriptorSuffix = &p.descriptorSuffix
	}
	c.CaptureMetadata, err = parsePairs("capture-metadata", p.captureMetadata)
	return c, err
}
