package hold_test

import (
	"cmp"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

const newIntentID = "pi_3RenewedIntentOfAHold01"

// renewable is an intent whose card was saved.
func renewable(in *hold.PaymentIntent) {
	in.Customer, in.PaymentMethod, in.Reusable = "cus_1", "pm_1", true
}

func withRenewal(until time.Time, edit ...func(*hold.RenewalTerms)) func(*hold.ValidRequest) {
	return func(d *hold.ValidRequest) {
		d.Renewal = hold.RenewalTerms{Until: until, MaxRenewals: hold.DefaultMaxRenewals,
			OnFailure: hold.PolicyAlert}
		for _, e := range edit {
			e(&d.Renewal)
		}
	}
}

// renewedIntent is the new intent of a renewal.
func renewedIntent(status hold.PaymentIntentStatus, created time.Time) *hold.PaymentIntent {
	return newIntent(status, renewable, func(in *hold.PaymentIntent) {
		in.ID, in.Created, in.Reusable = newIntentID, created, false
		in.CaptureBefore = created.Add(7 * day)
		in.Metadata = map[string]string{hold.MetaHold: testIntentID, hold.MetaGeneration: "1",
			hold.MetaReplaces: testIntentID}
	})
}

// plan is what the committer does before each write.
func plan(d hold.Decision, now time.Time) hold.Hold {
	d.SetNextRenewalOp(now)
	return d.Hold
}

// renewalStartTime of a window of seven days: 20 % before its end.
var startOfRenewal = t0.Add(7*day - 7*day/5)

// longStay is a hold that must last for 20 days, and whose renewal is due.
func longStay(t *testing.T, edit ...func(*hold.ValidRequest)) hold.Hold {
	t.Helper()
	h := newHold(t, heldIntent(renewable), append([]func(*hold.ValidRequest){
		withRenewal(t0.Add(20 * day))}, edit...)...)
	if h = plan(hold.Decision{Hold: h}, t0); h.NextOp == hold.OpRenew {
		t.Fatalf("a renewal is due at once")
	}
	return h
}

// answerCall claims a hold, checks its next call and applies an answer. The read of
// the hold's own intent before a confirmation shows it held.
func answerCall(t *testing.T, h hold.Hold, now time.Time, op hold.Op, intent string,
	a hold.Answer) (hold.Decision, hold.Call) {
	t.Helper()
	if h.State != hold.Working {
		h = claimHold(h, now)
	}
	call := h.NextCall(now)
	if op == hold.OpConfirm && call.Op == hold.OpRead && call.PaymentIntent == h.PaymentIntent {
		h = h.ApplyAnswer(call, answerOK(heldIntent(renewable)), now).Hold
		call = h.NextCall(now)
	}
	if call.Op != op || call.PaymentIntent != intent {
		t.Fatalf("%s of %q, want %s of %q", call.Op, call.PaymentIntent, op, intent)
	}
	d := h.ApplyAnswer(call, a, now)
	if !d.NextStepNow {
		d.SetNextRenewalOp(now)
	}
	return d, call
}

func answerOK(in *hold.PaymentIntent) hold.Answer {
	return hold.Answer{Kind: hold.AnswerOK, Intent: in}
}

// toCreate is a hold whose next step creates the new intent.
func toCreate(t *testing.T, edit ...func(*hold.ValidRequest)) hold.Hold {
	t.Helper()
	h := longStay(t, edit...)
	d, _ := h.ApplyMilestone(startOfRenewal, startOfRenewal, testRules)
	if d.Hold.NextOp != hold.OpRenew || !d.NextStepNow {
		t.Fatalf("at the start: next %s, again %v", d.Hold.NextOp, d.NextStepNow)
	}
	d, _ = answerCall(t, d.Hold, startOfRenewal, hold.OpRead, testIntentID,
		answerOK(heldIntent(renewable)))
	if d.NextStepNow || d.Hold.Renewal.Step != hold.RenewalCreate || d.Hold.NextOp != hold.OpRenew {
		t.Fatalf("after the read: %+v", d.Hold.Renewal)
	}
	return d.Hold
}

// toConfirm is a hold whose next step confirms the new intent.
func toConfirm(t *testing.T, edit ...func(*hold.ValidRequest)) hold.Hold {
	t.Helper()
	d, _ := answerCall(t, toCreate(t, edit...), startOfRenewal, hold.OpCreate, "",
		answerOK(renewedIntent(hold.StatusRequiresConfirmation, startOfRenewal)))
	if d.NextStepNow || d.Hold.Renewal.Intent != newIntentID {
		t.Fatalf("after the creation: %+v", d.Hold.Renewal)
	}
	return d.Hold
}

// toRelease is a hold whose old intent is to be released.
func toRelease(t *testing.T, edit ...func(*hold.ValidRequest)) hold.Hold {
	t.Helper()
	d, _ := answerCall(t, toConfirm(t, edit...), startOfRenewal, hold.OpConfirm, newIntentID,
		answerOK(renewedIntent(hold.StatusRequiresCapture, startOfRenewal)))
	return d.Hold
}

func oldCanceled() *hold.PaymentIntent { return canceledIntent(hold.ReasonAbandoned) }

// TestRenewal_Steps follows one renewal. Each step ends its claim, so that it is
// written before the next call.
func TestRenewal_Steps(t *testing.T) {
	h := toCreate(t)
	d, create := answerCall(t, h, startOfRenewal, hold.OpCreate, "",
		answerOK(renewedIntent(hold.StatusRequiresConfirmation, startOfRenewal)))
	au := create.Authorize
	if au.Amount != amount || au.Currency != "eur" || au.Customer != "cus_1" ||
		au.PaymentMethod != "pm_1" || au.Metadata[hold.MetaHold] != testIntentID ||
		au.Metadata[hold.MetaReplaces] != testIntentID || au.Metadata[hold.MetaGeneration] != "1" ||
		au.Metadata[hold.MetaRenewalUntil] == "" {
		t.Errorf("created with %+v", au)
	}
	if d.NextStepNow || d.Hold.PaymentIntent != testIntentID {
		t.Fatalf("after the creation: %+v", d)
	}
	d, confirm := answerCall(t, d.Hold, startOfRenewal, hold.OpConfirm, newIntentID,
		answerOK(renewedIntent(hold.StatusRequiresCapture, startOfRenewal)))
	if !confirm.Authorize.OffSession || !confirm.Authorize.ErrorOnRequiresAction ||
		confirm.Key == create.Key {
		t.Errorf("confirmed with %+v, key %s", confirm.Authorize, confirm.Key)
	}
	h = d.Hold
	if h.ID != testIntentID || h.PaymentIntent != newIntentID || h.Renewal.Releasing != testIntentID ||
		!h.ExpiresAt.Equal(startOfRenewal.Add(7*day)) || h.NextOp != hold.OpRelease || d.NextStepNow ||
		!d.NewDeadline || !d.NewTerms || len(d.Events) != 1 || d.Events[0].Type != hold.EventRenewed {
		t.Fatalf("after the swap: %+v, events %v", h, d.Events)
	}
	if since, both := h.Renewal.OverlapSince(); !both || !hold.DeadlineForQueueOrder(&h).Equal(since) {
		t.Errorf("double held %v since %s, ordered by %s", both, since, hold.DeadlineForQueueOrder(&h))
	}
	d, release := answerCall(t, h, startOfRenewal, hold.OpCancel, testIntentID,
		answerOK(oldCanceled()))
	if !strings.Contains(release.Key, "-release-"+testIntentID) {
		t.Errorf("released with key %s", release.Key)
	}
	h = d.Hold
	if h.State != hold.Waiting || h.NextOp != 0 || h.Renewal.Releasing != "" ||
		h.Renewal.Completed != 1 || h.Renewal.Step != hold.RenewalIdle {
		t.Fatalf("after the release: %s, next %s, %+v", h.State, h.NextOp, h.Renewal)
	}
	next := h.NextMilestone(startOfRenewal, testRules)
	if want := h.ExpiresAt.Add(-7 * day / 5); !next.Equal(want) {
		t.Errorf("the next renewal begins at %s, want %s", next, want)
	}
}

func TestRenewal_Start(t *testing.T) {
	for _, tt := range []struct {
		name   string
		window time.Duration
		until  time.Duration
		edit   []func(*hold.ValidRequest)
		want   time.Duration // before the end; 0: never
	}{
		{"a week", 7 * day, 20 * day, nil, 7 * day / 5},
		{"12 hours of a short window", 2 * day, 20 * day, nil, 12 * time.Hour},
		{"half of a very short window", 20 * time.Hour, 20 * day, nil, 10 * time.Hour},
		{"a month", 30 * day, 60 * day, nil, 6 * day},
		{"covered until then", 7 * day, 7 * day, nil, 0},
		{"captured before", 7 * day, 20 * day,
			[]func(*hold.ValidRequest){withCaptureAt(t0.Add(6 * day))}, 0},
		{"captured after", 7 * day, 20 * day,
			[]func(*hold.ValidRequest){withCaptureAt(t0.Add(8 * day))}, 7 * day / 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := heldIntent(renewable, func(in *hold.PaymentIntent) {
				in.CaptureBefore = t0.Add(tt.window)
			})
			h := plan(hold.Decision{Hold: newHold(t, in,
				append(tt.edit, withRenewal(t0.Add(tt.until)))...)}, t0)
			start := h.ExpiresAt.Add(-tt.want)
			for at := t0; at.Before(h.ExpiresAt); at = at.Add(time.Hour) {
				due := plan(hold.Decision{Hold: h}, at).NextOp == hold.OpRenew
				if want := tt.want > 0 && !at.Before(start); due != want {
					t.Fatalf("due %v at +%s", due, at.Sub(t0))
				}
			}
		})
	}
}

