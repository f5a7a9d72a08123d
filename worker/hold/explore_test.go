package hold_test

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// The machine is driven through everything that it can be driven through: from
// a few new holds on, each step tries every wish, every observation, every
// answer, every milestone and the passing of time. Holds that differ in nothing
// that decides anything are looked at once.

// exploredState is a hold at a moment.
type exploredState struct {
	hold    hold.Hold
	now     time.Time
	claimed bool // some worker has it
}

// transition is one thing that was done to a hold, and what came of it.
type transition struct {
	from      exploredState
	name      string
	call      hold.Call   // of an answer
	answer    hold.Answer // of an answer
	intent    *hold.PaymentIntent
	decision  hold.Decision
	err       error
	claimed   bool
	isRequest bool
}

func (s *transition) clone() *transition { c := *s; return &c }

func (s *transition) String() string {
	formatHold := func(h *hold.Hold) string {
		return fmt.Sprintf(
			"{%s next=%s why=%s prior=%s gen=%d unknown=%v count=%d readFirst=%v cancelWanted=%v verified=%v wants=%d of=%d}",
			h.State, h.NextOp, h.Reason, h.PreviousState, h.Generation, h.Sent.Unknown,
			h.Sent.Count, h.ReadFirst, h.CancelWanted, h.Verified, h.CaptureAmount, h.Amount)
	}
	name := s.name
	if s.call.Op != 0 {
		name += " to " + s.call.Op.String()
	}
	return fmt.Sprintf("%s\n  from %s at +%s\n  to   %s now=%v same=%v err=%v", name,
		formatHold(&s.from.hold), s.from.now.Sub(t0), formatHold(&s.decision.Hold),
		s.decision.NextStepNow, s.decision.Unchanged, s.err)
}

// decisionFacts is all of a node that may decide what happens next.
type decisionFacts struct {
	state, previous                                                               hold.State
	next                                                                          hold.Op
	reason                                                                        hold.Cause
	claimed, unknown, sent, readFirst, cancel                                     bool
	verified, hasAmount, hasCaptureAmount, due, keyExpired, ownDue                bool
	single, shared, enough, fee                                                   bool
	known, incremental, incrementPaused, incrementOver                            bool
	ownKind, deadlinePhase, misses, retries, generation, ownAfterDeadline, policy int
	refusals                                                                      int
}

func (n *exploredState) decisionKey(r hold.DecisionRules) decisionFacts {
	h := &n.hold
	clamp := func(v, m uint32) int { return int(min(v, m)) }
	f := decisionFacts{state: h.State, next: h.NextOp, reason: h.Reason, claimed: n.claimed,
		unknown: h.Sent.Unknown, sent: h.Sent.Count > 0,
		readFirst: h.ReadFirst, cancel: h.CancelWanted, verified: h.Verified,
		hasAmount: h.Amount > 0, hasCaptureAmount: h.CaptureAmount > 0,
		single: h.SingleCapture, shared: h.CapturedElsewhere > 0, enough: h.CaptureAmount > 0 &&
			h.CapturedElsewhere >= h.CaptureAmount,
		fee:   h.CaptureParams.ApplicationFeeAmount > 0,
		known: h.Features&hold.FeaturesKnown != 0, incremental: h.Features&hold.FeatureIncremental != 0,
		incrementPaused: h.Increment.Paused, incrementOver: h.NextOp == hold.OpIncrement && !n.now.Before(h.Increment.Until),
		due: h.NextOp != 0 && !h.NextAt.After(n.now), misses: clamp(h.InconclusiveReads, 2),
		retries: clamp(h.Retries, 1), refusals: clamp(h.Refusals, 1),
		generation: clamp(h.Generation, 2), policy: int(h.OnExpiry),
		keyExpired: !h.Sent.FirstAt.IsZero() && n.now.Sub(h.Sent.FirstAt) >= 23*time.Hour}
	if h.State == hold.Working {
		f.previous = h.PreviousState
	}
	if !n.claimed { // counts for the back-off alone
		f.misses, f.retries = min(f.misses, 1), 0
	}
	f.keyExpired = f.keyExpired && (f.sent || f.unknown)
	if h.State.IsFinal() {
		return decisionFacts{state: h.State}
	}
	switch {
	case !h.CaptureAt.IsZero():
		f.ownKind = 1
	case !h.CancelAt.IsZero():
		f.ownKind = 2
	}
	if ownTime := h.ActionTime(); !ownTime.IsZero() {
		f.ownDue = !ownTime.After(n.now)
		if !ownTime.Before(h.ExpiresAt) {
			f.ownAfterDeadline = 1
		}
	}
	switch {
	case !n.now.Before(h.ExpiresAt):
		f.deadlinePhase = 2
	case !n.now.Before(h.ExpiresAt.Add(-r.ExpiryMargin)):
		f.deadlinePhase = 1
	}
	return f
}

