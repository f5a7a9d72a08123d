package hold_test

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// The machine is driven through everything that it can be driven through: from a few new holds on, each step tries every wish, every
// observation, every answer, every milestone and the passing of time. Holds that differ in nothing that decides anything are looked at once.

// node is a hold at a moment.
type node struct {
	h       hold.Hold
	now     time.Time
	claimed bool // some worker has it
}

// step is one thing that was done to a hold, and what came of it.
type step struct {
	from    node
	name    string
	call    hold.Call   // of an answer
	answer  hold.Answer // of an answer
	seen    *hold.Intent
	c       hold.Decision
	err     error
	claimed bool
	wish    bool
}

func (s *step) String() string {
	show := func(h *hold.Hold) string {
		return fmt.Sprintf("{%s next=%s why=%s prior=%s gen=%d unknown=%v count=%d readFirst=%v cancelWanted=%v verified=%v wants=%d of=%d}",
			h.State, h.NextOp, h.Reason, h.PreviousState, h.Generation, h.Attempt.Unknown, h.Attempt.Count, h.ReadFirst, h.CancelWanted, h.Verified, h.CaptureAmount, h.Amount)
	}
	return fmt.Sprintf("%s\n  from %s at +%s\n  to   %s now=%v same=%v err=%v", s.name, show(&s.from.h), s.from.now.Sub(t0), show(&s.c.Hold), s.c.Again, s.c.Unchanged, s.err)
}

// facet is all of a node that may decide what happens next.
type facet struct {
	state, prior                                 hold.State
	next                                         hold.Op
	why                                          hold.Cause
	claimed, unknown, sent, readFirst, cancel    bool
	verified, priced, part, due, stale, ownDue   bool
	single, shared, enough                       bool
	ownKind, end, misses, retries, gen, own, pol int
	refusals                                     int
}

func (n *node) facet(r hold.Rules) facet {
	h := &n.h
	clamp := func(v, m uint32) int { return int(min(v, m)) }
	f := facet{state: h.State, next: h.NextOp, why: h.Reason, claimed: n.claimed, unknown: h.Attempt.Unknown, sent: h.Attempt.Count > 0,
		readFirst: h.ReadFirst, cancel: h.CancelWanted, verified: h.Verified, priced: h.Amount > 0, part: h.CaptureAmount > 0,
		single: h.SingleCapture, shared: h.CapturedElsewhere > 0, enough: h.CaptureAmount > 0 && h.CapturedElsewhere >= h.CaptureAmount,
		due: h.NextOp != 0 && !h.NextAt.After(n.now), misses: clamp(h.InconclusiveReads, 2), retries: clamp(h.Retries, 1), refusals: clamp(h.Refusals, 1), gen: clamp(h.Generation, 2), pol: int(h.OnExpiry),
		stale: !h.Attempt.FirstAt.IsZero() && n.now.Sub(h.Attempt.FirstAt) >= 23*time.Hour}
	if h.State == hold.Working {
		f.prior = h.PreviousState
	}
	if !n.claimed { // counts for the back-off alone
		f.misses, f.retries = min(f.misses, 1), 0
	}
	f.stale = f.stale && (f.sent || f.unknown)
	if h.State.Final() {
		return facet{state: h.State}
	}
	switch {
	case !h.CaptureAt.IsZero():
		f.ownKind = 1
	case !h.CancelAt.IsZero():
		f.ownKind = 2
	}
	if own := h.ActionTime(); !own.IsZero() {
		f.ownDue = !own.After(n.now)
		if !own.Before(h.ExpiresAt) {
			f.own = 1
		}
	}
	switch {
	case !n.now.Before(h.ExpiresAt):
		f.end = 2
	case !n.now.Before(h.ExpiresAt.Add(-r.ExpiryMargin)):
		f.end = 1
	}
	return f
}

var (
	intents = map[string]*hold.Intent{
		"held":      held(),
		"multi":     held(multi),
		"shared":    shared(200),
		"enough":    shared(500),
		"less":      held(func(in *hold.Intent) { in.AmountCapturable = 100 }),
		"nearer":    held(func(in *hold.Intent) { in.CaptureBefore = t0.Add(day) }),
		"longer":    held(func(in *hold.Intent) { in.CaptureBefore = t0.Add(20 * day) }),
		"captured":  captured(amount),
		"part":      captured(500),
		"canceled":  canceled("requested_by_customer"),
		"automatic": canceled("automatic"),
		"expired":   canceled("expired"),
		"busy":      intent(hold.StatusProcessing),
		"action":    intent(hold.StatusRequiresAction),
		"method":    intent(hold.StatusRequiresPaymentMethod),
		"confirm":   intent(hold.StatusRequiresConfirmation),
	}
	intentNames = []string{"held", "multi", "shared", "enough", "less", "nearer", "longer", "captured", "part", "canceled", "automatic", "expired", "busy", "action", "method", "confirm"}
)

