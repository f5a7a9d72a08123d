package gateway

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/url"
	"time"

	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/webhookendpoint"

	"github.com/holdd/holdd/worker/hold"
)

// Inspection is the result of [Gateway.Inspect]. An answer has kind 0 if its
// request was not sent. If ListIntents fails, no other request is sent.
type Inspection struct {
	ListIntents   hold.Answer       // whether the key may list PaymentIntents
	ListExpanded  hold.Answer       // whether it may read their charges and reviews
	CaptureIntent hold.Answer       // whether it may capture: [hold.AnswerNotFound] means yes
	CreateSession hold.Answer       // whether it may create Checkout Sessions: invalid or not found means yes
	ListEndpoints hold.Answer       // whether it may list webhook endpoints
	ReadAccount   hold.Answer       // whether it may read its account
	Account       string            // id of the account; empty if it may not
	Endpoints     []WebhookEndpoint // at most 100
	CardCharges   int               // that the newest intents have, at most [inspectedIntents]
	CardFeatures  hold.CardFeatures // what at least one of these charges allows
	Latency       time.Duration     // of the first request, including the connection

	// Stripe's clock minus this machine's clock is between Min and Max. They
	// come from Date headers, which have whole seconds. ClockOffsetKnown is
	// false if no response had the header.
	ClockOffsetMin, ClockOffsetMax time.Duration
	ClockOffsetKnown               bool
}

// WebhookEndpoint is a webhook endpoint of the account.
type WebhookEndpoint struct {
	URL        string // without user, query and fragment, which may contain secrets
	Path       string // of URL
	APIVersion string // of its events; empty means the account's default
	Events     []string
	Enabled    bool
}

// inspectedIntents is how many intents are read for what their charges allow.
const inspectedIntents = 20

// nonexistentCustomerID is a well-formed id that no customer has.
const nonexistentCustomerID = "cus_0holddAsksWhetherThisKeyMayWrite"

// nonexistentIntentID is a well-formed id that no PaymentIntent has: Stripe's
// ids contain no words.
const nonexistentIntentID = "pi_0holddAsksWhetherThisKeyMayWrite"

// Inspect checks whether Stripe answers, what the API key may do, and how far
// the clocks are apart. It sends at most six requests, one after the other,
// each within the gateway's timeout, and does not use the budget. It changes
// nothing: to learn whether the key may capture, it captures an intent that
// does not exist, and likewise asks another card of a customer that does not
// exist. Stripe checks the permissions of the key first (403) and then whether the
// object exists.
func (g *Gateway) Inspect(ctx context.Context) Inspection {
	var in Inspection
	m := &clockOffsetMeter{inspection: &in}
	do := func(c hold.Call) hold.Answer {
		return m.measureDuringCall(ctx, func(ctx context.Context) hold.Answer { return g.Do(ctx, c) })
	}
	start := time.Now()
	in.ListIntents = do(hold.Call{Op: hold.OpCheck})
	in.Latency = time.Since(start)
	switch in.ListIntents.Kind {
	case hold.AnswerOK, hold.AnswerForbidden, hold.AnswerRateLimited:
	default: // Stripe is unavailable or rejects the key: the other answers would be the same
		return in
	}
	if in.ListIntents.Kind == hold.AnswerOK {
		in.ListExpanded = do(hold.Call{Op: hold.OpList, Limit: inspectedIntents})
		in.countCardFeatures()
	}
	in.CaptureIntent = do(hold.Call{
		Op: hold.OpCapture, PaymentIntent: nonexistentIntentID, Key: "holdd-doctor-" + rand.Text(),
	})
	const page = "https://holdd.invalid/"
	in.CreateSession = do(hold.Call{
		Op: hold.OpSetUpCard, Key: "holdd-doctor-" + rand.Text(), CardSetup: &hold.CardSetupParams{
			Customer: nonexistentCustomerID, ReturnURL: page, CancelURL: page},
	})
	in.ListEndpoints = m.measureDuringCall(ctx, func(ctx context.Context) (a hold.Answer) {
		in.Endpoints, a = listWebhookEndpoints(ctx, g)
		return a
	})
	in.Account, in.ReadAccount = g.ReadAccount(ctx)
	return in
}

// countCardFeatures records what the card charges of the listed intents allow.
func (in *Inspection) countCardFeatures() {
	if in.ListExpanded.Page == nil {
		return
	}
	for i := range in.ListExpanded.Page.Intents {
		if f := in.ListExpanded.Page.Intents[i].Features; f&hold.FeaturesKnown != 0 {
			in.CardCharges++
			in.CardFeatures |= f
		}
	}
}

func listWebhookEndpoints(
	ctx context.Context, g *Gateway,
) (all []WebhookEndpoint, a hold.Answer) {
	p := &stripe.WebhookEndpointListParams{}
	p.Limit = stripe.Int64(maxPageSize)
	p.Single = true
	a = g.sendAndClassify(ctx, classifyOptions{}, func(ctx context.Context) (bool, error) {
		p.Context = ctx
		client := webhookendpoint.Client{B: g.paymentIntents.B, Key: g.paymentIntents.Key}
		it := client.List(p)
		if err := it.Err(); err != nil {
			return false, err
		}
		l := it.WebhookEndpointList()
		if l.Data == nil || len(l.Data) > maxPageSize {
			return false, nil
		}
		for _, e := range l.Data {
			if e == nil {
				return false, nil
			}
			all = append(all, convertWebhookEndpoint(g.scrubber, e))
		}
		return true, nil
	})
	if a.Kind != hold.AnswerOK {
		return nil, a
	}
	return all, a
}

func convertWebhookEndpoint(s *secretScrubber, e *stripe.WebhookEndpoint) WebhookEndpoint {
	out := WebhookEndpoint{
		APIVersion: s.redactMessage(e.APIVersion), Enabled: e.Status == "enabled",
	}
	if u, err := url.Parse(e.URL); err == nil {
		u.User, u.RawQuery, u.Fragment = nil, "", ""
		out.URL, out.Path = s.redactMessage(u.String()), s.redactMessage(u.Path)
	}
	for _, t := range e.EnabledEvents {
		out.Events = append(out.Events, s.redactMessage(t))
	}
	return out
}

// clockOffsetMeter measures the offset of Stripe's clock by the Date headers of
// several responses.
type clockOffsetMeter struct{ inspection *Inspection }

// dateHeaderContextKey is the context key of a *string that receives the Date
// header of the response.
type dateHeaderContextKey struct{}

// measureDuringCall makes a call and narrows the clock offset by its Date
// header. The second in the header began before the response arrived, and ended
// after the request was sent.
func (m *clockOffsetMeter) measureDuringCall(
	ctx context.Context, call func(context.Context) hold.Answer,
) hold.Answer {
	var dateHeader string
	sentAt := time.Now()
	a := call(context.WithValue(ctx, dateHeaderContextKey{}, &dateHeader))
	receivedAt := time.Now()
	stripeTime, err := http.ParseTime(dateHeader)
	if err != nil {
		return a
	}
	lowest, highest := stripeTime.Sub(receivedAt), stripeTime.Add(time.Second).Sub(sentAt)
	in := m.inspection
	if in.ClockOffsetKnown {
		lowest, highest = max(lowest, in.ClockOffsetMin), min(highest, in.ClockOffsetMax)
		if lowest > highest { // a clock was set between two calls
			return a
		}
	}
	in.ClockOffsetMin, in.ClockOffsetMax, in.ClockOffsetKnown = lowest, highest, true
	return a
}
