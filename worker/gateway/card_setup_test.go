package gateway_test

import (
	"testing"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

func TestSim_CardSetup(t *testing.T) {
	runInSim(t, stripesim.Options{}, func(t *testing.T, w *simEnv) {
		customer, _, err := w.sim.Cards.SaveCard("", "")
		if err != nil {
			t.Fatal(err)
		}
		create := hold.Call{Op: hold.OpSetUpCard, Key: "holdd-1",
			CardSetup: &hold.CardSetupSessionParams{
				Customer: customer, ReturnURL: "https://hotel.example/?s={CHECKOUT_SESSION_ID}",
				CancelURL: "https://hotel.example/", Metadata: map[string]string{hold.MetaHold: "pi_1"}}}
		s := w.checkDo(create, hold.AnswerOK).CardSetup
		if s.Status != "open" || s.URL.Reveal() == "" || s.Customer != customer ||
			s.Metadata[hold.MetaHold] != "pi_1" || s.PaymentMethod != "" {
			t.Fatalf("%+v", s)
		}
		if again := w.checkDo(create, hold.AnswerOK).CardSetup; again.ID != s.ID {
			t.Errorf("the same key made %s and %s", s.ID, again.ID)
		}
		back, err := w.sim.Cards.CompleteCardSetup(s.ID, "pm_card_mastercard")
		if err != nil || back != "https://hotel.example/?s="+s.ID {
			t.Fatalf("back to %s, %v", back, err)
		}
		read := hold.Call{Op: hold.OpReadCardSetup,
			CardSetup: &hold.CardSetupSessionParams{Session: s.ID}}
		if s = w.checkDo(read, hold.AnswerOK).CardSetup; s.Status != "complete" || s.PaymentMethod == "" {
			t.Errorf("%+v", s)
		}
		read.CardSetup.Session = "cs_none"
		w.checkDo(read, hold.AnswerNotFound)
		read.CardSetup.Session = "pi_1/../../v1/charges"
		w.checkDo(read, hold.AnswerInvalid)
	})
}

// TestSim_Advice checks that the advice after a decline arrives with the decline
// and with a later read of the intent.
func TestSim_Advice(t *testing.T) {
	runInSim(t, stripesim.Options{}, func(t *testing.T, w *simEnv) {
		customer, card, err := w.sim.Cards.SaveCard("", "")
		if err != nil {
			t.Fatal(err)
		}
		if err := w.sim.Cards.SetCardOutcomes(card, stripesim.CardOutcome{DeclineCode: "do_not_honor",
			AdviceCode: "try_again_later", NetworkAdviceCode: "25"}); err != nil {
			t.Fatal(err)
		}
		au := hold.AuthorizeParams{Amount: 1000, Currency: "eur", Customer: customer,
			PaymentMethod: card}
		in := w.checkDo(hold.Call{Op: hold.OpCreate, Key: "c", Authorize: &au}, hold.AnswerOK).Intent
		want := hold.DeclineAdvice{Code: "try_again_later", NetworkCode: "25"}
		confirm := hold.Call{Op: hold.OpConfirm, PaymentIntent: in.ID, Key: "holdd-2",
			Authorize: &hold.AuthorizeParams{PaymentMethod: card, OffSession: true}}
		if a := w.checkDo(confirm, hold.AnswerDeclined); a.Advice != want {
			t.Errorf("declined with %+v", a.Advice)
		}
		read := hold.Call{Op: hold.OpRead, PaymentIntent: in.ID}
		if a := w.checkDo(read, hold.AnswerOK); a.Advice != want {
			t.Errorf("read with %+v", a.Advice)
		}
	})
}
