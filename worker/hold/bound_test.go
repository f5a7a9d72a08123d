package hold_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdd/holdd/worker/hold"
)

// No answer may be met again and again without an alert.

// loop is a hold on which a worker acts whenever it is due.
type loop struct {
	h         hold.Hold
	now       time.Time
	calls     int // in all
	counted   int // those since the last alert
	captures  int
	alerts    int
	attention bool // the hold came to attention
}

// over says that holdd does nothing more by itself.
func (l *loop) over() bool { return l.h.State.IsFinal() || l.h.State == hold.Attention }

// recordAlerts counts the alerts of a decision.
func (l *loop) recordAlerts(events []hold.Event) {
	if hasAlert(events) {
		l.alerts++
		l.counted = 0
	}
}

// claim plays one claim, whose worker makes at most four calls. A hold without
// a next step gets one at a milestone of its deadline.
func (l *loop) claim(answer func(hold.Call) hold.Answer) {
	for range 10 {
		if l.h.NextOp != 0 {
			break
		}
		l.now = l.h.NextMilestone(l.now, testRules)
		d, _ := l.h.ApplyMilestone(l.now, l.now, testRules)
		l.recordAlerts(d.Events)
		l.h = d.Hold
	}
	l.now = laterOf(l.now, l.h.NextAt)
	h := claimHold(l.h, l.now)
	var c hold.Decision
	for n := range 4 {
		call := h.NextCall(l.now)
		a := answer(call)
		l.calls++
		l.counted++
		if call.Op == hold.OpCapture {
			l.captures++
		}
		c = c.Merge(h.ApplyAnswer(call, a, l.now))
		h = c.Hold
		if !c.NextStepNow {
			break
		}
		if n == 3 {
			c = c.ReleaseClaimUntil(l.now.Add(time.Second))
		}
	}
	l.recordAlerts(c.Events)
	l.h = c.Hold
	l.attention = l.attention || l.h.State == hold.Attention
}

// bounds are holds on which something is due.
func bounds(t *testing.T) map[string]hold.Hold {
	due := t0.Add(2 * day)
	policy, _ := newHold(t, heldIntent()).ApplyMilestone(t0.Add(7*day-time.Hour),
		t0.Add(7*day-time.Hour), testRules)
	over := newHold(t, heldIntent())
	over.NextOp, over.NextAt = hold.OpRead, t0.Add(7*day)
	taken := newHold(t, heldIntent(), withCaptureAt(due))
	taken.State, taken.PreviousState, taken.NextAt = hold.Working, hold.Scheduled, due
	return map[string]hold.Hold{
		"capture": newHold(t, heldIntent(), withCaptureAt(due)),
		"capture of a part": newHold(t, heldIntent(), withCaptureAt(due),
			withCaptureAmount(500)),
		"capture of a shared one": newHold(t, shared(200), withCaptureAt(due),
			withCaptureAmount(500)),
		"release of the rest": newHold(t, shared(600), withCaptureAt(due),
			withCaptureAmount(500)),
		"not verified":  newHold(t, nil, withCaptureAt(due), withAmount(amount, "eur")),
		"nothing known": newHold(t, nil, withCaptureAt(due)),
		"cancel":        newHold(t, heldIntent(), withCancelAt(due)),
		"cancel asked for": mustAccept(t)(
			newHold(t, heldIntent()).RequestCancel("", "api", due)),
		"capture asked for": mustAccept(t)(newHold(t, heldIntent()).RequestCapture(
			hold.CaptureRequest{}, "api", due)),
		"policy":               policy.Hold,
		"taken over":           taken,
		"read at the deadline": over,
	}
}

func TestAnswered_AlertsWithinTheBound(t *testing.T) {
	reads := append([]hold.Answer{}, allAnswers...)
	reads = append(reads, hold.Answer{Kind: hold.AnswerOK,
		Intent: heldIntent(func(in *hold.PaymentIntent) { in.AmountCapturable = 0 })})
	for name, start := range bounds(t) {
		t.Run(name, func(t *testing.T) {
			for _, written := range allAnswers {
				for _, read := range reads {
					what := fmt.Sprintf("%s%s, reads %s%s", written.Kind, status(written),
						read.Kind, status(read))
					l := loop{h: start, now: t0.Add(2 * day)}
					for range 40 {
						if l.over() || l.alerts > 0 {
							break
						}
						l.claim(func(c hold.Call) hold.Answer {
							if c.Op == hold.OpRead {
								return read
							}
							return written
						})
						if l.counted > hold.MaxCallsBeforeAlert {
							t.Fatalf("%s: %d calls, and no alert; %s next %s", what,
								l.counted, l.h.State, l.h.NextOp)
						}
					}
					if l.attention && l.alerts == 0 {
						t.Fatalf("%s: attention without an alert", what)
					}
				}
			}
		})
	}
}

