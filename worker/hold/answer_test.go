package hold_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// One row for each thing that Stripe can say to each call of a claimed hold.
// The hold's own time has come a second ago.

// holdBefore is how the hold stands when the answer comes.
type holdBefore struct {
	op         hold.Op // what is wanted
	readFirst  bool    // the truth must be read first
	unknown    bool    // an earlier request is lost
	generation uint32
	misses     uint32
}

// holdAfter is what must follow.
type holdAfter struct {
	state      hold.State
	next       hold.Op
	reason     hold.Cause
	generation uint32
	readFirst  bool // ReadFirst
	unknown    bool
	again      bool
	wait       [2]time.Duration // NextAt lies so far ahead, at least and at most
	event      hold.EventType   // the only one; empty: none
}

var (
	formatDuration         = [2]time.Duration{500 * time.Millisecond, time.Second}
	rateLimitBackoff       = [2]time.Duration{125 * time.Millisecond, 250 * time.Millisecond}
	refusedBackoff         = [2]time.Duration{time.Second, 2 * time.Second}
	unexpectedStateBackoff = [2]time.Duration{2500 * time.Millisecond, 5 * time.Second}
	notFoundBackoff        = [2]time.Duration{5 * time.Second, 10 * time.Second}
	noBackoff              = [2]time.Duration{}
)

const (
	opCapture = hold.OpCapture
	opCancel  = hold.OpCancel
	opRead    = hold.OpRead
	opNone    = hold.Op(0)

	stateScheduled = hold.Scheduled
	stateWorking   = hold.Working
	stateAttention = hold.Attention

	causeSchedule  = hold.CauseSchedule
	causeElsewhere = hold.CauseElsewhere

	eventRetrying  = hold.EventRetrying
	eventAttention = hold.EventAttention
)

