package hold_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// holdInState is a hold with a time to capture, brought to a state by what
// would bring it there.
func holdInState(t *testing.T, s hold.State) hold.Hold {
	t.Helper()
	at := t0.Add(2 * day)
	h := newHold(t, heldIntent(), withCaptureAt(at))
	switch s {
	case hold.Waiting:
		h = newHold(t, heldIntent())
	case hold.Paused:
		h = mustAccept(t)(h.Pause(0, "api", t0))
	case hold.Scheduled:
	case hold.Working:
		h = claimHold(h, at)
	case hold.Attention:
		h = h.ApplyIntentNotFound(t0).Hold
	case hold.Captured:
		h = h.ApplyPaymentIntent(capturedIntent(amount), t0).Hold
	case hold.Canceled:
		h = h.ApplyPaymentIntent(canceledIntent("abandoned"), t0).Hold
	case hold.Expired:
		h = h.ApplyPaymentIntent(canceledIntent("expired"), t0).Hold
	}
	if h.State != s {
		t.Fatalf("state %s, want %s", h.State, s)
	}
	return h
}

func TestRequestCapture_AlreadyCapturedSaysHowMuch(t *testing.T) {
	h := holdInState(t, hold.Captured)
	_, err := h.RequestCapture(hold.CaptureRequest{Amount: amount - 1}, "api", t0)
	wantCode(t, err, hold.AlreadyCaptured)
	want := "(" + hold.FormatAmount(amount, h.Currency) + ")"
	if !strings.HasSuffix(err.Error(), want) {
		t.Errorf("%q does not end in %s", err, want)
	}
}

func TestRequests_ByState(t *testing.T) {
	now := t0.Add(time.Hour)
	finalCode := map[hold.State]hold.ProblemCode{hold.Working: hold.TooLate,
		hold.Captured: hold.AlreadyCaptured, hold.Canceled: hold.AlreadyCanceled,
		hold.Expired: hold.AlreadyExpired}
	type row = map[hold.State]string // what becomes of it: a state, or a code
	for _, tt := range []struct {
		name string
		do   func(h hold.Hold) (hold.Decision, error)
		want row // working and the final states always refuse
	}{
		{"capture", func(h hold.Hold) (hold.Decision, error) {
			return h.RequestCapture(hold.CaptureRequest{}, "api", now)
		},
			row{hold.Waiting: "scheduled", hold.Paused: "hold_paused", hold.Scheduled: "scheduled",
				hold.Attention: "scheduled"}},
		{"capture what is captured", func(h hold.Hold) (hold.Decision, error) {
			return h.RequestCapture(hold.CaptureRequest{Amount: amount}, "api", now)
		},
			row{hold.Waiting: "scheduled", hold.Paused: "hold_paused", hold.Scheduled: "scheduled",
				hold.Attention: "scheduled", hold.Captured: "same"}},
		{"capture too much", func(h hold.Hold) (hold.Decision, error) {
			return h.RequestCapture(hold.CaptureRequest{Amount: amount + 1}, "api", now)
		},
			row{hold.Waiting: "amount_too_large", hold.Paused: "hold_paused",
				hold.Scheduled: "amount_too_large", hold.Attention: "amount_too_large"}},
		{"capture less than nothing", func(h hold.Hold) (hold.Decision, error) {
			return h.RequestCapture(hold.CaptureRequest{Amount: -1}, "api", now)
		},
			row{hold.Waiting: "invalid_amount", hold.Paused: "hold_paused",
				hold.Scheduled: "invalid_amount", hold.Attention: "invalid_amount"}},
		{"cancel", func(h hold.Hold) (hold.Decision, error) {
			return h.RequestCancel("", "api", now)
		},
			row{hold.Waiting: "scheduled", hold.Paused: "scheduled", hold.Scheduled: "scheduled",
				hold.Attention: "scheduled", hold.Canceled: "same"}},
		{"cancel for another reason", func(h hold.Hold) (hold.Decision, error) {
			return h.RequestCancel("fraudulent", "api", now)
		},
			row{hold.Waiting: "scheduled", hold.Paused: "scheduled", hold.Scheduled: "scheduled",
				hold.Attention: "scheduled"}},
		{"pause", func(h hold.Hold) (hold.Decision, error) {
			return h.Pause(hold.CauseReview, "api", now)
		},
			row{hold.Waiting: "paused", hold.Paused: "already_paused", hold.Scheduled: "paused",
				hold.Attention: "too_late"}},
		{"resume", func(h hold.Hold) (hold.Decision, error) { return h.Resume("api", now) },
			row{hold.Waiting: "not_paused", hold.Paused: "scheduled", hold.Scheduled: "not_paused",
				hold.Attention: "not_paused"}},
		{"acknowledge", func(h hold.Hold) (hold.Decision, error) {
			return h.AcknowledgeWarnings("api", now)
		},
			row{hold.Waiting: "waiting", hold.Paused: "paused", hold.Scheduled: "scheduled",
				hold.Attention: "attention"}},
		{"patch the time", func(h hold.Hold) (hold.Decision, error) {
			return h.ApplyPatch(&hold.Patch{CaptureAt: ptr(formatTime(t0.Add(3 * day)))}, "api",
				now)
		}, row{hold.Waiting: "scheduled", hold.Paused: "paused", hold.Scheduled: "scheduled",
			hold.Attention: "scheduled"}},
		{"patch to release", func(h hold.Hold) (hold.Decision, error) {
			return h.ApplyPatch(&hold.Patch{CancelAt: ptr(formatTime(t0.Add(3 * day)))}, "api", now)
		}, row{hold.Waiting: "scheduled", hold.Paused: "paused", hold.Scheduled: "scheduled",
			hold.Attention: "scheduled"}},
		{"clear the time", func(h hold.Hold) (hold.Decision, error) {
			return h.ApplyPatch(&hold.Patch{CaptureAt: ptr("")}, "api", now)
		},
			row{hold.Waiting: "same", hold.Paused: "paused", hold.Scheduled: "waiting",
				hold.Attention: "waiting"}},
		{"patch the policy", func(h hold.Hold) (hold.Decision, error) {
			return h.ApplyPatch(&hold.Patch{OnExpiry: ptr("alert")}, "api", now)
		},
			row{hold.Waiting: "waiting", hold.Paused: "paused", hold.Scheduled: "scheduled",
				hold.Attention: "attention"}},
		{"patch nothing", func(h hold.Hold) (hold.Decision, error) {
			return h.ApplyPatch(&hold.Patch{}, "api", now)
		},
			row{hold.Waiting: "same", hold.Paused: "same", hold.Scheduled: "same",
				hold.Attention: "same"}},
		{"patch beyond the deadline", func(h hold.Hold) (hold.Decision, error) {
			return h.ApplyPatch(&hold.Patch{CaptureAt: ptr(formatTime(t0.Add(7 * day)))}, "api",
				now)
		}, row{hold.Waiting: "after_deadline", hold.Paused: "after_deadline",
			hold.Scheduled: "after_deadline", hold.Attention: "after_deadline"}},
	} {
		for _, s := range hold.States() {
			if s == hold.Ready {
				continue // never stored
			}
			t.Run(tt.name+"/"+s.String(), func(t *testing.T) {
				h := holdInState(t, s)
				previous := deepCopy(h)
				c, err := tt.do(h)
				if !equalHolds(previous, h) {
					t.Error("the hold that was given was changed")
				}
				if code := finalCode[s]; code != "" && tt.want[s] == "" {
					wantCode(t, err, code)
					return
				}
				want := tt.want[s]
				if err != nil {
					wantCode(t, err, hold.ProblemCode(want))
					return
				}
				if got := c.Hold.State.String(); c.Unchanged && want != "same" ||
					!c.Unchanged && got != want {
					t.Errorf("%s (same %v), want %s", got, c.Unchanged, want)
				}
				if !c.Unchanged && c.Hold.Revision != h.Revision+1 {
					t.Errorf("revision %d after %d", c.Hold.Revision, h.Revision)
				}
			})
		}
	}
}

