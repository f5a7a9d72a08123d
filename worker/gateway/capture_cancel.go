package gateway

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stripe/stripe-go/v76"

	"github.com/holdd/holdd/worker/hold"
)

// captureIntent captures an intent. It is final: Stripe releases the rest of
// the amount.
func (g *Gateway) captureIntent(ctx context.Context, c hold.Call) hold.Answer {
	p := &stripe.PaymentIntentCaptureParams{}
	switch {
	case c.ReleaseRest:
		p.AmountToCapture, p.FinalCapture = stripe.Int64(0), stripe.Bool(true)
	case c.Amount != 0:
		p.AmountToCapture = &c.Amount
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

var bodyBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// bufferResponseBody reads the body of a 200 into the buffer and replaces it
// with an empty object. [tracingTransport.RoundTrip] calls it. If the body
// breaks off, stripe-go gets the same error.
func (t *callTrace) bufferResponseBody(res *http.Response) {
	_, err := t.bodyBuffer.ReadFrom(res.Body)
	_ = res.Body.Close() // it was read to its end or has failed
	if err != nil {
		res.Body = io.NopCloser(failingBody{err})
		return
	}
	t.bodyComplete = true
	res.Body = io.NopCloser(strings.NewReader("{}"))
}

// failingBody is a body that returns an error.
type failingBody struct{ err error }

func (b failingBody) Read([]byte) (int, error) { return 0, b.err }