var (
	intentsByName = map[string]*hold.PaymentIntent{
		"held":     heldIntent(),
		"raisable": heldIntent(raisable),
		"raised":   heldIntent(raisable, raised),
		"multi":    heldIntent(multi),
		"shared":   shared(200),
		"enough":   shared(500),
		"less":     heldIntent(func(in *hold.PaymentIntent) { in.AmountCapturable = 100 }),
		"nearer":   heldIntent(func(in *hold.PaymentIntent) { in.CaptureBefore = t0.Add(day) }),
		"longer": heldIntent(func(in *hold.PaymentIntent) {
			in.CaptureBefore = t0.Add(20 * day)
		}),
		"captured":  capturedIntent(amount),
		"part":      capturedIntent(500),
		"canceled":  canceledIntent("requested_by_customer"),
		"automatic": canceledIntent("automatic"),
		"expired":   canceledIntent("expired"),
		"busy":      newIntent(hold.StatusProcessing),
		"action":    newIntent(hold.StatusRequiresAction),
		"method":    newIntent(hold.StatusRequiresPaymentMethod),
		"confirm":   newIntent(hold.StatusRequiresConfirmation),
	}
	intentNames = []string{"held", "raisable", "raised", "multi", "shared", "enough", "less", "nearer", "longer",
		"captured", "part", "canceled", "automatic", "expired", "busy",
		"action", "method", "confirm"}
)

// possibleRequests are all that people can ask of a hold.
func possibleRequests(h hold.Hold, now time.Time) map[string]func() (hold.Decision, error) {
	patch := func(p *hold.Patch) func() (hold.Decision, error) {
		return func() (hold.Decision, error) { return h.ApplyPatch(p, "api", now) }
	}
	sameCaptureAt := h.CaptureAt
	if sameCaptureAt.IsZero() {
		sameCaptureAt = now.Add(2 * time.Hour)
	}
	return map[string]func() (hold.Decision, error){
		"patch capture_at": patch(
			&hold.Patch{CaptureAt: ptr(formatTime(now.Add(30 * time.Minute)))}),
		"patch same capture_at": patch(&hold.Patch{CaptureAt: ptr(formatTime(sameCaptureAt)),
			Metadata: map[string]string{"n": fmt.Sprint(h.Revision)}}),
		"patch cancel_at": patch(
			&hold.Patch{CancelAt: ptr(formatTime(now.Add(40 * time.Minute)))}),
		"patch clear":          patch(&hold.Patch{CaptureAt: ptr(""), CancelAt: ptr("")}),
		"patch capture_amount": patch(&hold.Patch{CaptureAmount: ptr(int64(500))}),
		"patch on_expiry":      patch(&hold.Patch{OnExpiry: ptr("capture")}),
		"patch reference":      patch(&hold.Patch{Reference: ptr(fmt.Sprint("BK-", h.Revision))}),
		"capture": func() (hold.Decision, error) {
			return h.RequestCapture(hold.CaptureRequest{}, "api", now)
		},
		"capture 500": func() (hold.Decision, error) {
			return h.RequestCapture(hold.CaptureRequest{Amount: 500}, "api", now)
		},
		"cancel": func() (hold.Decision, error) {
			return h.RequestCancel("", "api", now)
		},
		"increment": func() (hold.Decision, error) {
			return h.RequestIncrement(hold.IncrementRequest{Amount: raisedAmount}, "api", now,
				testRules)
		},
		"pause": func() (hold.Decision, error) {
			return h.Pause(hold.CauseReview, "api", now)
		},
		"resume":      func() (hold.Decision, error) { return h.Resume("api", now) },
		"acknowledge": func() (hold.Decision, error) { return h.AcknowledgeWarnings("api", now) },
	}
}

// possibleAnswers are all that Stripe can say to a call.
func possibleAnswers() []hold.Answer {
	var all []hold.Answer
	for _, k := range hold.AnswerKinds() {
		a := hold.Answer{Kind: k, HTTPStatus: 400, RequestID: "req_1", Code: k.String()}
		all = append(all, a)
		if k == hold.AnswerOK || k == hold.AnswerUnexpectedState || k == hold.AnswerChargeGone {
			for _, n := range intentNames {
				b := a
				b.Intent = intentsByName[n]
				all = append(all, b)
			}
		}
	}
	all[0].Replayed = true
	return append(all, hold.Answer{}) // no kind at all
}

var (
	allAnswers  = possibleAnswers()
	answerNames = func() (names []string) {
		for _, a := range allAnswers {
			name := "answer " + a.Kind.String()
			if a.Intent != nil {
				name += " with " + string(a.Intent.Status)
			}
			names = append(names, name)
		}
		return names
	}()
)

