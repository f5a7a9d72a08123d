package hold_test

import (
	"errors"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

const returnURL = "https://pay.hotel.example/cardholder/t/bank"

// toCardholder is a hold whose renewal waits for its cardholder.
func toCardholder(t *testing.T, code string, edit ...func(*hold.ValidRequest)) hold.Hold {
	t.Helper()
	d, _ := answerCall(t, toConfirm(t, edit...), startOfRenewal, hold.OpConfirm, newIntentID,
		hold.Answer{Kind: hold.AnswerDeclined, Code: code})
	if d.Hold.Renewal.Step != hold.RenewalRequiresAction {
		t.Fatalf("after %s: %+v", code, d.Hold.Renewal)
	}
	return d.Hold
}

// authenticating is a hold whose cardholder has asked for the bank's page.
func authenticating(t *testing.T) hold.Hold {
	t.Helper()
	d, err := hold.ScheduleOnSessionRenewalConfirm(toCardholder(t, "authentication_required"), 1, 1,
		returnURL, startOfRenewal)
	if err != nil {
		t.Fatal(err)
	}
	return plan(d, startOfRenewal)
}

func unpaidIntent(code string) hold.Answer {
	a := answerOK(renewedIntent(hold.StatusRequiresPaymentMethod, startOfRenewal))
	a.Cardholder = &hold.CardholderAction{FailureCode: code}
	return a
}

func problemCode(err error) hold.ProblemCode {
	var p *hold.Problem
	if errors.As(err, &p) {
		return p.Code
	}
	return ""
}

func TestCardholder_Authenticates(t *testing.T) {
	h, at := authenticating(t), startOfRenewal
	d, call := answerCall(t, h, at, hold.OpConfirm, newIntentID,
		answerOK(renewedIntent(hold.StatusRequiresAction, at)))
	if au := call.Authorize; au.OffSession || au.ErrorOnRequiresAction || au.ReturnURL != returnURL {
		t.Errorf("the cardholder is present, and the confirmation says %+v", au)
	}
	if r := d.Hold.Renewal; r.Step != hold.RenewalRequiresAction || len(d.Events) != 0 {
		t.Errorf("at the bank: %s, events %v", r.Step, d.Events)
	}
	d, err := hold.ScheduleRenewalPollAfterCardholderReturn(d.Hold, 1, at.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	at = at.Add(time.Minute)
	if h = plan(d, at); !h.NextAt.Equal(at) {
		t.Fatalf("back from the bank, the read is at %s", h.NextAt)
	}
	d, _ = answerCall(t, h, at, hold.OpRead, newIntentID,
		answerOK(renewedIntent(hold.StatusRequiresCapture, at)))
	if d.Hold.PaymentIntent != newIntentID || d.Events[0].Type != hold.EventRenewed {
		t.Errorf("%s, events %v", d.Hold.PaymentIntent, d.Events)
	}
	if got := hold.RenewalStatusForCardholder(&d.Hold, 1, at); got != hold.CardholderHasNothingToDo {
		t.Errorf("after the renewal the cardholder has the status %d", got)
	}
}

// TestCardholder_Bounds checks that the cardholder's page causes a bounded number
// of reads, confirmations and sessions.
func TestCardholder_Bounds(t *testing.T) {
	d, _ := answerCall(t, authenticating(t), startOfRenewal, hold.OpConfirm, newIntentID,
		answerOK(renewedIntent(hold.StatusRequiresAction, startOfRenewal)))
	for _, after := range []time.Duration{0, time.Second} {
		got, err := hold.ScheduleRenewalPollAfterCardholderReturn(d.Hold, 1, startOfRenewal.Add(after))
		want := startOfRenewal.Add(3 * time.Second)
		if err != nil || !got.Hold.Renewal.RetryAt.Equal(want) {
			t.Errorf("%s after a read, the next one is at %s, want %s", after,
				got.Hold.Renewal.RetryAt, want)
		}
	}
	h := toCardholder(t, "authentication_required")
	n := 0
	for ; n < 100; n++ {
		d, err := hold.ScheduleOnSessionRenewalConfirm(h, 1, h.Renewal.Confirmation, returnURL,
			startOfRenewal)
		if err != nil {
			break
		}
		d, _ = answerCall(t, plan(d, startOfRenewal), startOfRenewal, hold.OpConfirm, newIntentID,
			hold.Answer{Kind: hold.AnswerDeclined, Code: "authentication_required"})
		h = d.Hold
	}
	if n == 0 || n > 20 {
		t.Errorf("%d confirmations", n)
	}
	h = toCardholder(t, "expired_card")
	for n = 0; n < 100; n++ {
		d, err := hold.CountCardSetupSession(h, 1, startOfRenewal)
		if err != nil {
			break
		}
		h = plan(d, startOfRenewal)
	}
	if n == 0 || n > 20 {
		t.Errorf("%d sessions", n)
	}
}

func TestCardholder_LostReply(t *testing.T) {
	lost := hold.Answer{Kind: hold.AnswerUnknown}
	later := startOfRenewal.Add(time.Minute)
	for name, read := range map[string]hold.Answer{
		"taken effect":  answerOK(renewedIntent(hold.StatusRequiresAction, later)),
		"never arrived": unpaidIntent("authentication_required"),
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := answerCall(t, authenticating(t), startOfRenewal, hold.OpConfirm, newIntentID, lost)
			d, _ = answerCall(t, d.Hold, later, hold.OpRead, newIntentID, read)
			got := hold.RenewalStatusForCardholder(&d.Hold, 1, later)
			if got != hold.CardholderMustAuthenticate || len(d.Events) != 0 {
				t.Errorf("status %d, events %v: %+v", got, d.Events, d.Hold.Renewal)
			}
		})
	}
}

