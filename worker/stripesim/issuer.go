package stripesim

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// CardFeatures are the features of card payments that an account has. Stripe
// offers them on IC+ pricing or on request. A new account has all of them.
type CardFeatures struct {
	Extended     bool `json:"extended"`
	Incremental  bool `json:"incremental"`
	Multicapture bool `json:"multicapture"`
	Overcapture  bool `json:"overcapture"`
}

var allCardFeatures = CardFeatures{true, true, true, true}

// SetCardFeatures changes what later authorizations of an account can have. An
// empty account is the platform's own.
func (c *Cards) SetCardFeatures(account string, f CardFeatures) {
	a := c.accounts.getOrCreate(account)
	a.change(actorDashboard, func(*operation) { a.features = f })
}

// CardOutcome is what the bank of a saved card answers from one time to another.
// The first outcome of a card that applies decides.
type CardOutcome struct {
	From  time.Time `json:"from,omitzero"`  // zero: since ever
	Until time.Time `json:"until,omitzero"` // exclusive; zero: for ever
	Times int       `json:"times,omitempty"`

	// Code is the error code; empty means card_declined. With
	// authentication_required the bank asks for 3-D Secure: the cardholder can
	// pass it, and a confirmation without the cardholder fails. An increment
	// needs no authentication.
	Code        string `json:"code,omitempty"`
	DeclineCode string `json:"decline_code,omitempty"` // empty is generic_decline
	// AdviceCode is do_not_try_again, try_again_later or confirm_card_data.
	AdviceCode         string `json:"advice_code,omitempty"`
	NetworkAdviceCode  string `json:"network_advice_code,omitempty"`
	NetworkDeclineCode string `json:"network_decline_code,omitempty"`
}

// maxCardOutcomes bounds the outcomes of one card.
const maxCardOutcomes = 1000

const codeAuthenticationRequired = "authentication_required"

func (o *CardOutcome) appliesAt(t time.Time, used int) bool {
	return !t.Before(o.From) && (o.Until.IsZero() || t.Before(o.Until)) &&
		(o.Times == 0 || used < o.Times)
}

// issuer is the bank of one card, as far as a test has set it.
type issuer struct {
	outcomes []CardOutcome
	used     []int // by outcome
	credit   *int64
}

// SetCardOutcomes sets what the bank of a saved card answers. Without outcomes
// it answers as Stripe's test card does.
func (c *Cards) SetCardOutcomes(card string, outcomes ...CardOutcome) error {
	if len(outcomes) > maxCardOutcomes {
		return fmt.Errorf("stripesim: too many outcomes: want at most %d", maxCardOutcomes)
	}
	return c.accounts.withPaymentMethod(card, func(m *paymentMethod) {
		m.issuer.outcomes = slices.Clone(outcomes)
		m.issuer.used = make([]int, len(outcomes))
	})
}

// SetCardCredit sets the most that a saved card can have held and captured at
// once, in minor units. The bank answers insufficient_funds to anything above
// it. A negative credit is no limit.
func (c *Cards) SetCardCredit(card string, credit int64) error {
	return c.accounts.withPaymentMethod(card, func(m *paymentMethod) {
		m.issuer.credit = nil
		if credit >= 0 {
			m.issuer.credit = &credit
		}
	})
}

// withPaymentMethod calls do for a PaymentMethod with its account locked.
func (r *accountRegistry) withPaymentMethod(id string, do func(*paymentMethod)) error {
	a := r.byObjectID(id)
	if a == nil {
		return notFoundError("PaymentMethod", "payment_method", id)
	}
	found := false
	a.change(actorDashboard, func(*operation) {
		if m := a.paymentMethods[id]; m != nil {
			found = true
			do(m)
		}
	})
	if !found {
		return notFoundError("PaymentMethod", "payment_method", id)
	}
	return nil
}

// outcomeAt returns the outcome that applies, or nil.
func (i *issuer) outcomeAt(t time.Time) *CardOutcome {
	for n := range i.outcomes {
		if o := &i.outcomes[n]; o.appliesAt(t, i.used[n]) {
			return o
		}
	}
	return nil
}

// countUse counts one answer by outcome o.
func (i *issuer) countUse(o *CardOutcome) {
	for n := range i.outcomes {
		if &i.outcomes[n] == o {
			i.used[n]++
		}
	}
}

// decline is how a bank refuses.
type decline struct {
	code, declineCode, adviceCode, networkAdviceCode, networkDeclineCode string
}

// issuerDecline asks the bank of the intent's card to hold more money. It
// returns nil if the bank agrees.
func issuerDecline(in *intent, op *operation, more int64) *decline {
	m := in.paymentMethod
	if op.declineCode != "" {
		return &decline{code: "card_declined", declineCode: op.declineCode}
	}
	if o := m.issuer.outcomeAt(op.now); o != nil && o.Code != codeAuthenticationRequired {
		m.issuer.countUse(o)
		return &decline{cmp.Or(o.Code, "card_declined"), cmp.Or(o.DeclineCode, "generic_decline"),
			o.AdviceCode, o.NetworkAdviceCode, o.NetworkDeclineCode}
	}
	if m.card.declineCode != "" {
		return &decline{code: cmp.Or(m.card.errorCode, "card_declined"),
			declineCode: m.card.declineCode}
	}
	if m.issuer.credit != nil && usedCredit(m, in)+more > *m.issuer.credit {
		return &decline{code: "card_declined", declineCode: "insufficient_funds",
			networkDeclineCode: "51"}
	}
	return nil
}

// usedCredit returns what a card has held and captured in the currency of in.
func usedCredit(m *paymentMethod, in *intent) int64 {
	var used int64
	for _, other := range in.account.intentOrder {
		if other.charge != nil && other.charge.paymentMethod == m && other.currency == in.currency {
			used += other.capturable + other.received
		}
	}
	return used
}

// toError returns the answer to a call that the bank declined.
func (d *decline) toError(charge string) *apiError {
	return &apiError{status: http.StatusPaymentRequired, typ: typeCard, code: d.code,
		declineCode: d.declineCode, adviceCode: d.adviceCode,
		networkAdviceCode: d.networkAdviceCode, networkDeclineCode: d.networkDeclineCode,
		message: declineMessage(cmp.Or(d.declineCode, d.code)), charge: charge}
}
