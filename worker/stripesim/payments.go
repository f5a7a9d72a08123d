package stripesim

import (
	"cmp"
	"fmt"
	"maps"
	"time"
)

// payments places holds and reads PaymentIntents without a call.
type payments struct{ accounts *accountRegistry }

// Hold is an amount on a test card, for [Sim.Authorize].
type Hold struct {
	Account       string // empty is the platform's own
	Amount        int64  // minor units
	Currency      string // empty is eur
	PaymentMethod string // empty is pm_card_visa
	// PaymentMethodType is klarna, paypal, affirm, afterpay_clearpay or
	// cashapp; empty and card use PaymentMethod.
	PaymentMethodType string
	// ManualByType leaves the intent's capture_method automatic, and sets
	// manual capture for the type of its payment method alone.
	ManualByType bool
	// Customer is an existing one; PaymentMethod may be one of its saved cards.
	Customer    string
	FutureUsage string // setup_future_usage; off_session saves the card
	Metadata    map[string]string
	Description string
	Channel     PaymentChannel // zero is ChannelOnline

	Multicapture, Incremental, Overcapture, Extended bool
	// ChargesAPI places the hold as the Charges API does: its charge names no
	// PaymentIntent, and lists of PaymentIntents leave it out.
	ChargesAPI bool
}

// Authorize places a hold, as if the cardholder had just paid on a page, and
// returns the PaymentIntent's id. With a card that asks for 3-D Secure the
// intent requires an action.
func (p *payments) Authorize(h Hold) (string, error) {
	a := p.accounts.getOrCreate(h.Account)
	if h.PaymentMethodType == typeOfCard {
		h.PaymentMethodType = ""
	}
	var v any
	var err *apiError
	a.change(actorDashboard, func(op *operation) {
		if v, err = createIntent(op, a, "", h.form()); err == nil && h.PaymentMethodType != "" {
			err = completeAction(a.intents[v.(*intentJSON).ID], op)
		}
		if err == nil {
			a.intents[v.(*intentJSON).ID].unlisted = h.ChargesAPI
		}
	})
	if err != nil {
		return "", err
	}
	return v.(*intentJSON).ID, nil
}

// form returns the parameters of the call that places the hold.
func (h Hold) form() *form {
	f := &form{scalars: map[string]string{
		"amount": fmt.Sprint(h.Amount), "currency": cmp.Or(h.Currency, "eur"),
		"payment_method": cmp.Or(h.PaymentMethod, "pm_card_visa"),
		"capture_method": "manual", "confirm": "true", "description": h.Description,
	}, lists: map[string][]string{"payment_method_types": {"card"}},
		metadata: maps.Clone(h.Metadata)}
	if h.Customer != "" {
		f.scalars["customer"] = h.Customer
	}
	if h.FutureUsage != "" {
		f.scalars["setup_future_usage"] = h.FutureUsage
	}
	switch h.Channel {
	case ChannelOffSession:
		f.scalars["off_session"] = "true"
	case ChannelTerminal:
		f.lists["payment_method_types"] = []string{"card_present"}
	}
	methodType := f.lists["payment_method_types"][0]
	if t := h.PaymentMethodType; t != "" {
		delete(f.scalars, "payment_method")
		methodType, f.lists["payment_method_types"] = t, []string{t}
		f.scalars["payment_method_data[type]"] = t
		f.scalars["return_url"] = "https://example.com/return"
	}
	if h.ManualByType {
		f.scalars["capture_method"] = "automatic_async"
		f.scalars[captureParam(methodType)] = "manual"
	}
	for name, on := range map[string]bool{"multicapture": h.Multicapture,
		"incremental_authorization": h.Incremental, "overcapture": h.Overcapture,
		"extended_authorization": h.Extended} {
		if on {
			f.scalars[cardParam+"[request_"+name+"]"] = "if_available"
		}
	}
	return f
}

// IntentState is the state of a PaymentIntent, for tests. Amounts are in minor
// units.
type IntentState struct {
	ID                 string `json:"id"`
	Account            string `json:"account"`
	Status             string `json:"status"`
	Currency           string `json:"currency"`
	Amount             int64  `json:"amount"`
	Capturable         int64  `json:"amount_capturable"`
	Received           int64  `json:"amount_received"`
	Released           int64  `json:"amount_released"`
	CaptureMethod      string `json:"capture_method"`
	CancellationReason string `json:"cancellation_reason,omitempty"`
	Captures           int    `json:"captures"`
	Expired            bool   `json:"expired"`
	// zero if never authorized
	CaptureBefore time.Time         `json:"capture_before,omitzero"`
	Metadata      map[string]string `json:"metadata,omitempty"`
	Charge        string            `json:"latest_charge,omitempty"`
	ClientSecret  string            `json:"-"`
	Customer      string            `json:"customer,omitempty"`
	PaymentMethod string            `json:"payment_method,omitempty"`
	FutureUsage   string            `json:"setup_future_usage,omitempty"`
	Review        string            `json:"review,omitempty"` // if open
	Created       time.Time         `json:"created"`
}

// Intent returns the state of one PaymentIntent, without a call.
func (p *payments) Intent(id string) (IntentState, bool) {
	var st IntentState
	err := p.accounts.withIntent(id, func(_ *operation, in *intent) *apiError {
		st = newIntentState(in)
		return nil
	})
	return st, err == nil
}

// Intents returns the states of all PaymentIntents of an account, oldest first.
// An empty account is the platform's own.
func (p *payments) Intents(account string) []IntentState {
	a := p.accounts.getOrCreate(account)
	out := []IntentState{}
	a.change(actorAutomatic, func(*operation) {
		for _, in := range a.intentOrder {
			out = append(out, newIntentState(in))
		}
	})
	return out
}

func newIntentState(in *intent) IntentState {
	st := IntentState{
		ID: in.id, Account: in.account.id, Status: in.status, Currency: in.currency,
		Amount: in.amount, Capturable: in.capturable, Received: in.received,
		Released: in.released, CaptureMethod: in.captureMethod, CancellationReason: in.cancelReason,
		Captures: in.captures, Expired: in.expired,
		CaptureBefore: in.captureBefore, Metadata: maps.Clone(in.metadata), ClientSecret: in.secret,
		Customer: in.customer, FutureUsage: in.futureUsage, Created: time.Unix(in.created, 0),
	}
	if in.paymentMethod != nil {
		st.PaymentMethod = in.paymentMethod.id
	}
	if in.charge != nil {
		st.Charge = in.charge.id
	}
	if in.review != nil && in.review.open {
		st.Review = in.review.id
	}
	return st
}
