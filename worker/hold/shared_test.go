package hold_test

import (
	"strings"
	"testing"

	"github.com/holdd/holdd/worker/hold"
)

// With multicapture another system can capture a part of an intent and leave
// the rest held. What holdd captures then is what is missing from the total
// wanted.

// capturable is a hold whose capture is due now, with a total wanted; 0:
// everything.
func capturable(
	t *testing.T, in *hold.PaymentIntent, total int64, edit ...func(*hold.ValidRequest),
) hold.Hold {
	t.Helper()
	return claimHold(newHold(t, in, append(edit, withCaptureAt(t0), withCaptureAmount(total))...),
		t0)
}

// answered lets the hold read, if it wants to, and returns the call that
// follows.
func answered(t *testing.T, h hold.Hold, in *hold.PaymentIntent) (hold.Hold, hold.Call) {
	t.Helper()
	call := h.NextCall(t0)
	if call.Op != hold.OpRead {
		return h, call
	}
	c := h.ApplyAnswer(call, hold.Answer{Kind: hold.AnswerOK, Intent: in}, t0)
	if !c.NextStepNow {
		t.Fatalf("after the read: state %s because of %s, next %s", c.Hold.State,
			c.Hold.Reason, c.Hold.NextOp)
	}
	return c.Hold, c.Hold.NextCall(t0)
}

func TestCall_CapturesWhatIsMissing(t *testing.T) {
	for _, tt := range []struct {
		name    string
		known   *hold.PaymentIntent // when it was scheduled; nil: not read
		edit    []func(*hold.ValidRequest)
		then    *hold.PaymentIntent // when it is due
		total   int64
		amount  int64
		release bool
	}{
		{"nothing taken yet", heldIntent(multi), nil, heldIntent(multi), 5_000, 5_000, false},
		{"known when scheduled", shared(4_000), nil, shared(4_000), 5_000, 1_000, false},
		{"taken since it was scheduled", heldIntent(multi), nil, shared(4_000), 5_000, 1_000,
			false},
		{"more taken since it was scheduled", shared(1_000), nil, shared(4_000), 5_000, 1_000,
			false},
		{"not verified, nothing said", nil, nil, shared(4_000), 5_000, 1_000, false},
		{"not verified, the amount authorized said", nil,
			[]func(*hold.ValidRequest){withAmount(amount, "eur")}, shared(4_000), 5_000, 1_000, false},
		{"more wanted than is left", shared(40_000), nil, shared(40_000), 41_000, 1_000, false},
		{"the total is reached", heldIntent(multi), nil, shared(5_000), 5_000, 0, true},
		{"the total is exceeded", heldIntent(multi), nil, shared(6_000), 5_000, 0, true},
		{"everything wanted", heldIntent(multi), nil, shared(4_000), 0, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, call := answered(t, capturable(t, tt.known, tt.total, tt.edit...), tt.then)
			if call.Op != hold.OpCapture || call.Amount != tt.amount ||
				call.ReleaseRest != tt.release {
				t.Errorf("%s of %d, release %v; want a capture of %d, release %v", call.Op,
					call.Amount, call.ReleaseRest, tt.amount, tt.release)
			}
		})
	}
}

func TestCall_ReadsBeforeAnAmountIsCaptured(t *testing.T) {
	for _, tt := range []struct {
		name  string
		in    *hold.PaymentIntent
		total int64
		edit  []func(*hold.ValidRequest)
		want  hold.Op
	}{
		{"captured once only", heldIntent(), 5_000, nil, hold.OpCapture},
		{"captured once only, everything", heldIntent(), 0, nil, hold.OpCapture},
		{"multicapture", heldIntent(multi), 5_000, nil, hold.OpRead},
		{"multicapture, everything: takes only what is left", heldIntent(multi),
			0, nil, hold.OpCapture},
		{"not verified", nil, 5_000, []func(*hold.ValidRequest){withAmount(amount, "eur")}, hold.OpRead},
		{"not verified, everything: names all that was said to be held", nil, 0,
			[]func(*hold.ValidRequest){withAmount(amount, "eur")}, hold.OpCapture},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := capturable(t, tt.in, tt.total, tt.edit...)
			if call := h.NextCall(t0); call.Op != tt.want {
				t.Errorf("%s, want %s", call.Op, tt.want)
			}
		})
	}
	t.Run("each claim reads anew", func(t *testing.T) {
		h, call := answered(t, capturable(t, heldIntent(multi), 5_000), heldIntent(multi))
		c := h.ApplyAnswer(call, hold.Answer{Kind: hold.AnswerLockTimeout}, t0)
		h = claimHold(c.Hold, c.Hold.NextAt)
		if call := h.NextCall(c.Hold.NextAt); call.Op != hold.OpRead {
			t.Errorf("%s of %d: what was taken meanwhile isn't known", call.Op, call.Amount)
		}
	})
	t.Run("a lost capture is read back, not sent again", func(t *testing.T) {
		h, call := answered(t, capturable(t, heldIntent(multi), 5_000), heldIntent(multi))
		c := h.ApplyAnswer(call, hold.Answer{Kind: hold.AnswerUnknown}, t0)
		h = claimHold(c.Hold, c.Hold.NextAt)
		if call := h.NextCall(c.Hold.NextAt); call.Op != hold.OpRead {
			t.Errorf("%s of %d, want read", call.Op, call.Amount)
		}
	})
}

