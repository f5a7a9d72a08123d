package hold_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/holdd/holdd/worker/hold"
)

// Each test here is one way in which money could move wrongly or a hold be
// forgotten, in as few steps as it takes.

// refusedHold brings a claimed hold to Attention by Stripe's refusal.
func refusedHold(t *testing.T, h hold.Hold, now time.Time) hold.Hold {
	t.Helper()
	h = claimHold(h, now)
	c := h.ApplyAnswer(h.NextCall(now), hold.Answer{Kind: hold.AnswerInvalid,
		HTTPStatus: 400, Code: "nope"}, now)
	if c.Hold.State != hold.Attention {
		t.Fatalf("state %s, want attention", c.Hold.State)
	}
	return c.Hold
}

func TestApplyPatch_KeepsAcceptedCancel(t *testing.T) {
	at := t0.Add(2 * day)
	h := mustAccept(t)(newHold(t, heldIntent(), withCaptureAt(at)).RequestCancel("", "api", t0))
	h = refusedHold(t, h, t0)
	c, err := h.ApplyPatch(&hold.Patch{CaptureAt: ptr(formatTime(at)), Metadata: map[string]string{
		"room": "12"}}, "api", t0)
	if err == nil && c.Hold.NextOp == hold.OpCapture {
		t.Error("a cancel was accepted, and the hold is going to be captured")
	}
	h = c.Hold
	if err == nil {
		h = claimHold(h, at)
		if op := h.NextCall(at).Op; op == hold.OpCapture {
			t.Error("the next call is a capture")
		}
	}
}

func TestPassMilestone_KeepsRequestedAction(t *testing.T) {
	end := t0.Add(7 * day)
	for _, tt := range []struct {
		name  string
		h     hold.Hold
		wish  func(hold.Hold, time.Time) (hold.Decision, error)
		wantO hold.Op
	}{
		{"cancel, with a time to capture",
			newHold(t, heldIntent(), withCaptureAt(end.Add(-time.Minute))),
			func(h hold.Hold, at time.Time) (hold.Decision, error) {
				return h.RequestCancel("", "api", at)
			}, hold.OpCancel},
		{"cancel, with no time", newHold(t, heldIntent()), func(h hold.Hold, at time.Time) (
			hold.Decision, error) {
			return h.RequestCancel("", "api", at)
		}, hold.OpCancel},
		{"capture, with no time", newHold(t, heldIntent()),
			func(h hold.Hold, at time.Time) (hold.Decision, error) {
				return h.RequestCapture(hold.CaptureRequest{}, "api", at)
			}, hold.OpCapture},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := mustAccept(t)(tt.wish(tt.h, end.Add(-2*time.Second)))
			now := end.Add(-time.Second)
			h = claimHold(h, now)
			// Stripe is out of reach; the back-off goes beyond the deadline.
			for h.NextAt.Before(end) {
				now = now.Add(100 * time.Millisecond)
				h = h.ApplyAnswer(h.NextCall(now), hold.Answer{Kind: hold.AnswerRateLimited,
					HTTPStatus: 429}, now).Hold
				h = claimHold(h, now)
			}
			h = h.ReleaseUnsentClaim().Hold
			now = end.Add(time.Second)
			c, _ := h.ApplyMilestone(end, now, testRules)
			h = c.Hold
			// The network has not let it go yet.
			actualEnd := end.Add(time.Hour)
			for range 4 {
				if h.NextOp == 0 {
					t.Fatalf("the wish is forgotten: state %s, no next step", h.State)
				}
				now = laterOf(now, h.NextAt)
				h = claimHold(h, now)
				call := h.NextCall(now)
				if call.Op == hold.OpRead {
					h = h.ApplyAnswer(call, hold.Answer{Kind: hold.AnswerOK,
						Intent: heldIntent(func(in *hold.PaymentIntent) {
							in.CaptureBefore = actualEnd
						})}, now).Hold
					continue
				}
				if call.Op != tt.wantO {
					t.Fatalf("call %s, want %s", call.Op, tt.wantO)
				}
				return
			}
			t.Fatal("four claims, and nothing but reads")
		})
	}
}

