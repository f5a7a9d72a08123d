package gateway

import (
	"bytes"
	"context"
	"maps"
	"net/http"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/paymentintent"

	"github.com/holdd/holdd/worker/hold"
)

// intentClient retrieves and changes PaymentIntents that exist.
type intentClient struct {
	api    paymentintent.Client
	sender *requestSender
}

// captureIntent captures an intent. Stripe releases the rest of the amount,
// unless the call keeps it.
func (cl *intentClient) captureIntent(ctx context.Context, c hold.Call) hold.Answer {
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
	return cl.sendCaptureOrCancel(ctx, c, "capture", params)
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
func (cl *intentClient) cancelIntent(ctx context.Context, c hold.Call) hold.Answer {
	p := &stripe.PaymentIntentCancelParams{CancellationReason: &c.CancellationReason}
	params := func(ctx context.Context) stripe.ParamsContainer {
		p.Params = newRequestParams(ctx, c.Account, c.Key)
		return p
	}
	return cl.sendCaptureOrCancel(ctx, c, "cancel", params)
}

// emptyStripeResource is the object that stripe-go decodes instead of a body
// that the gateway reads.
type emptyStripeResource struct{ stripe.APIResource }

// sendCaptureOrCancel sends a capture or a cancel. It decodes the body of a
// 200, which tracingTransport puts into the trace's bodyBuffer, because
// stripe-go reads a body six times, into a struct of some hundred fields. That
// was a fifth of the CPU time of a capture. stripe-go decodes errors.
func (cl *intentClient) sendCaptureOrCancel(
	ctx context.Context, c hold.Call, action string,
	params func(context.Context) stripe.ParamsContainer,
) hold.Answer {
	r := classifyOptions{intentID: c.PaymentIntent, mutation: true}
	send := func(ctx context.Context) (*stripe.PaymentIntent, error) {
		trace := ctx.Value(callTraceContextKey{}).(*callTrace)
		trace.bodyBuffer = bodyBuffers.Get().(*bytes.Buffer)
		defer func() {
			trace.bodyBuffer.Reset()
			bodyBuffers.Put(trace.bodyBuffer) // holds at most maxBodyBytes
			trace.bodyBuffer = nil
		}()
		path := stripe.FormatURLPath("/v1/payment_intents/%s/"+action, c.PaymentIntent)
		backend, key := cl.api.B, cl.api.Key
		err := backend.Call(http.MethodPost, path, key, params(ctx), &emptyStripeResource{})
		if err != nil || !trace.bodyComplete {
			return nil, err
		}
		return decodeStripeIntent(trace.bodyBuffer.Bytes())
	}
	return cl.sender.sendIntentRequest(ctx, r, send)
}

// retrieveIntent retrieves an intent with its charge and its review.
func (cl *intentClient) retrieveIntent(ctx context.Context, c hold.Call) hold.Answer {
	p := &stripe.PaymentIntentParams{Expand: intentExpandParams()}
	r := classifyOptions{intentID: c.PaymentIntent}
	send := func(ctx context.Context) (*stripe.PaymentIntent, error) {
		p.Params = newRequestParams(ctx, c.Account, "")
		return cl.api.Get(c.PaymentIntent, p)
	}
	return cl.sender.sendWithCardholderAction(ctx, r, send)
}

// incrementIntent raises the authorized amount to a new total. The answer has
// the intent with its charge.
func (cl *intentClient) incrementIntent(ctx context.Context, c hold.Call) hold.Answer {
	p := &stripe.PaymentIntentIncrementAuthorizationParams{
		Amount: &c.Amount, Expand: intentExpandParams(),
	}
	r := classifyOptions{intentID: c.PaymentIntent, mutation: true}
	send := func(ctx context.Context) (*stripe.PaymentIntent, error) {
		p.Params = newRequestParams(ctx, c.Account, c.Key)
		return cl.api.IncrementAuthorization(c.PaymentIntent, p)
	}
	return cl.sender.sendIntentRequest(ctx, r, send)
}

// updateIntentMetadata sets pairs of an intent's metadata. An empty value
// removes its pair. Other pairs do not change. The answer has the updated
// intent with its charge.
func (cl *intentClient) updateIntentMetadata(ctx context.Context, c hold.Call) hold.Answer {
	p := &stripe.PaymentIntentParams{
		Metadata: maps.Clone(c.Metadata), Expand: intentExpandParams(),
	}
	r := classifyOptions{intentID: c.PaymentIntent, mutation: true}
	send := func(ctx context.Context) (*stripe.PaymentIntent, error) {
		p.Params = newRequestParams(ctx, c.Account, c.Key)
		return cl.api.Update(c.PaymentIntent, p)
	}
	return cl.sender.sendIntentRequest(ctx, r, send)
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