// visitTransitions tries everything on n. It uses one transition for all, so
// visit copies what it keeps.
func (n *exploredState) visitTransitions(r hold.DecisionRules, visit func(*transition)) {
	s := &transition{}
	visitDecision := func(name string, c hold.Decision, err error, edit func(*transition)) {
		*s = transition{from: *n, name: name, decision: c, err: err, claimed: n.claimed}
		if edit != nil {
			edit(s)
		}
		visit(s)
	}
	h, now := n.hold, n.now
	for name, do := range possibleRequests(h, now) {
		c, err := do()
		visitDecision(name, c, err, func(s *transition) { s.isRequest = true })
	}
	for _, name := range intentNames {
		visitDecision("observed "+name, h.ApplyPaymentIntent(intentsByName[name], now), nil,
			func(s *transition) { s.intent = intentsByName[name] })
	}
	visitDecision("not found", h.ApplyIntentNotFound(now), nil, nil)
	if !h.State.IsFinal() {
		for _, due := range []time.Time{h.ExpiresAt.Add(-24 * time.Hour),
			h.ExpiresAt.Add(-r.ExpiryMargin), h.ActionTime(), h.ExpiresAt,
			h.ExpiresAt.Add(5 * time.Minute)} {
			if !due.IsZero() && !due.After(now) {
				c, _ := h.ApplyMilestone(due, now, r)
				visitDecision("milestone at -"+h.ExpiresAt.Sub(due).String(), c, nil, nil)
			}
		}
	}
	if !h.State.IsFinal() && h.NextOp != 0 && (n.claimed || !h.NextAt.After(now)) {
		// A claim, or the take-over of one whose lease ran out.
		visitDecision("claimed", hold.Decision{Hold: claimHold(h, now)}, nil,
			func(s *transition) { s.claimed = true })
	}
	if n.claimed {
		call := h.NextCall(now)
		for i, a := range allAnswers {
			visitDecision(answerNames[i], h.ApplyAnswer(call, a, now), nil, func(s *transition) {
				s.call, s.answer, s.intent = call, a, a.Intent
				s.claimed = s.decision.NextStepNow
			})
		}
		visitDecision("unsent", h.ReleaseUnsentClaim(), nil,
			func(s *transition) { s.claimed = false })
		visitDecision("parked", hold.Decision{Hold: h, NextStepNow: true}.ReleaseClaimUntil(
			now.Add(time.Second)), nil, func(s *transition) { s.claimed = false })
	}
}

// nextTimes to which time may jump from a node.
func (n *exploredState) nextTimes(r hold.DecisionRules) []time.Time {
	h := &n.hold
	var ts []time.Time
	for _, t := range []time.Time{h.NextAt, h.ActionTime(), h.ExpiresAt.Add(-r.ExpiryMargin),
		h.ExpiresAt.Add(-time.Millisecond), h.ExpiresAt, h.Sent.FirstAt.Add(23 * time.Hour),
		h.Increment.Until} {
		if t.After(n.now) && t.Before(t0.Add(30*day)) {
			ts = append(ts, t)
		}
	}
	return ts
}

func initialStates(t testing.TB) []exploredState {
	var ns []exploredState
	for _, p := range []hold.ExpiryPolicy{hold.PolicyCancel, hold.PolicyCapture, hold.PolicyAlert} {
		for _, in := range []*hold.PaymentIntent{nil, heldIntent()} {
			ns = append(ns,
				exploredState{hold: newHold(t, in, withOnExpiry(p)), now: t0},
				exploredState{hold: newHold(t, in, withOnExpiry(p), withCaptureAt(t0.Add(2*day))),
					now: t0},
				exploredState{hold: newHold(t, in, withOnExpiry(p), withCancelAt(t0.Add(2*day))),
					now: t0})
		}
		ns = append(
			ns, exploredState{hold: newHold(t, nil, withOnExpiry(p), withCaptureAt(t0.Add(2*day)),
				withAmount(amount, "eur"), withCaptureAmount(500)), now: t0})
	}
	ns = append(ns, exploredState{hold: newHold(t, heldIntent(raisable)), now: t0},
		exploredState{hold: newHold(t, heldIntent(raisable), withCaptureAt(t0.Add(2*day)),
			withOnExpiry(hold.PolicyCapture)), now: t0})
	for _, in := range []*hold.PaymentIntent{nil, heldIntent(multi)} {
		ns = append(ns,
			exploredState{hold: newHold(t, in, withCaptureAt(t0.Add(2*day)), withFee(400)),
				now: t0},
			exploredState{hold: newHold(t, in, withCaptureAt(t0.Add(2*day)), withCaptureAmount(500),
				withFee(400)), now: t0})
	}
	return ns
}