func TestPassMilestone_PausedHoldIsNeverCaptured(t *testing.T) {
	end := t0.Add(7 * day)
	h := mustAccept(t)(newHold(t, heldIntent(), withCaptureAt(t0.Add(day))).Pause(0, "api", t0))
	policyAt := end.Add(-time.Hour)
	c, _ := h.ApplyMilestone(policyAt, policyAt, testRules)
	if c.Hold.NextOp != hold.OpCancel {
		t.Fatalf("next %s, want cancel", c.Hold.NextOp)
	}
	h = c.Hold
	h.NextAt = end.Add(time.Second) // a back-off beyond the deadline
	now := end.Add(2 * time.Second)
	c, _ = h.ApplyMilestone(end, now, testRules)
	h = claimHold(c.Hold, now)
	if call := h.NextCall(now); call.Op == hold.OpRead {
		h = h.ApplyAnswer(call, hold.Answer{Kind: hold.AnswerOK,
			Intent: heldIntent(func(in *hold.PaymentIntent) {
				in.CaptureBefore = end.Add(time.Hour)
			})}, now).Hold
	}
	if op := h.NextCall(now).Op; op == hold.OpCapture {
		t.Error("somebody said no, and the hold is captured")
	}
}

func laterOf(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// policyOpBeforeDeadline plays the milestones from now on as the expiry job
// does, until the deadline, and returns what the policy asked for.
func policyOpBeforeDeadline(t *testing.T, c hold.Decision, now time.Time) hold.Op {
	t.Helper()
	h := c.Hold
	due := c.SortedSetPlacement(&c.Hold, now, testRules).NextMilestone
	for i := 0; due.Before(h.ExpiresAt); i++ {
		if i > 100000 {
			t.Fatal("the milestones never come to the deadline")
		}
		now = laterOf(now, due)
		if !now.Before(h.ExpiresAt) {
			break
		}
		var c hold.Decision
		c, due = h.ApplyMilestone(due, now, testRules)
		if !c.Unchanged && c.Hold.Reason == hold.CauseOnExpiry {
			return c.Hold.NextOp
		}
		h = c.Hold
	}
	return 0
}

func TestPolicy_DeadlineLearnedInsideMargin(t *testing.T) {
	end := t0.Add(7 * day)
	inMargin := end.Add(-30 * time.Minute)
	policy := hold.PolicyCapture.String()
	mustDecide := func(c hold.Decision, err error) hold.Decision {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	newInMargin := mustDecide(hold.DecideNewHold(&hold.ValidRequest{ID: testIntentID, OnExpiry: hold.PolicyCapture},
		heldIntent(), "api", inMargin))
	cleared := mustDecide(newHold(t, heldIntent(), withCaptureAt(end.Add(-time.Minute)),
		withOnExpiry(hold.PolicyCapture)).ApplyPatch(&hold.Patch{CaptureAt: ptr("")}, "api",
		inMargin))
	changed := mustDecide(newHold(t, heldIntent(), withOnExpiry(hold.PolicyAlert)).ApplyPatch(
		&hold.Patch{OnExpiry: &policy}, "api", inMargin))
	paused := mustDecide(newHold(t, heldIntent(), withCaptureAt(end.Add(-time.Minute))).Pause(
		0, "api", inMargin))
	resumed := mustDecide(paused.Hold.Resume("api", inMargin))
	nearer := newHold(t, nil, withOnExpiry(hold.PolicyCapture)).ApplyPaymentIntent(
		heldIntent(func(in *hold.PaymentIntent) {
			in.CaptureBefore = t0.Add(4*day + 18*time.Hour)
		}), t0.Add(4*day+17*time.Hour+30*time.Minute))
	for _, tt := range []struct {
		name string
		c    hold.Decision
		now  time.Time
		want hold.Op
	}{
		{"scheduled inside the margin", newInMargin, inMargin, hold.OpCapture},
		{"truth nearer than assumed", nearer, t0.Add(4*day + 17*time.Hour + 30*time.Minute),
			hold.OpCapture},
		{"time cleared inside the margin", cleared, inMargin, hold.OpCapture},
		{"policy changed inside the margin", changed, inMargin, hold.OpCapture},
		{"paused inside the margin", paused, inMargin, hold.OpCancel},
		{"resumed inside the margin: its own time stands", resumed, inMargin, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !tt.c.NewDeadline {
				t.Error("the milestones are not computed anew")
			}
			if got := policyOpBeforeDeadline(t, tt.c, tt.now); got != tt.want {
				t.Errorf("until the deadline the policy asks for %v, want %v", got, tt.want)
			}
		})
	}
}

func TestApplyAnswer_ContradictionsBackOff(t *testing.T) {
	for _, tt := range []struct {
		name string
		read *hold.PaymentIntent
		kind hold.AnswerKind
	}{
		{"capture refused by state, yet held", heldIntent(), hold.AnswerUnexpectedState},
		{"charge gone, yet held", heldIntent(), hold.AnswerChargeGone},
		{"held, with nothing to capture",
			heldIntent(func(in *hold.PaymentIntent) { in.AmountCapturable = 0 }), hold.AnswerOK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHold(t, nil, withCaptureAt(t0.Add(time.Hour)))
			now := t0.Add(time.Hour)
			h = claimHold(h, now)
			for i := range 100 {
				call := h.NextCall(now)
				a := hold.Answer{Kind: hold.AnswerOK, Intent: tt.read}
				if call.Op != hold.OpRead {
					a = hold.Answer{Kind: tt.kind, HTTPStatus: 400}
				}
				c := h.ApplyAnswer(call, a, now)
				h = c.Hold
				if !c.NextStepNow {
					return
				}
				if i == 20 {
					t.Fatalf("20 calls without a pause, generation %d, and no end", h.Generation)
				}
			}
		})
	}
}