func TestApplyAnswer(t *testing.T) {
	capture := holdBefore{op: opCapture, generation: 1}
	lostCapture := holdBefore{op: opCapture, generation: 1, unknown: true}
	captureSecondKey := holdBefore{op: opCapture, generation: 2}
	readCapture := holdBefore{op: opCapture, generation: 1, readFirst: true}
	readLostCapture := holdBefore{op: opCapture, generation: 1, readFirst: true, unknown: true}
	readLostSecondKey := holdBefore{op: opCapture, generation: 2, readFirst: true, unknown: true}
	cancel := holdBefore{op: opCancel, generation: 1}
	lostCancel := holdBefore{op: opCancel, generation: 1, unknown: true}
	readLostCancel := holdBefore{op: opCancel, generation: 1, readFirst: true, unknown: true}
	readAtDeadline := holdBefore{op: opRead, generation: 1} // at the deadline
	afterNotFound := func(b holdBefore) holdBefore { b.misses = 1; b.readFirst = true; return b }

	wantSettled := func(s hold.State, reason hold.Cause, n hold.EventType, withGeneration uint32) holdAfter {
		return holdAfter{state: s, reason: reason, generation: withGeneration, event: n}
	}
	wantCaptured := wantSettled(hold.Captured, causeSchedule, hold.EventCaptured, 1)
	wantCapturedElsewhere := wantSettled(hold.Captured, causeElsewhere, hold.EventCaptured, 1)
	wantCanceled := wantSettled(hold.Canceled, causeSchedule, hold.EventCanceled, 1)
	wantCanceledElsewhere := wantSettled(hold.Canceled, causeElsewhere, hold.EventCanceled, 1)
	wantExpired := wantSettled(hold.Expired, hold.CauseExpired, hold.EventExpired, 1)
	wantAttention := func(reason hold.Cause) holdAfter {
		return holdAfter{state: stateAttention, reason: reason, generation: 1, event: eventAttention}
	}
	wantUnknown := func(op hold.Op, w [2]time.Duration) holdAfter {
		return holdAfter{state: stateWorking, next: op, reason: causeSchedule, generation: 1, unknown: true, wait: w, event: eventRetrying}
	}
	wantRetry := func(op hold.Op, w [2]time.Duration) holdAfter {
		return holdAfter{state: stateScheduled, next: op, reason: causeSchedule, generation: 1, wait: w, event: eventRetrying}
	}
	readsFirst := func(a holdAfter) holdAfter { a.readFirst = true; return a }
	withGeneration := func(a holdAfter, n uint32) holdAfter { a.generation = n; return a }
	withAttentionEvent := func(a holdAfter) holdAfter { a.event = eventAttention; return a }
	withState := func(a holdAfter, s hold.State) holdAfter { a.state, a.reason = s, 0; return a }

	for _, tt := range []struct {
		was  holdBefore
		kind hold.AnswerKind
		with string // intent in the body
		want holdAfter
	}{
		// Capture, nothing sent before under this key.
		{capture, hold.AnswerOK, "captured", wantCaptured},
		// everything was asked for; what there was is Stripe's word
		{capture, hold.AnswerOK, "part", wantCaptured},
		{capture, hold.AnswerOK, "canceled", wantCanceledElsewhere},
		{capture, hold.AnswerOK, "automatic", wantExpired},
		{capture, hold.AnswerOK, "held", readsFirst(wantUnknown(opCapture, unexpectedStateBackoff))},
		{capture, hold.AnswerOK, "busy", readsFirst(wantUnknown(opCapture, unexpectedStateBackoff))},
		{capture, hold.AnswerOK, "action", wantAttention(hold.CauseNotCapturable)},
		{capture, hold.AnswerOK, "method", wantAttention(hold.CauseNotCapturable)},
		{capture, hold.AnswerOK, "", wantUnknown(opCapture, formatDuration)},
		{capture, hold.AnswerUnexpectedState, "captured", wantCapturedElsewhere},
		{capture, hold.AnswerUnexpectedState, "canceled", wantCanceledElsewhere},
		{capture, hold.AnswerUnexpectedState, "expired", wantExpired},
		{capture, hold.AnswerUnexpectedState, "held", holdAfter{state: stateWorking, next: opCapture, reason: causeSchedule, generation: 1, readFirst: true, again: true}},
		{capture, hold.AnswerUnexpectedState, "", holdAfter{state: stateWorking, next: opCapture, reason: causeSchedule, generation: 1, readFirst: true, again: true}},
		{capture, hold.AnswerChargeGone, "captured", wantCapturedElsewhere},
		{capture, hold.AnswerChargeGone, "automatic", wantExpired},
		{capture, hold.AnswerChargeGone, "", holdAfter{state: stateWorking, next: opCapture, reason: causeSchedule, generation: 1, readFirst: true, again: true}},
		{capture, hold.AnswerAmountTooLarge, "", wantAttention(hold.CauseAmountTooLarge)},
		{capture, hold.AnswerNotFound, "", readsFirst(wantRetry(opCapture, notFoundBackoff))},
		{afterNotFound(capture), hold.AnswerNotFound, "", readsFirst(wantAttention(hold.CauseNotFound))},
		{capture, hold.AnswerLockTimeout, "", wantRetry(opCapture, formatDuration)},
		{capture, hold.AnswerRateLimited, "", wantRetry(opCapture, rateLimitBackoff)},
		{capture, hold.AnswerKeyInUse, "", wantUnknown(opCapture, formatDuration)},
		{capture, hold.AnswerIdempotencyError, "", wantAttention(hold.CauseKeyConflict)},
		{capture, hold.AnswerDeclined, "", wantAttention(hold.CauseRefused)},
		{capture, hold.AnswerUnauthorized, "", wantRetry(opCapture, refusedBackoff)},
		{capture, hold.AnswerForbidden, "", wantRetry(opCapture, refusedBackoff)},
		{capture, hold.AnswerInvalid, "", wantAttention(hold.CauseRefused)},
		{capture, hold.AnswerUnreachable, "", wantRetry(opCapture, refusedBackoff)},
		{capture, hold.AnswerUnknown, "", wantUnknown(opCapture, formatDuration)},
		{capture, hold.AnswerReplayedError, "", readsFirst(wantUnknown(opCapture, formatDuration))},

		// Capture again with the key of a lost one.
		{lostCapture, hold.AnswerOK, "captured", wantCaptured},
		{lostCapture, hold.AnswerUnexpectedState, "captured", wantCapturedElsewhere},
		{lostCapture, hold.AnswerUnexpectedState, "canceled", wantCanceledElsewhere},
		{lostCapture, hold.AnswerUnexpectedState, "", holdAfter{state: stateWorking, next: opCapture, reason: causeSchedule, generation: 1, readFirst: true, again: true}},
		{lostCapture, hold.AnswerAmountTooLarge, "", holdAfter{state: stateWorking, next: opCapture, reason: causeSchedule, generation: 1, readFirst: true, unknown: true, again: true}},
		{lostCapture, hold.AnswerDeclined, "", holdAfter{state: stateWorking, next: opCapture, reason: causeSchedule, generation: 1, readFirst: true, unknown: true, again: true}},
		{lostCapture, hold.AnswerInvalid, "", holdAfter{state: stateWorking, next: opCapture, reason: causeSchedule, generation: 1, readFirst: true, unknown: true, again: true}},
		{lostCapture, hold.AnswerNotFound, "", readsFirst(wantUnknown(opCapture, notFoundBackoff))},
		{lostCapture, hold.AnswerLockTimeout, "", wantUnknown(opCapture, formatDuration)},
		{lostCapture, hold.AnswerRateLimited, "", wantUnknown(opCapture, rateLimitBackoff)},
		{lostCapture, hold.AnswerKeyInUse, "", wantUnknown(opCapture, formatDuration)},
		{lostCapture, hold.AnswerUnauthorized, "", wantUnknown(opCapture, refusedBackoff)},
		{lostCapture, hold.AnswerForbidden, "", wantUnknown(opCapture, refusedBackoff)},
		{lostCapture, hold.AnswerUnreachable, "", wantUnknown(opCapture, refusedBackoff)},
		{lostCapture, hold.AnswerUnknown, "", wantUnknown(opCapture, formatDuration)},
		{lostCapture, hold.AnswerReplayedError, "", readsFirst(wantUnknown(opCapture, formatDuration))},

		// Capture under a second key: a late twin of the first may have been
		// faster.
		{captureSecondKey, hold.AnswerOK, "captured", withGeneration(wantCaptured, 2)},
		{captureSecondKey, hold.AnswerUnexpectedState, "captured", withGeneration(wantCaptured, 2)},
		{captureSecondKey, hold.AnswerUnexpectedState, "canceled", withGeneration(wantCanceledElsewhere, 2)},
		{captureSecondKey, hold.AnswerUnknown, "", withGeneration(wantUnknown(opCapture, formatDuration), 2)},

		// The truth before a capture.
		{readCapture, hold.AnswerOK, "held", holdAfter{state: stateWorking, next: opCapture, reason: causeSchedule, generation: 1, again: true}},
		{readCapture, hold.AnswerOK, "captured", wantCapturedElsewhere},
		{readCapture, hold.AnswerOK, "busy", readsFirst(wantRetry(opCapture, unexpectedStateBackoff))},
		{readCapture, hold.AnswerUnknown, "", readsFirst(wantRetry(opCapture, formatDuration))},
		{readCapture, hold.AnswerUnreachable, "", readsFirst(wantRetry(opCapture, refusedBackoff))},
		{readCapture, hold.AnswerNotFound, "", readsFirst(wantRetry(opCapture, notFoundBackoff))},
		{readLostCapture, hold.AnswerOK, "held", holdAfter{state: stateWorking, next: opCapture, reason: causeSchedule, generation: 2, again: true}},
		{readLostCapture, hold.AnswerOK, "captured", wantCaptured},
		{readLostCapture, hold.AnswerOK, "canceled", wantCanceledElsewhere},
		{readLostCapture, hold.AnswerOK, "automatic", wantExpired},
		{readLostCapture, hold.AnswerOK, "busy", readsFirst(wantUnknown(opCapture, unexpectedStateBackoff))},
		{readLostCapture, hold.AnswerOK, "", readsFirst(wantUnknown(opCapture, formatDuration))},
		{readLostCapture, hold.AnswerUnknown, "", readsFirst(wantUnknown(opCapture, formatDuration))},
		{readLostCapture, hold.AnswerReplayedError, "", readsFirst(wantUnknown(opCapture, formatDuration))},
		{readLostCapture, hold.AnswerNotFound, "", readsFirst(wantUnknown(opCapture, notFoundBackoff))},
		{afterNotFound(readLostCapture), hold.AnswerNotFound, "", readsFirst(withAttentionEvent(wantUnknown(opCapture, notFoundBackoff)))},
		{afterNotFound(readLostCapture), hold.AnswerInvalid, "", readsFirst(withAttentionEvent(wantUnknown(opCapture, notFoundBackoff)))},
		{readLostCapture, hold.AnswerLockTimeout, "", readsFirst(wantUnknown(opCapture, formatDuration))},
		{readLostCapture, hold.AnswerRateLimited, "", readsFirst(wantUnknown(opCapture, rateLimitBackoff))},
		{readLostCapture, hold.AnswerUnauthorized, "", readsFirst(wantUnknown(opCapture, refusedBackoff))},
		{readLostCapture, hold.AnswerUnreachable, "", readsFirst(wantUnknown(opCapture, refusedBackoff))},
		{readLostSecondKey, hold.AnswerOK, "held", holdAfter{state: stateWorking, next: opCapture, reason: causeSchedule, generation: 3, again: true}},
		{readLostSecondKey, hold.AnswerOK, "captured", withGeneration(wantCaptured, 2)},

		// Cancel.
		{cancel, hold.AnswerOK, "canceled", wantCanceled},
		{cancel, hold.AnswerOK, "automatic", wantExpired},
		{cancel, hold.AnswerOK, "captured", wantCapturedElsewhere},
		{cancel, hold.AnswerOK, "held", readsFirst(wantUnknown(opCancel, unexpectedStateBackoff))},
		{cancel, hold.AnswerOK, "", wantUnknown(opCancel, formatDuration)},
		{cancel, hold.AnswerUnexpectedState, "canceled", wantCanceledElsewhere},
		{cancel, hold.AnswerUnexpectedState, "captured", wantCapturedElsewhere},
		{cancel, hold.AnswerUnexpectedState, "automatic", wantExpired},
		{cancel, hold.AnswerNotFound, "", readsFirst(wantRetry(opCancel, notFoundBackoff))},
		{cancel, hold.AnswerLockTimeout, "", wantRetry(opCancel, formatDuration)},
		{cancel, hold.AnswerRateLimited, "", wantRetry(opCancel, rateLimitBackoff)},
		{cancel, hold.AnswerKeyInUse, "", wantUnknown(opCancel, formatDuration)},
		{cancel, hold.AnswerIdempotencyError, "", wantAttention(hold.CauseKeyConflict)},
		{cancel, hold.AnswerInvalid, "", wantAttention(hold.CauseRefused)},
		{cancel, hold.AnswerUnauthorized, "", wantRetry(opCancel, refusedBackoff)},
		{cancel, hold.AnswerUnreachable, "", wantRetry(opCancel, refusedBackoff)},
		{cancel, hold.AnswerUnknown, "", wantUnknown(opCancel, formatDuration)},
		{cancel, hold.AnswerReplayedError, "", readsFirst(wantUnknown(opCancel, formatDuration))},
		{lostCancel, hold.AnswerOK, "canceled", wantCanceled},
		{lostCancel, hold.AnswerUnexpectedState, "canceled", wantCanceledElsewhere},
		{readLostCancel, hold.AnswerOK, "held", holdAfter{state: stateWorking, next: opCancel, reason: causeSchedule, generation: 2, again: true}},
		{readLostCancel, hold.AnswerOK, "canceled", wantCanceled},
		{readLostCancel, hold.AnswerOK, "captured", wantCapturedElsewhere},

		// A look at the deadline, at a hold that waits.
		{readAtDeadline, hold.AnswerOK, "held", holdAfter{state: hold.Waiting, generation: 1}},
		{readAtDeadline, hold.AnswerOK, "captured", wantCapturedElsewhere},
		{readAtDeadline, hold.AnswerOK, "canceled", wantCanceledElsewhere},
		{readAtDeadline, hold.AnswerOK, "automatic", wantExpired},
		{readAtDeadline, hold.AnswerOK, "busy", withState(readsFirst(wantRetry(opRead, unexpectedStateBackoff)), hold.Waiting)},
		{readAtDeadline, hold.AnswerOK, "action", wantAttention(hold.CauseNotCapturable)},
		{readAtDeadline, hold.AnswerNotFound, "", withState(readsFirst(wantRetry(opRead, notFoundBackoff)), hold.Waiting)},
		{afterNotFound(readAtDeadline), hold.AnswerNotFound, "", readsFirst(wantAttention(hold.CauseNotFound))},
		{readAtDeadline, hold.AnswerUnknown, "", withState(wantRetry(opRead, formatDuration), hold.Waiting)},
		{readAtDeadline, hold.AnswerRateLimited, "", withState(wantRetry(opRead, rateLimitBackoff), hold.Waiting)},
		{readAtDeadline, hold.AnswerUnreachable, "", withState(wantRetry(opRead, refusedBackoff), hold.Waiting)},
		{readAtDeadline, hold.AnswerUnauthorized, "", withState(wantRetry(opRead, refusedBackoff), hold.Waiting)},
	} {
		for _, replayed := range []bool{false, true} {
			name := fmt.Sprintf("%s read=%v lost=%v gen%d/%s %s replayed=%v", tt.was.op, tt.was.readFirst, tt.was.unknown, tt.was.generation, tt.kind, tt.with, replayed)
			t.Run(name, func(t *testing.T) {
				due := t0.Add(2 * day)
				var h hold.Hold
				switch tt.was.op {
				case opCapture:
					h = newHold(t, heldIntent(), withCaptureAt(due))
				case opCancel:
					h = newHold(t, heldIntent(), withCancelAt(due))
				default:
					h = newHold(t, heldIntent())
					h.NextOp, h.NextAt = opRead, due
				}
				now := due.Add(time.Second)
				h.Generation, h.InconclusiveReads, h.ReadFirst = tt.was.generation, tt.was.misses, tt.was.readFirst
				if tt.was.unknown {
					h.State, h.PreviousState, h.Sent = stateWorking, stateScheduled,
						hold.IdempotencyKeyUsage{Count: 1, FirstAt: now, Unknown: true}
				}
				h = claimHold(h, now)
				call := h.NextCall(now)
				if want := tt.was.op; tt.was.readFirst && call.Op != opRead || !tt.was.readFirst && call.Op != want {
					t.Fatalf("call %s", call.Op)
				}
				original := deepCopy(h)
				a := hold.Answer{Kind: tt.kind, Intent: intentsByName[tt.with], RequestID: "req_1", Code: "code", Message: "text", Replayed: replayed}
				if tt.with != "" && a.Intent == nil {
					t.Fatalf("no intent %q", tt.with)
				}
				c := h.ApplyAnswer(call, a, now)
				g := c.Hold
				got := holdAfter{state: g.State, next: g.NextOp, reason: g.Reason, generation: g.Generation, readFirst: g.ReadFirst, unknown: g.Sent.Unknown, again: c.NextStepNow, wait: tt.want.wait}
				if len(c.Events) > 0 {
					got.event = c.Events[0].Type
				}
				if got != tt.want {
					t.Errorf("\n got %+v\nwant %+v", got, tt.want)
				}
				if len(c.Events) > 1 || c.Unchanged {
					t.Errorf("notices %v, same %v", c.Events, c.Unchanged)
				}
				if tt.want.wait != noBackoff {
					if d := g.NextAt.Sub(now); d < tt.want.wait[0] || d > tt.want.wait[1] {
						t.Errorf("next in %v, want %v to %v", d, tt.want.wait[0], tt.want.wait[1])
					}
				}
				if g.State == hold.Captured && g.CapturedAmount != a.Intent.AmountReceived {
					t.Errorf("captured %d, Stripe says %d", g.CapturedAmount, a.Intent.AmountReceived)
				}
				if (tt.want.state == stateAttention) != c.SortedSetPlacement(&h, now,
					testRules).NeedsAttention {
					t.Error("not where a person looks")
				}
				if !equalHolds(original, h) {
					t.Error("the hold that was given was changed")
				}
			})
		}
	}
}