// TestRenewal_LostReplies checks that a request whose outcome is unknown is
// found again, never made twice.
func TestRenewal_LostReplies(t *testing.T) {
	lost := hold.Answer{Kind: hold.AnswerUnknown}
	t.Run("create: same key, then a search", func(t *testing.T) {
		d, first := answerCall(t, toCreate(t), startOfRenewal, hold.OpCreate, "", lost)
		at := d.Hold.NextAt
		d, second := answerCall(t, d.Hold, at, hold.OpCreate, "", lost)
		if first.Key != second.Key {
			t.Errorf("keys %s and %s", first.Key, second.Key)
		}
		at = startOfRenewal.Add(23 * time.Hour)
		d, list := answerCall(t, d.Hold, at, hold.OpList, "", hold.Answer{Kind: hold.AnswerOK,
			Page: &hold.IntentListPage{Intents: []hold.PaymentIntent{*heldIntent(renewable),
				*renewedIntent(hold.StatusRequiresConfirmation, startOfRenewal)}}})
		if list.Customer != "cus_1" || d.Hold.Renewal.Intent != newIntentID {
			t.Errorf("searched for %q, found %+v", list.Customer, d.Hold.Renewal)
		}
	})
	t.Run("create: not found, a new key", func(t *testing.T) {
		d, first := answerCall(t, toCreate(t), startOfRenewal, hold.OpCreate, "",
			hold.Answer{Kind: hold.AnswerReplayedError})
		at := startOfRenewal.Add(time.Minute)
		d, _ = answerCall(t, d.Hold, at, hold.OpList, "",
			hold.Answer{Kind: hold.AnswerOK, Page: &hold.IntentListPage{}})
		d, _ = answerCall(t, d.Hold, d.Hold.NextAt, hold.OpRead, testIntentID,
			answerOK(heldIntent(renewable)))
		_, second := answerCall(t, d.Hold, d.Hold.NextAt, hold.OpCreate, "", lost)
		if first.Key == second.Key {
			t.Errorf("the key %s is used again", first.Key)
		}
	})
	t.Run("create: taken over", func(t *testing.T) {
		h := claimHold(toCreate(t), startOfRenewal)
		first := h.NextCall(startOfRenewal)
		h = claimHold(h, startOfRenewal.Add(time.Minute)) // the first claim did not report
		if second := h.NextCall(startOfRenewal.Add(time.Minute)); second.Key != first.Key {
			t.Errorf("keys %s and %s", first.Key, second.Key)
		}
	})
	t.Run("confirm: read, it was authorized", func(t *testing.T) {
		d, _ := answerCall(t, toConfirm(t), startOfRenewal, hold.OpConfirm, newIntentID, lost)
		d, _ = answerCall(t, d.Hold, d.Hold.NextAt, hold.OpRead, newIntentID,
			answerOK(renewedIntent(hold.StatusRequiresCapture, startOfRenewal)))
		if d.Hold.PaymentIntent != newIntentID || d.Hold.NextOp != hold.OpRelease {
			t.Errorf("%+v", d.Hold)
		}
	})
	t.Run("confirm: read, nothing happened", func(t *testing.T) {
		d, first := answerCall(t, toConfirm(t), startOfRenewal, hold.OpConfirm, newIntentID, lost)
		unconfirmed := renewedIntent(hold.StatusRequiresConfirmation, startOfRenewal)
		d, _ = answerCall(t, d.Hold, d.Hold.NextAt, hold.OpRead, newIntentID, answerOK(unconfirmed))
		if d.Hold.NextAt.Before(startOfRenewal.Add(30 * time.Second)) {
			t.Errorf("again at %s: the lost request may still take effect", d.Hold.NextAt)
		}
		d, _ = answerCall(t, d.Hold, d.Hold.NextAt, hold.OpRead, newIntentID, answerOK(unconfirmed))
		_, second := answerCall(t, d.Hold, d.Hold.NextAt, hold.OpConfirm, newIntentID, lost)
		if first.Key == second.Key {
			t.Errorf("the key %s is used again", first.Key)
		}
	})
	t.Run("release: same key, then a read", func(t *testing.T) {
		d, first := answerCall(t, toRelease(t), startOfRenewal, hold.OpCancel, testIntentID, lost)
		d, second := answerCall(t, d.Hold, d.Hold.NextAt, hold.OpCancel, testIntentID,
			hold.Answer{Kind: hold.AnswerReplayedError})
		if first.Key != second.Key {
			t.Errorf("keys %s and %s", first.Key, second.Key)
		}
		d, _ = answerCall(t, d.Hold, d.Hold.NextAt.Add(time.Minute), hold.OpRead, testIntentID,
			answerOK(heldIntent(renewable)))
		_, third := answerCall(t, d.Hold, d.Hold.NextAt, hold.OpCancel, testIntentID, lost)
		if third.Key == first.Key {
			t.Errorf("the spent key %s is used again", first.Key)
		}
	})
}