func TestApplyAnswer_LimitsCallsDuringOutage(t *testing.T) {
	// Every capture is answered with a 500 that Stripe keeps, every read works:
	// an hour of it.
	h := newHold(t, heldIntent(), withCaptureAt(t0.Add(time.Hour)))
	now := t0.Add(time.Hour)
	end := now.Add(time.Hour)
	events, calls, usedKeys := 0, 0, map[string]bool{}
	for now.Before(end) && h.State != hold.Attention {
		h = claimHold(h, now)
		for range 10 {
			call := h.NextCall(now)
			calls++
			a := hold.Answer{Kind: hold.AnswerUnknown, HTTPStatus: 500}
			switch {
			case call.Op == hold.OpRead:
				a = hold.Answer{Kind: hold.AnswerOK, Intent: heldIntent()}
			case usedKeys[call.Key]:
				a.Kind = hold.AnswerReplayedError
			}
			usedKeys[call.Key] = true
			c := h.ApplyAnswer(call, a, now)
			events += len(c.Events)
			h = c.Hold
			if !c.NextStepNow {
				break
			}
		}
		now = laterOf(now, h.NextAt)
	}
	if calls > 400 {
		t.Errorf("%d calls in an hour for one hold", calls)
	}
	if events > 20 {
		t.Errorf("%d notices in an hour for one hold", events)
	}
}

func TestApplyAnswer_AcceptedButNotDone(t *testing.T) {
	for _, status := range []hold.PaymentIntentStatus{hold.StatusProcessing, hold.StatusRequiresCapture} {
		t.Run(string(status), func(t *testing.T) {
			now := t0.Add(time.Hour)
			h := claimHold(newHold(t, heldIntent(), withCaptureAt(now)), now)
			c := h.ApplyAnswer(h.NextCall(now), hold.Answer{Kind: hold.AnswerOK, HTTPStatus: 200,
				Intent: newIntent(status)}, now)
			if !c.Hold.Sent.Unknown || c.Hold.State != hold.Working {
				t.Errorf("unknown %v, state %s: the capture was accepted and may still come",
					c.Hold.Sent.Unknown, c.Hold.State)
			}
			_, err := c.Hold.RequestCancel("", "api", now)
			wantCode(t, err, hold.TooLate)
		})
	}
}

func TestApplyAnswer_UnknownOutcomeNeedsIntent(t *testing.T) {
	for _, kind := range hold.AnswerKinds() {
		if kind == hold.AnswerOK {
			continue
		}
		t.Run(kind.String(), func(t *testing.T) {
			now := t0.Add(time.Hour)
			h := claimHold(newHold(t, heldIntent(), withCaptureAt(now)), now)
			h = h.ApplyAnswer(h.NextCall(now), hold.Answer{Kind: hold.AnswerUnknown}, now).Hold
			now = now.Add(day)
			h = claimHold(h, now)
			call := h.NextCall(now)
			if call.Op != hold.OpRead {
				t.Fatalf("a key of a day ago is used again")
			}
			c := h.ApplyAnswer(call, hold.Answer{Kind: kind, HTTPStatus: 400}, now)
			if !c.Hold.Sent.Unknown {
				t.Error("a read without an intent has made a lost capture known")
			}
			if c.Hold.State != hold.Working && c.Hold.State != hold.Attention {
				t.Errorf("state %s", c.Hold.State)
			}
		})
	}
}

