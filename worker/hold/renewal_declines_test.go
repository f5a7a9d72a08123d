package hold_test

import (
	"errors"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// declineReplacement lets the bank decline an increment by a new authorization,
// and releases the new intent.
func declineReplacement(t *testing.T, h hold.Hold, code string, at time.Time) hold.Hold {
	t.Helper()
	d, err := h.RequestIncrement(hold.IncrementRequest{Amount: raisedTo}, "api", at, testRules)
	if err != nil {
		t.Fatal(err)
	}
	d, _ = answerCall(t, plan(d, at), at, hold.OpCreate, "",
		answerOK(replacement(hold.StatusRequiresConfirmation)))
	d, _ = answerCall(t, d.Hold, at, hold.OpConfirm, newIntentID,
		hold.Answer{Kind: hold.AnswerDeclined, Code: code})
	d, _ = answerCall(t, d.Hold, at, hold.OpCancel, newIntentID,
		answerOK(replacement(hold.StatusCanceled)))
	return d.Hold
}

func wantCardRefused(t *testing.T, h hold.Hold, at time.Time, code string) {
	t.Helper()
	_, err := h.RequestIncrement(hold.IncrementRequest{Amount: raisedTo}, "api", at, testRules)
	var p *hold.Problem
	if !errors.As(err, &p) || p.Code != hold.Declined || p.DeclineCode != code {
		t.Errorf("%v, want declined with %s", err, code)
	}
}

// TestDeclines_Card checks that the networks' rules count a card over the
// renewals and the increments of its hold.
func TestDeclines_Card(t *testing.T) {
	replaceable := func(t *testing.T) hold.Hold {
		return plan(hold.Decision{Hold: newHold(t, heldIntent(unraisable),
			withMaxAmount(2*amount))}, t0)
	}
	t.Run("not tried again after a code that forbids it", func(t *testing.T) {
		h := declineReplacement(t, replaceable(t), "stolen_card", t0)
		wantCardRefused(t, h, t0.Add(day), "stolen_card")
		h = plan(hold.Decision{Hold: h}, startOfRenewal)
		if h.Renewal.Step != hold.RenewalFailed || h.Renewal.Problem != hold.CauseDeclined {
			t.Errorf("the renewal: %s, next %s", h.Renewal.Step, h.NextOp)
		}
		other := h
		r := *h.Renewal
		r.PaymentMethod, r.Step = "pm_2", hold.RenewalIdle
		other.Renewal = &r
		if other = plan(hold.Decision{Hold: other}, startOfRenewal); other.NextOp != hold.OpRenew {
			t.Errorf("with another card: %s, next %s", other.Renewal.Step, other.NextOp)
		}
	})
	t.Run("ten times within a day", func(t *testing.T) {
		h := replaceable(t)
		for i := range 10 {
			h = declineReplacement(t, h, "do_not_honor", t0.Add(time.Duration(i)*time.Minute))
		}
		wantCardRefused(t, h, t0.Add(time.Hour), "do_not_honor")
		declineReplacement(t, h, "do_not_honor", t0.Add(day+time.Minute))
	})
	t.Run("a renewal waits for the limit", func(t *testing.T) {
		h := replaceable(t)
		for i := range 10 {
			at := startOfRenewal.Add(time.Duration(i-11) * time.Minute)
			h = declineReplacement(t, h, "do_not_honor", at)
		}
		h = plan(hold.Decision{Hold: h}, startOfRenewal)
		if want := startOfRenewal.Add(day - 11*time.Minute); h.NextOp != hold.OpRenew ||
			!h.NextAt.Equal(want) {
			t.Errorf("next %s at %s, want %s", h.NextOp, h.NextAt, want)
		}
	})
}