type stateEdge struct{ from, to hold.State }

type exploration struct {
	states, transitions int
	complete            bool
	edges               map[stateEdge]*transition
	violations          map[string]*transition
	violationCounts     map[string]int
}

// maxExploredStates bounds the exploration; what lies beyond is met by the
// random tests.
const maxExploredStates = 10_000

// exploreAll runs once for all tests that want to know what can happen.
var exploreAll = sync.OnceValue(func() *exploration {
	x := &exploration{edges: map[stateEdge]*transition{}, violations: map[string]*transition{},
		violationCounts: map[string]int{}, complete: true}
	seen := map[decisionFacts]bool{}
	var queue []exploredState
	push := func(n exploredState) {
		if f := n.decisionKey(testRules); !seen[f] {
			if len(seen) >= maxExploredStates {
				x.complete = false
				return
			}
			seen[f] = true
			queue = append(queue, n)
		}
	}
	type rule struct {
		name       string
		isViolated func(*transition) bool
	}
	var rules []rule
	for name, isViolated := range invariants {
		rules = append(rules, rule{name, isViolated})
	}
	for _, n := range initialStates(&testing.T{}) {
		push(n)
	}
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		x.states++
		before := deepCopy(n.hold)
		n.visitTransitions(testRules, func(s *transition) {
			x.transitions++
			for i := range rules {
				if r := &rules[i]; r.isViolated(s) {
					x.violationCounts[r.name]++
					if x.violations[r.name] == nil {
						x.violations[r.name] = s.clone()
					}
				}
			}
			if s.err != nil || s.decision.Unchanged {
				return
			}
			from := s.from.hold.State
			if s.name == "claimed" && from == hold.Scheduled {
				from = hold.Ready
			}
			e := stateEdge{from, s.decision.Hold.State}
			if x.edges[e] == nil {
				x.edges[e] = s.clone()
			}
			push(exploredState{hold: s.decision.Hold, now: s.from.now, claimed: s.claimed})
		})
		if !equalHolds(before, n.hold) {
			x.violations["a hold is never changed in place"] = &transition{from: n,
				decision: hold.Decision{Hold: before}}
		}
		if !n.claimed || n.hold.Sent.Unknown {
			for _, at := range n.nextTimes(testRules) {
				m := exploredState{hold: n.hold, now: at, claimed: n.claimed}
				if n.hold.State == hold.Scheduled && n.hold.StateWithDueAsReady(n.now) == hold.Scheduled &&
					n.hold.StateWithDueAsReady(at) == hold.Ready {
					x.edges[stateEdge{hold.Scheduled, hold.Ready}] = &transition{
						from: n, name: "time passes"}
				}
				push(m)
			}
		}
	}
	return x
})