// wishes are all that people can ask of a hold.
func wishes(h hold.Hold, now time.Time) map[string]func() (hold.Decision, error) {
	patch := func(p *hold.Patch) func() (hold.Decision, error) {
		return func() (hold.Decision, error) { return h.ApplyPatch(p, "api", now) }
	}
	same := h.CaptureAt
	if same.IsZero() {
		same = now.Add(2 * time.Hour)
	}
	return map[string]func() (hold.Decision, error){
		"patch capture_at":      patch(&hold.Patch{CaptureAt: ptr(rfc(now.Add(30 * time.Minute)))}),
		"patch same capture_at": patch(&hold.Patch{CaptureAt: ptr(rfc(same)), Metadata: map[string]string{"n": fmt.Sprint(h.Revision)}}),
		"patch cancel_at":       patch(&hold.Patch{CancelAt: ptr(rfc(now.Add(40 * time.Minute)))}),
		"patch clear":           patch(&hold.Patch{CaptureAt: ptr(""), CancelAt: ptr("")}),
		"patch capture_amount":  patch(&hold.Patch{CaptureAmount: ptr(int64(500))}),
		"patch on_expiry":       patch(&hold.Patch{OnExpiry: ptr("capture")}),
		"patch reference":       patch(&hold.Patch{Reference: ptr(fmt.Sprint("BK-", h.Revision))}),
		"capture":               func() (hold.Decision, error) { return h.RequestCapture(0, "api", now) },
		"capture 500":           func() (hold.Decision, error) { return h.RequestCapture(500, "api", now) },
		"cancel":                func() (hold.Decision, error) { return h.RequestCancel("api", now) },
		"pause":                 func() (hold.Decision, error) { return h.Pause(hold.CauseReview, "api", now) },
		"resume":                func() (hold.Decision, error) { return h.Resume("api", now) },
		"acknowledge":           func() (hold.Decision, error) { return h.Acknowledge("api", now) },
	}
}

// answers are all that Stripe can say to a call.
func answers() []hold.Answer {
	var all []hold.Answer
	for _, k := range hold.AnswerKinds() {
		a := hold.Answer{Kind: k, HTTPStatus: 400, RequestID: "req_1", Code: k.String()}
		all = append(all, a)
		if k == hold.AnswerOK || k == hold.AnswerUnexpectedState || k == hold.AnswerChargeGone {
			for _, n := range intentNames {
				b := a
				b.Intent = intents[n]
				all = append(all, b)
			}
		}
	}
	all[0].Replayed = true
	return append(all, hold.Answer{}) // no kind at all
}

var allAnswers = answers()

// steps tries everything on n.
func (n *node) steps(r hold.Rules, visit func(*step)) {
	try := func(name string, c hold.Decision, err error, edit func(*step)) {
		s := &step{from: *n, name: name, c: c, err: err, claimed: n.claimed}
		if edit != nil {
			edit(s)
		}
		visit(s)
	}
	h, now := n.h, n.now
	for name, do := range wishes(h, now) {
		c, err := do()
		try(name, c, err, func(s *step) { s.wish = true })
	}
	for _, name := range intentNames {
		try("observed "+name, h.ApplyIntent(intents[name], now), nil, func(s *step) { s.seen = intents[name] })
	}
	try("not found", h.ApplyNotFound(now), nil, nil)
	if !h.State.Final() {
		for _, due := range []time.Time{h.ExpiresAt.Add(-24 * time.Hour), h.ExpiresAt.Add(-r.ExpiryMargin), h.ActionTime(), h.ExpiresAt, h.ExpiresAt.Add(5 * time.Minute)} {
			if !due.IsZero() && !due.After(now) {
				c, _ := h.PassMilestone(due, now, r)
				try("milestone at -"+h.ExpiresAt.Sub(due).String(), c, nil, nil)
			}
		}
	}
	if !h.State.Final() && h.NextOp != 0 && (n.claimed || !h.NextAt.After(now)) {
		// A claim, or the take-over of one whose lease ran out.
		try("claimed", hold.Decision{Hold: claim(h, now)}, nil, func(s *step) { s.claimed = true })
	}
	if n.claimed {
		call := h.NextCall(now)
		for _, a := range allAnswers {
			name := "answer " + a.Kind.String()
			if a.Intent != nil {
				name += " with " + string(a.Intent.Status)
			}
			try(name+" to "+call.Op.String(), h.ApplyAnswer(call, a, now), nil, func(s *step) {
				s.call, s.answer, s.seen = call, a, a.Intent
				s.claimed = s.c.Again
			})
		}
		try("unsent", h.ReleaseUnsent(), nil, func(s *step) { s.claimed = false })
		try("parked", hold.Decision{Hold: h, Again: true}.DeferUntil(now.Add(time.Second)), nil, func(s *step) { s.claimed = false })
	}
}

