package hold_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// One row for each thing that Stripe can say to each call of a claimed hold. The hold's own time has come a second ago.

// before is how the hold stands when the answer comes.
type before struct {
	op      hold.Op // what is wanted
	read    bool    // the truth must be read first
	unknown bool    // an earlier request is lost
	gen     uint32
	misses  uint32
}

// after is what must follow.
type after struct {
	state   hold.State
	next    hold.Op
	why     hold.Cause
	gen     uint32
	read    bool // ReadFirst
	unknown bool
	now     bool
	wait    [2]time.Duration // NextAt lies so far ahead, at least and at most
	notice  hold.EventType   // the only one; empty: none
}

var (
	formatDuration = [2]time.Duration{500 * time.Millisecond, time.Second}
	rate           = [2]time.Duration{time.Second, 2 * time.Second}
	state          = [2]time.Duration{2500 * time.Millisecond, 5 * time.Second}
	miss           = [2]time.Duration{5 * time.Second, 10 * time.Second}
	atOnce         = [2]time.Duration{}
)

const (
	capt = hold.OpCapture
	canc = hold.OpCancel
	read = hold.OpRead
	none = hold.Op(0)

	sched = hold.Scheduled
	work  = hold.Working
	atten = hold.Attention

	own       = hold.CauseSchedule
	elsewhere = hold.CauseElsewhere

	again = hold.EventRetrying
	alarm = hold.EventAttention
)

func TestAnswers(t *testing.T) {
	capture := before{op: capt, gen: 1}
	lostCapture := before{op: capt, gen: 1, unknown: true}
	capture2 := before{op: capt, gen: 2}
	readCapture := before{op: capt, gen: 1, read: true}
	readLost := before{op: capt, gen: 1, read: true, unknown: true}
	readLost2 := before{op: capt, gen: 2, read: true, unknown: true}
	cancel := before{op: canc, gen: 1}
	lostCancel := before{op: canc, gen: 1, unknown: true}
	readLostCancel := before{op: canc, gen: 1, read: true, unknown: true}
	look := before{op: read, gen: 1} // at the deadline
	missed := func(b before) before { b.misses = 1; b.read = true; return b }

	end := func(s hold.State, why hold.Cause, n hold.EventType, gen uint32) after {
		return after{state: s, why: why, gen: gen, notice: n}
	}
	taken := end(hold.Captured, own, hold.EventCaptured, 1)
	takenElse := end(hold.Captured, elsewhere, hold.EventCaptured, 1)
	let := end(hold.Canceled, own, hold.EventCanceled, 1)
	letElse := end(hold.Canceled, elsewhere, hold.EventCanceled, 1)
	gone := end(hold.Expired, hold.CauseExpired, hold.EventExpired, 1)
	person := func(why hold.Cause) after { return after{state: atten, why: why, gen: 1, notice: alarm} }
	lost := func(op hold.Op, w [2]time.Duration) after {
		return after{state: work, next: op, why: own, gen: 1, unknown: true, wait: w, notice: again}
	}
	later := func(op hold.Op, w [2]time.Duration) after {
		return after{state: sched, next: op, why: own, gen: 1, wait: w, notice: again}
	}
	first := func(a after) after { a.read = true; return a }
	gen := func(a after, n uint32) after { a.gen = n; return a }
	told := func(a after) after { a.notice = alarm; return a }
	at := func(a after, s hold.State) after { a.state, a.why = s, 0; return a }

	for _, tt := range []struct {
		was  before
		kind hold.AnswerKind
		with string // intent in the body
		want after
	}{
		// Capture, nothing sent before under this key.
		{capture, hold.AnswerOK, "captured", taken},
		{capture, hold.AnswerOK, "part", taken}, // everything was asked for; what there was is Stripe's word
		{capture, hold.AnswerOK, "canceled", letElse},
		{capture, hold.AnswerOK, "automatic", gone},
		{capture, hold.AnswerOK, "held", first(lost(capt, state))},
		{capture, hold.AnswerOK, "busy", first(lost(capt, state))},
		{capture, hold.AnswerOK, "action", person(hold.CauseNotCapturable)},
		{capture, hold.AnswerOK, "method", person(hold.CauseNotCapturable)},
		{capture, hold.AnswerOK, "", lost(capt, formatDuration)},
		{capture, hold.AnswerUnexpectedState, "captured", takenElse},
		{capture, hold.AnswerUnexpectedState, "canceled", letElse},
		{capture, hold.AnswerUnexpectedState, "expired", gone},
		{capture, hold.AnswerUnexpectedState, "held", after{state: work, next: capt, why: own, gen: 1, read: true, now: true}},
		{capture, hold.AnswerUnexpectedState, "", after{state: work, next: capt, why: own, gen: 1, read: true, now: true}},
		{capture, hold.AnswerChargeGone, "captured", takenElse},
		{capture, hold.AnswerChargeGone, "automatic", gone},
		{capture, hold.AnswerChargeGone, "", after{state: work, next: capt, why: own, gen: 1, read: true, now: true}},
		{capture, hold.AnswerAmountTooLarge, "", person(hold.CauseAmountTooLarge)},
		{capture, hold.AnswerNotFound, "", first(later(capt, miss))},
		{missed(capture), hold.AnswerNotFound, "", first(person(hold.CauseNotFound))},
		{capture, hold.AnswerLockTimeout, "", later(capt, formatDuration)},
		{capture, hold.AnswerRateLimited, "", later(capt, rate)},
		{capture, hold.AnswerKeyInUse, "", lost(capt, formatDuration)},
		{capture, hold.AnswerIdempotencyError, "", person(hold.CauseKeyConflict)},
		{capture, hold.AnswerDeclined, "", person(hold.CauseRefused)},
		{capture, hold.AnswerUnauthorized, "", later(capt, rate)},
		{capture, hold.AnswerForbidden, "", later(capt, rate)},
		{capture, hold.AnswerInvalid, "", person(hold.CauseRefused)},
		{capture, hold.AnswerUnreachable, "", later(capt, rate)},
		{capture, hold.AnswerUnknown, "", lost(capt, formatDuration)},
		{capture, hold.AnswerReplayedError, "", first(lost(capt, formatDuration))},

		// Capture again with the key of a lost one.
		{lostCapture, hold.AnswerOK, "captured", taken},
		{lostCapture, hold.AnswerUnexpectedState, "captured", takenElse},
		{lostCapture, hold.AnswerUnexpectedState, "canceled", letElse},
		{lostCapture, hold.AnswerUnexpectedState, "", after{state: work, next: capt, why: own, gen: 1, read: true, now: true}},
		{lostCapture, hold.AnswerAmountTooLarge, "", after{state: work, next: capt, why: own, gen: 1, read: true, unknown: true, now: true}},
		{lostCapture, hold.AnswerDeclined, "", after{state: work, next: capt, why: own, gen: 1, read: true, unknown: true, now: true}},
		{lostCapture, hold.AnswerInvalid, "", after{state: work, next: capt, why: own, gen: 1, read: true, unknown: true, now: true}},
		{lostCapture, hold.AnswerNotFound, "", first(lost(capt, miss))},
		{lostCapture, hold.AnswerLockTimeout, "", lost(capt, formatDuration)},
		{lostCapture, hold.AnswerRateLimited, "", lost(capt, rate)},
		{lostCapture, hold.AnswerKeyInUse, "", lost(capt, formatDuration)},
		{lostCapture, hold.AnswerUnauthorized, "", lost(capt, rate)},
		{lostCapture, hold.AnswerForbidden, "", lost(capt, rate)},
		{lostCapture, hold.AnswerUnreachable, "", lost(capt, rate)},
		{lostCapture, hold.AnswerUnknown, "", lost(capt, formatDuration)},
		{lostCapture, hold.AnswerReplayedError, "", first(lost(capt, formatDuration))},

		// Capture under a second key: a late twin of the first may have been faster.
		{capture2, hold.AnswerOK, "captured", gen(taken, 2)},
		{capture2, hold.AnswerUnexpectedState, "captured", gen(taken, 2)},
		{capture2, hold.AnswerUnexpectedState, "canceled", gen(letElse, 2)},
		{capture2, hold.AnswerUnknown, "", gen(lost(capt, formatDuration), 2)},

		// The truth before a capture.
		{readCapture, hold.AnswerOK, "held", after{state: work, next: capt, why: own, gen: 1, now: true}},
		{readCapture, hold.AnswerOK, "captured", takenElse},
		{readCapture, hold.AnswerOK, "busy", first(later(capt, state))},
		{readCapture, hold.AnswerUnknown, "", first(later(capt, formatDuration))},
		{readCapture, hold.AnswerUnreachable, "", first(later(capt, rate))},
		{readCapture, hold.AnswerNotFound, "", first(later(capt, miss))},
		{readLost, hold.AnswerOK, "held", after{state: work, next: capt, why: own, gen: 2, now: true}},
		{readLost, hold.AnswerOK, "captured", taken},
		{readLost, hold.AnswerOK, "canceled", letElse},
		{readLost, hold.AnswerOK, "automatic", gone},
		{readLost, hold.AnswerOK, "busy", first(lost(capt, state))},
		{readLost, hold.AnswerOK, "", first(lost(capt, formatDuration))},
		{readLost, hold.AnswerUnknown, "", first(lost(capt, formatDuration))},
		{readLost, hold.AnswerReplayedError, "", first(lost(capt, formatDuration))},
		{readLost, hold.AnswerNotFound, "", first(lost(capt, miss))},
		{missed(readLost), hold.AnswerNotFound, "", first(told(lost(capt, miss)))},
		{missed(readLost), hold.AnswerInvalid, "", first(told(lost(capt, miss)))},
		{readLost, hold.AnswerLockTimeout, "", first(lost(capt, formatDuration))},
		{readLost, hold.AnswerRateLimited, "", first(lost(capt, rate))},
		{readLost, hold.AnswerUnauthorized, "", first(lost(capt, rate))},
		{readLost, hold.AnswerUnreachable, "", first(lost(capt, rate))},
		{readLost2, hold.AnswerOK, "held", after{state: work, next: capt, why: own, gen: 3, now: true}},
		{readLost2, hold.AnswerOK, "captured", gen(taken, 2)},

		// Cancel.
		{cancel, hold.AnswerOK, "canceled", let},
		{cancel, hold.AnswerOK, "automatic", gone},
		{cancel, hold.AnswerOK, "captured", takenElse},
		{cancel, hold.AnswerOK, "held", first(lost(canc, state))},
		{cancel, hold.AnswerOK, "", lost(canc, formatDuration)},
		{cancel, hold.AnswerUnexpectedState, "canceled", letElse},
		{cancel, hold.AnswerUnexpectedState, "captured", takenElse},
		{cancel, hold.AnswerUnexpectedState, "automatic", gone},
		{cancel, hold.AnswerNotFound, "", first(later(canc, miss))},
		{cancel, hold.AnswerLockTimeout, "", later(canc, formatDuration)},
		{cancel, hold.AnswerRateLimited, "", later(canc, rate)},
		{cancel, hold.AnswerKeyInUse, "", lost(canc, formatDuration)},
		{cancel, hold.AnswerIdempotencyError, "", person(hold.CauseKeyConflict)},
		{cancel, hold.AnswerInvalid, "", person(hold.CauseRefused)},
		{cancel, hold.AnswerUnauthorized, "", later(canc, rate)},
		{cancel, hold.AnswerUnreachable, "", later(canc, rate)},
		{cancel, hold.AnswerUnknown, "", lost(canc, formatDuration)},
		{cancel, hold.AnswerReplayedError, "", first(lost(canc, formatDuration))},
		{lostCancel, hold.AnswerOK, "canceled", let},
		{lostCancel, hold.AnswerUnexpectedState, "canceled", letElse},
		{readLostCancel, hold.AnswerOK, "held", after{state: work, next: canc, why: own, gen: 2, now: true}},
		{readLostCancel, hold.AnswerOK, "canceled", let},
		{readLostCancel, hold.AnswerOK, "captured", takenElse},

		// A look at the deadline, at a hold that waits.
		{look, hold.AnswerOK, "held", after{state: hold.Waiting, gen: 1}},
		{look, hold.AnswerOK, "captured", takenElse},
		{look, hold.AnswerOK, "canceled", letElse},
		{look, hold.AnswerOK, "automatic", gone},
		{look, hold.AnswerOK, "busy", at(first(later(read, state)), hold.Waiting)},
		{look, hold.AnswerOK, "action", person(hold.CauseNotCapturable)},
		{look, hold.AnswerNotFound, "", at(first(later(read, miss)), hold.Waiting)},
		{missed(look), hold.AnswerNotFound, "", first(person(hold.CauseNotFound))},
		{look, hold.AnswerUnknown, "", at(later(read, formatDuration), hold.Waiting)},
		{look, hold.AnswerRateLimited, "", at(later(read, rate), hold.Waiting)},
		{look, hold.AnswerUnreachable, "", at(later(read, rate), hold.Waiting)},
		{look, hold.AnswerUnauthorized, "", at(later(read, rate), hold.Waiting)},
	} {
		for _, replayed := range []bool{false, true} {
			name := fmt.Sprintf("%s read=%v lost=%v gen%d/%s %s replayed=%v", tt.was.op, tt.was.read, tt.was.unknown, tt.was.gen, tt.kind, tt.with, replayed)
			t.Run(name, func(t *testing.T) {
				due := t0.Add(2 * day)
				var h hold.Hold
				switch tt.was.op {
				case capt:
					h = made(t, held(), captureAt(due))
				case canc:
					h = made(t, held(), cancelAt(due))
				default:
					h = made(t, held())
					h.NextOp, h.NextAt = read, due
				}
				now := due.Add(time.Second)
				h.Generation, h.InconclusiveReads, h.ReadFirst = tt.was.gen, tt.was.misses, tt.was.read
				if tt.was.unknown {
					h.State, h.PreviousState, h.Attempt = work, sched, hold.Attempt{Count: 1, FirstAt: now, Unknown: true}
				}
				h = claim(h, now)
				call := h.NextCall(now)
				if want := tt.was.op; tt.was.read && call.Op != read || !tt.was.read && call.Op != want {
					t.Fatalf("call %s", call.Op)
				}
				kept := deep(h)
				a := hold.Answer{Kind: tt.kind, Intent: intents[tt.with], RequestID: "req_1", Code: "code", Message: "text", Replayed: replayed}
				if tt.with != "" && a.Intent == nil {
					t.Fatalf("no intent %q", tt.with)
				}
				c := h.ApplyAnswer(call, a, now)
				g := c.Hold
				got := after{state: g.State, next: g.NextOp, why: g.Reason, gen: g.Generation, read: g.ReadFirst, unknown: g.Attempt.Unknown, now: c.Again, wait: tt.want.wait}
				if len(c.Events) > 0 {
					got.notice = c.Events[0].Type
				}
				if got != tt.want {
					t.Errorf("\n got %+v\nwant %+v", got, tt.want)
				}
				if len(c.Events) > 1 || c.Unchanged {
					t.Errorf("notices %v, same %v", c.Events, c.Unchanged)
				}
				if tt.want.wait != atOnce {
					if d := g.NextAt.Sub(now); d < tt.want.wait[0] || d > tt.want.wait[1] {
						t.Errorf("next in %v, want %v to %v", d, tt.want.wait[0], tt.want.wait[1])
					}
				}
				if g.State == hold.Captured && g.CapturedAmount != a.Intent.AmountReceived {
					t.Errorf("captured %d, Stripe says %d", g.CapturedAmount, a.Intent.AmountReceived)
				}
				if (tt.want.state == atten) != c.Placement(&h, now, rules).NeedsAttention {
					t.Error("not where a person looks")
				}
				if !same(kept, h) {
					t.Error("the hold that was given was changed")
				}
			})
		}
	}
}

