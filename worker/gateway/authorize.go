package gateway

import (
	"context"
	"maps"

	"github.com/stripe/stripe-go/v76"

	"github.com/holdd/holdd/worker/hold"
)

// Authorize creates an intent and confirms it in one request, with capture and confirmation both left to the server, for cards alone: of
// automatic payment methods some would send the guest elsewhere. It makes one attempt, see [Gateway.Do].
//
// The parameters follow from the call alone and are frozen for as long as its key lives, as those of [Gateway.Do] are.
func (g *Gateway) Authorize(ctx context.Context, c hold.AuthorizeCall) hold.AuthorizeAnswer {
	switch why := wrongAccount(c.Account, c.Key); {
	case why != "":
		return hold.AuthorizeAnswer{Answer: notSent(why)}
	case c.Amount <= 0 || c.PaymentMethod == "" || !currency(c.Currency):
		return hold.AuthorizeAnswer{Answer: notSent("an authorization needs an amount, a currency and a payment method")}
	}
	if why := wrongPairs(c.Metadata); why != "" {
		return hold.AuthorizeAnswer{Answer: notSent(why)}
	}
	p := &stripe.PaymentIntentParams{
		Amount: &c.Amount, Currency: &c.Currency, PaymentMethod: &c.PaymentMethod, PaymentMethodTypes: []*string{stripe.String("card")},
		Confirm: stripe.Bool(true), CaptureMethod: stripe.String(string(stripe.PaymentIntentCaptureMethodManual)),
		ConfirmationMethod: stripe.String(string(stripe.PaymentIntentConfirmationMethodManual)),
		Customer:           text(c.Customer), SetupFutureUsage: text(c.SetupFutureUsage), Description: text(c.Description), ReceiptEmail: text(c.ReceiptEmail),
		ReturnURL: text(c.ReturnURL), PaymentMethodOptions: cardOptions(&c), Metadata: maps.Clone(c.Metadata), Expand: latestCharge(),
	}
	p.OffSession, p.UseStripeSDK = presence(&c)
	return g.authorization(ctx, "", true, func(ctx context.Context) (*stripe.PaymentIntent, error) {
		p.Params = params(ctx, c.Account, c.Key)
		return g.intents.New(p)
	})
}

// Confirm confirms an intent once more: after the guest has acted, or with another payment method. It makes one attempt, see [Gateway.Do].
func (g *Gateway) Confirm(ctx context.Context, c hold.AuthorizeCall) hold.AuthorizeAnswer {
	if why := wrong(c.PaymentIntent, c.Account, c.Key, true); why != "" {
		return hold.AuthorizeAnswer{Answer: notSent(why)}
	}
	p := &stripe.PaymentIntentConfirmParams{PaymentMethod: text(c.PaymentMethod), ReturnURL: text(c.ReturnURL), PaymentMethodOptions: cardOptions(&c), Expand: latestCharge()}
	p.OffSession, p.UseStripeSDK = presence(&c)
	return g.authorization(ctx, c.PaymentIntent, true, func(ctx context.Context) (*stripe.PaymentIntent, error) {
		p.Params = params(ctx, c.Account, c.Key)
		return g.intents.Confirm(c.PaymentIntent, p)
	})
}

// RetrieveAuthorization reads an intent as [Gateway.Do] does, and what the guest's browser needs to go on with it.
func (g *Gateway) RetrieveAuthorization(ctx context.Context, id, account string) hold.AuthorizeAnswer {
	if why := wrong(id, account, "", false); why != "" {
		return hold.AuthorizeAnswer{Answer: notSent(why)}
	}
	p := &stripe.PaymentIntentParams{Expand: latestCharge()}
	return g.authorization(ctx, id, false, func(ctx context.Context) (*stripe.PaymentIntent, error) {
		p.Params = params(ctx, account, "")
		return g.intents.Get(id, p)
	})
}

// authorization sends a request and keeps of its answer what no other call may know of. An answer of a refusal carries no client secret: what
// the caller is to do next is to ask for another card.
func (g *Gateway) authorization(ctx context.Context, id string, mutation bool, send func(context.Context) (*stripe.PaymentIntent, error)) (out hold.AuthorizeAnswer) {
	out.Answer = g.one(ctx, id, mutation, func(ctx context.Context) (*stripe.PaymentIntent, error) {
		pi, err := send(ctx)
		if err != nil || pi == nil {
			return pi, err
		}
		out.ClientSecret = hold.NewSecret(pi.ClientSecret)
		if n := pi.NextAction; n != nil {
			out.NextAction = word(string(n.Type))
			if n.RedirectToURL != nil {
				out.RedirectURL = hold.NewSecret(n.RedirectToURL.URL)
			}
		}
		if e := pi.LastPaymentError; e != nil {
			out.FailureMessage = g.scrub.message(e.Msg)
			if out.FailureCode = g.scrub.code(string(e.DeclineCode)); out.FailureCode == "" {
				out.FailureCode = g.scrub.code(string(e.Code))
			}
		}
		return pi, nil
	})
	if out.Kind != hold.AnswerOK {
		return hold.AuthorizeAnswer{Answer: out.Answer}
	}
	return out
}

// presence says whether the guest is there, and if so who shows what the bank wants: the page that return_url names, or Stripe.js.
func presence(c *hold.AuthorizeCall) (offSession, useSDK *bool) {
	switch {
	case c.OffSession:
		return stripe.Bool(true), nil
	case c.ReturnURL == "":
		return nil, stripe.Bool(true)
	}
	return nil, nil
}

func cardOptions(c *hold.AuthorizeCall) *stripe.PaymentIntentPaymentMethodOptionsParams {
	card := &stripe.PaymentIntentPaymentMethodOptionsCardParams{CVCToken: text(c.CVCToken.Reveal())}
	if c.Extended {
		card.RequestExtendedAuthorization = stripe.String("if_available")
	}
	if card.CVCToken == nil && card.RequestExtendedAuthorization == nil {
		return nil
	}
	return &stripe.PaymentIntentPaymentMethodOptionsParams{Card: card}
}

func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func wrongAccount(account, key string) string {
	const anyIntent = "pi_00000000"
	return wrong(anyIntent, account, key, true)
}