// TestRenewal_Declines checks what follows from each class of decline.
func TestRenewal_Declines(t *testing.T) {
	for _, tt := range []struct {
		code, advice, network string
		step                  hold.RenewalStep
		event                 hold.EventType
		needed                string
		wait                  time.Duration // 0: a quarter of what is left
	}{
		{code: "insufficient_funds", step: hold.RenewalConfirm, event: hold.EventRetrying},
		{code: "a_code_of_next_year", step: hold.RenewalConfirm, event: hold.EventRetrying},
		{code: "authentication_required", step: hold.RenewalRequiresAction,
			event: hold.EventRequiresAction, needed: "authentication"},
		{code: "expired_card", step: hold.RenewalRequiresAction,
			event: hold.EventRequiresAction, needed: "card"},
		{code: "stolen_card", step: hold.RenewalRequiresAction, event: hold.EventRequiresAction,
			needed: "card"},
		{code: "do_not_try_again", step: hold.RenewalRequiresAction,
			event: hold.EventRequiresAction, needed: "card"},
		{code: "do_not_honor", advice: "do_not_try_again", step: hold.RenewalRequiresAction,
			event: hold.EventRequiresAction, needed: "card"},
		{code: "do_not_honor", advice: "try_again_later", step: hold.RenewalConfirm,
			event: hold.EventRetrying},
		{code: "stolen_card", advice: "try_again_later", step: hold.RenewalRequiresAction,
			event: hold.EventRequiresAction, needed: "card"},
		{code: "do_not_honor", network: "03", step: hold.RenewalRequiresAction,
			event: hold.EventRequiresAction, needed: "card"},
		{code: "insufficient_funds", network: "24", step: hold.RenewalConfirm,
			event: hold.EventRetrying},
		{code: "insufficient_funds", network: "25", step: hold.RenewalConfirm,
			event: hold.EventRetrying, wait: day},
		{code: "insufficient_funds", network: "28", step: hold.RenewalFailed,
			event: hold.EventAttention},
	} {
		t.Run(tt.code+tt.advice+tt.network, func(t *testing.T) {
			d, _ := answerCall(t, toConfirm(t), startOfRenewal, hold.OpConfirm, newIntentID,
				hold.Answer{Kind: hold.AnswerDeclined, Code: tt.code,
					Advice: hold.DeclineAdvice{Code: tt.advice, NetworkCode: tt.network}})
			if got := hold.NewView(&d.Hold, startOfRenewal, false).Renewal.ActionNeeded; got != tt.needed {
				t.Errorf("action_needed %q, want %q", got, tt.needed)
			}
			r := d.Hold.Renewal
			if r.Step != tt.step || len(d.Events) == 0 || d.Events[0].Type != tt.event {
				t.Errorf("%s, events %v", r.Step, d.Events)
			}
			switch tt.step {
			case hold.RenewalConfirm:
				if want := startOfRenewal.Add(cmp.Or(tt.wait, 7*day/5/4)); !d.Hold.NextAt.Equal(want) {
					t.Errorf("again at %s, want %s", d.Hold.NextAt, want)
				}
			case hold.RenewalRequiresAction:
				if r.Intent != newIntentID {
					t.Errorf("the intent that the cardholder can confirm is gone: %+v", r)
				}
			case hold.RenewalFailed:
				if r.Releasing != newIntentID || d.Hold.NextOp != hold.OpRelease {
					t.Errorf("the new intent is left: %+v", r)
				}
			}
		})
	}
	t.Run("within the networks' limits", func(t *testing.T) {
		h, at := toConfirm(t), startOfRenewal
		var times []time.Time
		for h.Renewal.Step == hold.RenewalConfirm {
			d, _ := answerCall(t, h, at, hold.OpConfirm, newIntentID,
				hold.Answer{Kind: hold.AnswerDeclined, Code: "do_not_honor"})
			times = append(times, at)
			h, at = d.Hold, d.Hold.NextAt
			if len(times) > 30 {
				t.Fatal("no end")
			}
		}
		for i := range times {
			if i >= 10 && times[i].Sub(times[i-10]) < 24*time.Hour {
				t.Errorf("11 tries within %s", times[i].Sub(times[i-10]))
			}
		}
		if len(times) < 3 || len(times) > 15 {
			t.Errorf("%d tries", len(times))
		}
	})
	t.Run("the cardholder acts", func(t *testing.T) {
		d, _ := answerCall(t, toConfirm(t), startOfRenewal, hold.OpConfirm, newIntentID,
			hold.Answer{Kind: hold.AnswerDeclined, Code: "authentication_required"})
		e := hold.StripeEvent{Type: "payment_intent.amount_capturable_updated",
			PaymentIntent: newIntentID}
		at := startOfRenewal.Add(time.Minute)
		d, _ = d.Hold.ApplyStripeEvent(&e, at)
		d.SetNextRenewalOp(at)
		if d.Unchanged || !d.Hold.NextAt.Equal(at) {
			t.Fatalf("the event leads to no read: next at %s", d.Hold.NextAt)
		}
		d, _ = answerCall(t, d.Hold, at, hold.OpRead, newIntentID,
			answerOK(renewedIntent(hold.StatusRequiresCapture, at)))
		if d.Hold.PaymentIntent != newIntentID {
			t.Errorf("%+v", d.Hold)
		}
	})
}

