package hold_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/holdd/holdd/worker/hold"
)

// Each test here is one way in which money could move wrongly or a hold be forgotten, in as few steps as it takes.

// refused brings a claimed hold to Attention by Stripe's refusal.
func refused(t *testing.T, h hold.Hold, now time.Time) hold.Hold {
	t.Helper()
	h = claim(h, now)
	c := h.ApplyAnswer(h.NextCall(now), hold.Answer{Kind: hold.AnswerInvalid, HTTPStatus: 400, Code: "nope"}, now)
	if c.Hold.State != hold.Attention {
		t.Fatalf("state %s, want attention", c.Hold.State)
	}
	return c.Hold
}

func TestPatchingTheSameTimeDoesNotUndoAnAcceptedCancel(t *testing.T) {
	at := t0.Add(2 * day)
	h := must(t)(made(t, held(), captureAt(at)).RequestCancel("api", t0))
	h = refused(t, h, t0)
	c, err := h.ApplyPatch(&hold.Patch{CaptureAt: ptr(rfc(at)), Metadata: map[string]string{"room": "12"}}, "api", t0)
	if err == nil && c.Hold.NextOp == hold.OpCapture {
		t.Error("a cancel was accepted, and the hold is going to be captured")
	}
	h = c.Hold
	if err == nil {
		h = claim(h, at)
		if op := h.NextCall(at).Op; op == hold.OpCapture {
			t.Error("the next call is a capture")
		}
	}
}

