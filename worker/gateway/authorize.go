package gateway

import (
	"context"
	"maps"

	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/paymentintent"

	"github.com/holdd/holdd/worker/hold"
)

// authorizeClient creates and confirms PaymentIntents.
type authorizeClient struct {
	api    paymentintent.Client
	sender *requestSender
}

// createAndConfirmIntent creates an intent and confirms it in one request.
// Capture and confirmation are manual. It allows only cards, because some
// automatic payment methods redirect the cardholder.
func (cl *authorizeClient) createAndConfirmIntent(ctx context.Context, c hold.Call) hold.Answer {
	au := c.Authorize
	p := &stripe.PaymentIntentParams{
		Amount:               &au.Amount,
		Currency:             &au.Currency,
		PaymentMethod:        &au.PaymentMethod,
		PaymentMethodTypes:   []*string{stripe.String("card")},
		Confirm:              stripe.Bool(true),
		CaptureMethod:        stripe.String(string(stripe.PaymentIntentCaptureMethodManual)),
		ConfirmationMethod:   stripe.String(string(stripe.PaymentIntentConfirmationMethodManual)),
		Customer:             optionalString(au.Customer),
		SetupFutureUsage:     optionalString(au.SetupFutureUsage),
		Description:          optionalString(au.Description),
		ReceiptEmail:         optionalString(au.ReceiptEmail),
		ReturnURL:            optionalString(au.ReturnURL),
		PaymentMethodOptions: cardOptionsParams(au),
		Metadata:             maps.Clone(au.Metadata),
		Expand:               intentExpandParams(),
	}
	p.OffSession, p.UseStripeSDK = cardholderPresenceParams(au)
	r := classifyOptions{mutation: true}
	send := func(ctx context.Context) (*stripe.PaymentIntent, error) {
		p.Params = newRequestParams(ctx, c.Account, c.Key)
		return cl.api.New(p)
	}
	return cl.sender.sendWithCardholderAction(ctx, r, send)
}

// createUnconfirmedIntent creates an intent for a saved card without confirming
// it, so that no money is held before its id is recorded. Its confirmation
// method is automatic: the cardholder's browser can complete it too.
func (cl *authorizeClient) createUnconfirmedIntent(ctx context.Context, c hold.Call) hold.Answer {
	au := c.Authorize
	p := &stripe.PaymentIntentParams{
		Amount:             &au.Amount,
		Currency:           &au.Currency,
		Customer:           &au.Customer,
		PaymentMethod:      &au.PaymentMethod,
		PaymentMethodTypes: []*string{stripe.String("card")},
		CaptureMethod:      stripe.String(string(stripe.PaymentIntentCaptureMethodManual)),
		Metadata:           maps.Clone(au.Metadata),
		Expand:             intentExpandParams(),
	}
	r := classifyOptions{mutation: true}
	send := func(ctx context.Context) (*stripe.PaymentIntent, error) {
		p.Params = newRequestParams(ctx, c.Account, c.Key)
		return cl.api.New(p)
	}
	return cl.sender.sendIntentRequest(ctx, r, send)
}

// confirmIntent confirms an intent again, after the cardholder has completed
// the next action or with another payment method.
func (cl *authorizeClient) confirmIntent(ctx context.Context, c hold.Call) hold.Answer {
	p := &stripe.PaymentIntentConfirmParams{
		PaymentMethod:        optionalString(c.Authorize.PaymentMethod),
		ReturnURL:            optionalString(c.Authorize.ReturnURL),
		PaymentMethodOptions: cardOptionsParams(c.Authorize),
		Expand:               intentExpandParams(),
	}
	p.OffSession, p.UseStripeSDK = cardholderPresenceParams(c.Authorize)
	if c.Authorize.ErrorOnRequiresAction {
		p.ErrorOnRequiresAction = stripe.Bool(true)
	}
	r := classifyOptions{intentID: c.PaymentIntent, mutation: true}
	send := func(ctx context.Context) (*stripe.PaymentIntent, error) {
		p.Params = newRequestParams(ctx, c.Account, c.Key)
		return cl.api.Confirm(c.PaymentIntent, p)
	}
	return cl.sender.sendWithCardholderAction(ctx, r, send)
}

// convertCardholderAction returns the values of a PaymentIntent that its
// cardholder needs, and the reason why the last payment failed.
func convertCardholderAction(s *secretScrubber, pi *stripe.PaymentIntent) *hold.CardholderAction {
	ch := &hold.CardholderAction{ClientSecret: hold.NewSecret(pi.ClientSecret)}
	if n := pi.NextAction; n != nil {
		ch.NextAction = validIdentifierOrEmpty(string(n.Type))
		if n.RedirectToURL != nil {
			ch.RedirectURL = hold.NewSecret(n.RedirectToURL.URL)
		}
	}
	if e := pi.LastPaymentError; e != nil {
		ch.FailureCode = declineOrErrorCode(s, e)
		ch.FailureMessage = s.redactMessage(e.Msg)
	}
	return ch
}

// cardholderPresenceParams returns the parameters that say whether the
// cardholder is present. If so, the bank returns the cardholder to return_url
// after its challenge. Without a return_url, Stripe.js shows the challenge.
func cardholderPresenceParams(au *hold.AuthorizeParams) (offSession, useSDK *bool) {
	switch {
	case au.OffSession:
		return stripe.Bool(true), nil
	case au.ReturnURL == "":
		return nil, stripe.Bool(true)
	}
	return nil, nil
}

func cardOptionsParams(au *hold.AuthorizeParams) *stripe.PaymentIntentPaymentMethodOptionsParams {
	card := &stripe.PaymentIntentPaymentMethodOptionsCardParams{
		CVCToken: optionalString(au.CVCToken.Reveal()),
	}
	if au.Extended {
		card.RequestExtendedAuthorization = stripe.String("if_available")
	}
	if au.Multicapture {
		card.RequestMulticapture = stripe.String("if_available")
	}
	if au.Overcapture {
		card.RequestOvercapture = stripe.String("if_available")
	}
	if *card == (stripe.PaymentIntentPaymentMethodOptionsCardParams{}) {
		return nil
	}
	return &stripe.PaymentIntentPaymentMethodOptionsParams{Card: card}
}

func optionalString(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
