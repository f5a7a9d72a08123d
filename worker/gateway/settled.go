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

// settled is what is read of the answer to a capture or a cancel: all that [Gateway.intent] looks at where nothing is expanded.
type settled struct {
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

// acknowledged is what stripe-go decodes of a good answer that is read here: nothing.
type acknowledged struct{ stripe.APIResource }

// settle sends a capture or a cancel. A good answer to it is read here and not by stripe-go, which goes through a body six times and into a
// struct of some hundred fields: that was a fifth of what a capture cost this process. Errors stay stripe-go's.
func (g *Gateway) settle(ctx context.Context, id, verb string, params func(context.Context) stripe.ParamsContainer) hold.Answer {
	return g.one(ctx, id, true, func(ctx context.Context) (*stripe.PaymentIntent, error) {
		f := ctx.Value(flightKey{}).(*flight)
		f.body = bodies.Get().(*bytes.Buffer)
		defer func() {
			f.body.Reset()
			bodies.Put(f.body) // of at most maxBody
			f.body = nil
		}()
		path := stripe.FormatURLPath("/v1/payment_intents/%s/"+verb, id)
		if err := g.intents.B.Call(http.MethodPost, path, g.intents.Key, params(ctx), &acknowledged{}); err != nil || !f.taken {
			return nil, err
		}
		var s settled
		// As lenient as encoding/json: a capture that happened must not look unknown because of a stray byte in a description.
		if err := json.Unmarshal(f.body.Bytes(), &s, jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true)); err != nil {
			return nil, err
		}
		return &stripe.PaymentIntent{
			ID: s.ID, Object: s.Object, Status: stripe.PaymentIntentStatus(s.Status), Currency: stripe.Currency(s.Currency), Amount: s.Amount,
			AmountCapturable: s.AmountCapturable, AmountReceived: s.AmountReceived, CancellationReason: stripe.PaymentIntentCancellationReason(s.CancellationReason),
			Created: s.Created, Livemode: s.Livemode, Metadata: s.Metadata, PaymentMethodTypes: s.PaymentMethodTypes,
		}, nil
	})
}

var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// take keeps the body of a good answer and leaves an empty object in its place. A body that breaks off does so for stripe-go as well.
func (f *flight) take(res *http.Response) {
	_, err := f.body.ReadFrom(res.Body)
	_ = res.Body.Close() // it was read to its end, or is of no use
	if err != nil {
		res.Body = io.NopCloser(broken{err})
		return
	}
	f.taken = true
	res.Body = io.NopCloser(strings.NewReader("{}"))
}

// broken is a body that ends with an error.
type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }
