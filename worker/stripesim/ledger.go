package stripesim

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// EffectKind names a change of held or captured money.
type EffectKind string

// The effects. For each intent, authorized + incremented + overcaptured =
// captured + released + canceled + expired + held.
const (
	EffectAuthorized  EffectKind = "authorized"  // money is held
	EffectIncremented EffectKind = "incremented" // more money is held
	// a capture took this much more than was held
	EffectOvercaptured EffectKind = "overcaptured"
	EffectCaptured     EffectKind = "captured" // money is captured
	EffectReleased     EffectKind = "released" // a final capture released the rest
	EffectCanceled     EffectKind = "canceled" // all held money is released
	EffectExpired      EffectKind = "expired"  // the card network released it
	// captured money went back; it stays in the sum of what was captured
	EffectRefunded EffectKind = "refunded"
)

// Effect is one line of the ledger.
type Effect struct {
	Seq      int64      `json:"seq"` // from 1, over all accounts
	Time     time.Time  `json:"time"`
	Account  string     `json:"account"`
	Intent   string     `json:"payment_intent"`
	Kind     EffectKind `json:"kind"`
	Amount   int64      `json:"amount"` // minor units
	Currency string     `json:"currency"`
	// only refunds can follow for this intent; at most one effect of an intent
	// is final
	Final          bool   `json:"final"`
	Actor          string `json:"by"` // api, dashboard or automatic
	IdempotencyKey string `json:"idempotency_key,omitempty"`
	RequestID      string `json:"request_id,omitempty"`
	// of an intent with a customer
	Customer string `json:"customer,omitempty"`
	// how many intents hold the customer's money after the effect, and how much
	// in this currency
	CustomerHolds int   `json:"customer_holds,omitempty"`
	CustomerHeld  int64 `json:"customer_held,omitempty"`
	// of the call that captured
	CaptureDetails
}

// CaptureDetails are the parameters of a capture beside its amount.
type CaptureDetails struct {
	ApplicationFeeAmount int64  `json:"application_fee_amount,omitempty"` // minor units
	TransferAmount       int64  `json:"transfer_data_amount,omitempty"`   // minor units
	DescriptorSuffix     string `json:"statement_descriptor_suffix,omitempty"`
	Metadata             string `json:"capture_metadata,omitempty"` // a JSON object
}

// ledger is every effect on money, in order.
type ledger struct {
	mu      sync.Mutex
	effects []Effect
}

func (l *ledger) add(e Effect) {
	l.mu.Lock()
	e.Seq = int64(len(l.effects)) + 1
	l.effects = append(l.effects, e)
	l.mu.Unlock()
}

// Ledger returns a copy of every effect, in order.
func (l *ledger) Ledger() []Effect {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.effects)
}

// Total is the ledger's sums in one currency, in minor units.
type Total struct {
	Currency   string `json:"currency"`
	Authorized int64  `json:"authorized"` // with increments and over-captures
	Captured   int64  `json:"captured"`
	Released   int64  `json:"released"` // by final captures of less, and by cancels
	Expired    int64  `json:"expired"`
	Held       int64  `json:"held"`
	Refunded   int64  `json:"refunded,omitempty"` // of what was captured
}

func (t *Total) add(e Effect) {
	switch e.Kind {
	case EffectAuthorized, EffectIncremented, EffectOvercaptured:
		t.Authorized += e.Amount
	case EffectCaptured:
		t.Captured += e.Amount
	case EffectReleased, EffectCanceled:
		t.Released += e.Amount
	case EffectExpired:
		t.Expired += e.Amount
	case EffectRefunded:
		t.Refunded += e.Amount
	}
	t.Held = t.Authorized - t.Captured - t.Released - t.Expired
}

// Totals returns the ledger's sums by currency, in alphabetical order.
func (l *ledger) Totals() []Total {
	l.mu.Lock()
	defer l.mu.Unlock()
	sums := map[string]*Total{}
	for _, e := range l.effects {
		if sums[e.Currency] == nil {
			sums[e.Currency] = &Total{Currency: e.Currency}
		}
		sums[e.Currency].add(e)
	}
	out := make([]Total, 0, len(sums))
	for _, c := range slices.Sorted(maps.Keys(sums)) {
		out = append(out, *sums[c])
	}
	return out
}
