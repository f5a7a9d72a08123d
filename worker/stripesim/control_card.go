package stripesim

import (
	"errors"
	"fmt"
	"net/http"
)

// saveCard makes a customer with a saved card.
func (h controlHandler) saveCard(r *http.Request) (any, error) {
	var in struct {
		Account       string
		PaymentMethod string `json:"payment_method"`
	}
	if err := decodeJSON(r, &in); err != nil {
		return nil, err
	}
	if in.Account != "" && !h.sim.accounts.isKnown(in.Account) {
		return nil, fmt.Errorf("unknown account %q: want a connected one", in.Account)
	}
	customer, method, err := h.sim.Cards.SaveCard(in.Account, in.PaymentMethod)
	if err != nil {
		return nil, err
	}
	return map[string]string{"customer": customer, "payment_method": method}, nil
}

// changeCard changes what the bank of a saved card answers.
func (h controlHandler) changeCard(r *http.Request) (any, error) {
	var in struct {
		Credit   *int64
		Outcomes []CardOutcome
	}
	if err := decodeJSON(r, &in); err != nil {
		return nil, err
	}
	id := r.PathValue("id")
	if in.Credit == nil && in.Outcomes == nil {
		return nil, errors.New(`nothing to change: want "credit" or "outcomes"`)
	}
	if in.Credit != nil {
		if err := h.sim.Cards.SetCardCredit(id, *in.Credit); err != nil {
			return nil, err
		}
	}
	if in.Outcomes != nil {
		return done, h.sim.Cards.SetCardOutcomes(id, in.Outcomes...)
	}
	return done, nil
}

// changeFeatures changes what later authorizations of an account can have.
func (h controlHandler) changeFeatures(r *http.Request) (any, error) {
	in := struct {
		Account string `json:"account"`
		CardFeatures
	}{CardFeatures: allCardFeatures}
	if err := decodeJSON(r, &in); err != nil {
		return nil, err
	}
	if in.Account != "" && !h.sim.accounts.isKnown(in.Account) {
		return nil, fmt.Errorf("unknown account %q: want a connected one", in.Account)
	}
	h.sim.Cards.SetCardFeatures(in.Account, in.CardFeatures)
	return done, nil
}

// completeCardSetup enters a card on the page of a Checkout Session.
func (h controlHandler) completeCardSetup(r *http.Request) (any, error) {
	var in struct{ Card string }
	if err := decodeJSON(r, &in); err != nil {
		return nil, err
	}
	back, err := h.sim.Cards.CompleteCardSetup(r.PathValue("id"), in.Card)
	if err != nil {
		return nil, err
	}
	return map[string]string{"return_url": back}, nil
}