func TestRequestCapture_Repeated(t *testing.T) {
	now := t0.Add(time.Hour)
	fee := int64(7)
	for _, tt := range []struct {
		name                string
		captured, elsewhere int64
		terms               int64
		req                 hold.CaptureRequest
		same                bool
	}{
		{"all, by holdd", amount, 0, 0, hold.CaptureRequest{}, true},
		{"all, and the amount named", amount, 0, 0, hold.CaptureRequest{Amount: amount}, true},
		{"another amount", amount, 0, 0, hold.CaptureRequest{Amount: amount - 1}, false},
		{"the amount of the terms", 40, 0, 40, hold.CaptureRequest{}, true},
		{"another amount than the terms", 40, 0, 40, hold.CaptureRequest{Amount: 41}, false},
		{"less than all was captured", 40, 40, 0, hold.CaptureRequest{}, false},
		{"all, by another system", amount, amount, 0, hold.CaptureRequest{}, false},
		{"the amount named, by another system", amount, amount, 0,
			hold.CaptureRequest{Amount: amount}, true},
		{"another fee", amount, 0, 0, hold.CaptureRequest{CaptureParamsPatch: hold.CaptureParamsPatch{
			ApplicationFeeAmount: &fee}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := holdInState(t, hold.Captured)
			h.CapturedAmount, h.CapturedElsewhere, h.CaptureAmount = tt.captured, tt.elsewhere, tt.terms
			d, err := h.RequestCapture(tt.req, "api", now)
			if !tt.same {
				wantCode(t, err, hold.AlreadyCaptured)
				return
			}
			if err != nil || !d.Unchanged || len(d.Events) != 0 {
				t.Errorf("%v, unchanged %v, events %v", err, d.Unchanged, d.Events)
			}
		})
	}
}

// A capture after an accepted cancel is no repetition, even if Redis forgot the
// capture and another answer showed it.
func TestRequestCapture_AfterAcceptedCancel(t *testing.T) {
	h := holdInState(t, hold.Captured)
	h.CapturedAmount, h.CapturedElsewhere, h.CaptureAmount = amount, 0, 0
	h.CancelWanted = true
	_, err := h.RequestCapture(hold.CaptureRequest{}, "api", t0.Add(time.Hour))
	wantCode(t, err, hold.AlreadyCaptured)
}

// A policy that was about to act, and could not yet, is not held to what it
// was: who changes it meanwhile is obeyed.
func TestApplyPatch_PolicyChangedWhileActing(t *testing.T) {
	inMargin := t0.Add(7*day - 30*time.Minute)
	for _, tt := range []struct {
		name  string
		h     hold.Hold
		to    string
		state hold.State
		acts  hold.Op    // once the new policy has spoken
		why   hold.Cause // 0: any
	}{
		{name: "to capture", h: newHold(t, heldIntent()), to: "capture",
			state: hold.Waiting, acts: hold.OpCapture},
		{name: "to alert", h: newHold(t, heldIntent()), to: "alert", state: hold.Waiting},
		{name: "to cancel", h: newHold(t, heldIntent(), withOnExpiry(hold.PolicyCapture)),
			to: "cancel", state: hold.Waiting, acts: hold.OpCancel},
		{name: "paused",
			h: mustAccept(t)(newHold(t, heldIntent(), withCaptureAt(t0.Add(day))).Pause(
				hold.CauseReview, "stripe", t0)), to: "capture",
			state: hold.Paused, why: hold.CauseReview},
		{name: "paused and resumed",
			h: mustAccept(t)(mustAccept(t)(newHold(t, heldIntent()).Pause(0, "api", t0)).Resume(
				"api", t0)), to: "capture", state: hold.Waiting, acts: hold.OpCapture},
		{name: "a time behind the deadline",
			h: newHold(t, heldIntent(), withCaptureAt(t0.Add(8*day)),
				func(d *hold.ValidRequest) { d.FromMetadata = true }), to: "capture",
			state: hold.Attention, why: hold.CauseAfterDeadline, acts: hold.OpCapture},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := tt.h.ApplyMilestone(t0.Add(7*day-time.Hour), inMargin, testRules)
			if c.Hold.State != hold.Scheduled || c.Hold.Reason != hold.CauseOnExpiry {
				t.Fatalf("the policy does not act: %s %s", c.Hold.State, c.Hold.Reason)
			}
			h := claimHold(c.Hold, inMargin)
			call := h.NextCall(inMargin)
			h = h.ApplyAnswer(call, hold.Answer{Kind: hold.AnswerUnauthorized}, inMargin).Hold
			p, err := h.ApplyPatch(&hold.Patch{OnExpiry: &tt.to}, "api", inMargin)
			if err != nil {
				t.Fatal(err)
			}
			if p.Hold.State != tt.state || p.Hold.NextOp != 0 || tt.why != 0 &&
				p.Hold.Reason != tt.why {
				t.Errorf("%s, next %s, %s", p.Hold.State, p.Hold.NextOp, p.Hold.Reason)
			}
			due := p.SortedSetPlacement(&h, inMargin, testRules).NextMilestone
			if due.IsZero() || due.After(inMargin) {
				t.Fatalf("the deadline speaks at %s, not now", due)
			}
			if c, _ := p.Hold.ApplyMilestone(due, inMargin, testRules); c.Hold.NextOp != tt.acts {
				t.Errorf("the new policy does %s", c.Hold.NextOp)
			}
		})
	}
	// What was sent and may have had its effect is not taken back.
	c, _ := newHold(t, heldIntent()).ApplyMilestone(t0.Add(7*day-time.Hour), inMargin, testRules)
	h := claimHold(c.Hold, inMargin)
	h = h.ApplyAnswer(h.NextCall(inMargin), hold.Answer{Kind: hold.AnswerUnknown}, inMargin).Hold
	_, err := h.ApplyPatch(&hold.Patch{OnExpiry: ptr("capture")}, "api", inMargin)
	wantCode(t, err, hold.TooLate)
}

