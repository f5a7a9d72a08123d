package hold_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdd/holdd/worker/hold"
)

// A whole life of one hold under everything that can go wrong, against a small Stripe that knows what really happened.

// world is Stripe's side: one intent, and the keys that it remembers.
type world struct {
	in      *hold.Intent
	keys    map[string]stored
	flight  []flight // requests whose senders have given up on them, still on their way
	others  bool     // somebody else ended it
	multi   bool     // another system may capture parts
	taken   int64    // what it took
	effects []effect
}

type stored struct {
	call hold.Call
	at   time.Time
	ans  hold.Answer
}

type flight struct {
	call   hold.Call
	arrive time.Time
}

type effect struct {
	call hold.Call
	at   time.Time
}

// maxInFlight is how long a request may be on its way after its sender gave up. The machine reads back after a lost request only when the
// same key was answered, or after more time than this.
const maxInFlight = 3 * time.Second

func (w *world) end(status hold.Status, received int64, reason string) {
	in := *w.in
	in.Status, in.AmountCapturable, in.AmountReceived, in.CancellationReason = status, 0, received, reason
	w.in = &in
}

// cancel lets go of what is held. An intent of which a part was captured has succeeded.
func (w *world) cancel() {
	if w.in.AmountReceived > 0 {
		w.end(hold.StatusSucceeded, w.in.AmountReceived, "")
		return
	}
	w.end(hold.StatusCanceled, 0, "requested_by_customer")
}

// take is another system that captures a part and keeps the rest.
func (w *world) take(n int64) {
	in := *w.in
	in.AmountCapturable, in.AmountReceived = in.AmountCapturable-n, in.AmountReceived+n
	w.in = &in
	w.taken += n
}

func (w *world) seen() *hold.Intent { in := *w.in; return &in }