func TestKeys_NameTheAmountSent(t *testing.T) {
	seen := map[string]string{}
	for name, in := range map[string]*hold.PaymentIntent{"nothing taken": heldIntent(multi),
		"4,000 taken": shared(4_000), "total reached": shared(5_000)} {
		_, call := answered(t, capturable(t, heldIntent(multi), 5_000), in)
		if was := seen[call.Key]; was != "" {
			t.Errorf("%s and %s share the key %s", name, was, call.Key)
		}
		seen[call.Key] = name
	}
	// Both are sent with an amount of zero, or none.
	_, everything := answered(t, capturable(t, heldIntent(multi), 0), shared(5_000))
	if was := seen[everything.Key]; was != "" {
		t.Errorf("a capture of everything and %s share the key %s", was, everything.Key)
	}
}

func TestSettle_SaysWhoTookWhat(t *testing.T) {
	ok := func(in *hold.PaymentIntent) hold.Answer {
		return hold.Answer{Kind: hold.AnswerOK, Intent: in}
	}
	lost := hold.Answer{Kind: hold.AnswerUnknown}
	for _, tt := range []struct {
		name      string
		read      *hold.PaymentIntent
		total     int64
		answer    hold.Answer
		readBack  *hold.PaymentIntent // after an answer that was lost
		elsewhere int64
		why       hold.Cause
		note      string
	}{
		{"all by holdd", heldIntent(multi), 5_000, ok(capturedIntent(5_000)),
			nil, 0, causeSchedule, ""},
		{"the missing part by holdd", shared(4_000), 5_000, ok(capturedIntent(5_000)), nil, 4_000,
			causeSchedule, "10.00 EUR captured by holdd, 40.00 EUR by another system"},
		{"nothing by holdd", shared(5_000), 5_000, ok(capturedIntent(5_000)), nil, 5_000,
			causeElsewhere, "50.00 EUR captured by another system"},
		{"the rest by holdd, everything wanted", shared(4_000), 0, ok(capturedIntent(amount)), nil,
			4_000, causeSchedule, "380.00 EUR captured by holdd, 40.00 EUR by another system"},
		{"a part was taken between read and capture", shared(1_000), 5_000,
			ok(capturedIntent(7_000)), nil, 3_000, causeSchedule,
			"40.00 EUR captured by holdd, 30.00 EUR by another system"},
		{"the reply is lost, the total is there", shared(4_000), 5_000, lost, capturedIntent(5_000),
			4_000, causeSchedule, "10.00 EUR captured by holdd, 40.00 EUR by another system"},
		{"the reply is lost, nothing more was taken", shared(4_000), 5_000, lost,
			capturedIntent(4_000), 4_000, causeElsewhere, "40.00 EUR captured by another system"},
		{"the reply is lost, more was taken", shared(4_000), 5_000, lost,
			capturedIntent(9_000), 9_000, causeElsewhere,
			"90.00 EUR captured by another system; a request of holdd's for 10.00 EUR may be part of it"},
		{"the reply is lost, everything wanted and taken", shared(4_000), 0, lost,
			capturedIntent(amount), 4_000, causeSchedule,
			"380.00 EUR captured by holdd, 40.00 EUR by another system"},
		{"the reply is lost, more was taken, but not everything as wanted", shared(4_000), 0, lost,
			capturedIntent(9_000), 9_000, causeElsewhere, "90.00 EUR captured by another system"},
		{"nothing more was taken, everything wanted", shared(4_000), 0, lost, capturedIntent(4_000),
			4_000, causeElsewhere, "40.00 EUR captured by another system"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			known := heldIntent(multi)
			if tt.total == 0 {
				known = tt.read
			}
			h, call := answered(t, capturable(t, known, tt.total), tt.read)
			c := h.ApplyAnswer(call, tt.answer, t0)
			if tt.readBack != nil {
				h = claimHold(c.Hold, t0.Add(day))
				c = h.ApplyAnswer(h.NextCall(t0.Add(day)), ok(tt.readBack), t0.Add(day))
			}
			h = c.Hold
			received := tt.readBack
			if received == nil {
				received = tt.answer.Intent
			}
			if h.State != hold.Captured || h.CapturedAmount != received.AmountReceived ||
				h.CapturedElsewhere != tt.elsewhere || h.Reason != tt.why {
				t.Errorf("%s because of %s, %d in all, %d elsewhere; want %d, %d, %s", h.State,
					h.Reason, h.CapturedAmount, h.CapturedElsewhere,
					received.AmountReceived, tt.elsewhere, tt.why)
			}
			if last := h.History[len(h.History)-1]; last.Note != tt.note {
				t.Errorf("the history says %q, want %q", last.Note, tt.note)
			}
			if v := hold.NewView(&h, t0, false); v.CapturedAmount != received.AmountReceived ||
				v.CapturedElsewhere != tt.elsewhere {
				t.Errorf("shown as %d, %d elsewhere", v.CapturedAmount, v.CapturedElsewhere)
			}
		})
	}
}