// A policy acts before its deadline and not weeks before it, because nobody
// knew better when it spoke.
func TestPolicy_WaitsForLaterDeadline(t *testing.T) {
	assumed, actual := t0.Add(7*day), t0.Add(30*day)
	inMargin := assumed.Add(-30 * time.Minute)
	actualIntent := heldIntent(func(in *hold.PaymentIntent) { in.CaptureBefore = actual })
	for _, tt := range []struct {
		name  string
		h     hold.Hold
		state hold.State
		next  hold.Op
		why   hold.Cause
		acts  hold.Op // in the end
	}{
		{"to capture", newHold(t, nil, withOnExpiry(hold.PolicyCapture)),
			hold.Waiting, 0, 0, hold.OpCapture},
		{"to cancel", newHold(t, nil), hold.Waiting, 0, 0, hold.OpCancel},
		{"told an amount", newHold(t, nil, withAmount(amount, "eur")),
			hold.Waiting, 0, 0, hold.OpCancel},
		{"paused", mustAccept(t)(newHold(t, nil, withCaptureAt(t0.Add(day))).Pause(0, "api", t0)),
			hold.Paused, 0, 0, hold.OpCancel},
		{"in attention", newHold(t, heldIntent(), withCaptureAt(t0.Add(8*day)),
			func(d *hold.ValidRequest) { d.FromMetadata = true }), hold.Attention, 0,
			hold.CauseAfterDeadline, hold.OpCancel},
		{"its own time lies between the two", newHold(t, nil, withCaptureAt(t0.Add(20*day))),
			hold.Scheduled, hold.OpCapture, hold.CauseSchedule, 0},
		{"its own time lies behind both", newHold(t, nil, withCaptureAt(t0.Add(31*day))),
			hold.Attention, 0, hold.CauseAfterDeadline, hold.OpCancel},
	} {
		acting, _ := tt.h.ApplyMilestone(assumed.Add(-time.Hour), inMargin, testRules)
		if acting.Hold.Reason != hold.CauseOnExpiry {
			t.Fatalf("%s: the policy does not act: %s %s", tt.name,
				acting.Hold.State, acting.Hold.Reason)
		}
		claimed, read := claimHold(acting.Hold, inMargin), hold.Call{Op: hold.OpRead}
		if call := claimed.NextCall(inMargin); call.Op != hold.OpRead && !tt.h.Verified {
			t.Errorf("%s: the policy does %s by a deadline that nobody has checked", tt.name,
				call.Op)
		}
		for source, c := range map[string]hold.Decision{
			"under a claim": claimed.ApplyAnswer(read, hold.Answer{Kind: hold.AnswerOK,
				Intent: actualIntent}, inMargin),
			"in passing": acting.Hold.ApplyPaymentIntent(actualIntent, inMargin),
		} {
			if h := c.Hold; h.State != tt.state || h.NextOp != tt.next || tt.why != 0 &&
				h.Reason != tt.why || c.NextStepNow {
				t.Errorf("%s, %s: %s, next %s (now %v), %s", tt.name, source, h.State,
					h.NextOp, c.NextStepNow, h.Reason)
			}
			needsAttention := len(c.Events) == 1 && c.Events[0].Type == hold.EventAttention
			if needsAttention != (tt.state == hold.Attention) {
				t.Errorf("%s, %s: told %+v", tt.name, source, c.Events)
			}
			if op := policyOpBeforeDeadline(t, c, inMargin); op != tt.acts {
				t.Errorf("%s, %s: before its deadline the policy does %q, want %q",
					tt.name, source, op, tt.acts)
			}
		}
	}
}