// serve executes a call that has arrived. fault is what goes wrong on Stripe's side.
func (w *world) serve(c hold.Call, now time.Time, fault string) hold.Answer {
	if !now.Before(w.in.CaptureBefore) && w.in.Status == hold.StatusRequiresCapture {
		if w.in.AmountReceived > 0 {
			w.end(hold.StatusSucceeded, w.in.AmountReceived, "")
		} else {
			w.end(hold.StatusCanceled, 0, "automatic")
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
		return hold.Answer{Kind: hold.AnswerOK, HTTPStatus: 200, Intent: w.seen()}
	}
	if s, ok := w.keys[c.Key]; ok && now.Sub(s.at) < 24*time.Hour {
		if !reflect.DeepEqual(s.call, c) {
			return hold.Answer{Kind: hold.AnswerIdempotencyError, HTTPStatus: 400}
		}
		a := s.ans
		a.Replayed = true
		if a.Kind == hold.AnswerUnknown {
			a.Kind = hold.AnswerReplayedError
		}
		return a
	}
	a := hold.Answer{Kind: hold.AnswerUnknown, HTTPStatus: 500}
	if fault != "500 before" {
		if w.in.Status != hold.StatusRequiresCapture {
			a = hold.Answer{Kind: hold.AnswerUnexpectedState, HTTPStatus: 400, Intent: w.seen()}
			if fault == "bare" {
				a.Intent = nil
			}
		} else {
			if c.Op == hold.OpCapture {
				n := c.Amount
				if n == 0 && !c.ReleaseRest {
					n = w.in.AmountCapturable
				}
				if n > w.in.AmountCapturable {
					a = hold.Answer{Kind: hold.AnswerAmountTooLarge, HTTPStatus: 400, Code: "amount_too_large"}
					w.keys[c.Key] = stored{c, now, a}
					return a
				}
				w.end(hold.StatusSucceeded, w.in.AmountReceived+n, "")
			} else {
				w.cancel()
			}
			w.effects = append(w.effects, effect{c, now})
			a = hold.Answer{Kind: hold.AnswerOK, HTTPStatus: 200, Intent: w.seen()}
		}
		if fault == "500 after" {
			a = hold.Answer{Kind: hold.AnswerUnknown, HTTPStatus: 500}
		}
	}
	w.keys[c.Key] = stored{c, now, a}
	return a
}

// life is one run.
type life struct {
	t         *rapid.T
	w         world
	h         hold.Hold // as the store has it
	now       time.Time
	milestone time.Time
	lease     time.Time // zero: nobody works on it
	since     time.Time
	canceled  time.Time // when a cancel was accepted
	faults    bool
	died      bool // a worker, with what it knew
}

func (l *life) draw(name string, from ...string) string {
	return rapid.SampledFrom(from).Draw(l.t, name)
}

func (l *life) fail(format string, args ...any) {
	l.t.Helper()
	l.t.Fatalf(format, args...)
}

// commit does what the store does.
func (l *life) commit(c hold.Decision) {
	if c.Unchanged {
		return
	}
	c.Hold.Version = l.h.Version + 1
	p := c.Placement(&l.h, l.now, rules)
	if !p.KeepMilestone {
		l.milestone = p.NextMilestone
	}
	l.h = c.Hold
	if end := l.h.ExpiresAt; !l.h.State.Final() && end.After(l.now) && l.milestone.After(end) {
		l.fail("its deadline is at +%v, and nobody looks at it before +%v", end.Sub(t0), l.milestone.Sub(t0))
	}
	if l.h.CancelWanted && l.canceled.IsZero() {
		l.canceled = l.now
	}
}

func (l *life) arrive() {
	l.w.flight = slices.DeleteFunc(l.w.flight, func(f flight) bool {
		if f.arrive.After(l.now) {
			return false
		}
		l.w.serve(f.call, f.arrive, "")
		l.check()
		return true
	})
}

func (l *life) pass(d time.Duration) {
	l.now = l.now.Add(d)
	l.arrive()
}

// check is done after everything that may have moved money.
func (l *life) check() {
	if len(l.w.effects) > 1 {
		l.fail("money moved %d times: %+v", len(l.w.effects), l.w.effects)
	}
	if len(l.w.effects) > 0 && l.w.effects[0].call.Op == hold.OpCapture && l.h.CaptureAmount > 0 && l.w.in.AmountReceived > max(l.h.CaptureAmount, l.w.taken) {
		l.fail("%d captured in all, %d of it by another system, wanted are %d", l.w.in.AmountReceived, l.w.taken, l.h.CaptureAmount)
	}
	for _, e := range l.w.effects {
		if e.call.Op == hold.OpCapture && !l.canceled.IsZero() && e.at.After(l.canceled) {
			l.fail("captured at +%v by %s, after a cancel was accepted at +%v", e.at.Sub(t0), e.call.Key, l.canceled.Sub(t0))
		}
	}
}

// work is one claim of a worker, which may die anywhere.
func (l *life) work() {
	if l.h.State.Final() || l.h.NextOp == 0 {
		return
	}
	if !l.lease.IsZero() {
		if l.now.Before(l.lease) {
			return
		}
	} else if l.h.NextAt.After(l.now) {
		return
	}
	// What the store's claim does.
	over := l.h.State == hold.Working
	if !over {
		l.h.PreviousState, l.h.State, l.since = l.h.State, hold.Working, l.now
	}
	l.h.Version++
	l.lease = l.now.Add(30 * time.Second)
	h := l.h
	h.MarkClaimed(l.since, over)
	// What follows from several answers under one claim is written once, in the end.
	var c hold.Decision
	sent := false
	for range 6 {
		call := h.NextCall(l.now)
		if l.h.CancelWanted && call.Op == hold.OpCapture {
			l.fail("a capture is about to be sent, and a cancel was accepted")
		}
		if act := l.w.in.CaptureBefore.Add(-rules.ExpiryMargin); h.Reason == hold.CauseOnExpiry && call.Op != hold.OpRead && l.now.Before(act) {
			l.fail("the policy acts at +%v, and is due at +%v", l.now.Sub(t0), act.Sub(t0))
		}
		if call.Op == hold.OpCapture {
			want := max(0, h.CaptureAmount-l.w.taken)
			if h.CaptureAmount == 0 && call.Amount != 0 {
				want = h.Amount
			}
			if call.Amount != want || call.ReleaseRest != (h.CaptureAmount > 0 && want == 0) {
				l.fail("captures %d (release %v), want %d, taken by another system %d", call.Amount, call.ReleaseRest, want, l.w.taken)
			}
		}
		fault := ""
		if l.faults {
			fault = l.draw("fault", "", "", "", "", "unsent", "die", "die after", "unreachable", "never arrives", "late", "reply lost", "twin", "lock", "rate", "unauthorized", "500 before", "500 after", "bare", "404", "in use")
		}
		var a hold.Answer
		switch fault {
		case "unsent":
			if sent {
				l.commit(c.DeferUntil(l.now))
			} else {
				l.commit(h.ReleaseUnsent())
			}
			l.lease = time.Time{}
			return
		case "die":
			l.died = true
			return
		case "die after":
			l.w.serve(call, l.now, "")
			l.check()
			l.died = true
			return
		case "unreachable":
			a = hold.Answer{Kind: hold.AnswerUnreachable}
		case "never arrives":
			a = hold.Answer{Kind: hold.AnswerUnknown}
		case "late":
			a = hold.Answer{Kind: hold.AnswerUnknown}
			l.w.flight = append(l.w.flight, flight{call, l.now.Add(maxInFlight)})
		case "reply lost":
			l.w.serve(call, l.now, "")
			a = hold.Answer{Kind: hold.AnswerUnknown}
		case "twin":
			a = l.w.serve(call, l.now, "")
			l.w.flight = append(l.w.flight, flight{call, l.now.Add(maxInFlight)})
		case "404":
			a = hold.Answer{Kind: hold.AnswerNotFound, HTTPStatus: 404}
		case "in use":
			a = hold.Answer{Kind: hold.AnswerLockTimeout, HTTPStatus: 429}
			if call.Op != hold.OpRead {
				a = hold.Answer{Kind: hold.AnswerKeyInUse, HTTPStatus: 409}
			}
		default:
			a = l.w.serve(call, l.now, fault)
		}
		l.check()
		if a.Kind == hold.AnswerIdempotencyError {
			l.fail("the same key with other parameters: %+v", call)
		}
		c, sent = c.FollowedBy(h.ApplyAnswer(call, a, l.now)), true
		if l.faults && l.draw("store", "up", "up", "up", "up", "down") == "down" {
			l.died = true
			return // the answer is lost with the worker
		}
		if !c.Again {
			l.commit(c)
			l.lease = time.Time{}
			return
		}
		if l.faults && l.draw("budget", "there", "there", "spent") == "spent" {
			l.commit(c.DeferUntil(l.now.Add(2 * time.Second)))
			l.lease = time.Time{}
			return
		}
		h = c.Hold
	}
	if !l.faults {
		l.fail("six calls under one claim and no end: %s next %s", l.h.State, l.h.NextOp)
	}
	l.commit(c.DeferUntil(l.now.Add(time.Second)))
	l.lease = time.Time{}
}

func (l *life) expiry() {
	for i := 0; !l.h.State.Final() && !l.milestone.After(l.now); i++ {
		if i > 50 {
			l.fail("milestones without end at +%v", l.now.Sub(t0))
		}
		c, next := l.h.PassMilestone(l.milestone, l.now, rules)
		l.commit(c)
		if !c.Hold.State.Final() && !next.After(l.now) {
			l.fail("the next milestone of an open hold lies behind: +%v at +%v", next.Sub(t0), l.now.Sub(t0))
		}
		l.milestone = next
	}
}

func (l *life) wish() {
	was := l.h
	var c hold.Decision
	var err error
	what := l.draw("wish", "capture", "capture part", "cancel", "pause", "resume", "time", "same time", "release", "clear", "policy", "metadata")
	switch what {
	case "capture":
		c, err = l.h.RequestCapture(0, "api", l.now)
	case "capture part":
		c, err = l.h.RequestCapture(500, "api", l.now)
	case "cancel":
		c, err = l.h.RequestCancel("api", l.now)
	case "pause":
		c, err = l.h.Pause(0, "api", l.now)
	case "resume":
		c, err = l.h.Resume("api", l.now)
	case "time":
		c, err = l.h.ApplyPatch(&hold.Patch{CaptureAt: ptr(rfc(l.now.Add(time.Hour)))}, "api", l.now)
	case "same time":
		c, err = l.h.ApplyPatch(&hold.Patch{CaptureAt: ptr(rfc(l.h.CaptureAt)), Metadata: map[string]string{"a": l.now.String()}}, "api", l.now)
	case "release":
		c, err = l.h.ApplyPatch(&hold.Patch{CancelAt: ptr(rfc(l.now.Add(time.Hour)))}, "api", l.now)
	case "clear":
		c, err = l.h.ApplyPatch(&hold.Patch{CaptureAt: ptr(""), CancelAt: ptr("")}, "api", l.now)
	case "policy":
		c, err = l.h.ApplyPatch(&hold.Patch{OnExpiry: ptr("capture")}, "api", l.now)
	case "metadata":
		c, err = l.h.ApplyPatch(&hold.Patch{Metadata: map[string]string{"b": l.now.String()}}, "api", l.now)
	}
	if was.State == hold.Working && err == nil {
		l.fail("%s was granted while the outcome isn't known", what)
	}
	if err == nil {
		l.commit(c)
	}
}

func TestLife(t *testing.T) {
	ends, completed := map[hold.State]int{}, 0
	rapid.Check(t, func(rt *rapid.T) {
		l := &life{t: rt, now: t0, faults: true}
		lasts := rapid.SampledFrom([]time.Duration{7 * day, 7 * day, 5 * day, 3 * day, 9 * day}).Draw(rt, "lasts") // who hasn't asked Stripe assumes a week
		l.w = world{in: held(func(in *hold.Intent) { in.CaptureBefore = t0.Add(lasts) }), keys: map[string]stored{}}
		if l.w.multi = rapid.Bool().Draw(rt, "multicapture"); l.w.multi {
			l.w.in.SingleCapture = false
		}
		d := &hold.Draft{ID: pi, OnExpiry: rapid.SampledFrom([]hold.Policy{hold.PolicyCancel, hold.PolicyCapture, hold.PolicyAlert}).Draw(rt, "policy")}
		switch l.draw("own time", "none", "capture", "release", "near the end") {
		case "capture":
			d.CaptureAt = t0.Add(time.Hour)
		case "release":
			d.CancelAt = t0.Add(time.Hour)
		case "near the end":
			d.CaptureAt = l.w.in.CaptureBefore.Add(-10 * time.Minute)
		}
		if l.draw("part", "all", "part") == "part" {
			d.CaptureAmount = 500
		}
		var in *hold.Intent
		switch l.draw("checked", "at once", "later", "later, told") {
		case "at once":
			in = l.w.seen()
		case "later, told":
			d.Amount, d.Currency = amount, "eur"
		}
		c, err := hold.New(d, in, "api", t0)
		if err != nil {
			rt.Fatal(err)
		}
		l.commit(c)

		for range rapid.IntRange(5, 60).Draw(rt, "steps") {
			switch l.draw("step", "work", "work", "work", "work", "wait", "wait", "wait", "wish", "wish", "expiry", "look", "elsewhere", "part elsewhere", "to the act", "next") {
			case "work":
				l.work()
			case "wait":
				l.pass(rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, 5 * time.Second, 31 * time.Second, 10 * time.Minute, time.Hour, 12 * time.Hour, 23 * time.Hour, 25 * time.Hour}).Draw(rt, "how long"))
			case "next":
				if l.h.NextAt.After(l.now) {
					l.pass(l.h.NextAt.Sub(l.now))
				}
				l.work()
			case "to the act":
				if act := l.h.ExpiresAt.Add(-rules.ExpiryMargin); act.After(l.now) {
					l.pass(act.Sub(l.now))
				}
			case "wish":
				l.wish()
			case "expiry":
				l.expiry()
			case "look":
				if l.lease.IsZero() {
					if l.now.Before(l.w.in.CaptureBefore) || l.w.in.Status != hold.StatusRequiresCapture {
						l.commit(l.h.ApplyIntent(l.w.seen(), l.now))
					}
				}
			case "part elsewhere":
				// Between claims: what is taken while a capture is on its way nobody can know of.
				if l.w.multi && l.lease.IsZero() && len(l.w.flight) == 0 && l.w.in.Status == hold.StatusRequiresCapture {
					l.w.take(min(rapid.Int64Range(1, 400).Draw(rt, "part"), l.w.in.AmountCapturable-1))
				}
			case "elsewhere":
				if rapid.IntRange(0, 9).Draw(rt, "rarely") == 0 && l.w.in.Status == hold.StatusRequiresCapture {
					l.w.others = true
					if l.draw("dashboard", "capture", "cancel") == "capture" {
						l.w.end(hold.StatusSucceeded, amount, "")
					} else {
						l.w.cancel()
					}
				}
			}
		}

		// The faults end, and the hold is left to run.
		l.faults = false
		for i := 0; !l.h.State.Final(); i++ {
			if i > 2000 {
				rt.Fatalf("no end: %s next %s at +%v, now +%v; Stripe says %s", l.h.State, l.h.NextOp, l.h.NextAt.Sub(t0), l.now.Sub(t0), l.w.in.Status)
			}
			l.work()
			l.expiry()
			to := l.milestone
			if l.h.NextOp != 0 {
				at := l.h.NextAt
				if !l.lease.IsZero() {
					at = l.lease
				}
				if at.Before(to) {
					to = at
				}
			}
			if to.After(l.now) {
				l.pass(to.Sub(l.now))
			}
		}
		l.pass(maxInFlight)
		in = l.w.in
		want := hold.Captured
		if in.Status == hold.StatusCanceled {
			want = hold.Canceled
			if in.CancellationReason == "automatic" {
				want = hold.Expired
			}
		}
		if l.h.State != want || l.h.CapturedAmount != in.AmountReceived {
			rt.Fatalf("the hold says %s, %d; Stripe says %s, %d", l.h.State, l.h.CapturedAmount, in.Status, in.AmountReceived)
		}
		// What was taken before a capture of everything, which needs no read, may not be known; nor what a
		// worker read that died, nor whether the missing amount was taken by a late twin.
		known := l.h.CaptureAmount > 0 && !l.died && l.h.Generation == 1
		if e := l.h.CapturedElsewhere; len(l.w.effects) > 0 && l.h.Reason != hold.CauseElsewhere && (e > l.w.taken || known && e != l.w.taken) {
			rt.Fatalf("the hold says that another system took %d, it took %d", l.h.CapturedElsewhere, l.w.taken)
		}
		if l.w.taken > 0 && len(l.w.effects) > 0 {
			completed++
		}
		if l.w.others && len(l.w.effects) > 0 {
			rt.Fatalf("moved by others and by us")
		}
		ends[l.h.State]++
	})
	t.Logf("ends: %v; after another system had taken a part: %d", ends, completed)
	if completed == 0 && !t.Failed() {
		t.Error("no run acted on a hold of which another system had taken a part: the test has lost its reach")
	}
	for _, s := range []hold.State{hold.Captured, hold.Canceled, hold.Expired} {
		if ends[s] == 0 && !t.Failed() {
			t.Errorf("no run ended %s: the test has lost its reach", s)
		}
	}
}