// moments to which time may jump from a node.
func (n *node) moments(r hold.Rules) []time.Time {
	h := &n.h
	var ts []time.Time
	for _, t := range []time.Time{h.NextAt, h.ActionTime(), h.ExpiresAt.Add(-r.ExpiryMargin), h.ExpiresAt.Add(-time.Millisecond), h.ExpiresAt, h.Attempt.FirstAt.Add(23 * time.Hour)} {
		if t.After(n.now) && t.Before(t0.Add(30*day)) {
			ts = append(ts, t)
		}
	}
	return ts
}

func roots(t testing.TB) []node {
	var ns []node
	for _, p := range []hold.Policy{hold.PolicyCancel, hold.PolicyCapture, hold.PolicyAlert} {
		for _, in := range []*hold.Intent{nil, held()} {
			ns = append(ns,
				node{h: made(t, in, onExpiry(p)), now: t0},
				node{h: made(t, in, onExpiry(p), captureAt(t0.Add(2*day))), now: t0},
				node{h: made(t, in, onExpiry(p), cancelAt(t0.Add(2*day))), now: t0})
		}
		ns = append(ns, node{h: made(t, nil, onExpiry(p), captureAt(t0.Add(2*day)), told(amount, "eur"), part(500)), now: t0})
	}
	return ns
}

type edge struct{ from, to hold.State }

type exploration struct {
	nodes, steps int
	whole        bool
	edges        map[edge]*step
	broken       map[string]*step
	count        map[string]int
}

// maxNodes bounds the exploration; what lies beyond is met by the random tests.
const maxNodes = 10_000

// explore runs once for all tests that want to know what can happen.
var explore = sync.OnceValue(func() *exploration {
	x := &exploration{edges: map[edge]*step{}, broken: map[string]*step{}, count: map[string]int{}, whole: true}
	seen := map[facet]bool{}
	var queue []node
	push := func(n node) {
		if f := n.facet(rules); !seen[f] {
			if len(seen) >= maxNodes {
				x.whole = false
				return
			}
			seen[f] = true
			queue = append(queue, n)
		}
	}
	for _, n := range roots(&testing.T{}) {
		push(n)
	}
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		x.nodes++
		before := deep(n.h)
		n.steps(rules, func(s *step) {
			x.steps++
			for rule, bad := range invariants {
				if bad(s) {
					x.count[rule]++
					if x.broken[rule] == nil {
						x.broken[rule] = s
					}
				}
			}
			if s.err != nil || s.c.Unchanged {
				return
			}
			from := s.from.h.State
			if s.name == "claimed" && from == hold.Scheduled {
				from = hold.Ready
			}
			e := edge{from, s.c.Hold.State}
			if x.edges[e] == nil {
				x.edges[e] = s
			}
			push(node{h: s.c.Hold, now: s.from.now, claimed: s.claimed})
		})
		if !same(before, n.h) {
			x.broken["a hold is never changed in place"] = &step{from: n, c: hold.Decision{Hold: before}}
		}
		if !n.claimed || n.h.Attempt.Unknown {
			for _, at := range n.moments(rules) {
				m := node{h: n.h, now: at, claimed: n.claimed}
				if n.h.State == hold.Scheduled && n.h.StateAt(n.now) == hold.Scheduled && n.h.StateAt(at) == hold.Ready {
					x.edges[edge{hold.Scheduled, hold.Ready}] = &step{from: n, name: "time passes"}
				}
				push(m)
			}
		}
	}
	return x
})

