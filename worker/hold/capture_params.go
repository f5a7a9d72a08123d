package hold

import (
	"encoding/json"
	"maps"
	"strings"
	"unicode/utf8"
)

// CaptureParams are the parameters that a capture sends to Stripe beside its
// amount. A zero field is not sent.
type CaptureParams struct {
	ApplicationFeeAmount      int64             `json:"application_fee_amount,omitempty" doc:"Your platform's fee for the capture, in minor units. It is not scaled at a partial capture, and must not exceed the captured amount"`
	TransferData              TransferData      `json:"transfer_data,omitzero" required:"false" doc:"Of a destination charge"`
	StatementDescriptorSuffix string            `json:"statement_descriptor_suffix,omitempty" doc:"Follows your prefix on the cardholder's statement: up to 22 characters with the prefix, at least one letter, and none of < > \\ ' \" *" example:"BK-2071"`
	CaptureMetadata           map[string]string `json:"capture_metadata,omitempty" doc:"Up to 20 pairs that Stripe adds to the PaymentIntent's metadata at the capture"`
}

// TransferData is what a capture transfers to the destination of the charge.
type TransferData struct {
	Amount int64 `json:"amount,omitempty" doc:"To transfer to the destination, in minor units; at most the captured amount"`
}

// CaptureParamsPatch changes [CaptureParams]. Omitted fields stay.
type CaptureParamsPatch struct {
	ApplicationFeeAmount      *int64             `json:"application_fee_amount,omitempty" doc:"Your platform's fee for the capture, in minor units; 0 clears it"`
	TransferData              *TransferDataPatch `json:"transfer_data,omitempty" doc:"Of a destination charge"`
	StatementDescriptorSuffix *string            `json:"statement_descriptor_suffix,omitempty" doc:"Follows your prefix on the cardholder's statement; an empty string clears it"`
	CaptureMetadata           map[string]string  `json:"capture_metadata,omitempty" doc:"Pairs that Stripe adds to the PaymentIntent's metadata at the capture; an empty value removes a pair"`
}

// TransferDataPatch changes [TransferData].
type TransferDataPatch struct {
	Amount *int64 `json:"amount" doc:"To transfer to the destination, in minor units; 0 clears it"`
}

// CaptureRequest is a request to capture a hold now.
type CaptureRequest struct {
	Amount int64 `json:"amount,omitempty" doc:"Amount to capture, in minor units. The rest is released, unless final is false. After captures in parts it comes on top of them. Default: the amount of the hold's terms" example:"12500"`
	Final  *bool `json:"final,omitempty" doc:"false keeps the rest held for further captures, where the charge allows multicapture. It needs amount, and an Idempotency-Key or If-Match. Default: true"`
	CaptureParamsPatch

	// RequestKey is the idempotency key of the request. The hold remembers that
	// of a capture that keeps the rest.
	RequestKey string `json:"-"`
}

// maxStatementDescriptor is Stripe's limit for prefix and suffix together.
const maxStatementDescriptor = 22

// Equal reports whether p and other send the same.
func (p *CaptureParams) Equal(other *CaptureParams) bool {
	return p.ApplicationFeeAmount == other.ApplicationFeeAmount &&
		p.TransferData == other.TransferData &&
		p.StatementDescriptorSuffix == other.StatementDescriptorSuffix &&
		maps.Equal(p.CaptureMetadata, other.CaptureMetadata)
}

// IsEmpty reports whether a capture sends nothing beside its amount.
func (p *CaptureParams) IsEmpty() bool { return p.Equal(&CaptureParams{}) }

// hasFeeOrTransfer reports whether the parameters name a part of the captured
// amount, which may not exceed it.
func (p *CaptureParams) hasFeeOrTransfer() bool {
	return p.ApplicationFeeAmount > 0 || p.TransferData.Amount > 0
}

// canonicalJSON returns the parameters as text for the idempotency key. Equal
// parameters have equal texts.
func (p *CaptureParams) canonicalJSON() []byte {
	b, err := json.Marshal(p) // sorts the metadata by key
	if err != nil {
		panic(err) // numbers and strings always encode
	}
	return b
}

// IsEmpty reports whether the patch changes nothing.
func (c *CaptureParamsPatch) IsEmpty() bool {
	return c.ApplicationFeeAmount == nil && c.TransferData == nil &&
		c.StatementDescriptorSuffix == nil && len(c.CaptureMetadata) == 0
}

// applyTo returns p with the changes, validated without the captured amount.
func (c *CaptureParamsPatch) applyTo(p CaptureParams) (CaptureParams, error) {
	if c.ApplicationFeeAmount != nil {
		p.ApplicationFeeAmount = *c.ApplicationFeeAmount
	}
	if c.TransferData != nil {
		if c.TransferData.Amount == nil {
			return p, newProblem(InvalidField, "transfer_data",
				`invalid transfer_data: want an amount, such as {"amount": 1250}; 0 clears it`)
		}
		p.TransferData.Amount = *c.TransferData.Amount
	}
	if c.StatementDescriptorSuffix != nil {
		p.StatementDescriptorSuffix = *c.StatementDescriptorSuffix
	}
	p.CaptureMetadata = mergeCaptureMetadata(p.CaptureMetadata, c.CaptureMetadata)
	return p, checkCaptureParams(&p)
}

