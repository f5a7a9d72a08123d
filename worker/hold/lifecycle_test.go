package hold_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdd/holdd/worker/hold"
)

// A whole life of one hold under everything that can go wrong, against a small
// Stripe that knows what really happened.

// fakeStripe is Stripe's side: one intent, and the keys that it remembers.
type fakeStripe struct {
	intent         *hold.PaymentIntent
	answersByKey   map[string]storedAnswer
	lateRequests   []lateRequest // requests whose senders have given up on them, still on their way
	endedElsewhere bool          // somebody else ended it
	multi          bool          // another system may capture parts
	taken          int64         // what it took
	effects        []effect
}

type storedAnswer struct {
	call   hold.Call
	at     time.Time
	answer hold.Answer
}

type lateRequest struct {
	call      hold.Call
	arrivesAt time.Time
}

type effect struct {
	call hold.Call
	at   time.Time
}

// lateEffectWindow is how long a request may be on its way after its sender
// gave up. The machine reads back after a lost request only when the same key
// was answered, or after more time than this.
const lateEffectWindow = 3 * time.Second

func (w *fakeStripe) endIntent(status hold.PaymentIntentStatus, received int64, reason string) {
	in := *w.intent
	in.Status, in.AmountCapturable, in.AmountReceived, in.CancellationReason = status, 0, received,
		reason
	w.intent = &in
}

// cancel lets go of what is held. An intent of which a part was captured has
// succeeded.
func (w *fakeStripe) cancel() {
	if w.intent.AmountReceived > 0 {
		w.endIntent(hold.StatusSucceeded, w.intent.AmountReceived, "")
		return
	}
	w.endIntent(hold.StatusCanceled, 0, "requested_by_customer")
}

// take is another system that captures a part and keeps the rest.
func (w *fakeStripe) take(n int64) {
	in := *w.intent
	in.AmountCapturable, in.AmountReceived = in.AmountCapturable-n, in.AmountReceived+n
	w.intent = &in
	w.taken += n
}

func (w *fakeStripe) currentIntent() *hold.PaymentIntent { in := *w.intent; return &in }

// handleCall executes a call that has arrived. fault is what goes wrong on
// Stripe's side.
func (w *fakeStripe) handleCall(c hold.Call, now time.Time, fault string) hold.Answer {
	if !now.Before(w.intent.CaptureBefore) && w.intent.Status == hold.StatusRequiresCapture {
		if w.intent.AmountReceived > 0 {
			w.endIntent(hold.StatusSucceeded, w.intent.AmountReceived, "")
		} else {
			w.endIntent(hold.StatusCanceled, 0, "automatic")
		}
	}
	switch fault {
	case "lock":
		return hold.Answer{Kind: hold.AnswerLockTimeout, HTTPStatus: 429}
	case "rate":
		return hold.Answer{Kind: hold.AnswerRateLimited, HTTPStatus: 429}
	case "unauthorized":
		return hold.Answer{Kind: hold.AnswerUnauthorized, HTTPStatus: 401}
	}
	if c.Op == hold.OpRead {
		if fault == "500 before" || fault == "500 after" {
			return hold.Answer{Kind: hold.AnswerUnknown, HTTPStatus: 500}
		}
		return hold.Answer{Kind: hold.AnswerOK, HTTPStatus: 200, Intent: w.currentIntent()}
	}
	if s, ok := w.answersByKey[c.Key]; ok && now.Sub(s.at) < 24*time.Hour {
		if !reflect.DeepEqual(s.call, c) {
			return hold.Answer{Kind: hold.AnswerIdempotencyError, HTTPStatus: 400}
		}
		a := s.answer
		a.Replayed = true
		if a.Kind == hold.AnswerUnknown {
			a.Kind = hold.AnswerReplayedError
		}
		return a
	}
	a := hold.Answer{Kind: hold.AnswerUnknown, HTTPStatus: 500}
	if fault != "500 before" {
		if w.intent.Status != hold.StatusRequiresCapture {
			a = hold.Answer{Kind: hold.AnswerUnexpectedState, HTTPStatus: 400,
				Intent: w.currentIntent()}
			if fault == "bare" {
				a.Intent = nil
			}
		} else {
			if c.Op == hold.OpCapture {
				n := c.Amount
				if n == 0 && !c.ReleaseRest {
					n = w.intent.AmountCapturable
				}
				if n > w.intent.AmountCapturable {
					a = hold.Answer{Kind: hold.AnswerAmountTooLarge, HTTPStatus: 400,
						Code: "amount_too_large"}
					w.answersByKey[c.Key] = storedAnswer{c, now, a}
					return a
				}
				w.endIntent(hold.StatusSucceeded, w.intent.AmountReceived+n, "")
			} else {
				w.cancel()
			}
			w.effects = append(w.effects, effect{c, now})
			a = hold.Answer{Kind: hold.AnswerOK, HTTPStatus: 200, Intent: w.currentIntent()}
		}
		if fault == "500 after" {
			a = hold.Answer{Kind: hold.AnswerUnknown, HTTPStatus: 500}
		}
	}
	w.answersByKey[c.Key] = storedAnswer{c, now, a}
	return a
}