// TestRenewal_Races checks that a capture or a cancel before the swap releases
// the new intent first, and after it the old one.
func TestRenewal_Races(t *testing.T) {
	capture := func(t *testing.T, h hold.Hold) hold.Hold {
		return mustAccept(t)(h.RequestCapture(hold.CaptureRequest{}, "api", startOfRenewal))
	}
	cancel := func(t *testing.T, h hold.Hold) hold.Hold {
		return mustAccept(t)(h.RequestCancel("", "api", startOfRenewal))
	}
	newCanceled := renewedIntent(hold.StatusCanceled, startOfRenewal)
	lost := hold.Answer{Kind: hold.AnswerUnknown}
	for _, tt := range []struct {
		name          string
		at            func(t *testing.T) hold.Hold
		found         bool // the creation is repeated to learn the id
		release, acts string
	}{
		{"the creation is lost", func(t *testing.T) hold.Hold {
			d, _ := answerCall(t, toCreate(t), startOfRenewal, hold.OpCreate, "", lost)
			return d.Hold
		}, true, newIntentID, testIntentID},
		{"created", func(t *testing.T) hold.Hold { return toConfirm(t) }, false, newIntentID,
			testIntentID},
		{"the confirmation is lost", func(t *testing.T) hold.Hold {
			d, _ := answerCall(t, toConfirm(t), startOfRenewal, hold.OpConfirm, newIntentID, lost)
			return d.Hold
		}, false, newIntentID, testIntentID},
		{"swapped", func(t *testing.T) hold.Hold { return toRelease(t) }, false, testIntentID,
			newIntentID},
	} {
		for op, request := range map[hold.Op]func(*testing.T, hold.Hold) hold.Hold{
			hold.OpCapture: capture, hold.OpCancel: cancel} {
			t.Run(op.String()+" when "+tt.name, func(t *testing.T) {
				h := plan(hold.Decision{Hold: request(t, tt.at(t))}, startOfRenewal)
				if h.NextOp != op {
					t.Fatalf("next %s, want %s", h.NextOp, op)
				}
				d := hold.Decision{Hold: h}
				if tt.found {
					d, _ = answerCall(t, d.Hold, startOfRenewal, hold.OpCreate, "",
						answerOK(renewedIntent(hold.StatusRequiresConfirmation, startOfRenewal)))
				}
				gone := newCanceled
				if tt.release == testIntentID {
					gone = oldCanceled()
				}
				d, _ = answerCall(t, d.Hold, startOfRenewal, hold.OpCancel, tt.release, answerOK(gone))
				if !d.NextStepNow {
					t.Fatalf("the %s does not follow: %+v", op, d.Hold.Renewal)
				}
				end := hold.StatusSucceeded
				if op == hold.OpCancel {
					end = hold.StatusCanceled
				}
				in := renewedIntent(end, startOfRenewal)
				in.ID = tt.acts
				d, _ = answerCall(t, d.Hold, startOfRenewal, op, tt.acts, answerOK(in))
				if !d.Hold.State.IsFinal() || d.Hold.Reason != hold.CauseTrigger {
					t.Errorf("%s because of %s", d.Hold.State, d.Hold.Reason)
				}
			})
		}
	}
	t.Run("a change that needs no renewal", func(t *testing.T) {
		h := toConfirm(t)
		d, err := h.ApplyPatch(&hold.Patch{CaptureAt: ptr(formatTime(t0.Add(6*day + time.Hour)))},
			"api", startOfRenewal)
		if err != nil {
			t.Fatal(err)
		}
		h = plan(d, startOfRenewal)
		if h.NextOp != hold.OpRelease || h.Renewal.Releasing != newIntentID {
			t.Errorf("next %s, %+v", h.NextOp, h.Renewal)
		}
	})
	t.Run("a scheduled capture stays at its time", func(t *testing.T) {
		h := toRelease(t, withCaptureAt(t0.Add(10*day)))
		d, _ := answerCall(t, h, startOfRenewal, hold.OpCancel, testIntentID, answerOK(oldCanceled()))
		if h = d.Hold; h.State != hold.Scheduled || h.NextOp != hold.OpCapture ||
			!h.NextAt.Equal(t0.Add(10*day)) || h.Reason != hold.CauseSchedule {
			t.Errorf("%s, %s at %s because of %s", h.State, h.NextOp, h.NextAt, h.Reason)
		}
	})
}