func status(a hold.Answer) string {
	if a.Intent == nil {
		return ""
	}
	return " with " + string(a.Intent.Status)
}

// quietAnswers are the answers that need not end a hold or hand it over.
func quietAnswers() (quiet []hold.Answer) {
	for _, a := range allAnswers {
		if a.Intent == nil && a.Kind != hold.AnswerIdempotencyError &&
			a.Kind != hold.AnswerDeclined && a.Kind != hold.AnswerInvalid &&
			a.Kind != hold.AnswerAmountTooLarge ||
			a.Intent != nil && (a.Intent.Status == hold.StatusRequiresCapture ||
				a.Intent.Status == hold.StatusProcessing) {
			quiet = append(quiet, a)
		}
	}
	return quiet
}

// TestApplyAnswer_EveryCycleOfThreeAnswersIsAlerted repeats each sequence of
// one, two and three answers for ever.
func TestApplyAnswer_EveryCycleOfThreeAnswersIsAlerted(t *testing.T) {
	answers := slices.DeleteFunc(quietAnswers(), func(a hold.Answer) bool {
		// of the intents, those that lead on in different ways
		return a.Intent != nil && (a.Kind != hold.AnswerOK || a.Intent != intentsByName["held"] &&
			a.Intent != intentsByName["longer"] && a.Intent != intentsByName["busy"])
	})
	runs := 0
	for name, start := range bounds(t) {
		for i := range answers {
			for k := range answers {
				for m := range answers {
					if i > k || i > m {
						continue // the same cycle from another answer on
					}
					cycle := [3]*hold.Answer{&answers[i], &answers[k], &answers[m]}
					l, n := loop{h: start, now: t0.Add(2 * day)}, 0
					for range 60 {
						if l.over() || l.alerts > 0 {
							break
						}
						l.claim(func(hold.Call) hold.Answer { n++; return *cycle[n%3] })
						if l.counted > hold.MaxCallsBeforeAlert {
							t.Fatalf("%s, %s %s %s: %d calls, and no alert; %s next %s", name,
								cycle[1].Kind, cycle[2].Kind, cycle[0].Kind,
								l.counted, l.h.State, l.h.NextOp)
						}
					}
					runs++
				}
			}
		}
	}
	t.Logf("%d runs", runs)
}

// The same with answers in any order: nobody can find a sequence that goes on
// in silence.
func TestAnswered_AlertsWithinTheBoundForAnySequence(t *testing.T) {
	starts := bounds(t)
	var names []string
	for n := range starts {
		names = append(names, n)
	}
	quiet := quietAnswers()
	long := 0
	rapid.Check(t, func(rt *rapid.T) {
		l := loop{h: starts[rapid.SampledFrom(names).Draw(rt, "hold")], now: t0.Add(2 * day)}
		pool := rapid.SliceOfN(rapid.SampledFrom(quiet), 1, 4).Draw(rt, "answers")
		for range 60 {
			if l.over() || l.alerts > 0 {
				break
			}
			l.claim(func(c hold.Call) hold.Answer {
				return rapid.SampledFrom(pool).Draw(rt, c.Op.String())
			})
			if l.counted > hold.MaxCallsBeforeAlert {
				rt.Fatalf("%d calls, and no alert; %s next %s", l.counted, l.h.State, l.h.NextOp)
			}
		}
		if l.alerts > 0 && !l.attention {
			long++
		}
	})
	if long == 0 {
		t.Error("no run came to the bound: the test has lost its reach")
	}
}