// lifecycle is one run.
type lifecycle struct {
	t                *rapid.T
	stripe           fakeStripe
	h                hold.Hold // as the store has it
	now              time.Time
	milestone        time.Time
	leasedUntil      time.Time // zero: nobody works on it
	claimedAt        time.Time
	cancelAcceptedAt time.Time // when a cancel was accepted
	injectFaults     bool
	died             bool // a worker, with what it knew
}

func (l *lifecycle) drawChoice(name string, from ...string) string {
	return rapid.SampledFrom(from).Draw(l.t, name)
}

func (l *lifecycle) fatalf(format string, args ...any) {
	l.t.Helper()
	l.t.Fatalf(format, args...)
}

// commit does what the store does.
func (l *lifecycle) commit(c hold.Decision) {
	if c.Unchanged {
		return
	}
	c.Hold.Version = l.h.Version + 1
	p := c.SortedSetPlacement(&l.h, l.now, testRules)
	if !p.KeepMilestone {
		l.milestone = p.NextMilestone
	}
	l.h = c.Hold
	if end := l.h.ExpiresAt; !l.h.State.IsFinal() && end.After(l.now) && l.milestone.After(end) {
		l.fatalf("its deadline is at +%v, and nobody looks at it before +%v",
			end.Sub(t0), l.milestone.Sub(t0))
	}
	if l.h.CancelWanted && l.cancelAcceptedAt.IsZero() {
		l.cancelAcceptedAt = l.now
	}
}

func (l *lifecycle) deliverLateRequests() {
	l.stripe.lateRequests = slices.DeleteFunc(l.stripe.lateRequests, func(f lateRequest) bool {
		if f.arrivesAt.After(l.now) {
			return false
		}
		l.stripe.handleCall(f.call, f.arrivesAt, "")
		l.checkEffects()
		return true
	})
}

func (l *lifecycle) advance(d time.Duration) {
	l.now = l.now.Add(d)
	l.deliverLateRequests()
}

// checkEffects is done after everything that may have moved money.
func (l *lifecycle) checkEffects() {
	if len(l.stripe.effects) > 1 {
		l.fatalf("money moved %d times: %+v", len(l.stripe.effects), l.stripe.effects)
	}
	if len(l.stripe.effects) > 0 && l.stripe.effects[0].call.Op == hold.OpCapture &&
		l.h.CaptureAmount > 0 && l.stripe.intent.AmountReceived > max(
		l.h.CaptureAmount, l.stripe.taken) {
		l.fatalf("%d captured in all, %d of it by another system, wanted are %d",
			l.stripe.intent.AmountReceived, l.stripe.taken, l.h.CaptureAmount)
	}
	for _, e := range l.stripe.effects {
		if e.call.Op == hold.OpCapture && !l.cancelAcceptedAt.IsZero() &&
			e.at.After(l.cancelAcceptedAt) {
			l.fatalf("captured at +%v by %s, after a cancel was accepted at +%v", e.at.Sub(t0),
				e.call.Key, l.cancelAcceptedAt.Sub(t0))
		}
	}
}