// mergeCaptureMetadata returns pairs with the changes. An empty value removes a
// pair.
func mergeCaptureMetadata(pairs, changes map[string]string) map[string]string {
	if len(changes) == 0 {
		return pairs
	}
	merged := maps.Clone(pairs)
	if merged == nil {
		merged = map[string]string{}
	}
	for k, v := range changes {
		if v == "" {
			delete(merged, k)
		} else {
			merged[k] = v
		}
	}
	if len(merged) == 0 {
		return nil
	}
	return merged
}

// checkCaptureParams refuses parameters that Stripe would refuse at any
// capture.
func checkCaptureParams(p *CaptureParams) error {
	if err := checkAmount("application_fee_amount", p.ApplicationFeeAmount, ""); err != nil {
		return err
	}
	if err := checkAmount("transfer_data.amount", p.TransferData.Amount, ""); err != nil {
		return err
	}
	if err := checkStatementDescriptorSuffix(p.StatementDescriptorSuffix); err != nil {
		return err
	}
	return checkCaptureMetadata(p.CaptureMetadata)
}

// checkStatementDescriptorSuffix checks the rules of Stripe's documentation for
// statement descriptors. The length of the prefix is known to Stripe only.
func checkStatementDescriptorSuffix(s string) error {
	if s == "" {
		return nil
	}
	isLetter := func(r rune) bool { return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' }
	notAllowed := func(r rune) bool {
		return r < ' ' || r > '~' ||
			strings.ContainsRune(`<>\'"*`, r)
	}
	if len(s) > maxStatementDescriptor || strings.ContainsFunc(s, notAllowed) ||
		!strings.ContainsFunc(s, isLetter) || strings.TrimSpace(s) != s {
		return newProblem(
			InvalidField,
			"statement_descriptor_suffix",
			`invalid statement_descriptor_suffix %.60q: want at most %d ASCII characters, at least one letter, and none of < > \ ' " *`,
			s,
			maxStatementDescriptor,
		)
	}
	return nil
}

// checkCaptureMetadata bounds the pairs as the hold's own, and keeps them apart
// from the terms that holdd writes.
func checkCaptureMetadata(pairs map[string]string) error {
	refuse := func(format string, args ...any) error {
		return newProblem(InvalidMetadata, "capture_metadata", format, args...)
	}
	if len(pairs) > MaxMetadataPairs {
		return refuse("%d pairs: want at most %d", len(pairs), MaxMetadataPairs)
	}
	for k, v := range pairs {
		switch {
		case k == "" || utf8.RuneCountInString(k) > MaxMetadataKey || !utf8.ValidString(k) ||
			strings.ContainsAny(k, "[]"):
			return refuse("invalid key %.60q: want 1 to %d characters without brackets",
				k, MaxMetadataKey)
		case strings.HasPrefix(k, "holdd_"):
			return refuse("invalid key %.60q: keys that begin with holdd_ are reserved", k)
		case v == "" || utf8.RuneCountInString(v) > MaxMetadataValue || !utf8.ValidString(v):
			return refuse("invalid value of %q: want 1 to %d characters", k, MaxMetadataValue)
		}
	}
	return nil
}

// checkFeeAndTransferWithinCapture refuses a fee or a transfer above the amount
// of the capture. holdd does not scale them: the caller decides what a smaller
// capture leaves.
func checkFeeAndTransferWithinCapture(p *CaptureParams, captured int64, currency string) error {
	for _, part := range []struct {
		field string
		n     int64
	}{
		{"application_fee_amount", p.ApplicationFeeAmount},
		{"transfer_data.amount", p.TransferData.Amount},
	} {
		if part.n > captured {
			return newProblem(AmountTooLarge, part.field,
				"%s is more than the amount to capture, %s", FormatAmount(part.n, currency),
				FormatAmount(captured, currency))
		}
	}
	return nil
}

// checkHoldCaptureParams compares the hold's fee and transfer with the amount
// that its capture takes, if that is known.
func checkHoldCaptureParams(h *Hold) error {
	if n, known := leastExpectedCaptureAmount(h); known {
		return checkFeeAndTransferWithinCapture(nextCaptureParams(h), n, h.Currency)
	}
	return nil
}

// leastExpectedCaptureAmount returns the amount that a capture of the hold takes.
func leastExpectedCaptureAmount(h *Hold) (n int64, known bool) {
	if least := smallestStageAmount(h); least > 0 {
		return least, true
	}
	n, releaseRest := captureAmountToSend(h)
	if n == 0 && !releaseRest {
		n = h.Amount
	}
	return n, n > 0 || releaseRest
}