// TestCardholder_Declined checks that a cardholder who is present is asked for
// another card at once, and that the renewal waits for it.
func TestCardholder_Declined(t *testing.T) {
	d, _ := answerCall(t, authenticating(t), startOfRenewal, hold.OpConfirm, newIntentID,
		hold.Answer{Kind: hold.AnswerDeclined, Code: "insufficient_funds"})
	if got := hold.RenewalStatusForCardholder(&d.Hold, 1, startOfRenewal); got != hold.CardholderMustGiveCard {
		t.Errorf("declined at once: status %d", got)
	}
	d, _ = answerCall(t, authenticating(t), startOfRenewal, hold.OpConfirm, newIntentID,
		answerOK(renewedIntent(hold.StatusRequiresAction, startOfRenewal)))
	d, _ = answerCall(t, d.Hold, startOfRenewal, hold.OpRead, newIntentID, unpaidIntent("lost_card"))
	if got := hold.RenewalStatusForCardholder(&d.Hold, 1, startOfRenewal); got != hold.CardholderMustGiveCard {
		t.Errorf("declined after the bank: status %d", got)
	}
}

// setUp returns the answer to a read of the Checkout Session.
func setUp(status, card string, edit func(*hold.CardSetup)) hold.Answer {
	s := &hold.CardSetup{ID: "cs_1", Status: status, Customer: "cus_1", PaymentMethod: card,
		Metadata: map[string]string{hold.MetaHold: testIntentID, hold.MetaGeneration: "1"}}
	if edit != nil {
		edit(s)
	}
	return hold.Answer{Kind: hold.AnswerOK, CardSetup: s}
}

// toCardSetup is a hold whose cardholder has come back from a Checkout Session.
func toCardSetup(t *testing.T) hold.Hold {
	t.Helper()
	d, err := hold.CountCardSetupSession(toCardholder(t, "expired_card"), 1, startOfRenewal)
	if err != nil {
		t.Fatal(err)
	}
	h := plan(d, startOfRenewal)
	call := hold.NewCardSetupCall(&h, hold.CardSetupSessionParams{ReturnURL: returnURL})
	if call.Op != hold.OpSetUpCard || call.Key == "" || call.CardSetup.Customer != "cus_1" {
		t.Fatalf("%+v", call)
	}
	d, err = hold.RecordCardSetupSession(
		h,
		1,
		setUp("open", "", nil).CardSetup,
		true,
		startOfRenewal.Add(time.Minute),
	)
	if err != nil {
		t.Fatal(err)
	}
	return plan(d, startOfRenewal.Add(time.Minute))
}