// claimAndCall is one claim of a worker, which may die anywhere.
func (l *lifecycle) claimAndCall() {
	if l.h.State.IsFinal() || l.h.NextOp == 0 {
		return
	}
	if !l.leasedUntil.IsZero() {
		if l.now.Before(l.leasedUntil) {
			return
		}
	} else if l.h.NextAt.After(l.now) {
		return
	}
	// What the store's claim does.
	takenOver := l.h.State == hold.Working
	if !takenOver {
		l.h.PreviousState, l.h.State, l.claimedAt = l.h.State, hold.Working, l.now
	}
	l.h.Version++
	l.leasedUntil = l.now.Add(30 * time.Second)
	h := l.h
	h.BeginClaim(l.claimedAt, takenOver)
	// What follows from several answers under one claim is written once, in the
	// end.
	var c hold.Decision
	sent := false
	for range 6 {
		call := h.NextCall(l.now)
		if l.h.CancelWanted && call.Op == hold.OpCapture {
			l.fatalf("a capture is about to be sent, and a cancel was accepted")
		}
		if policyAt := l.stripe.intent.CaptureBefore.Add(
			-testRules.ExpiryMargin); h.Reason == hold.CauseOnExpiry && call.Op != hold.OpRead &&
			l.now.Before(policyAt) {
			l.fatalf("the policy acts at +%v, and is due at +%v", l.now.Sub(t0), policyAt.Sub(t0))
		}
		if call.Op == hold.OpCapture {
			want := max(0, h.CaptureAmount-l.stripe.taken)
			if h.CaptureAmount == 0 && call.Amount != 0 {
				want = h.Amount
			}
			if call.Amount != want || call.ReleaseRest != (h.CaptureAmount > 0 && want == 0) {
				l.fatalf("captures %d (release %v), want %d, taken by another system %d",
					call.Amount, call.ReleaseRest, want, l.stripe.taken)
			}
		}
		fault := ""
		if l.injectFaults {
			fault = l.drawChoice("fault", "", "", "", "", "unsent", "die", "die after",
				"unreachable", "never arrives", "late", "reply lost", "twin", "lock", "rate",
				"unauthorized", "500 before", "500 after", "bare", "404", "in use")
		}
		var a hold.Answer
		switch fault {
		case "unsent":
			if sent {
				l.commit(c.ReleaseClaimUntil(l.now))
			} else {
				l.commit(h.ReleaseUnsentClaim())
			}
			l.leasedUntil = time.Time{}
			return
		case "die":
			l.died = true
			return
		case "die after":
			l.stripe.handleCall(call, l.now, "")
			l.checkEffects()
			l.died = true
			return
		case "unreachable":
			a = hold.Answer{Kind: hold.AnswerUnreachable}
		case "never arrives":
			a = hold.Answer{Kind: hold.AnswerUnknown}
		case "late":
			a = hold.Answer{Kind: hold.AnswerUnknown}
			l.stripe.lateRequests = append(l.stripe.lateRequests,
				lateRequest{call, l.now.Add(lateEffectWindow)})
		case "reply lost":
			l.stripe.handleCall(call, l.now, "")
			a = hold.Answer{Kind: hold.AnswerUnknown}
		case "twin":
			a = l.stripe.handleCall(call, l.now, "")
			l.stripe.lateRequests = append(l.stripe.lateRequests,
				lateRequest{call, l.now.Add(lateEffectWindow)})
		case "404":
			a = hold.Answer{Kind: hold.AnswerNotFound, HTTPStatus: 404}
		case "in use":
			a = hold.Answer{Kind: hold.AnswerLockTimeout, HTTPStatus: 429}
			if call.Op != hold.OpRead {
				a = hold.Answer{Kind: hold.AnswerKeyInUse, HTTPStatus: 409}
			}
		default:
			a = l.stripe.handleCall(call, l.now, fault)
		}
		l.checkEffects()
		if a.Kind == hold.AnswerIdempotencyError {
			l.fatalf("the same key with other parameters: %+v", call)
		}
		c, sent = c.Merge(h.ApplyAnswer(call, a, l.now)), true
		if l.injectFaults && l.drawChoice("store", "up", "up", "up", "up", "down") == "down" {
			l.died = true
			return // the answer is lost with the worker
		}
		if !c.NextStepNow {
			l.commit(c)
			l.leasedUntil = time.Time{}
			return
		}
		if l.injectFaults && l.drawChoice("budget", "there", "there", "spent") == "spent" {
			l.commit(c.ReleaseClaimUntil(l.now.Add(2 * time.Second)))
			l.leasedUntil = time.Time{}
			return
		}
		h = c.Hold
	}
	if !l.injectFaults {
		l.fatalf("six calls under one claim and no end: %s next %s", l.h.State, l.h.NextOp)
	}
	l.commit(c.ReleaseClaimUntil(l.now.Add(time.Second)))
	l.leasedUntil = time.Time{}
}

