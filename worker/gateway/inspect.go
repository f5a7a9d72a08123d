package gateway

import (
	"context"
	"crypto/rand"
	"net/http"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// Inspection is the result of [Gateway.InspectAPIKeyAndAccount]. An answer has kind 0 if
// its request was not sent. If ListIntents fails, no other request is sent.
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

// inspectedIntents is how many intents are read for what their charges allow.
const inspectedIntents = 20

// nonexistentCustomerID is a well-formed id that no customer has.
const nonexistentCustomerID = "cus_0holddAsksWhetherThisKeyMayWrite"

// nonexistentIntentID is a well-formed id that no PaymentIntent has: Stripe's
// ids contain no words.
const nonexistentIntentID = "pi_0holddAsksWhetherThisKeyMayWrite"

// InspectAPIKeyAndAccount checks whether Stripe answers, what the API key may do, and how far
// the clocks are apart. It sends at most six requests, one after the other,
// each within the gateway's timeout, and does not use the budget. It changes
// nothing: to learn whether the key may capture, it captures an intent that
// does not exist, and likewise asks another card of a customer that does not
// exist. Stripe checks the permissions of the key first (403) and then whether the
// object exists.
func (g *Gateway) InspectAPIKeyAndAccount(ctx context.Context) Inspection {
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
		in.collectCardFeatures()
	}
	in.CaptureIntent = do(hold.Call{
		Op: hold.OpCapture, PaymentIntent: nonexistentIntentID, Key: "holdd-doctor-" + rand.Text(),
	})
	const page = "https://holdd.invalid/"
	in.CreateSession = do(hold.Call{
		Op: hold.OpSetUpCard, Key: "holdd-doctor-" + rand.Text(),
		CardSetup: &hold.CardSetupSessionParams{
			Customer: nonexistentCustomerID, ReturnURL: page, CancelURL: page},
	})
	in.ListEndpoints = m.measureDuringCall(ctx, func(ctx context.Context) (a hold.Answer) {
		in.Endpoints, a = g.account.listWebhookEndpoints(ctx)
		return a
	})
	in.Account, in.ReadAccount = g.RetrieveAccountID(ctx)
	return in
}

// collectCardFeatures records what the card charges of the listed intents allow.
func (in *Inspection) collectCardFeatures() {
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