// TestRenewal_ReleaseWithoutOutcome checks that near the deadline a capture does
// not wait for a release of which Stripe says nothing, and that the hold stays
// open until the other intent is gone.
func TestRenewal_ReleaseWithoutOutcome(t *testing.T) {
	h := toConfirm(t)
	early, late := startOfRenewal, h.ExpiresAt.Add(-30*time.Minute)
	h = plan(hold.Decision{Hold: mustAccept(t)(h.RequestCapture(hold.CaptureRequest{}, "api", early))},
		early)
	missing := hold.Answer{Kind: hold.AnswerNotFound}
	d, _ := answerCall(t, h, early, hold.OpCancel, newIntentID, missing)
	d, _ = answerCall(t, d.Hold, early.Add(time.Hour), hold.OpRead, newIntentID, missing)
	d, _ = answerCall(t, d.Hold, late, hold.OpCapture, testIntentID,
		answerOK(newIntent(hold.StatusSucceeded)))
	if d.Hold.State.IsFinal() {
		t.Fatalf("%s while %s may hold money", d.Hold.State, newIntentID)
	}
	d, _ = answerCall(t, d.Hold, late, hold.OpRead, newIntentID,
		answerOK(renewedIntent(hold.StatusCanceled, early)))
	d, _ = answerCall(t, d.Hold, late, hold.OpRead, testIntentID,
		answerOK(newIntent(hold.StatusSucceeded)))
	if d.Hold.State != hold.Captured || d.Hold.Reason != hold.CauseTrigger {
		t.Errorf("%s because of %s", d.Hold.State, d.Hold.Reason)
	}
}