func (l *lifecycle) passMilestones() {
	for i := 0; !l.h.State.IsFinal() && !l.milestone.After(l.now); i++ {
		if i > 50 {
			l.fatalf("milestones without end at +%v", l.now.Sub(t0))
		}
		c, next := l.h.ApplyMilestone(l.milestone, l.now, testRules)
		l.commit(c)
		if !c.Hold.State.IsFinal() && !next.After(l.now) {
			l.fatalf("the next milestone of an open hold lies behind: +%v at +%v",
				next.Sub(t0), l.now.Sub(t0))
		}
		l.milestone = next
	}
}

func (l *lifecycle) makeRandomRequest() {
	previous := l.h
	var c hold.Decision
	var err error
	request := l.drawChoice("wish", "capture", "capture part", "cancel", "pause", "resume", "time",
		"same time", "release", "clear", "policy", "metadata")
	switch request {
	case "capture":
		c, err = l.h.RequestCapture(hold.CaptureRequest{}, "api", l.now)
	case "capture part":
		c, err = l.h.RequestCapture(hold.CaptureRequest{Amount: 500}, "api", l.now)
	case "cancel":
		c, err = l.h.RequestCancel("", "api", l.now)
	case "pause":
		c, err = l.h.Pause(0, "api", l.now)
	case "resume":
		c, err = l.h.Resume("api", l.now)
	case "time":
		c, err = l.h.ApplyPatch(&hold.Patch{CaptureAt: ptr(formatTime(l.now.Add(time.Hour)))},
			"api", l.now)
	case "same time":
		c, err = l.h.ApplyPatch(&hold.Patch{CaptureAt: ptr(formatTime(l.h.CaptureAt)),
			Metadata: map[string]string{"a": l.now.String()}}, "api", l.now)
	case "release":
		c, err = l.h.ApplyPatch(&hold.Patch{CancelAt: ptr(formatTime(l.now.Add(time.Hour)))}, "api",
			l.now)
	case "clear":
		c, err = l.h.ApplyPatch(&hold.Patch{CaptureAt: ptr(""), CancelAt: ptr("")}, "api", l.now)
	case "policy":
		c, err = l.h.ApplyPatch(&hold.Patch{OnExpiry: ptr("capture")}, "api", l.now)
	case "metadata":
		c, err = l.h.ApplyPatch(&hold.Patch{Metadata: map[string]string{"b": l.now.String()}},
			"api", l.now)
	}
	if previous.State == hold.Working && err == nil {
		l.fatalf("%s was granted while the outcome isn't known", request)
	}
	if err == nil {
		l.commit(c)
	}
}