// invariants are the rules that no step may break. Each reports whether s breaks it.
var invariants = map[string]func(s *step) bool{
	"only Stripe's word ends a hold, and ends it as Stripe says": func(s *step) bool {
		if s.err != nil || !s.c.Hold.State.Final() || s.from.h.State.Final() {
			return false
		}
		if s.seen == nil {
			return true
		}
		switch s.c.Hold.State {
		case hold.Captured:
			return s.seen.Status != hold.StatusSucceeded || s.c.Hold.CapturedAmount != s.seen.AmountReceived
		case hold.Canceled:
			return s.seen.Status != hold.StatusCanceled || s.seen.CancellationReason == "automatic" || s.seen.CancellationReason == "expired"
		default:
			return s.seen.Status != hold.StatusCanceled || s.seen.CancellationReason != "automatic" && s.seen.CancellationReason != "expired"
		}
	},
	"what is final stays": func(s *step) bool {
		return s.from.h.State.Final() && s.err == nil && !(s.c.Unchanged && reflect.DeepEqual(s.c.Hold, s.from.h))
	},
	"the end is told once and leaves nothing to do": func(s *step) bool {
		if s.err != nil || !s.c.Hold.State.Final() || s.from.h.State.Final() {
			return false
		}
		h := &s.c.Hold
		return h.NextOp != 0 || !h.NextAt.IsZero() || h.SettledAt.IsZero() || h.Attempt.Unknown || s.c.Again || s.c.Unchanged || len(s.c.Events) != 1 ||
			s.c.Events[0].Type != hold.EventType("hold."+h.State.String()) || s.c.Placement(&s.from.h, s.from.now, rules).SettledAt.IsZero()
	},
	"the generation moves only when a read shows the money held": func(s *step) bool {
		if s.err != nil || s.c.Hold.Generation == s.from.h.Generation {
			return false
		}
		return s.c.Hold.Generation != s.from.h.Generation+1 || s.answer.Kind != hold.AnswerOK || s.call.Op != hold.OpRead ||
			s.seen == nil || s.seen.Status != hold.StatusRequiresCapture || s.seen.AmountCapturable <= 0
	},
	"the generation moves whenever a request may have left": func(s *step) bool {
		return s.answer.Kind == hold.AnswerOK && s.call.Op == hold.OpRead && s.seen != nil && s.seen.Status == hold.StatusRequiresCapture &&
			(s.from.h.Attempt.Count > 0 || s.from.h.Attempt.Unknown) && s.c.Hold.Generation == s.from.h.Generation &&
			!s.c.Hold.Attempt.Unknown // a read may be too fast to tell
	},
	"what is unknown is known only by an intent, or by the key's own final answer": func(s *step) bool {
		if s.err != nil || !s.from.h.Attempt.Unknown || s.c.Hold.Attempt.Unknown || s.seen != nil {
			return false
		}
		own := s.call.Op == hold.OpCapture || s.call.Op == hold.OpCancel
		return !own || s.answer.Kind != hold.AnswerUnexpectedState && s.answer.Kind != hold.AnswerChargeGone
	},
	"a lost reply makes the outcome unknown": func(s *step) bool {
		write := s.call.Op == hold.OpCapture || s.call.Op == hold.OpCancel
		if !write {
			return false
		}
		switch s.answer.Kind {
		case 0, hold.AnswerUnknown, hold.AnswerReplayedError, hold.AnswerKeyInUse:
			return !s.c.Hold.Attempt.Unknown
		case hold.AnswerOK:
			return (s.seen == nil || s.seen.Status == hold.StatusProcessing || s.seen.Status == hold.StatusRequiresCapture) && !s.c.Hold.Attempt.Unknown
		}
		return false
	},
	"what is unknown is Working, or a person's, when the claim ends": func(s *step) bool {
		h := &s.c.Hold
		return s.from.claimed && !s.claimed && s.err == nil && h.Attempt.Unknown && h.State != hold.Working && h.State != hold.Attention
	},
	"Working is closed to wishes": func(s *step) bool {
		if !s.wish || s.from.h.State != hold.Working {
			return false
		}
		return !errors.Is(s.err, &hold.Problem{Code: hold.TooLate})
	},
	"an accepted cancel is for good": func(s *step) bool {
		return s.err == nil && s.from.h.CancelWanted && !s.c.Hold.CancelWanted
	},
	"nothing captures after an accepted cancel": func(s *step) bool {
		h := s.c.Hold
		if s.err != nil || !h.CancelWanted || h.State.Final() {
			return false
		}
		return h.NextOp == hold.OpCapture || h.NextCall(s.from.now).Op == hold.OpCapture || h.NextCall(s.from.now.Add(day)).Op == hold.OpCapture
	},
	"an accepted cancel is not forgotten": func(s *step) bool {
		h := &s.c.Hold
		if s.err != nil || !h.CancelWanted || h.State.Final() || h.State == hold.Attention {
			return false
		}
		return h.State != hold.Scheduled && h.State != hold.Working || h.NextOp != hold.OpCancel && (h.NextOp != hold.OpRead || h.PreviousState != hold.Attention)
	},
	"what was triggered is not forgotten": func(s *step) bool {
		was, h := &s.from.h, &s.c.Hold
		if s.err != nil || was.Reason != hold.CauseTrigger || was.NextOp != hold.OpCapture && was.NextOp != hold.OpCancel || h.State.Final() || h.State == hold.Attention {
			return false
		}
		if s.wish {
			return false // somebody changed their mind
		}
		return h.NextOp != was.NextOp
	},
	"a claim that ends leaves a next step, a person, or a wait": func(s *step) bool {
		h := &s.c.Hold
		if s.call.Op == 0 || s.c.Again || h.State.Final() {
			return false
		}
		if h.NextOp == 0 {
			return h.State != hold.Attention && h.State != hold.Waiting && h.State != hold.Paused
		}
		return !h.NextAt.After(s.from.now) && !h.NextAt.Equal(h.ActionTime())
	},
	"Now means that there is something to do": func(s *step) bool {
		return s.c.Again && (s.c.Hold.NextOp == 0 || s.c.Hold.State.Final() || s.c.Unchanged)
	},
	"state and next step agree": func(s *step) bool {
		h := &s.c.Hold
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
	"Attention comes with a notice and a cause, and is a person's": func(s *step) bool {
		h := &s.c.Hold
		if s.err != nil || h.State != hold.Attention || s.from.h.State == hold.Attention || s.from.h.State == hold.Working && s.from.h.PreviousState == hold.Attention {
			return false
		}
		told := s.c.Events
		if s.wish && len(told) > 0 && told[0].Type == hold.EventChanged {
			told = told[1:]
		}
		return h.NextOp != 0 || h.Reason == 0 || len(told) != 1 || told[0].Type != hold.EventAttention || s.c.Again || !s.c.Placement(&s.from.h, s.from.now, rules).NeedsAttention
	},
	"the revision never falls": func(s *step) bool {
		return s.err == nil && s.c.Hold.Revision < s.from.h.Revision
	},
	"a granted wish grows the revision": func(s *step) bool {
		return s.wish && s.err == nil && !s.c.Unchanged && s.c.Hold.Revision == s.from.h.Revision
	},
	"a refused wish is a *Problem with a code, and no change": func(s *step) bool {
		if s.err == nil {
			return false
		}
		var p *hold.Problem
		return !errors.As(s.err, &p) || p.Code == "" || !reflect.DeepEqual(s.c, hold.Decision{})
	},
	"Same is the same": func(s *step) bool {
		return s.err == nil && s.c.Unchanged && !reflect.DeepEqual(s.c.Hold, s.from.h)
	},
	"history is bounded and keeps its first line": func(s *step) bool {
		was, h := &s.from.h, &s.c.Hold
		return s.err == nil && (len(h.History) > hold.MaxHistory || len(h.History) == 0 || h.History[0] != was.History[0] ||
			len(h.History)+int(h.HistoryDropped) < len(was.History)+int(was.HistoryDropped))
	},
	"every request is in the history with its key": func(s *step) bool {
		if s.call.Op != hold.OpCapture && s.call.Op != hold.OpCancel {
			return false
		}
		for _, e := range s.c.Hold.History {
			if e.Kind == hold.HistoryAttempt && e.Key == s.call.Key && e.Answer == s.answer.Kind && e.Op == s.call.Op {
				return false
			}
		}
		return true
	},
	"a request names its key and never more money than is known of": func(s *step) bool {
		h := &s.from.h
		switch s.call.Op {
		case hold.OpCapture:
			if h.CaptureAmount > 0 && s.call.Amount != max(0, h.CaptureAmount-h.CapturedElsewhere) || s.call.ReleaseRest != (h.CaptureAmount > 0 && h.CaptureAmount <= h.CapturedElsewhere) || h.CaptureAmount == 0 && !h.Verified && s.call.Amount != h.Amount || s.call.Amount > h.Amount || s.call.Amount < 0 {
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
	"an amount is captured only after a read under the same claim, where others may capture as well": func(s *step) bool {
		h := &s.c.Hold
		return s.name == "claimed" && h.CaptureAmount > 0 && !h.SingleCapture && h.NextCall(s.from.now).Op == hold.OpCapture
	},
	"no request takes more than what is missing from the total wanted": func(s *step) bool {
		h := &s.from.h
		return s.call.Op == hold.OpCapture && h.CaptureAmount > 0 && s.call.Amount > 0 && s.call.Amount+h.CapturedElsewhere > h.CaptureAmount
	},
	"what another system took is never more than what was taken": func(s *step) bool {
		h := &s.c.Hold
		return s.err == nil && (h.CapturedElsewhere < 0 || h.State == hold.Captured && h.CapturedElsewhere > h.CapturedAmount)
	},
	"a key that Stripe may have forgotten is not used": func(s *step) bool {
		a := s.from.h.Attempt
		return s.call.Key != "" && (a.Count > 0 || a.Unknown) && s.from.now.Sub(a.FirstAt) >= 23*time.Hour
	},
	"requests are counted until the generation moves": func(s *step) bool {
		was, is := s.from.h, s.c.Hold
		return s.err == nil && is.Generation == was.Generation && is.Attempt.Count < was.Attempt.Count
	},
	"what is confirmed stays confirmed": func(s *step) bool {
		return s.err == nil && s.from.h.Verified && !s.c.Hold.Verified
	},
	"money is said to be taken only when it was": func(s *step) bool {
		return s.err == nil && s.c.Hold.CapturedAmount != 0 && s.c.Hold.State != hold.Captured
	},
	"an open hold is in the store's indexes": func(s *step) bool {
		if s.err != nil || s.c.Unchanged || s.c.Hold.State.Final() || s.claimed {
			return false
		}
		p := s.c.Placement(&s.from.h, s.from.now, rules)
		h := &s.c.Hold
		return h.NextOp != 0 && p.DueAt.IsZero() || h.NextOp == 0 && (!p.DueAt.IsZero() || p.Ready) || s.c.NewDeadline == p.KeepMilestone || s.c.NewDeadline && p.NextMilestone.IsZero() || !p.SettledAt.IsZero() ||
			(h.State == hold.Attention) != p.NeedsAttention
	},
	"times have milliseconds": func(s *step) bool {
		h := &s.c.Hold
		return s.err == nil && (!h.NextAt.Equal(h.NextAt.Truncate(time.Millisecond)) || !h.SettledAt.Equal(h.SettledAt.Truncate(time.Millisecond)))
	},
}

func TestInvariantsHoldWhateverHappens(t *testing.T) {
	x := explore()
	t.Logf("%d situations, %d steps, all of them: %v", x.nodes, x.steps, x.whole)
	if x.nodes < 1000 {
		t.Errorf("only %d situations were met", x.nodes)
	}
	for rule := range invariants {
		t.Run(rule, func(t *testing.T) {
			if s := x.broken[rule]; s != nil {
				t.Errorf("%d steps break it, the first:\n%s", x.count[rule], s)
			}
		})
	}
	if s := x.broken["a hold is never changed in place"]; s != nil {
		t.Errorf("changed in place: %s", s)
	}
}

var drawn = regexp.MustCompile(`(?m)^//\t(\w+)\s+-> (\w+)\s{2,}(\S.*)$`)

// The drawing in the package's doc is read and compared with what happens. What leads from a state to itself is drawn only where it says
// something.
func TestTheDrawingAgreesWithTheMachine(t *testing.T) {
	src, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	x := explore()
	doc := map[edge]string{}
	for _, m := range drawn.FindAllStringSubmatch(string(src), -1) {
		from, ok := hold.ParseState(m[1])
		to, ok2 := hold.ParseState(m[2])
		if !ok || !ok2 {
			t.Errorf("%q: no such state", m[0])
			continue
		}
		e := edge{from, to}
		if doc[e] != "" {
			t.Errorf("drawn twice: %s -> %s", from, to)
		}
		doc[e] = m[3]
		if x.edges[e] == nil {
			t.Errorf("drawn, and never happens: %s -> %s  %s", from, to, m[3])
		}
	}
	if len(doc) == 0 {
		t.Fatal("doc.go has no drawing")
	}
	for _, from := range hold.States() {
		for _, to := range hold.States() {
			if s := x.edges[edge{from, to}]; s != nil && from != to && doc[edge{from, to}] == "" {
				t.Errorf("happens, and isn't drawn: %s -> %s, by %s", from, to, s.name)
			}
		}
	}
}
