package gateway

import (
	"context"
	"fmt"
	"net/http"

	"github.com/stripe/stripe-go/v76"

	"github.com/holdd/holdd/worker/hold"
)

// Do sends one request and classifies the response. It makes one attempt,
// bounded by the gateway's timeout and ctx, and never panics.
//
// The answer to a list has a [hold.Answer.Page]. The answer to an
// authorization, a confirmation or a read has a [hold.Answer.Cardholder]. Do
// does not send an invalid call: its answer is [hold.AnswerInvalid] with
// HTTPStatus 0.
func (g *Gateway) Do(ctx context.Context, c hold.Call) hold.Answer {
	if reason := validateCall(&c); reason != "" {
		return invalidCallAnswer(reason)
	}
	switch c.Op {
	case hold.OpCapture:
		return g.captureIntent(ctx, c)
	case hold.OpCancel:
		return g.cancelIntent(ctx, c)
	case hold.OpRead:
		return g.retrieveIntent(ctx, c)
	case hold.OpAuthorize:
		return g.authorizeIntent(ctx, c)
	case hold.OpConfirm:
		return g.confirmIntent(ctx, c)
	case hold.OpCreate:
		return g.createIntent(ctx, c)
	case hold.OpUpdate:
		return g.updateMetadata(ctx, c)
	case hold.OpList:
		return g.listIntents(ctx, c)
	default: // validateCall accepts no other
		return g.probeAPIKey(ctx)
	}
}

// retrieveIntent retrieves an intent with its charge and its review.
func (g *Gateway) retrieveIntent(ctx context.Context, c hold.Call) hold.Answer {
	p := &stripe.PaymentIntentParams{Expand: intentExpandParams()}
	r := classifyOptions{intentID: c.PaymentIntent}
	send := func(ctx context.Context) (*stripe.PaymentIntent, error) {
		p.Params = newRequestParams(ctx, c.Account, "")
		return g.paymentIntents.Get(c.PaymentIntent, p)
	}
	return g.sendWithCardholderAction(ctx, r, send)
}

// classifyOptions is the part of a request on which the classification depends.
type classifyOptions struct {
	intentID string // the PaymentIntent that the response must have; empty accepts any
	mutation bool   // the request may change an object at Stripe
	maxBody  int64  // maximum size of the response's body in bytes; 0 means maxBodyBytes
}

// sendIntentRequest sends a request for one PaymentIntent.
func (g *Gateway) sendIntentRequest(
	ctx context.Context,
	r classifyOptions,
	send func(context.Context) (*stripe.PaymentIntent, error),
) hold.Answer {
	var in *hold.PaymentIntent
	a := g.sendAndClassify(ctx, r, func(ctx context.Context) (bool, error) {
		pi, err := send(ctx)
		if err == nil {
			in = convertIntent(g.scrubber, pi, r.intentID)
		}
		return in != nil, err
	})
	if a.Kind == hold.AnswerOK {
		a.Intent = in
	}
	return a
}

// sendAndClassify sends one request within the timeout and classifies the
// response. send returns expected if the body has the object that the request
// asks for.
func (g *Gateway) sendAndClassify(
	ctx context.Context, r classifyOptions, send func(context.Context) (expected bool, err error),
) (a hold.Answer) {
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	ctx, trace := withCallTrace(ctx, r.maxBody)
	defer func() { a.Retransmitted = trace.retransmitted() }()
	defer func() {
		// A panic would end the daemon and all calls in flight. The message
		// does not quote the value of the panic, which may contain parts of the
		// body.
		if p := recover(); p != nil {
			a = trace.newAnswer(hold.AnswerUnknown)
			if !trace.maybeSent() {
				a.Kind = hold.AnswerUnreachable
			}
			a.Message = fmt.Sprintf("the client panicked with a %T: report this bug", p)
		}
	}()
	if err := ctx.Err(); err != nil {
		return g.classifyFailure(trace, err, r)
	}
	expected, err := send(ctx)
	if err != nil || !expected || trace.status != http.StatusOK {
		return g.classifyFailure(trace, err, r)
	}
	return trace.newAnswer(hold.AnswerOK)
}

// newRequestParams returns the context and the headers of a request.
func newRequestParams(ctx context.Context, account, key string) stripe.Params {
	p := stripe.Params{Context: ctx}
	if account != "" {
		p.StripeAccount = &account
	}
	if key != "" {
		p.IdempotencyKey = &key
	}
	return p
}

// intentExpandParams returns the fields that a request for one intent
// expands. The charge has the deadline. The review says whether it is open.
func intentExpandParams() []*string {
	return []*string{stripe.String("latest_charge"), stripe.String("review")}
}

// invalidCallAnswer returns the answer to a call that is not sent.
func invalidCallAnswer(reason string) hold.Answer {
	return hold.Answer{Kind: hold.AnswerInvalid, Message: "not sent: " + reason}
}
