package gateway

import (
	"context"
	"time"

	"github.com/stripe/stripe-go/v76"

	"github.com/holdd/holdd/worker/hold"
)

// immediateCapture is the longest time between a charge and the capture that
// came with it. A charge does not say whether its capture was a request of its
// own.
const immediateCapture = time.Minute

// listChargesWithoutIntent retrieves one page of charges, newest first, and
// converts those without a PaymentIntent: payments that were made with the
// Charges API alone. Each becomes an intent with the charge's id.
func (cl *listClient) listChargesWithoutIntent(ctx context.Context, c hold.Call) hold.Answer {
	p := &stripe.ChargeListParams{CreatedRange: newCreatedRangeParams(&c),
		Expand: []*string{stripe.String("data.refunds")}}
	if c.Content == hold.ContentPlainHistories {
		p.Expand = append(p.Expand, stripe.String("data.balance_transaction"))
	}
	p.Limit, p.StartingAfter, p.Single = stripe.Int64(maxPageSize), optionalString(c.After), true
	if c.Account != "" {
		p.StripeAccount = &c.Account
	}
	var page hold.IntentListPage
	r := classifyOptions{maxBody: maxListBodyBytes}
	a := cl.sender.sendAndClassify(ctx, r, func(ctx context.Context) (bool, error) {
		p.Context = ctx
		it := cl.charges.List(p)
		if err := it.Err(); err != nil {
			return false, err
		}
		l := it.ChargeList()
		if l.Data == nil || len(l.Data) > maxPageSize || l.HasMore && len(l.Data) == 0 {
			return false, nil
		}
		page = hold.IntentListPage{More: l.HasMore}
		for _, ch := range l.Data {
			if !isValidCharge(ch) {
				return false, nil
			}
			page.Last, page.OldestAt = ch.ID, timeOfUnixSeconds(ch.Created)
			if ch.PaymentIntent == nil && ch.Status == stripe.ChargeStatusSucceeded {
				in, h := convertChargeToIntentAndHistory(cl.sender.scrubber, ch)
				page.Intents, page.Histories = append(page.Intents, in), append(page.Histories, h)
			}
		}
		return true, nil
	})
	if a.Kind == hold.AnswerOK {
		a.Page = &page
	}
	return a
}

func isValidCharge(c *stripe.Charge) bool {
	return c != nil && c.Object == "charge" && c.ID != "" && validObjectIDOrEmpty(c.ID) == c.ID &&
		isCurrencyCode(string(c.Currency)) && c.Amount >= 0 && c.AmountCaptured >= 0 && c.Created > 0
}

// convertChargeToIntentAndHistory converts a charge without a PaymentIntent.
func convertChargeToIntentAndHistory(
	s *secretScrubber, c *stripe.Charge,
) (in hold.PaymentIntent, h hold.ChargeHistory) {
	in = hold.PaymentIntent{ID: c.ID, Amount: c.Amount, AmountReceived: c.AmountCaptured,
		Currency: string(c.Currency), Created: timeOfUnixSeconds(c.Created), Livemode: c.Livemode,
		Metadata: redactSecretsInMetadata(s, c.Metadata)}
	if c.Customer != nil {
		in.Customer = validObjectIDOrEmpty(c.Customer.ID)
	}
	if d := c.PaymentMethodDetails; d != nil {
		in.PaymentMethodType, in.CaptureBefore = validIdentifierOrEmpty(string(d.Type)), captureBefore(d)
	}
	h = convertIntentHistory(&stripe.PaymentIntent{LatestCharge: c})
	switch {
	case c.Captured:
		in.Status = hold.StatusSucceeded
		h.Manual = c.AmountCaptured < c.Amount ||
			h.CapturedAt.Sub(h.AuthorizedAt) > immediateCapture
	case c.Refunded || c.AmountRefunded >= c.Amount && c.Amount > 0:
		in.Status = hold.StatusCanceled
		in.CancellationReason, in.CanceledAt = releaseReasonAndTime(c)
	default:
		in.Status, in.AmountCapturable = hold.StatusRequiresCapture, c.Amount
	}
	return in, h
}

// releaseReasonAndTime returns why and when an uncaptured charge was released, in the
// words of PaymentIntents. Stripe records both an expiry and a request as a
// refund.
func releaseReasonAndTime(c *stripe.Charge) (reason string, at time.Time) {
	if c.Refunds == nil {
		return "", at
	}
	for _, r := range c.Refunds.Data {
		if r == nil {
			continue
		}
		at = timeOfUnixSeconds(r.Created)
		if r.Reason == stripe.RefundReasonExpiredUncapturedCharge {
			return hold.ReasonExpired, at
		}
		reason = validIdentifierOrEmpty(string(r.Reason))
	}
	return reason, at
}

// captureBefore returns the end of a card's authorization, zero if there is
// none.
func captureBefore(d *stripe.ChargePaymentMethodDetails) time.Time {
	switch {
	case d.Card != nil:
		return timeOfUnixSeconds(d.Card.CaptureBefore)
	case d.CardPresent != nil:
		return timeOfUnixSeconds(d.CardPresent.CaptureBefore)
	}
	return time.Time{}
}

// redactSecretsInMetadata copies metadata without secrets. A key is too short
// for a client secret.
func redactSecretsInMetadata(s *secretScrubber, from map[string]string) map[string]string {
	if len(from) == 0 {
		return nil
	}
	out := make(map[string]string, len(from))
	for k, v := range from {
		out[k] = s.redactSecrets(v)
	}
	return out
}