// TestRenewal_EndsElsewhere checks what another system does to one of the two
// intents: the hold ends only when the other one is released.
func TestRenewal_EndsElsewhere(t *testing.T) {
	t.Run("the old one is captured before the swap", func(t *testing.T) {
		h := toConfirm(t)
		d := h.ApplyPaymentIntent(capturedIntent(amount), startOfRenewal)
		if d.Hold.State.IsFinal() || d.Hold.NextOp != hold.OpRead || !d.NextStepNow {
			t.Fatalf("%s, next %s", d.Hold.State, d.Hold.NextOp)
		}
		d, _ = answerCall(t, plan(d, startOfRenewal), startOfRenewal, hold.OpRead, newIntentID,
			answerOK(renewedIntent(hold.StatusRequiresConfirmation, startOfRenewal)))
		d, _ = answerCall(t, d.Hold, startOfRenewal, hold.OpCancel, newIntentID,
			answerOK(renewedIntent(hold.StatusCanceled, startOfRenewal)))
		d, _ = answerCall(t, d.Hold, startOfRenewal, hold.OpRead, testIntentID,
			answerOK(capturedIntent(amount)))
		if d.Hold.State != hold.Captured || d.Hold.Reason != hold.CauseElsewhere {
			t.Errorf("%s because of %s", d.Hold.State, d.Hold.Reason)
		}
	})
	t.Run("the old one is captured while it is released", func(t *testing.T) {
		d, _ := answerCall(t, toRelease(t), startOfRenewal, hold.OpCancel, testIntentID,
			hold.Answer{Kind: hold.AnswerUnexpectedState, Intent: capturedIntent(amount)})
		h := d.Hold
		if h.PaymentIntent != testIntentID || h.Renewal.Releasing != newIntentID ||
			len(d.Events) != 1 || d.Events[0].Type != hold.EventAttention {
			t.Fatalf("%+v, events %v", h, d.Events)
		}
		d, _ = answerCall(t, h, startOfRenewal, hold.OpCancel, newIntentID,
			answerOK(renewedIntent(hold.StatusCanceled, startOfRenewal)))
		d, _ = answerCall(t, d.Hold, startOfRenewal, hold.OpRead, testIntentID,
			answerOK(capturedIntent(amount)))
		if d.Hold.State != hold.Captured {
			t.Errorf("%s", d.Hold.State)
		}
	})
	for name, tt := range map[string]struct {
		kind   hold.AnswerKind
		reason string
		at     time.Time
		ends   bool
	}{
		"by another system before the swap": {hold.AnswerUnexpectedState, "requested_by_customer",
			startOfRenewal.Add(-time.Second), true},
		"by another system after the swap": {hold.AnswerUnexpectedState, "requested_by_customer",
			startOfRenewal.Add(time.Second), false},
		"by the network before the swap": {hold.AnswerUnexpectedState, hold.ReasonExpired,
			startOfRenewal.Add(-time.Second), false},
		"by holdd, whose clock is ahead": {hold.AnswerOK, hold.ReasonAbandoned,
			startOfRenewal.Add(-time.Second), false},
	} {
		t.Run("the old one is released "+name, func(t *testing.T) {
			old := canceledIntent(tt.reason)
			old.CanceledAt = tt.at
			d, _ := answerCall(t, toRelease(t), startOfRenewal, hold.OpCancel, testIntentID,
				hold.Answer{Kind: tt.kind, Intent: old})
			if !tt.ends {
				if h := d.Hold; h.PaymentIntent != newIntentID || h.Renewal.Releasing != "" {
					t.Errorf("%s, releasing %q", h.PaymentIntent, h.Renewal.Releasing)
				}
				return
			}
			d, _ = answerCall(t, d.Hold, startOfRenewal, hold.OpCancel, newIntentID,
				answerOK(renewedIntent(hold.StatusCanceled, startOfRenewal)))
			d, _ = answerCall(t, d.Hold, startOfRenewal, hold.OpRead, testIntentID, answerOK(old))
			if d.Hold.State != hold.Canceled || d.Hold.Reason != hold.CauseElsewhere {
				t.Errorf("%s because of %s", d.Hold.State, d.Hold.Reason)
			}
		})
	}
	t.Run("the new one is captured while the old one is held", func(t *testing.T) {
		h := toRelease(t)
		d := h.ApplyPaymentIntent(renewedIntent(hold.StatusSucceeded, startOfRenewal), startOfRenewal)
		if d.Hold.State.IsFinal() {
			t.Fatal("it ends while two intents hold money")
		}
	})
	t.Run("the canceled old intent says nothing of the hold", func(t *testing.T) {
		d, _ := answerCall(t, toRelease(t), startOfRenewal, hold.OpCancel, testIntentID,
			answerOK(oldCanceled()))
		if d := d.Hold.ApplyPaymentIntent(oldCanceled(), startOfRenewal); !d.Unchanged {
			t.Errorf("%s because of %s", d.Hold.State, d.Hold.Reason)
		}
	})
	for name, ended := range map[string]*hold.PaymentIntent{
		"released": canceledIntent("requested_by_customer"),
		"captured": capturedIntent(amount),
	} {
		t.Run("the old one is "+name+" before the card is tried again", func(t *testing.T) {
			d, _ := answerCall(t, toConfirm(t), startOfRenewal, hold.OpConfirm, newIntentID,
				hold.Answer{Kind: hold.AnswerDeclined, Code: "do_not_honor"})
			at := d.Hold.NextAt
			d, _ = answerCall(t, d.Hold, at, hold.OpRead, testIntentID, answerOK(ended))
			d, _ = answerCall(t, d.Hold, at, hold.OpRead, newIntentID,
				answerOK(renewedIntent(hold.StatusRequiresConfirmation, startOfRenewal)))
			d, _ = answerCall(t, d.Hold, at, hold.OpCancel, newIntentID,
				answerOK(renewedIntent(hold.StatusCanceled, startOfRenewal)))
			d, _ = answerCall(t, d.Hold, at, hold.OpRead, testIntentID, answerOK(ended))
			if !d.Hold.State.IsFinal() || d.Hold.Reason != hold.CauseElsewhere {
				t.Errorf("%s because of %s", d.Hold.State, d.Hold.Reason)
			}
		})
	}
	t.Run("the old one is released before the card is tried for the first time", func(t *testing.T) {
		d, _ := answerCall(t, toConfirm(t), startOfRenewal, hold.OpRead, testIntentID,
			answerOK(canceledIntent("requested_by_customer")))
		d, _ = answerCall(t, d.Hold, startOfRenewal, hold.OpRead, newIntentID,
			answerOK(renewedIntent(hold.StatusRequiresConfirmation, startOfRenewal)))
		d, _ = answerCall(t, d.Hold, startOfRenewal, hold.OpCancel, newIntentID,
			answerOK(renewedIntent(hold.StatusCanceled, startOfRenewal)))
		d, _ = answerCall(t, d.Hold, startOfRenewal, hold.OpRead, testIntentID,
			answerOK(canceledIntent("requested_by_customer")))
		if d.Hold.State != hold.Canceled || d.Hold.Reason != hold.CauseElsewhere {
			t.Errorf("%s because of %s", d.Hold.State, d.Hold.Reason)
		}
	})
	t.Run("a part of the old one is captured before the card is tried again", func(t *testing.T) {
		d, _ := answerCall(t, toConfirm(t), startOfRenewal, hold.OpConfirm, newIntentID,
			hold.Answer{Kind: hold.AnswerDeclined, Code: "do_not_honor"})
		at := d.Hold.NextAt
		d, _ = answerCall(t, d.Hold, at, hold.OpRead, testIntentID,
			answerOK(heldIntent(renewable, received(3000))))
		if len(d.Events) != 1 || d.Events[0].Type != hold.EventAttention ||
			d.Events[0].Cause != hold.CauseElsewhere || d.Hold.CapturedElsewhere != 3000 {
			t.Fatalf("events %+v, %d elsewhere", d.Events, d.Hold.CapturedElsewhere)
		}
		d, _ = answerCall(t, d.Hold, at, hold.OpCancel, newIntentID,
			answerOK(renewedIntent(hold.StatusCanceled, startOfRenewal)))
		if d.Hold.State.IsFinal() || d.Hold.PaymentIntent != testIntentID {
			t.Errorf("%s with %s", d.Hold.State, d.Hold.PaymentIntent)
		}
	})
	t.Run("the old one has expired before the card is tried again", func(t *testing.T) {
		d, _ := answerCall(t, toConfirm(t), startOfRenewal, hold.OpConfirm, newIntentID,
			hold.Answer{Kind: hold.AnswerDeclined, Code: "do_not_honor"})
		at := d.Hold.NextAt
		d, _ = answerCall(t, d.Hold, at, hold.OpRead, testIntentID,
			answerOK(canceledIntent(hold.ReasonExpired)))
		d, _ = answerCall(t, d.Hold, at, hold.OpConfirm, newIntentID,
			answerOK(renewedIntent(hold.StatusRequiresCapture, at)))
		if d.Hold.PaymentIntent != newIntentID {
			t.Errorf("%s, step %s", d.Hold.State, d.Hold.Renewal.Step)
		}
	})
	t.Run("the deadline passes while a confirmation is unknown", func(t *testing.T) {
		d, _ := answerCall(t, toConfirm(t), startOfRenewal, hold.OpConfirm, newIntentID,
			hold.Answer{Kind: hold.AnswerUnknown})
		end := t0.Add(7 * day)
		d, _ = d.Hold.ApplyMilestone(end, end, testRules)
		d, _ = answerCall(t, plan(d, end), end, hold.OpRead, newIntentID,
			answerOK(renewedIntent(hold.StatusRequiresCapture, startOfRenewal)))
		if d.Hold.PaymentIntent != newIntentID || d.Hold.State.IsFinal() {
			t.Errorf("the money that the new intent holds is lost: %+v", d.Hold)
		}
	})
}