func TestCardholder_GivesCard(t *testing.T) {
	at := startOfRenewal.Add(time.Minute)
	t.Run("the renewal goes on with it", func(t *testing.T) {
		d, _ := answerCall(t, toCardSetup(t), at, hold.OpReadCardSetup, "",
			setUp("complete", "pm_2", nil))
		d, call := answerCall(t, d.Hold, at, hold.OpConfirm, newIntentID,
			answerOK(renewedIntent(hold.StatusRequiresCapture, at)))
		if au := call.Authorize; au.PaymentMethod != "pm_2" || !au.OffSession {
			t.Errorf("confirmed with %+v", au)
		}
		if d.Hold.PaymentIntent != newIntentID {
			t.Errorf("not renewed: %+v", d.Hold.Renewal)
		}
	})
	for name, answer := range map[string]hold.Answer{
		"of another customer": setUp("complete", "pm_2", func(s *hold.CardSetup) { s.Customer = "cus_2" }),
		"of another hold": setUp("complete", "pm_2", func(s *hold.CardSetup) {
			s.Metadata[hold.MetaHold] = "pi_3AnotherHoldEntirely0001"
		}),
		"of another renewal": setUp("complete", "pm_2", func(s *hold.CardSetup) {
			s.Metadata[hold.MetaGeneration] = "2"
		}),
		"expired":        setUp("expired", "", nil),
		"does not exist": {Kind: hold.AnswerNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := answerCall(t, toCardSetup(t), at, hold.OpReadCardSetup, "", answer)
			if r := d.Hold.Renewal; r.PaymentMethod != "pm_1" || r.CardSetup != "" || !d.NextStepNow {
				t.Errorf("%+v", r)
			}
		})
	}
	t.Run("still open", func(t *testing.T) {
		d, _ := answerCall(t, toCardSetup(t), at, hold.OpReadCardSetup, "", setUp("open", "", nil))
		d, _ = answerCall(t, d.Hold, at, hold.OpRead, newIntentID, unpaidIntent("expired_card"))
		if r := d.Hold.Renewal; r.CardSetup != "cs_1" || d.Hold.NextAt.Sub(at) != 10*time.Minute {
			t.Errorf("next at %s: %+v", d.Hold.NextAt, r)
		}
		if call := claimHold(d.Hold, d.Hold.NextAt); call.NextCall(
			d.Hold.NextAt,
		).Op != hold.OpReadCardSetup {
			t.Errorf("the session is not read again")
		}
	})
}

// TestCardholder_ForeignSession checks that a session which is not of the renewal
// does not take the place of one that is.
func TestCardholder_ForeignSession(t *testing.T) {
	h, at := toCardSetup(t), startOfRenewal.Add(time.Minute)
	for name, edit := range map[string]func(*hold.CardSetup){
		"of another customer": func(s *hold.CardSetup) { s.Customer = "cus_2" },
		"of another hold": func(s *hold.CardSetup) {
			s.Metadata[hold.MetaHold] = "pi_3AnotherHoldEntirely0001"
		},
		"of another renewal": func(s *hold.CardSetup) { s.Metadata[hold.MetaGeneration] = "2" },
	} {
		foreign := setUp("complete", "pm_2", edit).CardSetup
		foreign.ID = "cs_foreign"
		_, err := hold.RecordCardSetupSession(h, 1, foreign, true, at)
		if got := problemCode(err); got != hold.NoActionRequired {
			t.Errorf("%s: %v", name, err)
		}
	}
	second := setUp("complete", "pm_2", nil).CardSetup
	second.ID = "cs_2"
	d, err := hold.RecordCardSetupSession(h, 1, second, true, at)
	if err != nil || d.Hold.Renewal.CardSetup != "cs_2" {
		t.Errorf("another form of the renewal: %v", err)
	}
}

