package gateway

import (
	"context"
	"fmt"
	"net/http"

	"github.com/stripe/stripe-go/v76"

	"github.com/holdd/holdd/worker/hold"
)

// Do sends one request and classifies what came back. It makes one attempt,
// within the gateway's timeout and ctx, and never panics.
//
// A list fills [hold.Answer.Page]. An authorization, a confirmation and a read
// also fill [hold.Answer.Cardholder]. A check fills neither. An invalid call is
// not sent: its answer is [hold.AnswerInvalid] with HTTPStatus 0.
func (g *Gateway) Do(ctx context.Context, c hold.Call) hold.Answer {
	if reason := validateCall(&c); reason != "" {
		return answerNotSent(reason)
	}
	switch c.Op {
	case hold.OpCapture:
		return g.capture(ctx, c)
	case hold.OpCancel:
		return g.cancel(ctx, c)
	case hold.OpRead:
		return g.retrieve(ctx, c)
	case hold.OpAuthorize:
		return g.authorize(ctx, c)
	case hold.OpConfirm:
		return g.confirm(ctx, c)
	case hold.OpUpdate:
		return g.updateMetadata(ctx, c)
	case hold.OpList:
		return g.listIntents(ctx, c)
	default: // validateCall accepts no other
		return g.check(ctx)
	}
}

// retrieve reads an intent with its charge and its review.
func (g *Gateway) retrieve(ctx context.Context, c hold.Call) hold.Answer {
	p := &stripe.PaymentIntentParams{Expand: expandChargeAndReview()}
	r := requestInfo{intentID: c.PaymentIntent}
	return g.sendForCardholder(ctx, r, func(ctx context.Context) (*stripe.PaymentIntent, error) {
		p.Params = requestParams(ctx, c.Account, "")
		return g.paymentIntents.Get(c.PaymentIntent, p)
	})
}

// requestInfo is what the classification of an answer depends on.
type requestInfo struct {
	intentID string // the PaymentIntent that the answer must show; empty accepts any
	mutation bool   // it may change something at Stripe
	maxBody  int64  // bytes of the answer's body; 0 means maxBodyBytes
}

// sendForIntent sends a request whose answer is one PaymentIntent.
func (g *Gateway) sendForIntent(
	ctx context.Context, r requestInfo, send func(context.Context) (*stripe.PaymentIntent, error),
) hold.Answer {
	var in *hold.Intent
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

// sendAndClassify sends one request within the timeout and classifies its
// answer. expected says that the body was what the request asks for.
func (g *Gateway) sendAndClassify(
	ctx context.Context, r requestInfo, send func(context.Context) (expected bool, err error),
) (a hold.Answer) {
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	ctx, trace := withCallTrace(ctx, r.maxBody)
	defer func() { a.Retransmitted = trace.retransmitted() }()
	defer func() {
		// A panic here would end the daemon and every other call under way. The
		// answer does not quote the panic's value, which may hold what the body
		// held.
		if p := recover(); p != nil {
			a = trace.answer(hold.AnswerUnknown)
			if !trace.maybeSent() {
				a.Kind = hold.AnswerUnreachable
			}
			a.Message = fmt.Sprintf("a bug: the client panicked with a %T", p)
		}
	}()
	if err := ctx.Err(); err != nil {
		return g.classifyFailure(trace, err, r)
	}
	expected, err := send(ctx)
	if err != nil || !expected || trace.status != http.StatusOK {
		return g.classifyFailure(trace, err, r)
	}
	return trace.answer(hold.AnswerOK)
}

// requestParams returns the headers of a request.
func requestParams(ctx context.Context, account, key string) stripe.Params {
	p := stripe.Params{Context: ctx}
	if account != "" {
		p.StripeAccount = &account
	}
	if key != "" {
		p.IdempotencyKey = &key
	}
	return p
}

// expandChargeAndReview returns what a request for one intent expands. The
// charge has the deadline, and the review says whether it is open.
func expandChargeAndReview() []*string {
	return []*string{stripe.String("latest_charge"), stripe.String("review")}
}

// answerNotSent returns the answer to a call that this package does not send.
func answerNotSent(reason string) hold.Answer {
	return hold.Answer{Kind: hold.AnswerInvalid, Message: "not sent: " + reason}
}