func TestApplyAnswer_RefusalAfterLostCapture(t *testing.T) {
	// Parameters are judged before the key is looked up, so such a refusal says
	// nothing about the request before it.
	for _, kind := range []hold.AnswerKind{hold.AnswerInvalid, hold.AnswerDeclined,
		hold.AnswerAmountTooLarge} {
		t.Run(kind.String(), func(t *testing.T) {
			now := t0.Add(time.Hour)
			h := claimHold(newHold(t, heldIntent(), withCaptureAt(now)), now)
			h = h.ApplyAnswer(h.NextCall(now), hold.Answer{Kind: hold.AnswerUnknown}, now).Hold
			h = claimHold(h, now.Add(time.Minute))
			c := h.ApplyAnswer(h.NextCall(now.Add(time.Minute)),
				hold.Answer{Kind: kind, HTTPStatus: 400}, now.Add(time.Minute))
			h = c.Hold
			if h.State == hold.Attention && !h.Sent.Unknown {
				t.Error("a person is told that nothing happened, which nobody knows")
			}
			if h.State != hold.Attention {
				if call := h.NextCall(now.Add(2 * time.Minute)); call.Op != hold.OpRead {
					t.Errorf("next call %s, want read", call.Op)
				}
			}
		})
	}
}

func TestRequestCapture_ReadsFirstAfterTakeover(t *testing.T) {
	now := t0.Add(time.Hour)
	// the first worker died
	h := claimHold(claimHold(newHold(t, heldIntent(), withCaptureAt(now)), now),
		now.Add(time.Minute))
	h = h.ApplyAnswer(h.NextCall(now), hold.Answer{Kind: hold.AnswerIdempotencyError}, now).Hold
	h.Sent.Count = 0 // as if the answer had come to a request that wasn't counted
	c, err := h.RequestCapture(hold.CaptureRequest{}, "api", now)
	if err != nil {
		t.Fatal(err)
	}
	h = claimHold(c.Hold, now)
	if call := h.NextCall(now); call.Op != hold.OpRead {
		t.Errorf("first call after attention is %s, want read", call.Op)
	}
}

func TestApplyPatch_SameTimeInAttention(t *testing.T) {
	at := t0.Add(2 * day)
	h := newHold(t, nil, withCaptureAt(at), withAmount(amount, "eur")).ApplyPaymentIntent(
		heldIntent(func(in *hold.PaymentIntent) { in.AmountCapturable = 41000 }), t0).Hold
	if h.State != hold.Attention {
		t.Fatalf("state %s", h.State)
	}
	c, err := h.ApplyPatch(&hold.Patch{CaptureAt: ptr(formatTime(at))}, "api", t0)
	wantCode(t, err, "")
	if c.Unchanged || c.Hold.State != hold.Scheduled || c.Hold.NextOp != hold.OpCapture {
		t.Errorf("same %v, state %s, next %s: a person confirmed the time, and nothing will happen",
			c.Unchanged, c.Hold.State, c.Hold.NextOp)
	}
}

func TestApplyPaymentIntent_AssumedDeadlineIsStable(t *testing.T) {
	in := heldIntent(func(in *hold.PaymentIntent) {
		in.CaptureBefore, in.Created = time.Time{},
			t0.Add(-10*day)
	})
	h := newHold(t, in)
	first, rev := h.ExpiresAt, h.Revision
	for i := 1; i <= 40; i++ { // reconcile looks every quarter of an hour
		h = h.ApplyPaymentIntent(in, t0.Add(time.Duration(i)*15*time.Minute)).Hold
	}
	if !h.ExpiresAt.Equal(first) || h.Revision != rev {
		t.Errorf("after ten hours of looking the deadline has moved by %v, revision by %d",
			h.ExpiresAt.Sub(first), h.Revision-rev)
	}
}

