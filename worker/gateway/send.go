package gateway

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/stripe/stripe-go/v76"

	"github.com/holdd/holdd/worker/hold"
)

// classifyOptions is the part of a request on which the classification depends.
type classifyOptions struct {
	intentID string // the PaymentIntent that the response must have; empty accepts any
	mutation bool   // the request may change an object at Stripe
	maxBody  int64  // maximum size of the response's body in bytes; 0 means maxBodyBytes
}

// requestSender sends single requests through stripe-go and classifies their
// responses.
type requestSender struct {
	timeout  time.Duration
	scrubber *secretScrubber
}

// sendAndClassify sends one request within the timeout and classifies the
// response. send returns expected if the body has the object that the request
// asks for.
func (s *requestSender) sendAndClassify(
	ctx context.Context, r classifyOptions, send func(context.Context) (expected bool, err error),
) (a hold.Answer) {
	// A Caller has set a deadline, which a second timer would only repeat.
	if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > s.timeout {
		bounded, cancel := context.WithTimeout(ctx, s.timeout)
		defer cancel()
		ctx = bounded
	}
	ctx, trace := withCallTrace(ctx, r.maxBody)
	defer func() { a.Retransmitted = trace.wasRetransmitted() }()
	defer func() {
		// A panic would end the daemon and all calls in flight. The message
		// does not quote the value of the panic, which may contain parts of the
		// body.
		if p := recover(); p != nil {
			a = trace.newAnswer(hold.AnswerUnknown)
			if !trace.mayHaveBeenSent() {
				a.Kind = hold.AnswerUnreachable
			}
			a.Message = fmt.Sprintf("the client panicked with a %T: report this bug", p)
		}
	}()
	if err := ctx.Err(); err != nil {
		return classifyFailure(trace, err, r, s.scrubber)
	}
	expected, err := send(ctx)
	if err != nil || !expected || trace.status != http.StatusOK {
		return classifyFailure(trace, err, r, s.scrubber)
	}
	return trace.newAnswer(hold.AnswerOK)
}

// sendIntentRequest sends a request for one PaymentIntent.
func (s *requestSender) sendIntentRequest(
	ctx context.Context,
	r classifyOptions,
	send func(context.Context) (*stripe.PaymentIntent, error),
) hold.Answer {
	var in *hold.PaymentIntent
	a := s.sendAndClassify(ctx, r, func(ctx context.Context) (bool, error) {
		pi, err := send(ctx)
		if err == nil {
			in = convertIntent(s.scrubber, pi, r.intentID)
		}
		return in != nil, err
	})
	if a.Kind == hold.AnswerOK {
		a.Intent = in
	}
	return a
}

// sendWithCardholderAction sends a request for one PaymentIntent, and adds to the
// answer the values that the cardholder's browser needs. Only [hold.AnswerOK]
// has them: after a decline, the caller asks for another card.
func (s *requestSender) sendWithCardholderAction(
	ctx context.Context,
	r classifyOptions,
	send func(context.Context) (*stripe.PaymentIntent, error),
) hold.Answer {
	var ch *hold.CardholderAction
	var advice hold.DeclineAdvice
	a := s.sendIntentRequest(ctx, r, func(ctx context.Context) (*stripe.PaymentIntent, error) {
		pi, err := send(ctx)
		if err == nil && pi != nil {
			ch = convertCardholderAction(s.scrubber, pi)
			advice = declineAdviceOfIntent(s.scrubber, pi)
		}
		return pi, err
	})
	if a.Kind == hold.AnswerOK {
		a.Cardholder, a.Advice = ch, advice
	}
	return a
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
func invalidCallAnswer(reason error) hold.Answer {
	return hold.Answer{Kind: hold.AnswerInvalid, Message: "not sent: " + reason.Error()}
}
