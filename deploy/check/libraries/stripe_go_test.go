package libraries

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v85"
	"github.com/stripe/stripe-go/v85/webhook"
)

// newClient returns the client of stripe-go's README, with the simulator's
// address.
func newClient(t *testing.T) *stripe.Client {
	t.Helper()
	config := &stripe.BackendConfig{URL: stripe.String(startSimulator(t)),
		LeveledLogger: &stripe.LeveledLogger{Level: stripe.LevelNull}}
	return stripe.NewClient("sk_test_go000000000000000",
		stripe.WithBackends(stripe.NewBackendsWithConfig(config)))
}

// README, "With Stripe Client": create, retrieve, update, list and delete.
func TestStripeGo_Customers(t *testing.T) {
	sc, ctx := newClient(t), t.Context()
	c, err := sc.V1Customers.Create(ctx, &stripe.CustomerCreateParams{
		Email: stripe.String("customer@example.com")})
	if err != nil {
		t.Fatal(err)
	}
	if c, err = sc.V1Customers.Update(ctx, c.ID, &stripe.CustomerUpdateParams{
		Name: stripe.String("Ada")}); err != nil {
		t.Fatal(err)
	}
	if c, err = sc.V1Customers.Retrieve(ctx, c.ID, nil); err != nil || c.Name != "Ada" {
		t.Fatalf("%v %v", c, err)
	}
	other, err := sc.V1Customers.Create(ctx, &stripe.CustomerCreateParams{})
	if err != nil {
		t.Fatal(err)
	}
	params := &stripe.CustomerListParams{}
	params.Limit = stripe.Int64(1)
	var seen []string
	for c, err := range sc.V1Customers.List(ctx, params).All(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, c.ID)
	}
	if !slices.Equal(seen, []string{other.ID, c.ID}) {
		t.Errorf("listed %v", seen)
	}
	if d, err := sc.V1Customers.Delete(ctx, other.ID, nil); err != nil || !d.Deleted {
		t.Errorf("%v %v", d, err)
	}
}

func authorizeParams() *stripe.PaymentIntentCreateParams {
	p := &stripe.PaymentIntentCreateParams{Amount: stripe.Int64(5000),
		Currency: stripe.String("eur"), Confirm: stripe.Bool(true),
		CaptureMethod: stripe.String("manual"), PaymentMethod: stripe.String("pm_card_visa"),
		AutomaticPaymentMethods: &stripe.PaymentIntentCreateAutomaticPaymentMethodsParams{
			Enabled: stripe.Bool(true), AllowRedirects: stripe.String("never")}}
	p.AddExpand("latest_charge")
	return p
}

// Guide "Place a hold on a payment method", with a webhook endpoint that the API
// made and a refund.
func TestStripeGo_PlaceHold(t *testing.T) {
	sc, ctx := newClient(t), t.Context()
	events := make(chan stripe.Event, 10)
	var secret string
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		payload, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		e, err := webhook.ConstructEvent(payload, r.Header.Get("Stripe-Signature"), secret)
		if err != nil {
			t.Error(err)
		}
		events <- e
	}))
	t.Cleanup(receiver.Close)
	endpoint, err := sc.V1WebhookEndpoints.Create(ctx, &stripe.WebhookEndpointCreateParams{
		URL: stripe.String(receiver.URL), APIVersion: stripe.String(stripe.APIVersion),
		EnabledEvents: stripe.StringSlice([]string{"charge.captured"})})
	if err != nil {
		t.Fatal(err)
	}
	secret = endpoint.Secret

	held, err := sc.V1PaymentIntents.Create(ctx, authorizeParams())
	if err != nil || held.Status != stripe.PaymentIntentStatusRequiresCapture {
		t.Fatalf("%v %v", held, err)
	}
	if held.LatestCharge.PaymentMethodDetails.Card.CaptureBefore <= time.Now().Unix() {
		t.Error("the charge has no capture_before")
	}
	captured, err := sc.V1PaymentIntents.Capture(ctx, held.ID,
		&stripe.PaymentIntentCaptureParams{AmountToCapture: stripe.Int64(4200)})
	if err != nil || captured.AmountReceived != 4200 {
		t.Fatalf("%v %v", captured, err)
	}
	if e := <-events; e.Type != stripe.EventTypeChargeCaptured {
		t.Errorf("the webhook has %s", e.Type)
	}
	_, err = sc.V1PaymentIntents.Capture(ctx, held.ID, nil)
	if refused, ok := errors.AsType[*stripe.Error](err); !ok ||
		refused.Code != stripe.ErrorCodePaymentIntentUnexpectedState {
		t.Errorf("a second capture: %v", err)
	}
	if _, err := sc.V1Refunds.Create(ctx, &stripe.RefundCreateParams{
		PaymentIntent: stripe.String(held.ID), Amount: stripe.Int64(1000)}); err != nil {
		t.Fatal(err)
	}
	charges := &stripe.ChargeListParams{PaymentIntent: stripe.String(held.ID)}
	for c, err := range sc.V1Charges.List(ctx, charges).All(ctx) {
		if err != nil || c.AmountRefunded != 1000 {
			t.Errorf("%v %v", c, err)
		}
	}
}

// Guides "Set up future payments" and "Finalize payments on the server".
func TestStripeGo_SaveCard(t *testing.T) {
	sc, ctx := newClient(t), t.Context()
	customer, err := sc.V1Customers.Create(ctx, &stripe.CustomerCreateParams{})
	if err != nil {
		t.Fatal(err)
	}
	setup, err := sc.V1SetupIntents.Create(ctx, &stripe.SetupIntentCreateParams{
		Customer: stripe.String(customer.ID), Confirm: stripe.Bool(true),
		PaymentMethod: stripe.String("pm_card_mastercard"),
		AutomaticPaymentMethods: &stripe.SetupIntentCreateAutomaticPaymentMethodsParams{
			Enabled: stripe.Bool(true), AllowRedirects: stripe.String("never")}})
	if err != nil || setup.Status != stripe.SetupIntentStatusSucceeded {
		t.Fatalf("%v %v", setup, err)
	}
	offSession := authorizeParams()
	offSession.Customer = stripe.String(customer.ID)
	offSession.PaymentMethod = stripe.String(setup.PaymentMethod.ID)
	offSession.OffSession = stripe.Bool(true)
	if in, err := sc.V1PaymentIntents.Create(ctx, offSession); err != nil ||
		in.Status != stripe.PaymentIntentStatusRequiresCapture {
		t.Errorf("%v %v", in, err)
	}
	declinedBy(t, ctx, sc, "pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds")
}

// declinedBy confirms with a ConfirmationToken for a card, and wants a decline.
func declinedBy(t *testing.T, ctx context.Context, sc *stripe.Client, card, code string) {
	t.Helper()
	token, err := sc.V1TestHelpersConfirmationTokens.Create(ctx,
		&stripe.TestHelpersConfirmationTokenCreateParams{PaymentMethod: stripe.String(card)})
	if err != nil {
		t.Fatal(err)
	}
	p := authorizeParams()
	p.PaymentMethod, p.ConfirmationToken = nil, stripe.String(token.ID)
	_, err = sc.V1PaymentIntents.Create(ctx, p)
	if declined, ok := errors.AsType[*stripe.Error](err); !ok ||
		declined.Type != stripe.ErrorTypeCard || string(declined.DeclineCode) != code {
		t.Errorf("%s: %v", card, err)
	}
}