// A caller whose request had no answer finds it in the hold's history, whatever
// became of the hold, and does not take another's request for it.
func TestHistoryDescendsFrom_AcceptedRequest(t *testing.T) {
	due := t0.Add(day)
	original := newHold(t, heldIntent(), withCaptureAt(due))
	patched := mustAccept(t)(original.ApplyPatch(&hold.Patch{CaptureAmount: ptr(int64(700))}, "api",
		due))
	canceling := mustAccept(t)(original.RequestCancel("", "api", due))
	claimAndAnswer := func(h hold.Hold, in *hold.PaymentIntent) hold.Hold {
		h = claimHold(h, due)
		return h.ApplyAnswer(h.NextCall(due), hold.Answer{Kind: hold.AnswerOK, Intent: in},
			due).Hold
	}
	for _, tt := range []struct {
		name           string
		now, wanted    hold.Hold
		follows, terms bool
	}{
		{"as it was written", patched, patched, true, true},
		{"claimed since", claimHold(patched, due), patched, true, true},
		{"captured since", claimAndAnswer(patched, capturedIntent(700)), patched, true, true},
		{"canceled since", claimAndAnswer(canceling, canceledIntent("abandoned")), canceling, true,
			true},
		{"paused since", mustAccept(t)(patched.Pause(0, "api", due)), patched, true, true},
		{"changed since",
			mustAccept(t)(patched.ApplyPatch(&hold.Patch{CaptureAmount: ptr(int64(800))}, "api",
				due.Add(time.Second))), patched, true, false},
		{"never written", original, patched, false, false},
		{"claimed before it", claimHold(original, due), patched, false, false},
		{"another request was faster", mustAccept(t)(original.Pause(0, "api", due)), patched, false,
			false},
		{"another time",
			mustAccept(t)(original.ApplyPatch(&hold.Patch{CaptureAmount: ptr(int64(700))}, "api",
				due.Add(time.Millisecond))), patched, false, true},
		{"another caller", mustAccept(t)(original.RequestCancel("", "desk", due)),
			canceling, false, true},
		{"another reason in the same millisecond",
			mustAccept(t)(original.RequestCancel("duplicate", "api", due)), canceling, false, true},
		{"another amount in the same millisecond",
			mustAccept(t)(original.ApplyPatch(&hold.Patch{CaptureAmount: ptr(int64(800))}, "api",
				due)), patched, true, false},
	} {
		if follows, terms := hold.HistoryDescendsFrom(&tt.now, &tt.wanted),
			hold.HaveSameTerms(&tt.now, &tt.wanted); follows != tt.follows || terms != tt.terms {
			t.Errorf("%s: follows %v, same terms %v", tt.name, follows, terms)
		}
	}
}

// Two requests of one caller for parts of one hold in the same millisecond are two.
func TestHistoryDescendsFrom_PartsInTheSameMillisecond(t *testing.T) {
	part := func(amount int64, key string) hold.Hold {
		h := newHold(t, heldIntent(multicapture), withCaptureAt(t0.Add(day)))
		req := hold.CaptureRequest{Amount: amount, Final: ptr(false), RequestKey: key}
		return mustAccept(t)(h.RequestCapture(req, "api", t0))
	}
	written := part(4500, "request-1")
	if !hold.HistoryDescendsFrom(&written, &written) {
		t.Error("its own request is not found")
	}
	captured := claimHold(written, t0)
	if call := captured.NextCall(t0); call.Op == hold.OpRead {
		captured = captured.ApplyAnswer(call, answerOK(heldIntent(multicapture)), t0).Hold
	}
	captured = captured.ApplyAnswer(captured.NextCall(t0), answerOK(heldIntent(received(4500))),
		t0).Hold
	if !hold.HistoryDescendsFrom(&captured, &written) {
		t.Errorf("its own request is not found after the capture: %+v", captured.PartialCaptures)
	}
	for _, other := range []hold.Hold{part(4955, "request-2"), part(4500, "request-2")} {
		if hold.HistoryDescendsFrom(&written, &other) {
			t.Errorf("%+v is taken for %+v", written.PartialCaptures, other.PartialCaptures)
		}
	}
}

func TestRequests_RepeatedIsUnchanged(t *testing.T) {
	now := t0.Add(time.Hour)
	for name, do := range map[string]func(h hold.Hold) (hold.Decision, error){
		"capture": func(h hold.Hold) (hold.Decision, error) {
			return h.RequestCapture(hold.CaptureRequest{}, "api", now)
		},
		"capture part": func(h hold.Hold) (hold.Decision, error) {
			return h.RequestCapture(hold.CaptureRequest{Amount: 500}, "api", now)
		},
		"capture all": func(h hold.Hold) (hold.Decision, error) {
			return h.RequestCapture(hold.CaptureRequest{Amount: amount}, "api", now)
		},
		"cancel": func(h hold.Hold) (hold.Decision, error) {
			return h.RequestCancel("", "api", now)
		},
		"acknowledge": func(h hold.Hold) (hold.Decision, error) {
			return h.AcknowledgeWarnings("api", now)
		},
		"patch": func(h hold.Hold) (hold.Decision, error) {
			return h.ApplyPatch(&hold.Patch{CaptureAt: ptr(formatTime(t0.Add(3 * day))),
				CaptureAmount: ptr(int64(7)), Metadata: map[string]string{"k": "v"}}, "api", now)
		},
	} {
		t.Run(name, func(t *testing.T) {
			once := mustAccept(t)(do(newHold(t, heldIntent())))
			c, err := do(once)
			if err != nil || !c.Unchanged || c.NextStepNow || len(c.Events) > 0 ||
				!equalHolds(c.Hold, once) {
				t.Errorf("the second time: err %v, same %v, now %v, notices %v", err,
					c.Unchanged, c.NextStepNow, c.Events)
			}
		})
	}
}

func TestRequests_AfterAcceptedCancel(t *testing.T) {
	now := t0.Add(time.Hour)
	for _, paused := range []bool{false, true} {
		h := newHold(t, heldIntent(), withCaptureAt(t0.Add(2*day)))
		if paused {
			h = mustAccept(t)(h.Pause(0, "api", now))
		}
		h = mustAccept(t)(h.RequestCancel("", "api", now))
		for name, err := range map[string]error{
			"capture": errOf(h.RequestCapture(hold.CaptureRequest{}, "api", now)),
			"pause":   errOf(h.Pause(0, "api", now)),
			"time": errOf(
				h.ApplyPatch(&hold.Patch{CaptureAt: ptr(formatTime(t0.Add(3 * day)))}, "api", now)),
			"same time": errOf(
				h.ApplyPatch(&hold.Patch{CaptureAt: ptr(formatTime(t0.Add(2 * day))),
					Reference: ptr("x")}, "api", now)),
			"amount": errOf(h.ApplyPatch(&hold.Patch{CaptureAmount: ptr(int64(5))}, "api",
				now)),
			"time to let go": errOf(
				h.ApplyPatch(&hold.Patch{CancelAt: ptr(formatTime(t0.Add(3 * day)))}, "api", now)),
			"clear the time": errOf(h.ApplyPatch(&hold.Patch{CaptureAt: ptr("")}, "api", now)),
		} {
			t.Run(fmt.Sprint(name, " paused before ", paused),
				func(t *testing.T) { wantCode(t, err, hold.CancelAccepted) })
		}
		// The rest of the terms is free.
		if c, err := h.ApplyPatch(&hold.Patch{Reference: ptr("BK-9")}, "api", now); err != nil ||
			c.Hold.NextOp != hold.OpCancel {
			t.Errorf("reference: %v, next %s", err, c.Hold.NextOp)
		}
	}
}