// invariants are the rules that no step may break. Each reports whether s
// breaks it.
var invariants = map[string]func(s *transition) bool{
	"only Stripe's word ends a hold, and ends it as Stripe says": func(s *transition) bool {
		if s.err != nil || !s.decision.Hold.State.IsFinal() || s.from.hold.State.IsFinal() {
			return false
		}
		if s.intent == nil {
			return true
		}
		switch s.decision.Hold.State {
		case hold.Captured:
			return s.intent.Status != hold.StatusSucceeded ||
				s.decision.Hold.CapturedAmount != s.intent.AmountReceived
		case hold.Canceled:
			return s.intent.Status != hold.StatusCanceled ||
				s.intent.CancellationReason == "automatic" ||
				s.intent.CancellationReason == "expired"
		default:
			return s.intent.Status != hold.StatusCanceled ||
				s.intent.CancellationReason != "automatic" &&
					s.intent.CancellationReason != "expired"
		}
	},
	"what is final stays": func(s *transition) bool {
		return s.from.hold.State.IsFinal() && s.err == nil &&
			!(s.decision.Unchanged && reflect.DeepEqual(s.decision.Hold, s.from.hold))
	},
	"the end is told once and leaves nothing to do": func(s *transition) bool {
		if s.err != nil || !s.decision.Hold.State.IsFinal() || s.from.hold.State.IsFinal() {
			return false
		}
		h := &s.decision.Hold
		return h.NextOp != 0 || !h.NextAt.IsZero() || h.SettledAt.IsZero() || h.Sent.Unknown ||
			s.decision.NextStepNow || s.decision.Unchanged || len(s.decision.Events) != 1 ||
			s.decision.Events[0].Type != hold.EventType("hold."+h.State.String()) ||
			s.decision.SortedSetPlacement(&s.from.hold, s.from.now, testRules).SettledAt.IsZero()
	},
	"the generation moves only when a read shows the money held": func(s *transition) bool {
		if s.err != nil || s.decision.Hold.Generation == s.from.hold.Generation {
			return false
		}
		return s.decision.Hold.Generation != s.from.hold.Generation+1 ||
			s.answer.Kind != hold.AnswerOK ||
			s.call.Op != hold.OpRead && s.call.Op != hold.OpIncrement ||
			s.intent == nil || s.intent.Status != hold.StatusRequiresCapture ||
			s.intent.AmountCapturable <= 0
	},
	"the generation moves whenever a request may have left": func(s *transition) bool {
		return s.answer.Kind == hold.AnswerOK && s.call.Op == hold.OpRead && s.intent != nil &&
			s.intent.Status == hold.StatusRequiresCapture &&
			(s.from.hold.Sent.Count > 0 || s.from.hold.Sent.Unknown) &&
			s.decision.Hold.Generation == s.from.hold.Generation &&
			!s.decision.Hold.Sent.Unknown // a read may be too fast to tell
	},
	"what is unknown is known only by an intent, or by the key's own final answer": func(
		s *transition) bool {
		if s.err != nil || !s.from.hold.Sent.Unknown || s.decision.Hold.Sent.Unknown ||
			s.intent != nil {
			return false
		}
		isWrite := s.call.Op == hold.OpCapture || s.call.Op == hold.OpCancel ||
			s.call.Op == hold.OpIncrement
		return !isWrite || s.answer.Kind != hold.AnswerUnexpectedState &&
			s.answer.Kind != hold.AnswerChargeGone
	},
	"a lost reply makes the outcome unknown": func(s *transition) bool {
		isWrite := s.call.Op == hold.OpCapture || s.call.Op == hold.OpCancel ||
			s.call.Op == hold.OpIncrement
		if !isWrite || raises(s) {
			return false
		}
		switch s.answer.Kind {
		case 0, hold.AnswerUnknown, hold.AnswerReplayedError, hold.AnswerKeyInUse:
			return !s.decision.Hold.Sent.Unknown
		case hold.AnswerOK:
			return (s.intent == nil || s.intent.Status == hold.StatusProcessing ||
				s.intent.Status == hold.StatusRequiresCapture) && !s.decision.Hold.Sent.Unknown
		}
		return false
	},
	"what is unknown is Working, or a person's, when the claim ends": func(s *transition) bool {
		h := &s.decision.Hold
		return s.from.claimed && !s.claimed && s.err == nil && h.Sent.Unknown &&
			h.State != hold.Working && h.State != hold.Attention
	},
	"Working is closed to wishes": func(s *transition) bool {
		if !s.isRequest || s.from.hold.State != hold.Working {
			return false
		}
		return !errors.Is(s.err, &hold.Problem{Code: hold.TooLate})
	},
	"an accepted cancel is for good": func(s *transition) bool {
		return s.err == nil && s.from.hold.CancelWanted && !s.decision.Hold.CancelWanted
	},
	"nothing captures after an accepted cancel": func(s *transition) bool {
		h := s.decision.Hold
		if s.err != nil || !h.CancelWanted || h.State.IsFinal() {
			return false
		}
		return h.NextOp == hold.OpCapture || h.NextCall(s.from.now).Op == hold.OpCapture ||
			h.NextCall(s.from.now.Add(day)).Op == hold.OpCapture
	},
	"an accepted cancel is not forgotten": func(s *transition) bool {
		h := &s.decision.Hold
		if s.err != nil || !h.CancelWanted || h.State.IsFinal() || h.State == hold.Attention {
			return false
		}
		return h.State != hold.Scheduled && h.State != hold.Working || h.NextOp != hold.OpCancel &&
			(h.NextOp != hold.OpRead || h.PreviousState != hold.Attention)
	},
	"what was triggered is not forgotten": func(s *transition) bool {
		previous, h := &s.from.hold, &s.decision.Hold
		if s.err != nil || previous.Reason != hold.CauseTrigger ||
			previous.NextOp != hold.OpCapture && previous.NextOp != hold.OpCancel ||
			h.State.IsFinal() || h.State == hold.Attention {
			return false
		}
		if s.isRequest {
			return false // somebody changed their mind
		}
		return h.NextOp != previous.NextOp
	},
	"a claim that ends leaves a next step, a person, or a wait": func(s *transition) bool {
		h := &s.decision.Hold
		if s.call.Op == 0 || s.decision.NextStepNow || h.State.IsFinal() {
			return false
		}
		if h.NextOp == 0 {
			return h.State != hold.Attention && h.State != hold.Waiting && h.State != hold.Paused
		}
		return !h.NextAt.After(s.from.now) && !h.NextAt.Equal(h.ActionTime())
	},
	"Now means that there is something to do": func(s *transition) bool {
		return s.decision.NextStepNow && (s.decision.Hold.NextOp == 0 || s.decision.Hold.State.IsFinal() ||
			s.decision.Unchanged)
	},
	"state and next step agree": func(s *transition) bool {
		h := &s.decision.Hold
		if s.err != nil {
			return false
		}
		switch h.State {
		case hold.Scheduled:
			return h.NextOp == 0
		case hold.Working:
			return h.NextOp == 0
		case hold.Waiting, hold.Paused, hold.Attention:
			return h.NextOp != 0 && h.NextOp != hold.OpRead
		}
		return h.NextOp != 0
	},
	"Attention comes with a notice and a cause, and is a person's": func(s *transition) bool {
		h := &s.decision.Hold
		if s.err != nil || h.State != hold.Attention || s.from.hold.State == hold.Attention ||
			s.from.hold.State == hold.Working && s.from.hold.PreviousState == hold.Attention {
			return false
		}
		events := s.decision.Events
		if s.isRequest && len(events) > 0 && events[0].Type == hold.EventChanged {
			events = events[1:]
		}
		return h.NextOp != 0 || h.Reason == 0 || len(events) != 1 ||
			events[0].Type != hold.EventAttention || s.decision.NextStepNow ||
			!s.decision.SortedSetPlacement(&s.from.hold, s.from.now, testRules).NeedsAttention
	},
	"the revision never falls": func(s *transition) bool {
		return s.err == nil && s.decision.Hold.Revision < s.from.hold.Revision
	},
	"a granted wish grows the revision": func(s *transition) bool {
		return s.isRequest && s.err == nil && !s.decision.Unchanged &&
			s.decision.Hold.Revision == s.from.hold.Revision
	},
	"a refused wish is a *Problem with a code, and no change": func(s *transition) bool {
		if s.err == nil {
			return false
		}
		var p *hold.Problem
		return !errors.As(s.err, &p) || p.Code == "" ||
			!reflect.DeepEqual(s.decision, hold.Decision{})
	},
	"Same is the same": func(s *transition) bool {
		return s.err == nil && s.decision.Unchanged &&
			!reflect.DeepEqual(s.decision.Hold, s.from.hold)
	},
	"history is bounded and keeps its first line": func(s *transition) bool {
		previous, h := &s.from.hold, &s.decision.Hold
		return s.err == nil && (len(h.History) > hold.MaxHistory || len(h.History) == 0 ||
			h.History[0] != previous.History[0] ||
			len(h.History)+int(h.HistoryDropped) < len(previous.History)+
				int(previous.HistoryDropped))
	},
	"every request is in the history with its key": func(s *transition) bool {
		if s.call.Op != hold.OpCapture && s.call.Op != hold.OpCancel &&
			s.call.Op != hold.OpIncrement {
			return false
		}
		for _, e := range s.decision.Hold.History {
			if e.Kind == hold.HistoryAttempt && e.Key == s.call.Key && e.Answer == s.answer.Kind &&
				e.Op == s.call.Op {
				return false
			}
		}
		return true
	},
	"a request names its key and never more money than is known of": func(s *transition) bool {
		h := &s.from.hold
		switch s.call.Op {
		case hold.OpIncrement:
			return s.call.Key == "" || s.call.Amount != raisedAmount
		case hold.OpCapture:
			if h.CaptureAmount > 0 &&
				s.call.Amount != max(0, h.CaptureAmount-h.CapturedElsewhere) ||
				s.call.ReleaseRest != (h.CaptureAmount > 0 &&
					h.CaptureAmount <= h.CapturedElsewhere) || h.CaptureAmount == 0 &&
				!h.Verified && s.call.Amount != h.Amount || s.call.Amount > h.Amount ||
				s.call.Amount < 0 {
				return true
			}
			fallthrough
		case hold.OpCancel:
			return s.call.Key == "" || len(s.call.Key) > 255
		case hold.OpRead:
			return s.call.Key != "" || s.call.Amount != 0
		}
		return false
	},
	"an amount is captured only after a read under the same claim, where others may capture as well": func(s *transition) bool {
		h := &s.decision.Hold
		return s.name == "claimed" && h.CaptureAmount > 0 && !h.SingleCapture &&
			h.NextCall(s.from.now).Op == hold.OpCapture
	},
	"no request takes more than what is missing from the total wanted": func(s *transition) bool {
		h := &s.from.hold
		return s.call.Op == hold.OpCapture && h.CaptureAmount > 0 && s.call.Amount > 0 &&
			s.call.Amount+h.CapturedElsewhere > h.CaptureAmount
	},
	"what another system took is never more than what was taken": func(s *transition) bool {
		h := &s.decision.Hold
		return s.err == nil && (h.CapturedElsewhere < 0 || h.State == hold.Captured &&
			h.CapturedElsewhere > h.CapturedAmount)
	},
	"no capture sends a fee above the amount that it takes": func(s *transition) bool {
		h := &s.from.hold
		takes := cmp.Or(s.call.Amount, h.Amount)
		if s.call.ReleaseRest {
			takes = 0
		}
		named := s.call.Amount > 0 || s.call.ReleaseRest || h.SingleCapture
		fee := s.call.CaptureParams.ApplicationFeeAmount
		return s.call.Op == hold.OpCapture && (fee != h.CaptureParams.ApplicationFeeAmount ||
			fee > takes || fee > 0 && !named)
	},
	"a fee is sent only after a read under the same claim, where others may capture as well": func(
		s *transition) bool {
		h := &s.decision.Hold
		return s.name == "claimed" && h.CaptureParams.ApplicationFeeAmount > 0 &&
			!h.SingleCapture && h.NextCall(s.from.now).Op == hold.OpCapture
	},
	"a key that Stripe may have forgotten is not used": func(s *transition) bool {
		a := s.from.hold.Sent
		return s.call.Key != "" && (a.Count > 0 || a.Unknown) &&
			s.from.now.Sub(a.FirstAt) >= 23*time.Hour
	},
	"requests are counted until the generation moves": func(s *transition) bool {
		previous, is := s.from.hold, s.decision.Hold
		return s.err == nil && is.Generation == previous.Generation &&
			is.Sent.Count < previous.Sent.Count
	},
	"what is confirmed stays confirmed": func(s *transition) bool {
		return s.err == nil && s.from.hold.Verified && !s.decision.Hold.Verified
	},
	"money is said to be taken only when it was": func(s *transition) bool {
		return s.err == nil && s.decision.Hold.CapturedAmount != 0 &&
			s.decision.Hold.State != hold.Captured
	},
	"an open hold is in the store's indexes": func(s *transition) bool {
		if s.err != nil || s.decision.Unchanged || s.decision.Hold.State.IsFinal() || s.claimed {
			return false
		}
		p := s.decision.SortedSetPlacement(&s.from.hold, s.from.now, testRules)
		h := &s.decision.Hold
		return h.NextOp != 0 && p.DueAt.IsZero() || h.NextOp == 0 &&
			(!p.DueAt.IsZero() || p.Ready) || s.decision.NewDeadline == p.KeepMilestone ||
			s.decision.NewDeadline && p.NextMilestone.IsZero() || !p.SettledAt.IsZero() ||
			(h.State == hold.Attention) != p.NeedsAttention
	},
	"a call without an outcome is counted": func(s *transition) bool {
		h := &s.decision.Hold
		if s.call.Op == 0 || h.State.IsFinal() || h.State == hold.Attention || endsIncrement(s) {
			return false
		}
		return h.Calls != s.from.hold.Calls+1
	},
	"only an outcome, attention or a request ends the count of calls": func(s *transition) bool {
		h := &s.decision.Hold
		return s.err == nil && !s.isRequest && !h.State.IsFinal() && h.State != hold.Attention &&
			h.Calls < s.from.hold.Calls && s.intent == nil && !endsIncrement(s)
	},
	"the sixteenth call in a row has an outcome or an alert": func(s *transition) bool {
		if s.call.Op == 0 || endsIncrement(s) {
			return false
		}
		h := s.from.hold
		h.Calls = hold.MaxCallsBeforeAlert - 1
		d := h.ApplyAnswer(s.call, s.answer, s.from.now)
		alertedBefore := d.Hold.InconclusiveReads > h.InconclusiveReads &&
			d.Hold.InconclusiveReads > 2
		return !d.Hold.State.IsFinal() && d.Hold.State != hold.Attention &&
			!hasAlert(d.Events) && !alertedBefore
	},
	"the second read that says nothing of a lost request is alerted": func(s *transition) bool {
		h := &s.decision.Hold
		return s.call.Op != 0 && s.from.hold.InconclusiveReads < 2 && h.InconclusiveReads >= 2 &&
			h.State != hold.Attention && !hasAlert(s.decision.Events)
	},
	"only a read that shows the money held lets a hold wait": func(s *transition) bool {
		h := &s.decision.Hold
		if s.call.Op == 0 || h.NextOp != 0 || h.State != hold.Waiting && h.State != hold.Paused {
			return false
		}
		return s.call.Op != hold.OpRead && !raises(s) || s.answer.Kind != hold.AnswerOK ||
			s.intent == nil || s.intent.Status != hold.StatusRequiresCapture || s.intent.AmountCapturable <= 0
	},
	"an increment ends with its outcome, and leaves the hold to its own terms": func(
		s *transition) bool {
		if !endsIncrement(s) {
			return false
		}
		h, events := &s.decision.Hold, s.decision.Events
		if h.Increment != (hold.PendingIncrement{}) {
			return true
		}
		if h.State.IsFinal() || h.State == hold.Attention {
			return false
		}
		told := slices.ContainsFunc(events, func(e hold.Event) bool {
			return e.Type == hold.EventIncremented || e.Type == hold.EventIncrementFailed
		})
		return !told || s.from.hold.Increment.Paused && !s.isRequest && h.State != hold.Paused &&
			h.Reason != hold.CauseOnExpiry
	},
	"an increment is said to have happened only when Stripe shows the amount": func(
		s *transition) bool {
		said := slices.ContainsFunc(s.decision.Events, func(e hold.Event) bool {
			return e.Type == hold.EventIncremented
		})
		return said && (s.intent == nil || s.intent.AmountCapturable < raisedAmount)
	},
	"an increment is not sent once its time is over": func(s *transition) bool {
		return s.call.Op == hold.OpIncrement && !s.from.now.Before(s.from.hold.Increment.Until)
	},
	"an unknown increment ends only with a read": func(s *transition) bool {
		return endsIncrement(s) && s.from.hold.Sent.Unknown && s.intent == nil &&
			s.decision.Hold.State != hold.Attention
	},
	"times have milliseconds": func(s *transition) bool {
		h := &s.decision.Hold
		return s.err == nil && (!h.NextAt.Equal(h.NextAt.Truncate(time.Millisecond)) ||
			!h.SettledAt.Equal(h.SettledAt.Truncate(time.Millisecond)))
	},
}