func TestHold_RandomLifecycle(t *testing.T) {
	endsByState, completed := map[hold.State]int{}, 0
	rapid.Check(t, func(rt *rapid.T) {
		l := &lifecycle{t: rt, now: t0, injectFaults: true}
		// who hasn't asked Stripe assumes a week
		validity := rapid.SampledFrom([]time.Duration{7 * day, 7 * day, 5 * day, 3 * day,
			9 * day}).Draw(rt, "lasts")
		l.stripe = fakeStripe{
			intent: heldIntent(func(in *hold.PaymentIntent) {
				in.CaptureBefore = t0.Add(validity)
			}), answersByKey: map[string]storedAnswer{}}
		if l.stripe.multi = rapid.Bool().Draw(rt, "multicapture"); l.stripe.multi {
			l.stripe.intent.SingleCapture = false
		}
		d := &hold.ValidRequest{ID: testIntentID, OnExpiry: rapid.SampledFrom(
			[]hold.ExpiryPolicy{hold.PolicyCancel, hold.PolicyCapture, hold.PolicyAlert}).Draw(
			rt, "policy")}
		switch l.drawChoice("own time", "none", "capture", "release", "near the end") {
		case "capture":
			d.CaptureAt = t0.Add(time.Hour)
		case "release":
			d.CancelAt = t0.Add(time.Hour)
		case "near the end":
			d.CaptureAt = l.stripe.intent.CaptureBefore.Add(-10 * time.Minute)
		}
		if l.drawChoice("part", "all", "part") == "part" {
			d.CaptureAmount = 500
		}
		var in *hold.PaymentIntent
		switch l.drawChoice("checked", "at once", "later", "later, told") {
		case "at once":
			in = l.stripe.currentIntent()
		case "later, told":
			d.Amount, d.Currency = amount, "eur"
		}
		c, err := hold.DecideNewHold(d, in, "api", t0)
		if err != nil {
			rt.Fatal(err)
		}
		l.commit(c)

		for range rapid.IntRange(5, 60).Draw(rt, "steps") {
			switch l.drawChoice("step", "work", "work", "work", "work", "wait", "wait", "wait",
				"wish", "wish", "expiry", "look", "elsewhere", "part elsewhere", "to the act",
				"next") {
			case "work":
				l.claimAndCall()
			case "wait":
				l.advance(rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second,
					5 * time.Second, 31 * time.Second, 10 * time.Minute, time.Hour, 12 * time.Hour,
					23 * time.Hour, 25 * time.Hour}).Draw(rt, "how long"))
			case "next":
				if l.h.NextAt.After(l.now) {
					l.advance(l.h.NextAt.Sub(l.now))
				}
				l.claimAndCall()
			case "to the act":
				if policyAt := l.h.ExpiresAt.Add(-testRules.ExpiryMargin); policyAt.After(l.now) {
					l.advance(policyAt.Sub(l.now))
				}
			case "wish":
				l.makeRandomRequest()
			case "expiry":
				l.passMilestones()
			case "look":
				if l.leasedUntil.IsZero() {
					if l.now.Before(l.stripe.intent.CaptureBefore) ||
						l.stripe.intent.Status != hold.StatusRequiresCapture {
						l.commit(l.h.ApplyPaymentIntent(l.stripe.currentIntent(), l.now))
					}
				}
			case "part elsewhere":
				// Between claims: what is taken while a capture is on its way
				// nobody can know of.
				if l.stripe.multi && l.leasedUntil.IsZero() && len(l.stripe.lateRequests) == 0 &&
					l.stripe.intent.Status == hold.StatusRequiresCapture {
					l.stripe.take(min(rapid.Int64Range(1, 400).Draw(rt, "part"),
						l.stripe.intent.AmountCapturable-1))
				}
			case "elsewhere":
				if rapid.IntRange(0, 9).Draw(rt, "rarely") == 0 &&
					l.stripe.intent.Status == hold.StatusRequiresCapture {
					l.stripe.endedElsewhere = true
					if l.drawChoice("dashboard", "capture", "cancel") == "capture" {
						l.stripe.endIntent(hold.StatusSucceeded, amount, "")
					} else {
						l.stripe.cancel()
					}
				}
			}
		}

		// The faults end, and the hold is left to run.
		l.injectFaults = false
		for i := 0; !l.h.State.IsFinal(); i++ {
			if i > 2000 {
				rt.Fatalf("no end: %s next %s at +%v, now +%v; Stripe says %s", l.h.State,
					l.h.NextOp, l.h.NextAt.Sub(t0), l.now.Sub(t0), l.stripe.intent.Status)
			}
			l.claimAndCall()
			l.passMilestones()
			to := l.milestone
			if l.h.NextOp != 0 {
				at := l.h.NextAt
				if !l.leasedUntil.IsZero() {
					at = l.leasedUntil
				}
				if at.Before(to) {
					to = at
				}
			}
			if to.After(l.now) {
				l.advance(to.Sub(l.now))
			}
		}
		l.advance(lateEffectWindow)
		in = l.stripe.intent
		want := hold.Captured
		if in.Status == hold.StatusCanceled {
			want = hold.Canceled
			if in.CancellationReason == "automatic" {
				want = hold.Expired
			}
		}
		if l.h.State != want || l.h.CapturedAmount != in.AmountReceived {
			rt.Fatalf("the hold says %s, %d; Stripe says %s, %d", l.h.State, l.h.CapturedAmount,
				in.Status, in.AmountReceived)
		}
		// What was taken before a capture of everything, which needs no read,
		// may not be known; nor what a worker read that died, nor whether the
		// missing amount was taken by a late twin.
		known := l.h.CaptureAmount > 0 && !l.died && l.h.Generation == 1
		if e := l.h.CapturedElsewhere; len(l.stripe.effects) > 0 &&
			l.h.Reason != hold.CauseElsewhere &&
			(e > l.stripe.taken || known && e != l.stripe.taken) {
			rt.Fatalf("the hold says that another system took %d, it took %d",
				l.h.CapturedElsewhere, l.stripe.taken)
		}
		if l.stripe.taken > 0 && len(l.stripe.effects) > 0 {
			completed++
		}
		if l.stripe.endedElsewhere && len(l.stripe.effects) > 0 {
			rt.Fatalf("moved by others and by us")
		}
		endsByState[l.h.State]++
	})
	t.Logf("ends: %v; after another system had taken a part: %d", endsByState, completed)
	if completed == 0 && !t.Failed() {
		t.Error("no run acted on a hold of which another system had taken a part: the test has lost its reach")
	}
	for _, s := range []hold.State{hold.Captured, hold.Canceled, hold.Expired} {
		if endsByState[s] == 0 && !t.Failed() {
			t.Errorf("no run ended %s: the test has lost its reach", s)
		}
	}
}

