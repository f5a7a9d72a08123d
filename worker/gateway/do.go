package gateway

import (
	"bytes"
	"context"
	"fmt"
	"net/http"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
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
	case hold.OpIncrement:
		return g.incrementIntent(ctx, c)
	case hold.OpRead:
		return g.retrieveIntent(ctx, c)
	case hold.OpAuthorize:
		return g.createAndConfirmIntent(ctx, c)
	case hold.OpConfirm:
		return g.confirmIntent(ctx, c)
	case hold.OpCreate:
		return g.createUnconfirmedIntent(ctx, c)
	case hold.OpSetUpCard:
		return g.createCardSetupSession(ctx, c)
	case hold.OpReadCardSetup:
		return g.retrieveCardSetupSession(ctx, c)
	case hold.OpUpdate:
		return g.updateIntentMetadata(ctx, c)
	case hold.OpList:
		return g.listIntents(ctx, c)
	default: // validateCall accepts no other
		return g.probeAPIKey(ctx)
	}
}

// captureIntent captures an intent. Stripe releases the rest of the amount,
// unless the call keeps it.
func (g *Gateway) captureIntent(ctx context.Context, c hold.Call) hold.Answer {
	p := &stripe.PaymentIntentCaptureParams{}
	switch {
	case c.ReleaseRest:
		p.AmountToCapture, p.FinalCapture = stripe.Int64(0), stripe.Bool(true)
	case c.Amount != 0:
		p.AmountToCapture = &c.Amount
	}
	if c.KeepRest {
		p.FinalCapture = stripe.Bool(false)
	}
	setCaptureParams(p, c.CaptureParams)
	params := func(ctx context.Context) stripe.ParamsContainer {
		p.Params = newRequestParams(ctx, c.Account, c.Key)
		return p
	}
	return g.sendCaptureOrCancel(ctx, c, "capture", params)
}

// setCaptureParams sets the parameters beside the amount. Each attempt under a
// key sends the same.
func setCaptureParams(p *stripe.PaymentIntentCaptureParams, from hold.CaptureParams) {
	if from.ApplicationFeeAmount > 0 {
		p.ApplicationFeeAmount = &from.ApplicationFeeAmount
	}
	if from.TransferData.Amount > 0 {
		p.TransferData = &stripe.PaymentIntentTransferDataParams{Amount: &from.TransferData.Amount}
	}
	if from.StatementDescriptorSuffix != "" {
		p.StatementDescriptorSuffix = &from.StatementDescriptorSuffix
	}
	p.Metadata = from.CaptureMetadata
}

// cancelIntent cancels an intent, which releases the whole amount.
func (g *Gateway) cancelIntent(ctx context.Context, c hold.Call) hold.Answer {
	p := &stripe.PaymentIntentCancelParams{CancellationReason: &c.CancellationReason}
	params := func(ctx context.Context) stripe.ParamsContainer {
		p.Params = newRequestParams(ctx, c.Account, c.Key)
		return p
	}
	return g.sendCaptureOrCancel(ctx, c, "cancel", params)
}

// intentJSON has the fields that the gateway reads from the response to a
// capture or a cancel. The charge of this intent is not expanded.
type intentJSON struct {
	ID                 string            `json:"id"`
	Object             string            `json:"object"`
	Status             string            `json:"status"`
	Currency           string            `json:"currency"`
	Amount             int64             `json:"amount"`
	AmountCapturable   int64             `json:"amount_capturable"`
	AmountReceived     int64             `json:"amount_received"`
	CancellationReason string            `json:"cancellation_reason"`
	Created            int64             `json:"created"`
	Livemode           bool              `json:"livemode"`
	Metadata           map[string]string `json:"metadata"`
	PaymentMethodTypes []string          `json:"payment_method_types"`
}

// emptyStripeResource is the object that stripe-go decodes instead of a body
// that the gateway reads.
type emptyStripeResource struct{ stripe.APIResource }

// sendCaptureOrCancel sends a capture or a cancel. It decodes the body of a
// 200, which tracingTransport puts into the trace's bodyBuffer, because
// stripe-go reads a body six times, into a struct of some hundred fields. That
// was a fifth of the CPU time of a capture. stripe-go decodes errors.
func (g *Gateway) sendCaptureOrCancel(
	ctx context.Context, c hold.Call, action string,
	params func(context.Context) stripe.ParamsContainer,
) hold.Answer {
	r := classifyOptions{intentID: c.PaymentIntent, mutation: true}
	return g.sendIntentRequest(ctx, r, func(ctx context.Context) (*stripe.PaymentIntent, error) {
		trace := ctx.Value(callTraceContextKey{}).(*callTrace)
		trace.bodyBuffer = bodyBuffers.Get().(*bytes.Buffer)
		defer func() {
			trace.bodyBuffer.Reset()
			bodyBuffers.Put(trace.bodyBuffer) // holds at most maxBodyBytes
			trace.bodyBuffer = nil
		}()
		path := stripe.FormatURLPath("/v1/payment_intents/%s/"+action, c.PaymentIntent)
		backend, key := g.paymentIntents.B, g.paymentIntents.Key
		err := backend.Call(http.MethodPost, path, key, params(ctx), &emptyStripeResource{})
		if err != nil || !trace.bodyComplete {
			return nil, err
		}
		return decodeStripeIntent(trace.bodyBuffer.Bytes())
	})
}

// decodeStripeIntent decodes a PaymentIntent. It is as lenient as
// encoding/json, so that an invalid byte in a description does not make a
// successful capture unknown.
func decodeStripeIntent(body []byte) (*stripe.PaymentIntent, error) {
	var s intentJSON
	lenient := json.JoinOptions(jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))
	if err := json.Unmarshal(body, &s, lenient); err != nil {
		return nil, err
	}
	return &stripe.PaymentIntent{
		ID:                 s.ID,
		Object:             s.Object,
		Status:             stripe.PaymentIntentStatus(s.Status),
		Currency:           stripe.Currency(s.Currency),
		Amount:             s.Amount,
		AmountCapturable:   s.AmountCapturable,
		AmountReceived:     s.AmountReceived,
		CancellationReason: stripe.PaymentIntentCancellationReason(s.CancellationReason),
		Created:            s.Created,
		Livemode:           s.Livemode,
		Metadata:           s.Metadata,
		PaymentMethodTypes: s.PaymentMethodTypes,
	}, nil
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
		return classifyFailure(trace, err, r, g.scrubber)
	}
	expected, err := send(ctx)
	if err != nil || !expected || trace.status != http.StatusOK {
		return classifyFailure(trace, err, r, g.scrubber)
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