func errOf[T any](_ T, err error) error { return err }

func TestNew_ChecksAgainstIntent(t *testing.T) {
	ends := t0.Add(7 * day)
	for _, tt := range []struct {
		name  string
		d     hold.ValidRequest
		in    *hold.PaymentIntent
		code  hold.ProblemCode
		state hold.State
		ends  time.Time
		from  hold.DeadlineSource
	}{
		{"no time", hold.ValidRequest{}, heldIntent(), "", hold.Waiting, ends, hold.SourceCharge},
		{"time to capture", hold.ValidRequest{CaptureAt: t0.Add(day)}, heldIntent(), "", hold.Scheduled,
			ends, hold.SourceCharge},
		{"time to release", hold.ValidRequest{CancelAt: t0.Add(day)}, heldIntent(), "", hold.Scheduled,
			ends, hold.SourceCharge},
		{"amount and currency agree", hold.ValidRequest{Amount: amount, Currency: "eur"}, heldIntent(), "",
			hold.Waiting, ends, hold.SourceCharge},
		{"other amount", hold.ValidRequest{Amount: amount - 1, Currency: "eur"}, heldIntent(),
			hold.AmountMismatch, 0, ends, 0},
		{"other currency", hold.ValidRequest{Amount: amount, Currency: "usd"}, heldIntent(),
			hold.CurrencyMismatch, 0, ends, 0},
		{"currency alone agrees", hold.ValidRequest{Currency: "eur"}, heldIntent(), "", hold.Waiting, ends,
			hold.SourceCharge},
		{"other currency alone", hold.ValidRequest{Currency: "usd"}, heldIntent(),
			hold.CurrencyMismatch, 0, ends, 0},
		{"too much", hold.ValidRequest{CaptureAmount: amount + 1}, heldIntent(),
			hold.AmountTooLarge, 0, ends, 0},
		{"all of it", hold.ValidRequest{CaptureAmount: amount}, heldIntent(), "", hold.Waiting,
			ends, hold.SourceCharge},
		{"captured already", hold.ValidRequest{}, capturedIntent(amount), hold.NotCapturable, 0, ends, 0},
		{"canceled already", hold.ValidRequest{}, canceledIntent(""), hold.NotCapturable, 0, ends, 0},
		{"3-D Secure to come", hold.ValidRequest{}, newIntent(hold.StatusRequiresAction),
			hold.NotCapturable, 0, ends, 0},
		{"at the deadline", hold.ValidRequest{CaptureAt: ends}, heldIntent(), hold.AfterDeadline, 0, ends,
			0},
		{"just before the deadline", hold.ValidRequest{CaptureAt: ends.Add(-time.Millisecond)},
			heldIntent(), "", hold.Scheduled, ends, hold.SourceCharge},
		{"release after the deadline", hold.ValidRequest{CancelAt: ends.Add(time.Hour)}, heldIntent(),
			hold.AfterDeadline, 0, ends, 0},
		{"the charge knows better than the caller", hold.ValidRequest{CaptureAt: t0.Add(6 * day),
			ExpiresAt: t0.Add(20 * day)},
			heldIntent(func(in *hold.PaymentIntent) { in.CaptureBefore = t0.Add(2 * day) }),
			hold.AfterDeadline, 0, t0.Add(2 * day), 0},
		{"the caller's deadline, unchecked", hold.ValidRequest{CaptureAt: t0.Add(3 * day),
			ExpiresAt: t0.Add(4 * day)}, nil, "", hold.Scheduled,
			t0.Add(4 * day), hold.SourceCaller},
		{"beyond the caller's deadline", hold.ValidRequest{CaptureAt: t0.Add(4 * day),
			ExpiresAt: t0.Add(4 * day)}, nil, hold.AfterDeadline, 0, t0.Add(4 * day), 0},
		{"beyond an assumption: Stripe will tell", hold.ValidRequest{CaptureAt: t0.Add(20 * day)}, nil, "",
			hold.Scheduled, ends, hold.SourceAssumed},
		{"assumed by the method", hold.ValidRequest{},
			heldIntent(func(in *hold.PaymentIntent) {
				in.CaptureBefore,
					in.PaymentMethodType = time.Time{}, "klarna"
			}), "", hold.Waiting, time.Date(2026, 12, 18, 0, 0, 0, 0, time.UTC),
			hold.SourceAssumed},
		{"assumed from the intent's making", hold.ValidRequest{},
			heldIntent(func(in *hold.PaymentIntent) {
				in.CaptureBefore, in.Created = time.Time{},
					t0.Add(-3*day)
			}), "", hold.Waiting, t0.Add(4 * day), hold.SourceAssumed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := tt.d
			d.ID, d.OnExpiry = testIntentID, hold.PolicyCancel
			c, err := hold.DecideNewHold(&d, tt.in, "api", t0)
			wantCode(t, err, tt.code)
			if err != nil {
				if p := err.(*hold.Problem); p.Code == hold.AfterDeadline &&
					!p.Deadline.Equal(tt.ends) {
					t.Errorf("deadline %v in the problem, want %v", p.Deadline, tt.ends)
				}
				return
			}
			h := c.Hold
			if h.State != tt.state || !h.ExpiresAt.Equal(tt.ends) || h.ExpiresSource != tt.from ||
				h.Verified != (tt.in != nil) || h.Revision != 1 ||
				h.Generation != 1 || !c.NewDeadline {
				t.Errorf("%s until %v (%s), verified %v, revision %d", h.State, h.ExpiresAt,
					h.ExpiresSource, h.Verified, h.Revision)
			}
			if !d.HasSameTermsAs(&h) {
				t.Error("the same request again is another request")
			}
			if p := c.SortedSetPlacement(&hold.Hold{}, t0,
				testRules); p.VerifyAt.IsZero() == (tt.in == nil && !(tt.d.Amount > 0 &&
				!tt.d.ExpiresAt.IsZero())) {
				t.Errorf("to be checked at %v", p.VerifyAt)
			}
		})
	}
}