// endsIncrement reports whether the step ends a requested increment.
func endsIncrement(s *transition) bool {
	return s.err == nil && s.from.hold.NextOp == hold.OpIncrement &&
		s.decision.Hold.NextOp != hold.OpIncrement
}

// raises reports whether the answer to an increment shows its effect.
func raises(s *transition) bool {
	return s.call.Op == hold.OpIncrement && s.answer.Kind == hold.AnswerOK && s.intent != nil &&
		s.intent.Status == hold.StatusRequiresCapture && s.intent.AmountCapturable >= raisedAmount
}

// hasAlert reports whether an operator is alerted.
func hasAlert(events []hold.Event) bool {
	return slices.ContainsFunc(events, func(e hold.Event) bool {
		return e.Type == hold.EventAttention || e.Type == hold.EventExpiring
	})
}

func TestHold_InvariantsHoldInEveryState(t *testing.T) {
	x := exploreAll()
	t.Logf("%d situations, %d steps, all of them: %v", x.states, x.transitions, x.complete)
	if x.states < 1000 {
		t.Errorf("only %d situations were met", x.states)
	}
	for rule := range invariants {
		t.Run(rule, func(t *testing.T) {
			if s := x.violations[rule]; s != nil {
				t.Errorf("%d steps break it, the first:\n%s", x.violationCounts[rule], s)
			}
		})
	}
	if s := x.violations["a hold is never changed in place"]; s != nil {
		t.Errorf("changed in place: %s", s)
	}
}