func TestApplyAnswer_ChargeExpiredWhileHeld(t *testing.T) {
	for _, tt := range []struct {
		kind  hold.AnswerKind
		cause hold.Cause
	}{{hold.AnswerChargeGone, hold.CauseRefused}, {hold.AnswerUnexpectedState,
		hold.CauseNotCapturable}} {
		for name, h := range map[string]hold.Hold{"capture": newHold(t, heldIntent(),
			withCaptureAt(t0.Add(day))), "cancel": newHold(t, heldIntent(),
			withCancelAt(t0.Add(day)))} {
			t.Run(name+" "+tt.kind.String(), func(t *testing.T) {
				l := loop{h: h, now: t0.Add(day)}
				answer := func(c hold.Call) hold.Answer {
					if c.Op == hold.OpRead {
						return hold.Answer{Kind: hold.AnswerOK, Intent: heldIntent()}
					}
					return hold.Answer{Kind: tt.kind, HTTPStatus: 400,
						Code: "capture_charge_authorization_expired"}
				}
				for range 20 {
					if !l.over() {
						l.claim(answer)
					}
				}
				if l.h.State != hold.Attention || l.h.Reason != tt.cause ||
					l.alerts != 1 || l.calls != 4 {
					t.Errorf("%s because of %s, %d alerts after %d calls; want attention because of %s, one alert, 4 calls", l.h.State, l.h.Reason, l.alerts, l.calls, tt.cause)
				}
				if took := l.now.Sub(t0.Add(day)); took < 2*time.Second || took > 10*time.Second {
					t.Errorf("the second try came after %v", took)
				}
				// A person may have it tried again, and hears of it again.
				l.h = mustAccept(t)(l.h.RequestCancel("", "api", l.now))
				for range 20 {
					if !l.over() {
						l.claim(answer)
					}
				}
				if l.h.State != hold.Attention || l.alerts != 2 || l.calls != 8 {
					t.Errorf("tried again: %s, %d alerts after %d calls",
						l.h.State, l.alerts, l.calls)
				}
			})
		}
	}
}

// TestApplyAnswer_OutageIsAlertedAndRetried has one hold meet an outage for a
// day. A worker claims nothing while all calls fail, so this is an outage of
// one hold or one endpoint.
func TestApplyAnswer_OutageIsAlertedAndRetried(t *testing.T) {
	for _, k := range []hold.AnswerKind{hold.AnswerUnreachable, hold.AnswerRateLimited,
		hold.AnswerUnauthorized} {
		for name, h := range bounds(t) {
			t.Run(k.String()+" "+name, func(t *testing.T) {
				l := loop{h: h, now: t0.Add(2 * day)}
				l.now = laterOf(l.now, h.NextAt)
				began := l.now
				for l.now.Before(began.Add(day)) {
					l.claim(func(hold.Call) hold.Answer { return hold.Answer{Kind: k} })
				}
				if l.alerts < 4 || l.alerts > 6 || l.attention || l.calls > 500 {
					t.Errorf("%d alerts, attention %v, %d calls in a day",
						l.alerts, l.attention, l.calls)
				}
			})
		}
	}
	// An outage of captures alone, whose outcome is unknown or read back as
	// nothing, is told and goes on: once it is over the hold is captured.
	for name, read := range map[string]hold.Answer{"reads fail as well": {Kind: hold.AnswerUnknown},
		"reads work": {Kind: hold.AnswerOK, Intent: heldIntent()}} {
		t.Run(name, func(t *testing.T) {
			l := loop{h: newHold(t, heldIntent(), withCaptureAt(t0.Add(day))), now: t0.Add(day)}
			for l.now.Before(t0.Add(2 * day)) {
				l.claim(func(c hold.Call) hold.Answer {
					if c.Op == hold.OpRead {
						return read
					}
					return hold.Answer{Kind: hold.AnswerUnknown, HTTPStatus: 500}
				})
			}
			if l.attention || l.alerts < 1 || l.alerts > 9 {
				t.Errorf("attention %v, %d alerts in %d calls", l.attention, l.alerts, l.calls)
			}
			for range 4 {
				if !l.over() {
					l.claim(func(c hold.Call) hold.Answer {
						if c.Op == hold.OpRead {
							return hold.Answer{Kind: hold.AnswerOK, Intent: heldIntent()}
						}
						return hold.Answer{Kind: hold.AnswerOK, Intent: capturedIntent(amount)}
					})
				}
			}
			if l.h.State != hold.Captured {
				t.Errorf("after the outage: %s", l.h.State)
			}
		})
	}
}