// TestCardholder_Refused checks what the cardholder cannot do.
func TestCardholder_Refused(t *testing.T) {
	waiting := toCardholder(t, "authentication_required")
	canceled, err := waiting.RequestCancel("", "api", startOfRenewal)
	if err != nil {
		t.Fatal(err)
	}
	claimed := claimHold(waiting, waiting.NextAt)
	for name, tt := range map[string]struct {
		h          hold.Hold
		generation uint32
		now        time.Time
		want       hold.ProblemCode
	}{
		"another renewal":    {waiting, 2, startOfRenewal, hold.NoActionRequired},
		"an earlier one":     {waiting, 0, startOfRenewal, hold.NoActionRequired},
		"after the deadline": {waiting, 1, waiting.ExpiresAt, hold.NoActionRequired},
		"canceled":           {canceled.Hold, 1, startOfRenewal, hold.NoActionRequired},
		"under way":          {authenticating(t), 1, startOfRenewal, hold.InProgress},
		"claimed":            {claimed, 1, startOfRenewal, hold.InProgress},
		"not yet":            {toConfirm(t), 1, startOfRenewal, hold.InProgress},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := hold.ScheduleOnSessionRenewalConfirm(tt.h, tt.generation, 1, returnURL, tt.now)
			if got := problemCode(err); got != tt.want {
				t.Errorf("authenticate: %v, want %s", err, tt.want)
			}
			_, err = hold.CountCardSetupSession(tt.h, tt.generation, tt.now)
			if got := problemCode(err); got != tt.want {
				t.Errorf("another card: %v, want %s", err, tt.want)
			}
			_, err = hold.RecordCardSetupSession(tt.h, tt.generation,
				setUp("open", "", nil).CardSetup, true, tt.now)
			if got := problemCode(err); got != tt.want {
				t.Errorf("back with a card: %v, want %s", err, tt.want)
			}
		})
	}
	d, _ := answerCall(t, authenticating(t), startOfRenewal, hold.OpConfirm, newIntentID,
		answerOK(renewedIntent(hold.StatusRequiresAction, startOfRenewal)))
	if _, err := hold.ScheduleOnSessionRenewalConfirm(d.Hold, 1, 1, returnURL,
		startOfRenewal); problemCode(err) != hold.InProgress {
		t.Errorf("a click that another one has overtaken: %v", err)
	}
	if _, err := hold.ScheduleOnSessionRenewalConfirm(toCardholder(t, "stolen_card"), 1, 1, returnURL,
		startOfRenewal); problemCode(err) != hold.NoActionRequired {
		t.Errorf("the bank of a stolen card: %v", err)
	}
}

// TestCardholder_ReadsAreBounded checks that returns in a row cause one read, and
// not before three seconds after the last one.
func TestCardholder_ReadsAreBounded(t *testing.T) {
	h := toCardholder(t, "authentication_required")
	read := h.Renewal.RetryAt.Add(-10 * time.Minute)
	for range 3 {
		d, err := hold.ScheduleRenewalPollAfterCardholderReturn(h, 1, read.Add(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		h = d.Hold
		if at := h.Renewal.RetryAt.Sub(read); at != 3*time.Second {
			t.Errorf("read again after %s", at)
		}
	}
}

// TestCardholder_SessionsForbidden checks that a key without the permission to
// read sessions reads the intent.
func TestCardholder_SessionsForbidden(t *testing.T) {
	h := toCardSetup(t)
	at := h.NextAt
	h = claimHold(h, at)
	if c := h.NextCall(at); c.Op != hold.OpReadCardSetup {
		t.Fatalf("%s", c.Op)
	}
	d := h.ApplyAnswer(h.NextCall(at), hold.Answer{Kind: hold.AnswerForbidden}, at)
	if c := d.Hold.NextCall(at); !d.NextStepNow || c.Op != hold.OpRead ||
		c.PaymentIntent != newIntentID {
		t.Errorf("again %v: %s of %s", d.NextStepNow, c.Op, c.PaymentIntent)
	}
}

// TestCardholder_NoCircles checks that the page says when an act would be
// refused, instead of asking for it again.
func TestCardholder_NoCircles(t *testing.T) {
	at := startOfRenewal
	capture := captureNow(t, toCardholder(t, "authentication_required"), at)
	confirmed := toCardholder(t, "authentication_required")
	confirmed.Renewal.Confirmation = 20
	forms := toCardholder(t, "stolen_card")
	forms.Renewal.CardSetups = 20
	for name, h := range map[string]hold.Hold{"a capture is due": capture,
		"confirmed too often": confirmed, "too many forms": forms} {
		if got := hold.RenewalStatusForCardholder(&h, 1, at); got != hold.CardholderTooLate {
			t.Errorf("%s: %d", name, got)
		}
	}
}