// People learn at once that the authorization will probably end before the
// hold's time; Stripe is asked later, and what it says is told as well.
func TestNew_WarnsOfTimeAfterAssumedDeadline(t *testing.T) {
	countWarnings := func(events []hold.Event) (n int) {
		for _, x := range events {
			if x.Type == hold.EventExpiring && x.Cause == hold.CauseAfterDeadline &&
				x.Threshold > 0 {
				n++
			}
		}
		return n
	}
	for _, tt := range []struct {
		name string
		d    hold.ValidRequest
		want int
	}{
		{"beyond", hold.ValidRequest{CaptureAt: t0.Add(20 * day)}, 1},
		{"beyond and paused", hold.ValidRequest{CaptureAt: t0.Add(20 * day), Paused: true}, 1},
		{"at it", hold.ValidRequest{CaptureAt: t0.Add(7 * day)}, 1},
		{"before", hold.ValidRequest{CaptureAt: t0.Add(day)}, 0},
		{"nothing is lost", hold.ValidRequest{CancelAt: t0.Add(20 * day)}, 0},
	} {
		d := tt.d
		d.ID, d.OnExpiry = testIntentID, hold.PolicyCancel
		c, err := hold.DecideNewHold(&d, nil, "api", t0)
		if err != nil || countWarnings(c.Events) != tt.want {
			t.Errorf("%s: %+v, %v", tt.name, c.Events, err)
		}
	}
	h := newHold(t, nil, func(d *hold.ValidRequest) { d.CaptureAt = t0.Add(day) })
	for at, want := range map[time.Time]int{t0.Add(2 * day): 0, t0.Add(30 * day): 1} {
		text := at.Format(time.RFC3339)
		c, err := h.ApplyPatch(&hold.Patch{CaptureAt: &text}, "api", t0)
		if err != nil || countWarnings(c.Events) != want {
			t.Errorf("moved to %s: %+v, %v", at, c.Events, err)
		}
	}
	h = newHold(t, nil, func(d *hold.ValidRequest) { d.CaptureAt = t0.Add(20 * day) })
	if c := h.ApplyPaymentIntent(heldIntent(),
		t0.Add(time.Minute)); c.Hold.State != hold.Attention ||
		c.Hold.Reason != hold.CauseAfterDeadline {
		t.Errorf("Stripe says the same: %s %s", c.Hold.State, c.Hold.Reason)
	}
}

func newRequest(edit func(*hold.ScheduleRequest)) hold.ScheduleRequest {
	w := hold.ScheduleRequest{PaymentIntent: testIntentID}
	edit(&w)
	return w
}