func TestObserved_PartialCaptureElsewhere(t *testing.T) {
	h := newHold(t, heldIntent(multi), withCaptureAt(t0.Add(day)), withCaptureAmount(5_000))
	c := h.ApplyPaymentIntent(shared(4_000), t0)
	h = c.Hold
	last := h.History[len(h.History)-1]
	if h.State != hold.Scheduled || h.Amount != amount-4_000 || h.CapturedElsewhere != 4_000 ||
		last.Cause != causeElsewhere || !strings.HasPrefix(last.Note,
		"40.00 EUR captured by another system, 380.00 EUR left") {
		t.Errorf("%s, %d held, %d elsewhere, %+v", h.State, h.Amount, h.CapturedElsewhere, last)
	}
	if len(c.Events) != 1 || c.Events[0].Type != hold.EventChanged ||
		c.Events[0].Cause != causeElsewhere {
		t.Errorf("notices %+v", c.Events)
	}
	if again := h.ApplyPaymentIntent(shared(4_000), t0); !again.Unchanged {
		t.Error("the same once more is a change")
	}
	// All that was authorized can still be wanted, whoever has taken a part of
	// it; and the schedule request may be repeated.
	if _, err := h.RequestCapture(hold.CaptureRequest{Amount: amount}, "api", t0); err != nil {
		t.Error(err)
	}
	_, err := h.RequestCapture(hold.CaptureRequest{Amount: amount + 1}, "api", t0)
	wantCode(t, err, hold.AmountTooLarge)
	d := &hold.ValidRequest{ID: testIntentID, OnExpiry: hold.PolicyCancel, CaptureAt: t0.Add(day),
		CaptureAmount: 5_000, Amount: amount, Currency: "eur"}
	if !d.HasSameTermsAs(&h) {
		t.Error("the schedule request with the amount authorized is another one now")
	}
	// A new hold with a part taken, and an amount that is neither what was
	// authorized nor what is left.
	if _, err := hold.DecideNewHold(d, shared(4_000), "api", t0); err != nil {
		t.Error(err)
	}
	d.Amount = 5_000
	_, err = hold.DecideNewHold(d, shared(4_000), "api", t0)
	wantCode(t, err, hold.AmountMismatch)
}

func TestCanceling_AfterPartialCaptureElsewhere(t *testing.T) {
	h := claimHold(mustAccept(t)(newHold(t, shared(4_000)).RequestCancel("", "api", t0)), t0)
	call := h.NextCall(t0)
	if call.Op != hold.OpCancel {
		t.Fatalf("call %s", call.Op)
	}
	h = h.ApplyAnswer(call, hold.Answer{Kind: hold.AnswerOK, Intent: capturedIntent(4_000)},
		t0).Hold
	if h.State != hold.Captured || h.Reason != causeElsewhere || h.CapturedElsewhere != 4_000 {
		t.Errorf("%s because of %s, %d elsewhere", h.State, h.Reason, h.CapturedElsewhere)
	}
}