func TestApplyPaymentIntent_AttentionEventOnce(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   *hold.PaymentIntent
	}{
		{"holds too little",
			heldIntent(func(in *hold.PaymentIntent) { in.AmountCapturable = 100 })},
		{"in no state to be captured", newIntent(hold.StatusRequiresAction)},
		{"ends too early",
			heldIntent(func(in *hold.PaymentIntent) { in.CaptureBefore = t0.Add(day) })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHold(t, nil, withCaptureAt(t0.Add(2*day)), withCaptureAmount(2000))
			attentionEvents := 0
			for i := range 10 {
				c := h.ApplyPaymentIntent(tt.in, t0.Add(time.Duration(i)*time.Minute))
				h = c.Hold
				for _, n := range c.Events {
					if n.Type == hold.EventAttention {
						attentionEvents++
					}
				}
			}
			if h.State != hold.Attention || attentionEvents != 1 {
				t.Errorf("state %s, announced %d times", h.State, attentionEvents)
			}
		})
	}
}

func TestApplyPaymentIntent_MismatchKeepsAcceptedCancel(t *testing.T) {
	in := heldIntent(func(in *hold.PaymentIntent) { in.AmountCapturable = 41000 })
	h := mustAccept(t)(newHold(t, nil, withAmount(amount, "eur"),
		withCaptureAt(t0.Add(day))).RequestCancel("", "api", t0))
	if c := h.ApplyPaymentIntent(in, t0); c.Hold.NextOp != hold.OpCancel {
		t.Errorf("seen in passing: state %s, next %s; letting go needs no amount",
			c.Hold.State, c.Hold.NextOp)
	}
	h = claimHold(h, t0)
	h.ReadFirst = true
	if c := h.ApplyAnswer(h.NextCall(t0), hold.Answer{Kind: hold.AnswerOK, Intent: in},
		t0); c.Hold.NextOp != hold.OpCancel {
		t.Errorf("under a claim: state %s, next %s", c.Hold.State, c.Hold.NextOp)
	}
}

func TestPolicy_NeverCapturesHoldToRelease(t *testing.T) {
	// The deadline turned out to be nearer than the time at which the caller
	// lets go.
	h := newHold(t, heldIntent(), withCancelAt(t0.Add(6*day)), withOnExpiry(hold.PolicyCapture))
	h = h.ApplyPaymentIntent(
		heldIntent(func(in *hold.PaymentIntent) { in.CaptureBefore = t0.Add(5 * day) }), t0).Hold
	policyAt := h.ExpiresAt.Add(-time.Hour)
	if c, _ := h.ApplyMilestone(policyAt, policyAt, testRules); c.Hold.NextOp == hold.OpCapture {
		t.Error("the caller wants it released, the policy captures it")
	}
}

func TestCheckID_NeverEchoesSecrets(t *testing.T) {
	for _, s := range []string{"pi_3PxYzA2eZvKYlo2C1gQmT0aB_secret_Zm9vYmFyYmF6",
		"sk_live_51Habcdefghijklmnop", "rk_test_51Habcdefghijklmnop"} {
		for name, err := range map[string]error{"id": hold.CheckPaymentIntentID(s),
			"account": hold.CheckAccountID(s)} {
			if err == nil {
				t.Errorf("%s: accepted", name)
			} else if strings.Contains(err.Error(), "secret_Zm9v") ||
				strings.Contains(err.Error(), "51Habcdef") {
				t.Errorf("%s: the error carries a secret", name)
			}
		}
	}
}

func TestHistoryNote_TruncatedToValidUTF8(t *testing.T) {
	now := t0.Add(time.Hour)
	h := claimHold(newHold(t, heldIntent(), withCaptureAt(now)), now)
	h = h.ApplyAnswer(h.NextCall(now), hold.Answer{Kind: hold.AnswerInvalid, Message: "x" +
		strings.Repeat("é", hold.MaxNoteBytes)}, now).Hold
	note := h.History[len(h.History)-1].Note
	if !utf8.ValidString(note) || len(note) > hold.MaxNoteBytes {
		t.Errorf("%d bytes, valid %v", len(note), utf8.ValidString(note))
	}
}