func TestScheduleRequest_Validate(t *testing.T) {
	pairs := func(n int) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprint("k", i)] = "v"
		}
		return m
	}
	for _, tt := range []struct {
		name string
		edit func(w *hold.ScheduleRequest)
		code hold.ProblemCode
	}{
		{"least", func(w *hold.ScheduleRequest) {}, ""},
		{"no id", func(w *hold.ScheduleRequest) { w.PaymentIntent = "" }, hold.InvalidID},
		{"a charge", func(w *hold.ScheduleRequest) { w.PaymentIntent = "ch_3PxYzA2eZvKYlo2C" },
			hold.InvalidID},
		{"a path", func(w *hold.ScheduleRequest) {
			w.PaymentIntent = "pi_12345678/../../v1/payouts"
		}, hold.InvalidID},
		{"a line break", func(w *hold.ScheduleRequest) { w.PaymentIntent = testIntentID + "\n" },
			hold.InvalidID},
		{"too long", func(w *hold.ScheduleRequest) {
			w.PaymentIntent = "pi_" +
				strings.Repeat("a", 65)
		}, hold.InvalidID},
		{"account", func(w *hold.ScheduleRequest) { w.Account = "acct_1032D82eZvKYlo2C" }, ""},
		{"no account", func(w *hold.ScheduleRequest) { w.Account = "1032D82eZvKYlo2C" },
			hold.InvalidID},
		{"amount", func(w *hold.ScheduleRequest) { w.Amount, w.Currency = 1, "EUR" }, ""},
		{"amount without currency", func(w *hold.ScheduleRequest) { w.Amount = 1 },
			hold.InvalidAmount},
		{"currency without amount", func(w *hold.ScheduleRequest) { w.Currency = "eur" }, ""},
		{"negative", func(w *hold.ScheduleRequest) { w.Amount, w.Currency = -1, "eur" },
			hold.InvalidAmount},
		{"eight digits", func(w *hold.ScheduleRequest) { w.Amount, w.Currency = 99_999_999, "eur" },
			""},
		{"twelve digits", func(w *hold.ScheduleRequest) {
			w.Amount, w.Currency = 999_999_999_999,
				"eur"
		}, ""},
		{"thirteen digits", func(w *hold.ScheduleRequest) {
			w.Amount,
				w.Currency = 1_000_000_000_000, "eur"
		}, hold.InvalidAmount},
		{"nine digits of Indian rupees", func(w *hold.ScheduleRequest) {
			w.Amount,
				w.Currency = 999_999_999, "inr"
		}, ""},
		{"ten digits of Indian rupees", func(w *hold.ScheduleRequest) {
			w.Amount,
				w.Currency = 1_000_000_000, "inr"
		}, hold.InvalidAmount},
		{"eleven digits of pesos", func(w *hold.ScheduleRequest) {
			w.Amount,
				w.Currency = 10_000_000_000, "cop"
		}, hold.InvalidAmount},
		{"three decimals that end in 0", func(w *hold.ScheduleRequest) {
			w.Amount,
				w.Currency = 12_350, "kwd"
		}, ""},
		{"three decimals that end in 5", func(w *hold.ScheduleRequest) {
			w.Amount,
				w.Currency = 12_345, "kwd"
		}, hold.InvalidAmount},
		{"capture of three decimals that end in 5", func(w *hold.ScheduleRequest) {
			w.Amount, w.Currency, w.CaptureAmount = 12_350, "bhd", 6_175
		}, hold.InvalidAmount},
		{"whole krónur", func(w *hold.ScheduleRequest) { w.Amount, w.Currency = 12_300, "isk" },
			""},
		{"a part of a króna", func(w *hold.ScheduleRequest) {
			w.Amount, w.Currency = 12_350,
				"isk"
		}, hold.InvalidAmount},
		{"a part of a shilling", func(w *hold.ScheduleRequest) {
			w.Amount, w.Currency = 101,
				"ugx"
		}, hold.InvalidAmount},
		{"twelve digits of rupiah", func(w *hold.ScheduleRequest) {
			w.Amount,
				w.Currency = 999_999_999_999, "idr"
		}, ""},
		{"no currency", func(w *hold.ScheduleRequest) { w.Amount, w.Currency = 1, "euro" },
			hold.InvalidCurrency},
		{"no letters", func(w *hold.ScheduleRequest) { w.Amount, w.Currency = 1, "€" },
			hold.InvalidCurrency},
		{"part", func(w *hold.ScheduleRequest) { w.CaptureAmount = 5 }, ""},
		{"more than the amount", func(w *hold.ScheduleRequest) { // the charge may allow it
			w.Amount, w.Currency, w.CaptureAmount = 4,
				"eur", 5
		}, ""},
		{"negative part", func(w *hold.ScheduleRequest) { w.CaptureAmount = -5 },
			hold.InvalidAmount},
		{"vast part", func(w *hold.ScheduleRequest) { w.CaptureAmount = 1 << 62 },
			hold.InvalidAmount},
		{"reference", func(w *hold.ScheduleRequest) { w.Reference = strings.Repeat("é", 100) }, ""},
		{"long reference", func(w *hold.ScheduleRequest) { w.Reference = strings.Repeat("x", 201) },
			hold.InvalidReference},
		{"control character", func(w *hold.ScheduleRequest) { w.Reference = "a\x00" },
			hold.InvalidReference},
		{"no UTF-8", func(w *hold.ScheduleRequest) { w.Reference = "\xff" }, hold.InvalidReference},
		{"a C1 control character", func(w *hold.ScheduleRequest) { w.Reference = "BK\u009b1" },
			hold.InvalidReference},
		{"text from right to left", func(w *hold.ScheduleRequest) { w.Reference = "BK-\u202e1702" },
			hold.InvalidReference},
		{"a line separator", func(w *hold.ScheduleRequest) { w.Reference = "BK\u20281" },
			hold.InvalidReference},
		{"an id as the reference", func(w *hold.ScheduleRequest) { w.Reference = "pi_3PxYz" },
			hold.InvalidReference},
		{"a dot", func(w *hold.ScheduleRequest) { w.Reference = "." }, hold.InvalidReference},
		{"two dots", func(w *hold.ScheduleRequest) { w.Reference = ".." }, hold.InvalidReference},
		{"three dots", func(w *hold.ScheduleRequest) { w.Reference = "..." }, ""},
		{"a folder", func(w *hold.ScheduleRequest) { w.Reference = "../BK-1" }, ""},
		{"20 pairs", func(w *hold.ScheduleRequest) { w.Metadata = pairs(20) }, ""},
		{"21 pairs", func(w *hold.ScheduleRequest) { w.Metadata = pairs(21) },
			hold.InvalidMetadata},
		{"long key", func(w *hold.ScheduleRequest) {
			w.Metadata = map[string]string{
				strings.Repeat("k", 41): "v"}
		}, hold.InvalidMetadata},
		{"no key", func(w *hold.ScheduleRequest) { w.Metadata = map[string]string{"": "v"} },
			hold.InvalidMetadata},
		{"long value", func(w *hold.ScheduleRequest) {
			w.Metadata = map[string]string{
				"k": strings.Repeat("é", 501)}
		}, hold.InvalidMetadata},
		{"value of 500 characters", func(w *hold.ScheduleRequest) {
			w.Metadata = map[string]string{
				"k": strings.Repeat("é", 500)}
		}, ""},
		{"policy", func(w *hold.ScheduleRequest) { w.OnExpiry = "alert" }, ""},
		{"no policy", func(w *hold.ScheduleRequest) { w.OnExpiry = "Cancel" }, hold.InvalidPolicy},
		{"unknown as a policy", func(w *hold.ScheduleRequest) { w.OnExpiry = "unknown" },
			hold.InvalidPolicy},
		{"both times", func(w *hold.ScheduleRequest) {
			w.CaptureAt, w.CancelAt = formatTime(t0),
				formatTime(t0)
		}, hold.ConflictingTimes},
		{"now", func(w *hold.ScheduleRequest) { w.CaptureAt = formatTime(t0) }, ""},
		{"an hour ago", func(w *hold.ScheduleRequest) {
			w.CaptureAt = formatTime(t0.Add(-time.Hour))
		}, ""},
		{"more than an hour ago", func(w *hold.ScheduleRequest) {
			w.CaptureAt = formatTime(t0.Add(-time.Hour - time.Millisecond))
		}, hold.InThePast},
		{"release more than an hour ago", func(w *hold.ScheduleRequest) {
			w.CancelAt = formatTime(t0.Add(-time.Hour - time.Second))
		}, hold.InThePast},
		{"90 days", func(w *hold.ScheduleRequest) { w.CaptureAt = formatTime(t0.Add(90 * day)) },
			""},
		{"more than 90 days", func(w *hold.ScheduleRequest) {
			w.CaptureAt = formatTime(t0.Add(90*day + time.Second))
		}, hold.InvalidTime},
		{"year 10000", func(w *hold.ScheduleRequest) { w.CaptureAt = "10000-01-01T00:00:00Z" },
			hold.InvalidTime},
		{"local without zone", func(w *hold.ScheduleRequest) { w.CaptureAt = "2026-11-21T11:00" },
			hold.InvalidTime},
		{"local", func(w *hold.ScheduleRequest) {
			w.CaptureAt, w.TimeZone = "2026-11-21T11:00",
				"Europe/Paris"
		}, ""},
		{"no zone of this world", func(w *hold.ScheduleRequest) {
			w.CaptureAt,
				w.TimeZone = "2026-11-21T11:00", "Mars/Olympus"
		}, hold.UnknownTimeZone},
		{"deadline over", func(w *hold.ScheduleRequest) { w.ExpiresAt = formatTime(t0) },
			hold.InThePast},
		{"deadline far", func(w *hold.ScheduleRequest) {
			w.ExpiresAt = formatTime(t0.Add(91 * day))
		}, hold.InvalidTime},
		{"deadline", func(w *hold.ScheduleRequest) {
			w.ExpiresAt = formatTime(t0.Add(time.Second))
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newRequest(tt.edit)
			d, err := w.Validate(t0)
			wantCode(t, err, tt.code)
			if (d == nil) != (err != nil) {
				t.Errorf("request %v and error %v", d, err)
			}
			if d != nil && len(w.Metadata) > 0 {
				for k := range w.Metadata {
					w.Metadata[k] = "changed behind the back"
					if d.Metadata[k] == w.Metadata[k] {
						t.Error("the valid request shares the caller's metadata")
					}
				}
			}
		})
	}
}