// A 404 says nothing of what a request did whose answer was lost.
func TestApplyAnswer_NotFoundAfterLostRequest(t *testing.T) {
	due := t0.Add(2 * day)
	lostCapture := func(t *testing.T) (h hold.Hold, now time.Time) {
		h, now = claimHold(newHold(t, heldIntent(), withCaptureAt(due)), due), due
		return h.ApplyAnswer(h.NextCall(now), hold.Answer{Kind: hold.AnswerUnknown}, now).Hold, now
	}
	notFound := hold.Answer{Kind: hold.AnswerNotFound, HTTPStatus: 404, Code: "resource_missing",
		Message: "No such payment_intent"}
	claimAndAnswer := func(h hold.Hold, a hold.Answer) (hold.Decision, time.Time) {
		now := h.NextAt
		h = claimHold(h, now)
		return h.ApplyAnswer(h.NextCall(now), a, now), now
	}

	t.Run("closed until Stripe tells", func(t *testing.T) {
		h, _ := lostCapture(t)
		attentionEvents := 0
		for range 50 {
			c, now := claimAndAnswer(h, notFound)
			h = c.Hold
			for _, n := range c.Events {
				if n.Type == hold.EventAttention {
					attentionEvents++
				}
			}
			_, err := h.RequestCancel("", "api", now)
			wantCode(t, err, hold.TooLate)
		}
		if attentionEvents != 1 {
			t.Errorf("%d alarms, want one", attentionEvents)
		}
		c, _ := claimAndAnswer(h, hold.Answer{Kind: hold.AnswerOK, Intent: capturedIntent(amount)})
		if h := c.Hold; h.State != hold.Captured || h.Reason != hold.CauseSchedule {
			t.Errorf("%s by %s, want captured by its schedule", h.State, h.Reason)
		}
		if c, _ := claimAndAnswer(h, hold.Answer{Kind: hold.AnswerOK,
			Intent: heldIntent()}); c.Hold.Generation != 2 || c.Hold.NextOp != hold.OpCapture {
			t.Errorf("still held: %+v, want another try under another key", c.Hold)
		}
	})
	t.Run("not for ever", func(t *testing.T) {
		h, now := lostCapture(t)
		for n := 0; h.State != hold.Attention; n++ {
			if n > 1000 {
				t.Fatal("nobody is ever handed this hold")
			}
			var c hold.Decision
			c, now = claimAndAnswer(h, notFound)
			h = c.Hold
		}
		if d := now.Sub(due); d < 10*time.Hour || d > 2*day {
			t.Errorf("handed over after %s, want about a day", d)
		}
		h = mustAccept(t)(h.RequestCancel("", "api", now))
		h = claimHold(h, now)
		if call := h.NextCall(now); call.Op != hold.OpRead {
			t.Errorf("first %s, want a read", call.Op)
		}
	})
	t.Run("told once", func(t *testing.T) {
		h := newHold(t, nil, withCaptureAt(due))
		h = h.ApplyIntentNotFound(t0).Hold
		for at := h.ExpiresAt; at.Before(h.ExpiresAt.Add(time.Hour)); at = at.Add(5 * time.Minute) {
			c, _ := h.ApplyMilestone(at, at, testRules)
			h = claimHold(c.Hold, at)
			for range 2 {
				c = h.ApplyAnswer(h.NextCall(at), notFound, at)
				if len(c.Events) > 0 && c.Events[0].Type == hold.EventAttention {
					t.Fatalf("told again at %s", at)
				}
				h = c.Hold
				if h.NextOp == 0 {
					break
				}
				h = claimHold(h, at)
			}
			if h.State != hold.Attention || h.NextOp != 0 {
				t.Fatalf("%s, next %s: want it before a person", h.State, h.NextOp)
			}
		}
	})
}