// A 404 says nothing of what a request did whose answer was lost.
func TestNotFoundIsNoProof(t *testing.T) {
	due := t0.Add(2 * day)
	lost := func(t *testing.T) (h hold.Hold, now time.Time) {
		h, now = claim(made(t, held(), captureAt(due)), due), due
		return h.ApplyAnswer(h.NextCall(now), hold.Answer{Kind: hold.AnswerUnknown}, now).Hold, now
	}
	missing := hold.Answer{Kind: hold.AnswerNotFound, HTTPStatus: 404, Code: "resource_missing", Message: "No such payment_intent"}
	look := func(h hold.Hold, a hold.Answer) (hold.Decision, time.Time) {
		now := h.NextAt
		h = claim(h, now)
		return h.ApplyAnswer(h.NextCall(now), a, now), now
	}

	t.Run("closed until Stripe tells", func(t *testing.T) {
		h, _ := lost(t)
		alarms := 0
		for range 50 {
			c, now := look(h, missing)
			h = c.Hold
			for _, n := range c.Events {
				if n.Type == hold.EventAttention {
					alarms++
				}
			}
			_, err := h.RequestCancel("api", now)
			wantCode(t, err, hold.TooLate)
		}
		if alarms != 1 {
			t.Errorf("%d alarms, want one", alarms)
		}
		c, _ := look(h, hold.Answer{Kind: hold.AnswerOK, Intent: captured(amount)})
		if h := c.Hold; h.State != hold.Captured || h.Reason != hold.CauseSchedule {
			t.Errorf("%s by %s, want captured by its schedule", h.State, h.Reason)
		}
		if c, _ := look(h, hold.Answer{Kind: hold.AnswerOK, Intent: held()}); c.Hold.Generation != 2 || c.Hold.NextOp != hold.OpCapture {
			t.Errorf("still held: %+v, want another try under another key", c.Hold)
		}
	})
	t.Run("not for ever", func(t *testing.T) {
		h, now := lost(t)
		for n := 0; h.State != hold.Attention; n++ {
			if n > 1000 {
				t.Fatal("nobody is ever handed this hold")
			}
			var c hold.Decision
			c, now = look(h, missing)
			h = c.Hold
		}
		if d := now.Sub(due); d < 10*time.Hour || d > 2*day {
			t.Errorf("handed over after %s, want about a day", d)
		}
		h = must(t)(h.RequestCancel("api", now))
		h = claim(h, now)
		if call := h.NextCall(now); call.Op != hold.OpRead {
			t.Errorf("first %s, want a read", call.Op)
		}
	})
	t.Run("told once", func(t *testing.T) {
		h := made(t, nil, captureAt(due))
		h = h.ApplyNotFound(t0).Hold
		for at := h.ExpiresAt; at.Before(h.ExpiresAt.Add(time.Hour)); at = at.Add(5 * time.Minute) {
			c, _ := h.PassMilestone(at, at, rules)
			h = claim(c.Hold, at)
			for range 2 {
				c = h.ApplyAnswer(h.NextCall(at), missing, at)
				if len(c.Events) > 0 && c.Events[0].Type == hold.EventAttention {
					t.Fatalf("told again at %s", at)
				}
				h = c.Hold
				if h.NextOp == 0 {
					break
				}
				h = claim(h, at)
			}
			if h.State != hold.Attention || h.NextOp != 0 {
				t.Fatalf("%s, next %s: want it before a person", h.State, h.NextOp)
			}
		}
	})
}