func TestADeadlineDoesNotUndoAWish(t *testing.T) {
	end := t0.Add(7 * day)
	for _, tt := range []struct {
		name  string
		h     hold.Hold
		wish  func(hold.Hold, time.Time) (hold.Decision, error)
		wantO hold.Op
	}{
		{"cancel, with a time to capture", made(t, held(), captureAt(end.Add(-time.Minute))), func(h hold.Hold, at time.Time) (hold.Decision, error) { return h.RequestCancel("api", at) }, hold.OpCancel},
		{"cancel, with no time", made(t, held()), func(h hold.Hold, at time.Time) (hold.Decision, error) { return h.RequestCancel("api", at) }, hold.OpCancel},
		{"capture, with no time", made(t, held()), func(h hold.Hold, at time.Time) (hold.Decision, error) { return h.RequestCapture(0, "api", at) }, hold.OpCapture},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := must(t)(tt.wish(tt.h, end.Add(-2*time.Second)))
			now := end.Add(-time.Second)
			h = claim(h, now)
			// Stripe is out of reach; the back-off goes beyond the deadline.
			for h.NextAt.Before(end) {
				now = now.Add(100 * time.Millisecond)
				h = h.ApplyAnswer(h.NextCall(now), hold.Answer{Kind: hold.AnswerRateLimited, HTTPStatus: 429}, now).Hold
				h = claim(h, now)
			}
			h = h.ReleaseUnsent().Hold
			now = end.Add(time.Second)
			c, _ := h.PassMilestone(end, now, rules)
			h = c.Hold
			// The network has not let it go yet.
			ends := end.Add(time.Hour)
			for range 4 {
				if h.NextOp == 0 {
					t.Fatalf("the wish is forgotten: state %s, no next step", h.State)
				}
				now = later(now, h.NextAt)
				h = claim(h, now)
				call := h.NextCall(now)
				if call.Op == hold.OpRead {
					h = h.ApplyAnswer(call, hold.Answer{Kind: hold.AnswerOK, Intent: held(func(in *hold.Intent) { in.CaptureBefore = ends })}, now).Hold
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

func TestAPausedHoldThatThePolicyCancelsIsNeverCaptured(t *testing.T) {
	end := t0.Add(7 * day)
	h := must(t)(made(t, held(), captureAt(t0.Add(day))).Pause(0, "api", t0))
	act := end.Add(-time.Hour)
	c, _ := h.PassMilestone(act, act, rules)
	if c.Hold.NextOp != hold.OpCancel {
		t.Fatalf("next %s, want cancel", c.Hold.NextOp)
	}
	h = c.Hold
	h.NextAt = end.Add(time.Second) // a back-off beyond the deadline
	now := end.Add(2 * time.Second)
	c, _ = h.PassMilestone(end, now, rules)
	h = claim(c.Hold, now)
	if call := h.NextCall(now); call.Op == hold.OpRead {
		h = h.ApplyAnswer(call, hold.Answer{Kind: hold.AnswerOK, Intent: held(func(in *hold.Intent) { in.CaptureBefore = end.Add(time.Hour) })}, now).Hold
	}
	if op := h.NextCall(now).Op; op == hold.OpCapture {
		t.Error("somebody said no, and the hold is captured")
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// policyActs plays the milestones from now on as the expiry job does, until the deadline, and returns what the policy asked for.
func policyActs(t *testing.T, c hold.Decision, now time.Time) hold.Op {
	t.Helper()
	h := c.Hold
	due := c.Placement(&c.Hold, now, rules).NextMilestone
	for i := 0; due.Before(h.ExpiresAt); i++ {
		if i > 100000 {
			t.Fatal("the milestones never come to the deadline")
		}
		now = later(now, due)
		if !now.Before(h.ExpiresAt) {
			break
		}
		var c hold.Decision
		c, due = h.PassMilestone(due, now, rules)
		if !c.Unchanged && c.Hold.Reason == hold.CauseOnExpiry {
			return c.Hold.NextOp
		}
		h = c.Hold
	}
	return 0
}

func TestThePolicyActsHoweverLateTheDeadlineIsLearned(t *testing.T) {
	end := t0.Add(7 * day)
	inside := end.Add(-30 * time.Minute)
	policy := hold.PolicyCapture.String()
	ok := func(c hold.Decision, err error) hold.Decision {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	newInside := ok(hold.New(&hold.Draft{ID: pi, OnExpiry: hold.PolicyCapture}, held(), "api", inside))
	cleared := ok(made(t, held(), captureAt(end.Add(-time.Minute)), onExpiry(hold.PolicyCapture)).ApplyPatch(&hold.Patch{CaptureAt: ptr("")}, "api", inside))
	changed := ok(made(t, held(), onExpiry(hold.PolicyAlert)).ApplyPatch(&hold.Patch{OnExpiry: &policy}, "api", inside))
	paused := ok(made(t, held(), captureAt(end.Add(-time.Minute))).Pause(0, "api", inside))
	resumed := ok(paused.Hold.Resume("api", inside))
	nearer := made(t, nil, onExpiry(hold.PolicyCapture)).ApplyIntent(held(func(in *hold.Intent) { in.CaptureBefore = t0.Add(4*day + 18*time.Hour) }), t0.Add(4*day+17*time.Hour+30*time.Minute))
	for _, tt := range []struct {
		name string
		c    hold.Decision
		now  time.Time
		want hold.Op
	}{
		{"scheduled inside the margin", newInside, inside, hold.OpCapture},
		{"truth nearer than assumed", nearer, t0.Add(4*day + 17*time.Hour + 30*time.Minute), hold.OpCapture},
		{"time cleared inside the margin", cleared, inside, hold.OpCapture},
		{"policy changed inside the margin", changed, inside, hold.OpCapture},
		{"paused inside the margin", paused, inside, hold.OpCancel},
		{"resumed inside the margin: its own time stands", resumed, inside, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !tt.c.NewDeadline {
				t.Error("the milestones are not computed anew")
			}
			if got := policyActs(t, tt.c, tt.now); got != tt.want {
				t.Errorf("until the deadline the policy asks for %v, want %v", got, tt.want)
			}
		})
	}
}

func TestContradictionsBackOff(t *testing.T) {
	for _, tt := range []struct {
		name string
		read *hold.Intent
		kind hold.AnswerKind
	}{
		{"capture refused by state, yet held", held(), hold.AnswerUnexpectedState},
		{"charge gone, yet held", held(), hold.AnswerChargeGone},
		{"held, with nothing to capture", held(func(in *hold.Intent) { in.AmountCapturable = 0 }), hold.AnswerOK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := made(t, nil, captureAt(t0.Add(time.Hour)))
			now := t0.Add(time.Hour)
			h = claim(h, now)
			for i := range 100 {
				call := h.NextCall(now)
				a := hold.Answer{Kind: hold.AnswerOK, Intent: tt.read}
				if call.Op != hold.OpRead {
					a = hold.Answer{Kind: tt.kind, HTTPStatus: 400}
				}
				c := h.ApplyAnswer(call, a, now)
				h = c.Hold
				if !c.Again {
					return
				}
				if i == 20 {
					t.Fatalf("20 calls without a pause, generation %d, and no end", h.Generation)
				}
			}
		})
	}
}

func TestAnOutageIsNoFlood(t *testing.T) {
	// Every capture is answered with a 500 that Stripe keeps, every read works: an hour of it.
	h := made(t, held(), captureAt(t0.Add(time.Hour)))
	now := t0.Add(time.Hour)
	end := now.Add(time.Hour)
	notices, calls, stored := 0, 0, map[string]bool{}
	for now.Before(end) && h.State != hold.Attention {
		h = claim(h, now)
		for range 10 {
			call := h.NextCall(now)
			calls++
			a := hold.Answer{Kind: hold.AnswerUnknown, HTTPStatus: 500}
			switch {
			case call.Op == hold.OpRead:
				a = hold.Answer{Kind: hold.AnswerOK, Intent: held()}
			case stored[call.Key]:
				a.Kind = hold.AnswerReplayedError
			}
			stored[call.Key] = true
			c := h.ApplyAnswer(call, a, now)
			notices += len(c.Events)
			h = c.Hold
			if !c.Again {
				break
			}
		}
		now = later(now, h.NextAt)
	}
	if calls > 400 {
		t.Errorf("%d calls in an hour for one hold", calls)
	}
	if notices > 20 {
		t.Errorf("%d notices in an hour for one hold", notices)
	}
}

func TestAcceptedButNotDoneStaysClosed(t *testing.T) {
	for _, status := range []hold.Status{hold.StatusProcessing, hold.StatusRequiresCapture} {
		t.Run(string(status), func(t *testing.T) {
			now := t0.Add(time.Hour)
			h := claim(made(t, held(), captureAt(now)), now)
			c := h.ApplyAnswer(h.NextCall(now), hold.Answer{Kind: hold.AnswerOK, HTTPStatus: 200, Intent: intent(status)}, now)
			if !c.Hold.Attempt.Unknown || c.Hold.State != hold.Working {
				t.Errorf("unknown %v, state %s: the capture was accepted and may still come", c.Hold.Attempt.Unknown, c.Hold.State)
			}
			_, err := c.Hold.RequestCancel("api", now)
			wantCode(t, err, hold.TooLate)
		})
	}
}

func TestOnlyAnIntentMakesAnUnknownOutcomeKnown(t *testing.T) {
	for _, kind := range hold.AnswerKinds() {
		if kind == hold.AnswerOK {
			continue
		}
		t.Run(kind.String(), func(t *testing.T) {
			now := t0.Add(time.Hour)
			h := claim(made(t, held(), captureAt(now)), now)
			h = h.ApplyAnswer(h.NextCall(now), hold.Answer{Kind: hold.AnswerUnknown}, now).Hold
			now = now.Add(day)
			h = claim(h, now)
			call := h.NextCall(now)
			if call.Op != hold.OpRead {
				t.Fatalf("a key of a day ago is used again")
			}
			c := h.ApplyAnswer(call, hold.Answer{Kind: kind, HTTPStatus: 400}, now)
			if !c.Hold.Attempt.Unknown {
				t.Error("a read without an intent has made a lost capture known")
			}
			if c.Hold.State != hold.Working && c.Hold.State != hold.Attention {
				t.Errorf("state %s", c.Hold.State)
			}
		})
	}
}

func TestALostCaptureIsReadBackBeforeARefusalIsBelieved(t *testing.T) {
	// Parameters are judged before the key is looked up, so such a refusal says nothing about the request before it.
	for _, kind := range []hold.AnswerKind{hold.AnswerInvalid, hold.AnswerDeclined, hold.AnswerAmountTooLarge} {
		t.Run(kind.String(), func(t *testing.T) {
			now := t0.Add(time.Hour)
			h := claim(made(t, held(), captureAt(now)), now)
			h = h.ApplyAnswer(h.NextCall(now), hold.Answer{Kind: hold.AnswerUnknown}, now).Hold
			h = claim(h, now.Add(time.Minute))
			c := h.ApplyAnswer(h.NextCall(now.Add(time.Minute)), hold.Answer{Kind: kind, HTTPStatus: 400}, now.Add(time.Minute))
			h = c.Hold
			if h.State == hold.Attention && !h.Attempt.Unknown {
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

func TestWhatWasTakenOverIsReadBackAfterAttention(t *testing.T) {
	now := t0.Add(time.Hour)
	h := claim(claim(made(t, held(), captureAt(now)), now), now.Add(time.Minute)) // the first worker died
	h = h.ApplyAnswer(h.NextCall(now), hold.Answer{Kind: hold.AnswerIdempotencyError}, now).Hold
	h.Attempt.Count = 0 // as if the answer had come to a request that wasn't counted
	c, err := h.RequestCapture(0, "api", now)
	if err != nil {
		t.Fatal(err)
	}
	h = claim(c.Hold, now)
	if call := h.NextCall(now); call.Op != hold.OpRead {
		t.Errorf("first call after attention is %s, want read", call.Op)
	}
}

func TestConfirmingATimeInAttentionSchedulesAnew(t *testing.T) {
	at := t0.Add(2 * day)
	h := made(t, nil, captureAt(at), told(amount, "eur")).ApplyIntent(held(func(in *hold.Intent) { in.AmountCapturable = 41000 }), t0).Hold
	if h.State != hold.Attention {
		t.Fatalf("state %s", h.State)
	}
	c, err := h.ApplyPatch(&hold.Patch{CaptureAt: ptr(rfc(at))}, "api", t0)
	wantCode(t, err, "")
	if c.Unchanged || c.Hold.State != hold.Scheduled || c.Hold.NextOp != hold.OpCapture {
		t.Errorf("same %v, state %s, next %s: a person confirmed the time, and nothing will happen", c.Unchanged, c.Hold.State, c.Hold.NextOp)
	}
}

func TestAnAssumedDeadlineDoesNotRunAway(t *testing.T) {
	in := held(func(in *hold.Intent) { in.CaptureBefore, in.Created = time.Time{}, t0.Add(-10*day) })
	h := made(t, in)
	first, rev := h.ExpiresAt, h.Revision
	for i := 1; i <= 40; i++ { // reconcile looks every quarter of an hour
		h = h.ApplyIntent(in, t0.Add(time.Duration(i)*15*time.Minute)).Hold
	}
	if !h.ExpiresAt.Equal(first) || h.Revision != rev {
		t.Errorf("after ten hours of looking the deadline has moved by %v, revision by %d", h.ExpiresAt.Sub(first), h.Revision-rev)
	}
}

func TestAttentionIsAnnouncedOnce(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   *hold.Intent
	}{
		{"holds too little", held(func(in *hold.Intent) { in.AmountCapturable = 100 })},
		{"in no state to be captured", intent(hold.StatusRequiresAction)},
		{"ends too early", held(func(in *hold.Intent) { in.CaptureBefore = t0.Add(day) })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := made(t, nil, captureAt(t0.Add(2*day)), part(2000))
			notices := 0
			for i := range 10 {
				c := h.ApplyIntent(tt.in, t0.Add(time.Duration(i)*time.Minute))
				h = c.Hold
				for _, n := range c.Events {
					if n.Type == hold.EventAttention {
						notices++
					}
				}
			}
			if h.State != hold.Attention || notices != 1 {
				t.Errorf("state %s, announced %d times", h.State, notices)
			}
		})
	}
}

func TestAMismatchDoesNotStopAnAcceptedCancel(t *testing.T) {
	in := held(func(in *hold.Intent) { in.AmountCapturable = 41000 })
	h := must(t)(made(t, nil, told(amount, "eur"), captureAt(t0.Add(day))).RequestCancel("api", t0))
	if c := h.ApplyIntent(in, t0); c.Hold.NextOp != hold.OpCancel {
		t.Errorf("seen in passing: state %s, next %s; letting go needs no amount", c.Hold.State, c.Hold.NextOp)
	}
	h = claim(h, t0)
	h.ReadFirst = true
	if c := h.ApplyAnswer(h.NextCall(t0), hold.Answer{Kind: hold.AnswerOK, Intent: in}, t0); c.Hold.NextOp != hold.OpCancel {
		t.Errorf("under a claim: state %s, next %s", c.Hold.State, c.Hold.NextOp)
	}
}

func TestThePolicyNeverCapturesWhatIsToBeReleased(t *testing.T) {
	// The deadline turned out to be nearer than the time at which the caller lets go.
	h := made(t, held(), cancelAt(t0.Add(6*day)), onExpiry(hold.PolicyCapture))
	h = h.ApplyIntent(held(func(in *hold.Intent) { in.CaptureBefore = t0.Add(5 * day) }), t0).Hold
	act := h.ExpiresAt.Add(-time.Hour)
	if c, _ := h.PassMilestone(act, act, rules); c.Hold.NextOp == hold.OpCapture {
		t.Error("the caller wants it released, the policy captures it")
	}
}

func TestNoSecretIsEchoed(t *testing.T) {
	for _, s := range []string{"pi_3PxYzA2eZvKYlo2C1gQmT0aB_secret_Zm9vYmFyYmF6", "sk_live_51Habcdefghijklmnop", "rk_test_51Habcdefghijklmnop"} {
		for name, err := range map[string]error{"id": hold.CheckPaymentIntentID(s), "account": hold.CheckAccountID(s)} {
			if err == nil {
				t.Errorf("%s: accepted", name)
			} else if strings.Contains(err.Error(), "secret_Zm9v") || strings.Contains(err.Error(), "51Habcdef") {
				t.Errorf("%s: the error carries a secret", name)
			}
		}
	}
}

func TestNotesStayText(t *testing.T) {
	now := t0.Add(time.Hour)
	h := claim(made(t, held(), captureAt(now)), now)
	h = h.ApplyAnswer(h.NextCall(now), hold.Answer{Kind: hold.AnswerInvalid, Message: "x" + strings.Repeat("é", hold.MaxNoteBytes)}, now).Hold
	note := h.History[len(h.History)-1].Note
	if !utf8.ValidString(note) || len(note) > hold.MaxNoteBytes {
		t.Errorf("%d bytes, valid %v", len(note), utf8.ValidString(note))
	}
}

func TestTimesHaveMilliseconds(t *testing.T) {
	now := t0.Add(1234567 * time.Nanosecond)
	h := must(t)(made(t, held()).RequestCapture(0, "api", now))
	if !h.NextAt.Equal(h.NextAt.Truncate(time.Millisecond)) {
		t.Errorf("next at %v", h.NextAt)
	}
}

func TestALateTwinOfOursIsOurs(t *testing.T) {
	now := t0.Add(time.Hour)
	for _, tt := range []struct {
		name string
		with *hold.Intent
	}{{"told in the error", captured(amount)}, {"told by a read", nil}} {
		t.Run(tt.name, func(t *testing.T) {
			h := claim(made(t, held(), captureAt(now)), now)
			h.Generation = 2 // a request of the first is still on its way
			c := h.ApplyAnswer(h.NextCall(now), hold.Answer{Kind: hold.AnswerUnexpectedState, Intent: tt.with}, now)
			if c.Again {
				c = c.Hold.ApplyAnswer(c.Hold.NextCall(now), hold.Answer{Kind: hold.AnswerOK, Intent: captured(amount)}, now)
			}
			if c.Hold.State != hold.Captured || c.Hold.Reason != hold.CauseSchedule {
				t.Errorf("%s by %s, want captured by schedule", c.Hold.State, c.Hold.Reason)
			}
		})
	}
}

func TestALostRequestMayStillBeOnItsWay(t *testing.T) {
	// A read that is faster than the lost request proves nothing about it: were a cancel accepted now, the capture could still come.
	now := t0.Add(time.Hour)
	h := claim(made(t, held(), captureAt(now)), now)
	h.Attempt.FirstAt = now.Add(-23 * time.Hour) // an earlier claim did not get through to Stripe
	h = h.ApplyAnswer(h.NextCall(now), hold.Answer{Kind: hold.AnswerUnknown}, now).Hold
	now = now.Add(time.Second)
	h = claim(h, now)
	call := h.NextCall(now)
	if call.Op != hold.OpRead {
		t.Fatalf("call %s", call.Op)
	}
	c := h.ApplyAnswer(call, hold.Answer{Kind: hold.AnswerOK, Intent: held()}, now)
	if c.Again {
		c = c.DeferUntil(now.Add(time.Second)) // no budget
	}
	_, err := c.Hold.RequestCancel("api", now)
	wantCode(t, err, hold.TooLate)

	// A minute later the read tells.
	now = now.Add(time.Minute)
	h = claim(c.Hold, now)
	c = h.ApplyAnswer(h.NextCall(now), hold.Answer{Kind: hold.AnswerOK, Intent: held()}, now)
	if c.Hold.Attempt.Unknown || c.Hold.Generation != 2 {
		t.Errorf("unknown %v, generation %d, a minute after the request", c.Hold.Attempt.Unknown, c.Hold.Generation)
	}
}

func TestAnAnswerToARepeatedRequestSaysNothingOfTheFirst(t *testing.T) {
	h := made(t, held(), captureAt(t0.Add(time.Hour)))
	h.PreviousState, h.State = h.State, hold.Working
	h.MarkClaimed(t0.Add(time.Hour), false)
	for _, kind := range []hold.AnswerKind{hold.AnswerLockTimeout, hold.AnswerRateLimited, hold.AnswerUnauthorized, hold.AnswerForbidden} {
		now := t0.Add(time.Hour)
		c := h.ApplyAnswer(h.NextCall(now), hold.Answer{Kind: kind, Retransmitted: true}, now)
		if c.Hold.State != hold.Working {
			t.Errorf("%s: the hold is %s and open to changes", kind, c.Hold.State)
		}
		if _, err := c.Hold.RequestCancel("api", now); err == nil {
			t.Errorf("%s: a cancel was accepted", kind)
		}
		if c := h.ApplyAnswer(h.NextCall(now), hold.Answer{Kind: kind}, now); c.Hold.State != hold.Scheduled {
			t.Errorf("%s, sent once: %s", kind, c.Hold.State)
		}
	}
}