func TestKeys(t *testing.T) {
	due := t0.Add(2 * day)
	base := func(edit ...func(*hold.Hold)) hold.Hold {
		h := made(t, held(), captureAt(due))
		for _, e := range edit {
			e(&h)
		}
		return claim(h, due)
	}
	key := func(edit ...func(*hold.Hold)) string { h := base(edit...); return h.NextCall(due).Key }
	want := key()
	if want == "" || len(want) > 255 {
		t.Fatalf("key %q", want)
	}
	// What does not change the effect does not change the key: retries, take-overs, terms that aren't parameters.
	for name, e := range map[string]func(*hold.Hold){
		"retry":     func(h *hold.Hold) { h.Retries, h.Attempt = 7, hold.Attempt{Count: 3, FirstAt: due, Unknown: true} },
		"metadata":  func(h *hold.Hold) { h.Metadata = map[string]string{"a": "b"} },
		"reference": func(h *hold.Hold) { h.Reference = "BK-1" },
		"version":   func(h *hold.Hold) { h.Version, h.Revision = 99, 99 },
		"deadline":  func(h *hold.Hold) { h.ExpiresAt = h.ExpiresAt.Add(time.Hour) },
		"cause":     func(h *hold.Hold) { h.Reason = hold.CauseTrigger },
	} {
		if got := key(e); got != want {
			t.Errorf("%s: another key for the same effect: %s, %s", name, got, want)
		}
	}
	// What is another effect has another key. Stripe ignores the endpoint, hence the operation.
	seen := map[string]string{want: "base"}
	for name, e := range map[string]func(*hold.Hold){
		"operation":      func(h *hold.Hold) { h.NextOp = canc },
		"amount":         func(h *hold.Hold) { h.CaptureAmount = 500 },
		"other amount":   func(h *hold.Hold) { h.CaptureAmount = 5000 },
		"not verified":   func(h *hold.Hold) { h.Verified = false },
		"generation":     func(h *hold.Hold) { h.Generation = 2 },
		"account":        func(h *hold.Hold) { h.Account = "acct_12345678" },
		"payment intent": func(h *hold.Hold) { h.PaymentIntent = "pi_other123456" },
		"hold":           func(h *hold.Hold) { h.ID = "pi_another12345" },
	} {
		k := key(e)
		if was := seen[k]; was != "" {
			t.Errorf("%s and %s share the key %s", name, was, k)
		}
		seen[k] = name
	}
	long := base(func(h *hold.Hold) { h.ID = "pi_" + fmt.Sprintf("%064d", 1); h.Generation = 1<<32 - 1 })
	if k := long.NextCall(due).Key; len(k) > 255 {
		t.Errorf("%d characters: Stripe takes 255", len(k))
	}
}