func TestApplyPatch_Metadata(t *testing.T) {
	h := newHold(t, heldIntent(),
		func(d *hold.ValidRequest) { d.Metadata = map[string]string{"a": "1", "b": "2"} })
	original := maps.Clone(h.Metadata)
	g := mustAccept(t)(h.ApplyPatch(&hold.Patch{Metadata: map[string]string{"a": "", "c": "3"}},
		"api", t0))
	if !maps.Equal(g.Metadata, map[string]string{"b": "2", "c": "3"}) {
		t.Errorf("%v", g.Metadata)
	}
	if !maps.Equal(h.Metadata, original) {
		t.Errorf("the hold that was given was changed: %v", h.Metadata)
	}
	if c, err := h.ApplyPatch(&hold.Patch{Metadata: map[string]string{"a": "1"}}, "api",
		t0); err != nil || !c.Unchanged {
		t.Errorf("what is there already: %v, same %v", err, c.Unchanged)
	}
	many := map[string]string{}
	for i := range 19 {
		many[fmt.Sprint("m", i)] = "v"
	}
	_, err := h.ApplyPatch(&hold.Patch{Metadata: many}, "api", t0)
	wantCode(t, err, hold.InvalidMetadata)
}

func TestRequestCapture_AmountTooLarge(t *testing.T) {
	// The part was requested before the amount held was known.
	h := newHold(t, nil, withCaptureAmount(500)).ApplyPaymentIntent(
		heldIntent(func(in *hold.PaymentIntent) { in.AmountCapturable = 100 }), t0).Hold
	if h.State != hold.Attention || h.Reason != hold.CauseAmountTooLarge {
		t.Fatalf("%s by %s", h.State, h.Reason)
	}
	_, err := h.RequestCapture(hold.CaptureRequest{}, "api", t0)
	wantCode(t, err, hold.AmountTooLarge)
	c, err := h.RequestCapture(hold.CaptureRequest{Amount: 100}, "api", t0)
	wantCode(t, err, "")
	if c.Hold.CaptureAmount != 100 {
		t.Errorf("captures %d", c.Hold.CaptureAmount)
	}
}

func TestStateAt_Ready(t *testing.T) {
	h := newHold(t, heldIntent(), withCaptureAt(t0.Add(day)))
	for _, tt := range []struct {
		at   time.Duration
		want hold.State
	}{{0, hold.Scheduled}, {day - time.Millisecond, hold.Scheduled}, {day, hold.Ready},
		{2 * day, hold.Ready}} {
		if got := h.StateWithDueAsReady(t0.Add(tt.at)); got != tt.want {
			t.Errorf("after %v: %s, want %s", tt.at, got, tt.want)
		}
	}
}

func TestEnumNames_RoundTrip(t *testing.T) {
	for _, s := range hold.States() {
		if got, ok := hold.ParseState(s.String()); !ok || got != s {
			t.Errorf("%s: %v %v", s, got, ok)
		}
	}
	for _, p := range []hold.ExpiryPolicy{hold.PolicyCancel, hold.PolicyCapture, hold.PolicyAlert} {
		if got, ok := hold.ParseExpiryPolicy(p.String()); !ok || got != p {
			t.Errorf("%s: %v %v", p, got, ok)
		}
	}
	for _, s := range []string{"", "unknown", "Captured"} {
		if _, ok := hold.ParseState(s); ok {
			t.Errorf("%q is a state", s)
		}
	}
	seen := map[string]bool{}
	for _, k := range hold.AnswerKinds() {
		if n := k.String(); n == "unknown" && k != hold.AnswerUnknown || seen[n] {
			t.Errorf("answer %d is called %q", k, n)
		} else {
			seen[n] = true
		}
	}
	if hold.State(0).String() != "unknown" || hold.State(200).String() != "unknown" ||
		hold.State(0).IsFinal() {
		t.Error("a state of no value has a name")
	}
}

// TestAuthorizeRequest_MinimumAmount shows that an authorization below Stripe's
// minimum of its currency is refused before Stripe is asked.
func TestAuthorizeRequest_MinimumAmount(t *testing.T) {
	for _, c := range []struct {
		amount   int64
		currency string
		want     hold.ProblemCode
	}{
		{49, "usd", hold.InvalidAmount}, {50, "usd", ""},
		{29, "gbp", hold.InvalidAmount}, {30, "gbp", ""},
		{1_499, "czk", hold.InvalidAmount}, {1_500, "czk", ""},
		{49, "jpy", hold.InvalidAmount}, {50, "jpy", ""},
		{100, "isk", ""}, // no fixed minimum: Stripe decides
	} {
		req := hold.AuthorizeRequest{PaymentMethod: "pm_card_visa",
			Amount: c.amount, Currency: c.currency}
		_, _, err := req.ValidateAndBuildParams("a1", t0)
		var p *hold.Problem
		if errors.As(err, &p); p == nil && c.want != "" || p != nil && p.Code != c.want {
			t.Errorf("%d %s: %v, want code %q", c.amount, c.currency, err, c.want)
		}
	}
}
