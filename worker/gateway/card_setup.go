package gateway

import (
	"context"
	"errors"
	"regexp"

	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/checkout/session"

	"github.com/holdd/holdd/worker/hold"
)

var checkoutSessionPattern = maxLengthPattern{regexp.MustCompile(`^cs_[A-Za-z0-9_]+$`), 255}

// cardSetupClient creates and retrieves Checkout Sessions that save a card.
type cardSetupClient struct {
	api    session.Client
	sender *requestSender
}

// createCardSetupSession creates a Checkout Session in which a customer gives
// another card, on a page of Stripe's. It moves no money.
func (cl *cardSetupClient) createCardSetupSession(ctx context.Context, c hold.Call) hold.Answer {
	s := c.CardSetup
	p := &stripe.CheckoutSessionParams{
		Mode:               stripe.String(string(stripe.CheckoutSessionModeSetup)),
		PaymentMethodTypes: []*string{stripe.String("card")},
		Customer:           &s.Customer,
		SuccessURL:         &s.ReturnURL,
		CancelURL:          &s.CancelURL,
		Metadata:           s.Metadata,
		Expand:             cardSetupExpandParams(),
	}
	r := classifyOptions{mutation: true}
	return cl.sendSessionRequest(ctx, r, "",
		func(ctx context.Context) (*stripe.CheckoutSession, error) {
			p.Params = newRequestParams(ctx, c.Account, c.Key)
			return cl.api.New(p)
		})
}

// retrieveCardSetupSession retrieves a Checkout Session with the card that it
// saved.
func (cl *cardSetupClient) retrieveCardSetupSession(ctx context.Context, c hold.Call) hold.Answer {
	p := &stripe.CheckoutSessionParams{Expand: cardSetupExpandParams()}
	id := c.CardSetup.Session
	return cl.sendSessionRequest(ctx, classifyOptions{}, id,
		func(ctx context.Context) (*stripe.CheckoutSession, error) {
			p.Params = newRequestParams(ctx, c.Account, "")
			return cl.api.Get(id, p)
		})
}

func cardSetupExpandParams() []*string { return []*string{stripe.String("setup_intent")} }

// sendSessionRequest sends a request for one Checkout Session. An empty id
// accepts any.
func (cl *cardSetupClient) sendSessionRequest(
	ctx context.Context, r classifyOptions, id string,
	send func(context.Context) (*stripe.CheckoutSession, error),
) hold.Answer {
	var setup *hold.CardSetup
	a := cl.sender.sendAndClassify(ctx, r, func(ctx context.Context) (bool, error) {
		s, err := send(ctx)
		if err == nil {
			setup = convertCardSetupSession(s, id)
		}
		return setup != nil, err
	})
	if a.Kind == hold.AnswerOK {
		a.CardSetup = setup
	}
	return a
}

// convertCardSetupSession returns nil if s is not a valid Checkout Session of
// the id.
func convertCardSetupSession(s *stripe.CheckoutSession, id string) *hold.CardSetup {
	if s == nil || s.Object != "checkout.session" || !checkoutSessionPattern.matches(s.ID) ||
		id != "" && s.ID != id || validIdentifierOrEmpty(string(s.Status)) == "" {
		return nil
	}
	c := &hold.CardSetup{ID: s.ID, URL: hold.NewSecret(s.URL), Status: string(s.Status),
		Metadata: s.Metadata}
	if s.Customer != nil {
		c.Customer = validObjectIDOrEmpty(s.Customer.ID)
	}
	if in := s.SetupIntent; in != nil && in.PaymentMethod != nil &&
		in.Status == stripe.SetupIntentStatusSucceeded {
		c.PaymentMethod = validObjectIDOrEmpty(in.PaymentMethod.ID)
	}
	return c
}

// validateCardSetupCall returns an error if a call for a Checkout Session is
// invalid.
func validateCardSetupCall(c *hold.Call) error {
	s := c.CardSetup
	switch {
	case s == nil:
		return errors.New("missing parameters of the Checkout Session")
	case c.Op == hold.OpReadCardSetup && !checkoutSessionPattern.matches(s.Session):
		return errors.New("invalid id of a Checkout Session")
	case c.Op == hold.OpReadCardSetup:
		return validateAccount(c)
	case s.Customer == "" || s.ReturnURL == "" || s.CancelURL == "":
		return errors.New("a Checkout Session needs a customer and two URLs")
	}
	if err := validateAccount(c); err != nil {
		return err
	}
	if err := validateIdempotencyKey(c.Key); err != nil {
		return err
	}
	return validateMetadata(s.Metadata)
}