var diagramLine = regexp.MustCompile(`(?m)^//\t(\w+)\s+-> (\w+(?:, \w+)*)\s{2,}(\S.*)$`)

// TestDoc_StateDiagramMatchesTransitions compares the diagram in the package's
// doc with what happens. A transition from a state to itself may be left out.
func TestDoc_StateDiagramMatchesTransitions(t *testing.T) {
	src, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	x := exploreAll()
	doc := map[stateEdge]string{}
	for _, m := range diagramLine.FindAllStringSubmatch(string(src), -1) {
		for _, name := range strings.Split(m[2], ", ") {
			from, ok := hold.ParseState(m[1])
			to, ok2 := hold.ParseState(name)
			if !ok || !ok2 {
				t.Errorf("%q: no such state", m[0])
				continue
			}
			e := stateEdge{from, to}
			if doc[e] != "" {
				t.Errorf("drawn twice: %s -> %s", from, to)
			}
			doc[e] = m[3]
			if x.edges[e] == nil {
				t.Errorf("drawn, and never happens: %s -> %s  %s", from, to, m[3])
			}
		}
	}
	if len(doc) == 0 {
		t.Fatal("doc.go has no diagram")
	}
	for _, from := range hold.States() {
		for _, to := range hold.States() {
			if s := x.edges[stateEdge{from, to}]; s != nil && from != to &&
				doc[stateEdge{from, to}] == "" {
				t.Errorf("happens, and isn't drawn: %s -> %s, by %s", from, to, s.name)
			}
		}
	}
}