func TestRequestCapture_TruncatesToMilliseconds(t *testing.T) {
	now := t0.Add(1234567 * time.Nanosecond)
	h := mustAccept(t)(newHold(t, heldIntent()).RequestCapture(hold.CaptureRequest{}, "api", now))
	if !h.NextAt.Equal(h.NextAt.Truncate(time.Millisecond)) {
		t.Errorf("next at %v", h.NextAt)
	}
}

func TestApplyAnswer_CapturedUnderEarlierKey(t *testing.T) {
	now := t0.Add(time.Hour)
	for _, tt := range []struct {
		name string
		with *hold.PaymentIntent
	}{{"told in the error", capturedIntent(amount)}, {"told by a read", nil}} {
		t.Run(tt.name, func(t *testing.T) {
			h := claimHold(newHold(t, heldIntent(), withCaptureAt(now)), now)
			h.Generation = 2 // a request of the first is still on its way
			c := h.ApplyAnswer(h.NextCall(now),
				hold.Answer{Kind: hold.AnswerUnexpectedState, Intent: tt.with}, now)
			if c.NextStepNow {
				c = c.Hold.ApplyAnswer(c.Hold.NextCall(now), hold.Answer{Kind: hold.AnswerOK,
					Intent: capturedIntent(amount)}, now)
			}
			if c.Hold.State != hold.Captured || c.Hold.Reason != hold.CauseSchedule {
				t.Errorf("%s by %s, want captured by schedule", c.Hold.State, c.Hold.Reason)
			}
		})
	}
}

func TestApplyAnswer_ReadTooSoonAfterLostRequest(t *testing.T) {
	// A read that is faster than the lost request proves nothing about it: were
	// a cancel accepted now, the capture could still come.
	now := t0.Add(time.Hour)
	h := claimHold(newHold(t, heldIntent(), withCaptureAt(now)), now)
	h.Sent.FirstAt = now.Add(-23 * time.Hour) // an earlier claim did not get through to Stripe
	h = h.ApplyAnswer(h.NextCall(now), hold.Answer{Kind: hold.AnswerUnknown}, now).Hold
	now = now.Add(time.Second)
	h = claimHold(h, now)
	call := h.NextCall(now)
	if call.Op != hold.OpRead {
		t.Fatalf("call %s", call.Op)
	}
	c := h.ApplyAnswer(call, hold.Answer{Kind: hold.AnswerOK, Intent: heldIntent()}, now)
	if c.NextStepNow {
		c = c.ReleaseClaimUntil(now.Add(time.Second)) // no budget
	}
	_, err := c.Hold.RequestCancel("", "api", now)
	wantCode(t, err, hold.TooLate)

	// A minute later the read tells.
	now = now.Add(time.Minute)
	h = claimHold(c.Hold, now)
	c = h.ApplyAnswer(h.NextCall(now), hold.Answer{Kind: hold.AnswerOK, Intent: heldIntent()}, now)
	if c.Hold.Sent.Unknown || c.Hold.Generation != 2 {
		t.Errorf("unknown %v, generation %d, a minute after the request",
			c.Hold.Sent.Unknown, c.Hold.Generation)
	}
}

func TestApplyAnswer_RetransmittedRequest(t *testing.T) {
	h := newHold(t, heldIntent(), withCaptureAt(t0.Add(time.Hour)))
	h.PreviousState, h.State = h.State, hold.Working
	h.BeginClaim(t0.Add(time.Hour), false)
	for _, kind := range []hold.AnswerKind{hold.AnswerLockTimeout, hold.AnswerRateLimited,
		hold.AnswerUnauthorized, hold.AnswerForbidden} {
		now := t0.Add(time.Hour)
		c := h.ApplyAnswer(h.NextCall(now), hold.Answer{Kind: kind, Retransmitted: true}, now)
		if c.Hold.State != hold.Working {
			t.Errorf("%s: the hold is %s and open to changes", kind, c.Hold.State)
		}
		if _, err := c.Hold.RequestCancel("", "api", now); err == nil {
			t.Errorf("%s: a cancel was accepted", kind)
		}
		if c := h.ApplyAnswer(h.NextCall(now), hold.Answer{Kind: kind},
			now); c.Hold.State != hold.Scheduled {
			t.Errorf("%s, sent once: %s", kind, c.Hold.State)
		}
	}
}