func TestAnOldKeyIsNotTrusted(t *testing.T) {
	due := t0.Add(2 * day)
	for _, tt := range []struct {
		name string
		age  time.Duration
		sent hold.Attempt
		want hold.Op
	}{
		{"fresh", 23*time.Hour - time.Millisecond, hold.Attempt{Count: 1}, capt},
		{"old", 23 * time.Hour, hold.Attempt{Count: 1}, read},
		{"old and lost", 23 * time.Hour, hold.Attempt{Unknown: true}, read},
		{"old, never used", 100 * time.Hour, hold.Attempt{}, capt},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := claim(made(t, held(), captureAt(due)), due)
			tt.sent.FirstAt = due
			h.Attempt = tt.sent
			if got := h.NextCall(due.Add(tt.age)).Op; got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestACaptureNamesItsAmount(t *testing.T) {
	due := t0.Add(2 * day)
	for _, tt := range []struct {
		name string
		h    hold.Hold
		op   hold.Op
		want int64
	}{
		{"confirmed, everything", made(t, held(), captureAt(due)), capt, 0},
		{"confirmed, a part", made(t, held(), captureAt(due), part(500)), capt, 500},
		{"confirmed, everything, where others may take a part", made(t, held(multi), captureAt(due)), capt, 0},
		{"confirmed, a part, where others may take one: read", made(t, held(multi), captureAt(due), part(500)), read, 0},
		{"on the caller's word: exactly that", made(t, nil, captureAt(due), told(amount, "eur")), capt, amount},
		{"on the caller's word, a part: read", made(t, nil, captureAt(due), told(amount, "eur"), part(1)), read, 0},
		{"nobody knows: read", made(t, nil, captureAt(due)), read, 0},
		{"nobody knows, a part: read", made(t, nil, captureAt(due), part(500)), read, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := claim(tt.h, due)
			if c := h.NextCall(due); c.Op != tt.op || c.Amount != tt.want || c.PaymentIntent != pi {
				t.Errorf("%+v", c)
			}
		})
	}
}

func TestHistoryIsBounded(t *testing.T) {
	now := t0.Add(2 * day)
	h := made(t, held(), captureAt(now))
	first := h.History[0]
	for i := range 200 {
		h = claim(h, now)
		h = h.ApplyAnswer(h.NextCall(now), hold.Answer{Kind: hold.AnswerRateLimited, RequestID: fmt.Sprint("req_", i)}, now).Hold
		now = h.NextAt
	}
	if len(h.History) != hold.MaxHistory || h.History[0] != first || int(h.HistoryDropped) != 201-hold.MaxHistory {
		t.Errorf("%d lines, %d forgotten, first %+v", len(h.History), h.HistoryDropped, h.History[0])
	}
	if last := h.History[len(h.History)-1]; last.RequestID != "req_199" {
		t.Errorf("last %+v", last)
	}
}

func TestUnsentGoesBackToWhatItWas(t *testing.T) {
	due := t0.Add(2 * day)
	h := made(t, held(), captureAt(due))
	c := claim(h, due)
	got := c.ReleaseUnsent()
	if got.Hold.State != sched || !got.Again || !got.Hold.Attempt.FirstAt.IsZero() || got.Hold.Attempt.Unknown || got.Hold.NextOp != capt {
		t.Errorf("%+v", got)
	}
	again := claim(claim(h, due), due.Add(time.Minute)) // taken over
	if got := again.ReleaseUnsent(); got.Hold.State != work || !got.Hold.Attempt.Unknown || got.Hold.Attempt.FirstAt != due {
		t.Errorf("taken over and given back: %s %+v", got.Hold.State, got.Hold.Attempt)
	}
}