func TestNextCall_IdempotencyKey(t *testing.T) {
	due := t0.Add(2 * day)
	base := func(edit ...func(*hold.Hold)) hold.Hold {
		h := newHold(t, heldIntent(), withCaptureAt(due))
		for _, e := range edit {
			e(&h)
		}
		return claimHold(h, due)
	}
	key := func(edit ...func(*hold.Hold)) string { h := base(edit...); return h.NextCall(due).Key }
	want := key()
	if want == "" || len(want) > 255 {
		t.Fatalf("key %q", want)
	}
	// What does not change the effect does not change the key: retries,
	// take-overs, terms that aren't parameters.
	for name, e := range map[string]func(*hold.Hold){
		"retry": func(h *hold.Hold) {
			h.Retries, h.Sent = 7, hold.IdempotencyKeyUsage{Count: 3, FirstAt: due, Unknown: true}
		},
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
	// What is another effect has another key. Stripe ignores the endpoint,
	// hence the operation.
	seen := map[string]string{want: "base"}
	for name, e := range map[string]func(*hold.Hold){
		"operation":      func(h *hold.Hold) { h.NextOp = opCancel },
		"amount":         func(h *hold.Hold) { h.CaptureAmount = 500 },
		"other amount":   func(h *hold.Hold) { h.CaptureAmount = 5000 },
		"not verified":   func(h *hold.Hold) { h.Verified = false },
		"generation":     func(h *hold.Hold) { h.Generation = 2 },
		"account":        func(h *hold.Hold) { h.Account = "acct_12345678" },
		"payment intent": func(h *hold.Hold) { h.PaymentIntent = "pi_other123456" },
		"hold":           func(h *hold.Hold) { h.ID = "pi_another12345" },
	} {
		k := key(e)
		if existing := seen[k]; existing != "" {
			t.Errorf("%s and %s share the key %s", name, existing, k)
		}
		seen[k] = name
	}
	long := base(func(h *hold.Hold) { h.ID = "pi_" + fmt.Sprintf("%064d", 1); h.Generation = 1<<32 - 1 })
	if k := long.NextCall(due).Key; len(k) > 255 {
		t.Errorf("%d characters: Stripe takes 255", len(k))
	}
}

func TestNextCall_ReadsFirstWhenKeyExpired(t *testing.T) {
	due := t0.Add(2 * day)
	for _, tt := range []struct {
		name string
		age  time.Duration
		sent hold.IdempotencyKeyUsage
		want hold.Op
	}{
		{"fresh", 23*time.Hour - time.Millisecond, hold.IdempotencyKeyUsage{Count: 1}, opCapture},
		{"old", 23 * time.Hour, hold.IdempotencyKeyUsage{Count: 1}, opRead},
		{"old and lost", 23 * time.Hour, hold.IdempotencyKeyUsage{Unknown: true}, opRead},
		{"old, never used", 100 * time.Hour, hold.IdempotencyKeyUsage{}, opCapture},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := claimHold(newHold(t, heldIntent(), withCaptureAt(due)), due)
			tt.sent.FirstAt = due
			h.Sent = tt.sent
			if got := h.NextCall(due.Add(tt.age)).Op; got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestNextCall_CaptureAmount(t *testing.T) {
	due := t0.Add(2 * day)
	for _, tt := range []struct {
		name string
		h    hold.Hold
		op   hold.Op
		want int64
	}{
		{"confirmed, everything", newHold(t, heldIntent(), withCaptureAt(due)), opCapture, 0},
		{"confirmed, a part", newHold(t, heldIntent(), withCaptureAt(due), withCaptureAmount(500)), opCapture, 500},
		{"confirmed, everything, where others may take a part", newHold(t, heldIntent(multi), withCaptureAt(due)), opCapture, 0},
		{"confirmed, a part, where others may take one: read", newHold(t, heldIntent(multi), withCaptureAt(due), withCaptureAmount(500)), opRead, 0},
		{"on the caller's word: exactly that", newHold(t, nil, withCaptureAt(due), withAmount(amount, "eur")), opCapture, amount},
		{"on the caller's word, a part: read", newHold(t, nil, withCaptureAt(due), withAmount(amount, "eur"), withCaptureAmount(1)), opRead, 0},
		{"nobody knows: read", newHold(t, nil, withCaptureAt(due)), opRead, 0},
		{"nobody knows, a part: read", newHold(t, nil, withCaptureAt(due), withCaptureAmount(500)), opRead, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := claimHold(tt.h, due)
			if c := h.NextCall(due); c.Op != tt.op || c.Amount != tt.want || c.PaymentIntent != testIntentID {
				t.Errorf("%+v", c)
			}
		})
	}
}

func TestHistory_IsBounded(t *testing.T) {
	now := t0.Add(2 * day)
	h := newHold(t, heldIntent(), withCaptureAt(now))
	first := h.History[0]
	for i := range 200 {
		h = claimHold(h, now)
		h = h.ApplyAnswer(h.NextCall(now), hold.Answer{Kind: hold.AnswerRateLimited, RequestID: fmt.Sprint("req_", i)}, now).Hold
		now = h.NextAt
	}
	alerts := 4 // at the 16th, 32nd, 64th and 128th call
	if len(h.History) != hold.MaxHistory || h.History[0] != first || int(h.HistoryDropped) != 201+alerts-hold.MaxHistory {
		t.Errorf("%d lines, %d forgotten, first %+v", len(h.History), h.HistoryDropped, h.History[0])
	}
	if last := h.History[len(h.History)-1]; last.RequestID != "req_199" {
		t.Errorf("last %+v", last)
	}
}

func TestReleaseUnsentClaim(t *testing.T) {
	due := t0.Add(2 * day)
	h := newHold(t, heldIntent(), withCaptureAt(due))
	c := claimHold(h, due)
	got := c.ReleaseUnsentClaim()
	if got.Hold.State != stateScheduled || !got.NextStepNow || !got.Hold.Sent.FirstAt.IsZero() || got.Hold.Sent.Unknown || got.Hold.NextOp != opCapture {
		t.Errorf("%+v", got)
	}
	takenOver := claimHold(claimHold(h, due), due.Add(time.Minute)) // taken over
	if got := takenOver.ReleaseUnsentClaim(); got.Hold.State != stateWorking ||
		!got.Hold.Sent.Unknown || got.Hold.Sent.FirstAt != due {
		t.Errorf("taken over and given back: %s %+v", got.Hold.State, got.Hold.Sent)
	}
}