// TestRenewal_Refused checks what cannot be renewed, and on_failure.
func TestRenewal_Refused(t *testing.T) {
	for name, in := range map[string]*hold.PaymentIntent{
		"no customer":       heldIntent(renewable, func(in *hold.PaymentIntent) { in.Customer = "" }),
		"no payment method": heldIntent(renewable, func(in *hold.PaymentIntent) { in.PaymentMethod = "" }),
		"not saved":         heldIntent(renewable, func(in *hold.PaymentIntent) { in.Reusable = false }),
	} {
		t.Run(name, func(t *testing.T) {
			d := &hold.ValidRequest{ID: testIntentID, OnExpiry: hold.PolicyCancel}
			withRenewal(t0.Add(20 * day))(d)
			_, err := hold.DecideNewHold(d, in, "api", t0)
			wantCode(t, err, hold.NotRenewable)
		})
	}
	t.Run("not read yet", func(t *testing.T) {
		h := plan(hold.Decision{Hold: newHold(t, nil, withRenewal(t0.Add(20*day)))}, t0)
		d, _ := answerCall(t, h, t0, hold.OpRead, testIntentID, answerOK(heldIntent()))
		if d.Hold.Renewal.Problem != hold.CauseNotRenewable ||
			d.Events[0].Type != hold.EventAttention {
			t.Errorf("%+v, events %v", d.Hold.Renewal, d.Events)
		}
	})
	t.Run("above max_amount", func(t *testing.T) {
		h := longStay(t)
		h.Renewal.MaxAmount = amount - 1
		h = plan(hold.Decision{Hold: h}, startOfRenewal)
		if h.Renewal.Step != hold.RenewalFailed || h.NextOp != 0 {
			t.Errorf("%+v", h.Renewal)
		}
	})
	t.Run("max_renewals", func(t *testing.T) {
		h := longStay(t)
		h.Renewal.Completed = h.Renewal.MaxRenewals
		if h = plan(hold.Decision{Hold: h}, startOfRenewal); h.Renewal.Step != hold.RenewalFailed {
			t.Errorf("%+v", h.Renewal)
		}
	})
	t.Run("another system captured a part", func(t *testing.T) {
		h, in := longStay(t), shared(1000)
		renewable(in)
		d, _ := answerCall(t, plan(hold.Decision{Hold: h}, startOfRenewal), startOfRenewal,
			hold.OpRead, testIntentID, answerOK(in))
		if r := d.Hold.Renewal; r.Step != hold.RenewalFailed || r.Problem != hold.CauseElsewhere {
			t.Errorf("%+v", r)
		}
	})
	t.Run("another amount", func(t *testing.T) {
		in := renewedIntent(hold.StatusRequiresCapture, startOfRenewal)
		in.AmountCapturable = amount + 1
		d, _ := answerCall(t, toConfirm(t), startOfRenewal, hold.OpConfirm, newIntentID, answerOK(in))
		if d.Hold.PaymentIntent != testIntentID || d.Hold.Renewal.Releasing != newIntentID {
			t.Errorf("%+v", d.Hold.Renewal)
		}
	})
	for policy, op := range map[hold.ExpiryPolicy]hold.Op{hold.PolicyAlert: 0,
		hold.PolicyCancel: hold.OpCancel, hold.PolicyCapture: hold.OpCapture} {
		t.Run("on_failure "+policy.String(), func(t *testing.T) {
			d, _ := answerCall(t, toConfirm(t, func(d *hold.ValidRequest) {
				d.Renewal.OnFailure = policy
			}), startOfRenewal, hold.OpConfirm, newIntentID,
				hold.Answer{Kind: hold.AnswerDeclined, Code: "stolen_card"})
			margin := t0.Add(7*day - time.Hour)
			d, _ = d.Hold.ApplyMilestone(margin, margin, testRules)
			d.SetNextRenewalOp(margin)
			if got := d.Hold.NextOp; got != op && !(op == 0 && got == hold.OpRenew) {
				t.Errorf("next %s, want %s", got, op)
			}
		})
	}
}
