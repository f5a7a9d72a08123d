package hold

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

var attemptNow = time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)

const (
	attemptIntent = "pi_3PxYzA2eZvKYlo2C1gQmT0aB"
	attemptID     = "0011223344556677"
)

// namedResult is what may come of a step.
type namedResult struct {
	name string
	r    AuthorizationStepResult
}

func attemptRecord(edit ...func(*AuthorizationAttempt)) AuthorizationAttempt {
	a := AuthorizationAttempt{ID: attemptID, Digest: "d", State: AttemptBegun, Generation: 1,
		BegunAt: attemptNow, KeyUsedSince: attemptNow, By: "api"}
	for _, e := range edit {
		e(&a)
	}
	return a
}

func confirming(a *AuthorizationAttempt)  { a.Confirm, a.PaymentIntent = true, attemptIntent }
func named(a *AuthorizationAttempt)       { a.PaymentIntent = attemptIntent }
func staleKey(a *AuthorizationAttempt)    { a.KeyUsedSince = attemptNow.Add(-23 * time.Hour) }
func confirmSent(a *AuthorizationAttempt) { a.ConfirmSent = true }

func inAttemptState(s AuthorizationAttemptState) func(*AuthorizationAttempt) {
	return func(a *AuthorizationAttempt) { a.State = s }
}

func attemptIntentIn(s PaymentIntentStatus, edit ...func(*PaymentIntent)) *PaymentIntent {
	in := &PaymentIntent{ID: attemptIntent, Status: s, Amount: 100, Currency: "eur",
		Created:  attemptNow.Add(-time.Minute),
		Metadata: map[string]string{MetaAuthorization: attemptID}}
	for _, e := range edit {
		e(in)
	}
	return in
}

func foreign(in *PaymentIntent)    { in.Metadata = map[string]string{MetaAuthorization: "another"} }
func unmarked(in *PaymentIntent)   { in.Metadata = nil }
func windowOver(in *PaymentIntent) { in.Created = attemptNow.Add(-ConfirmWindow) }
func overdue(in *PaymentIntent)    { in.Created = attemptNow.Add(-AbandonIntentAfter) }
func abandoned(in *PaymentIntent)  { in.CancellationReason = "abandoned" }
func longAgo(in *PaymentIntent)    { in.Created, in.Metadata = attemptNow.Add(-72*time.Hour), nil }

var attemptStatuses = []PaymentIntentStatus{StatusRequiresPaymentMethod, StatusRequiresConfirmation,
	StatusRequiresAction,
	StatusProcessing, StatusRequiresCapture, StatusCanceled, StatusSucceeded, "new_at_stripe"}

// attemptIntents are all that Stripe may say of an intent, by name.
var attemptIntents = func() (all []struct {
	name string
	in   *PaymentIntent
}) {
	add := func(name string, in *PaymentIntent) {
		all = append(all, struct {
			name string
			in   *PaymentIntent
		}{name, in})
	}
	for _, s := range attemptStatuses {
		add(string(s), attemptIntentIn(s))
		add(string(s)+" foreign", attemptIntentIn(s, foreign))
		add(string(s)+" unmarked", attemptIntentIn(s, unmarked))
		add(string(s)+" window over", attemptIntentIn(s, windowOver))
		add(string(s)+" overdue", attemptIntentIn(s, overdue))
	}
	add("canceled abandoned", attemptIntentIn(StatusCanceled, abandoned))
	return all
}()

var pageOfOthers = func() *IntentListPage {
	p := &IntentListPage{More: true}
	for i := range 3 {
		in := attemptIntentIn(StatusSucceeded, unmarked)
		in.ID = fmt.Sprintf("pi_other%08d", i)
		p.Intents = append(p.Intents, *in)
	}
	return p
}()

var attemptPages = []struct {
	name string
	page *IntentListPage
	none bool // it proves that there is no such intent
}{
	{"nothing to read", nil, false},
	{"empty", &IntentListPage{}, true},
	{"last", &IntentListPage{Intents: pageOfOthers.Intents}, true},
	{"more", pageOfOthers, false},
	{"older", &IntentListPage{More: true,
		Intents: []PaymentIntent{*attemptIntentIn(StatusSucceeded, longAgo)}}, true},
	{"found", &IntentListPage{More: true,
		Intents: []PaymentIntent{*attemptIntentIn(StatusRequiresCapture)}},
		false},
}

var (
	errTest     = errors.New("not done")
	errNotSent  = &CallNotSentError{Reason: "test"}
	attemptHold = &Hold{ID: attemptIntent, PaymentIntent: attemptIntent, State: Scheduled}
)

// resultsOf are all that may come of a step.
func resultsOf(step AuthorizationStep) (all []namedResult) {
	add := func(name string, r AuthorizationStepResult) {
		all = append(all, namedResult{step.Kind.String() + " " + name, r})
	}
	if step.NeedsCallTimeout || step.Kind == StepCall {
		add("too late", AuthorizationStepResult{TooLate: true})
	}
	switch step.Kind {
	case StepDone:
	case StepReadHold:
		add("none", AuthorizationStepResult{})
		add("failed", AuthorizationStepResult{Err: errTest})
		add("found", AuthorizationStepResult{Hold: attemptHold})
	case StepPlaceHold:
		add("failed", AuthorizationStepResult{Err: errTest})
		add("found", AuthorizationStepResult{Hold: attemptHold})
		add("created", AuthorizationStepResult{Hold: attemptHold, Created: true})
	case StepCall:
		add("not sent", AuthorizationStepResult{Err: errNotSent})
		for _, k := range AnswerKinds() {
			for _, a := range answersOf(step.Call.Op, k) {
				add(a.name, a.r)
			}
		}
	default:
		add("done", AuthorizationStepResult{})
		add("failed", AuthorizationStepResult{Err: errTest})
	}
	return all
}

// answersOf are the answers of one kind to one call.
func answersOf(op Op, k AnswerKind) (all []namedResult) {
	add := func(name string, a Answer) {
		a.Kind, a.RequestID = k, "req_1"
		all = append(all, namedResult{op.String() + " " + name, AuthorizationStepResult{Answer: a}})
	}
	cardholder := &CardholderAction{NextAction: "redirect_to_url", FailureCode: "declined_before"}
	switch {
	case op == OpList && k == AnswerOK:
		for _, p := range attemptPages {
			add("page "+p.name, Answer{Page: p.page})
		}
	case k == AnswerOK:
		add("ok without an intent", Answer{})
		for _, in := range attemptIntents {
			add("ok "+in.name, Answer{Intent: in.in, Cardholder: cardholder})
			if op != OpRead {
				add("ok replayed "+in.name, Answer{Intent: in.in, Replayed: true})
			}
		}
	default:
		add(k.String(), Answer{})
		if op == OpRead || op == OpList {
			return all
		}
		add(k.String()+" replayed", Answer{Replayed: true})
		add(k.String()+" with an intent", Answer{Intent: attemptIntents[0].in})
	}
	return all
}

// attemptNode is a machine and what its past proves.
type attemptNode struct {
	m     AuthorizationAttemptMachine
	saved AuthorizationAttempt // the record in the store
	open  bool                 // a request may have had an effect that is not known
	shown bool                 // the last call showed the attempt's intent as it is
}

// attemptFacet is all of a node that may decide what follows. The time is the
// same everywhere.
type attemptFacet struct {
	state                             attemptMachineState
	attempt                           AuthorizationAttemptState
	generation, savedGeneration, runs uint32
	intent, answerIntent, readIntent  string
	confirmSent, savedConfirmSent     bool
	neverLost, keyFresh               bool
	fresh, unknown, spent, resumes    bool
	tries                             int
	search                            intentSearch
	answer                            AnswerKind
	replayed                          bool
	err                               string
	status                            AuthorizationStatus
	open, shown                       bool
}

func (n *attemptNode) facet() attemptFacet {
	m, a := &n.m, &n.m.attempt
	f := attemptFacet{state: m.state, attempt: a.State, generation: a.Generation,
		savedGeneration: n.saved.Generation,
		runs:            a.InconclusiveRuns, intent: a.PaymentIntent, confirmSent: a.ConfirmSent,
		savedConfirmSent: n.saved.ConfirmSent,
		neverLost:        a.IntentNotBefore.IsZero(), keyFresh: a.KeyUsedSince.Equal(attemptNow),
		fresh: m.fresh, unknown: m.unknown,
		spent: m.spent, resumes: !m.resumeAt.IsZero(), tries: m.tries, search: m.search,
		status: m.result.Status, open: n.open, shown: n.shown}
	switch m.state {
	case stateResaveLostAttempt:
		f.answer, f.replayed, f.answerIntent = m.answer.Kind, m.answer.Replayed, "none"
		if m.answer.Intent != nil {
			f.answerIntent = nameOfIntent(m.answer.Intent)
		}
	case statePlace, stateResumePlace, stateReadHoldOfCaptured, stateCancel, statePublishAbandoned:
		f.readIntent = nameOfIntent(m.intent)
	}
	if p, ok := m.err.(*Problem); ok {
		f.err = string(p.Code)
	} else if m.err != nil {
		f.err = m.err.Error()
	}
	return f
}

// attemptPath is the way to a node, the last result first.
type attemptPath struct {
	before *attemptPath
	state  attemptMachineState
	result string
}

func (p *attemptPath) String() string {
	if p == nil {
		return ""
	}
	if p.before == nil {
		return p.result
	}
	return p.before.String() + "\n" + p.state.String() + ": " + p.result
}

// appliedResult is a result and the state that it was applied in.
type appliedResult struct {
	state  attemptMachineState
	result string
}

func nameOfIntent(in *PaymentIntent) string {
	for _, i := range attemptIntents {
		if in == i.in {
			return i.name
		}
	}
	return ""
}

// apply is the node that a result leads to.
func (n attemptNode) apply(step AuthorizationStep, r AuthorizationStepResult) attemptNode {
	n.m.ApplyStepResult(r, attemptNow)
	switch {
	case step.Kind == StepSave && r.Err == nil && !r.TooLate:
		n.saved = n.m.attempt
	case step.Kind == StepCall && !r.wasNotSent():
		n.shown = false
		n.judge(step.Call.Op, r.Answer)
	}
	return n
}

// judge keeps account of what is proven, by rules of its own.
func (n *attemptNode) judge(op Op, a Answer) {
	switch {
	case op == OpList:
		if a.Kind == AnswerOK && provesNone(a.Page) {
			n.open = false
		}
	case op == OpCancel:
	case a.Kind == AnswerOK && a.Intent != nil && !a.Replayed:
		n.open, n.shown = false, true
	case op == OpRead:
	case a.Kind == AnswerDeclined || a.Kind == AnswerIdempotencyError && n.m.fresh:
		n.open = false // this key has its final answer
	case a.Kind == AnswerOK, a.Kind == AnswerUnknown, a.Kind == AnswerKeyInUse,
		a.Kind == AnswerLockTimeout,
		a.Kind == AnswerReplayedError, a.Kind == AnswerIdempotencyError:
		n.open = true
	}
}

func provesNone(page *IntentListPage) bool {
	for _, p := range attemptPages {
		if p.page == page {
			return p.none
		}
	}
	return false
}

// attemptStarts are all ways in which a run begins.
func attemptStarts() map[string]attemptNode {
	starts := map[string]attemptNode{}
	add := func(name string, a AuthorizationAttempt, lookup AttemptLookupResult) {
		call := AuthorizeParams{Amount: 100, Currency: "eur",
			PaymentMethod: "pm_1", Account: a.Account}
		if strings.Contains(name, "same card") {
			call.PaymentMethod = ""
		}
		m := NewAuthorizationAttemptMachine(a, lookup, call, attemptNow)
		starts[name] = attemptNode{m: *m, saved: a, open: lookup == LookupResumed}
	}
	add("create", attemptRecord(), LookupCreated)
	add("create again", attemptRecord(), LookupResumed)
	add("create again, old key", attemptRecord(staleKey), LookupResumed)
	add("create again, intent known", attemptRecord(named), LookupResumed)
	for _, card := range []string{"other card", "same card"} {
		add("confirm, "+card, attemptRecord(confirming), LookupCreated)
		add("confirm again, "+card, attemptRecord(confirming), LookupResumed)
		add("confirm again, sent, "+card, attemptRecord(confirming, confirmSent), LookupResumed)
	}
	for _, s := range []AuthorizationAttemptState{AttemptAuthorized, AttemptDeclined,
		AttemptAbandoned} {
		add(fmt.Sprint("finished ", s), attemptRecord(named, inAttemptState(s)), LookupFinished)
	}
	for _, s := range []AuthorizationAttemptState{AttemptBegun, AttemptAwaitsCardholder,
		AttemptDeclined} {
		for _, known := range []bool{true, false} {
			for _, runs := range []uint32{0, MaxRunsBeforeAlert - 1} {
				a := attemptRecord(inAttemptState(s))
				if known {
					named(&a)
				}
				a.InconclusiveRuns = runs
				starts[fmt.Sprint("resume ", s, known, runs)] = attemptNode{
					m: *NewResumedAttemptMachine(a), saved: a, open: true}
			}
		}
	}
	return starts
}

// attemptExplorer goes through everything that can happen to a run.
type attemptExplorer struct {
	t *testing.T
	// calls that may follow, by facet; -1 while its successors are explored
	longest map[attemptFacet]int
	states  map[attemptMachineState]bool
	applied map[appliedResult]bool
}

// explore returns the most calls that may follow from a node.
func (e *attemptExplorer) explore(n *attemptNode, path *attemptPath) int {
	key := n.facet()
	if calls, seen := e.longest[key]; seen {
		if calls < 0 {
			e.t.Fatalf("a run without an end: %s", path)
		}
		return calls
	}
	e.longest[key] = -1
	e.states[n.m.state] = true
	step := n.m.NextStep(attemptNow)
	e.checkStep(n, step, path)
	most := 0
	for _, r := range resultsOf(step) {
		e.applied[appliedResult{n.m.state, r.name}] = true
		next := n.apply(step, r.r)
		nextPath := &attemptPath{path, n.m.state, r.name}
		e.checkApply(n, &next, step, r.r, nextPath)
		calls := e.explore(&next, nextPath)
		if r.r.wasNotSent() && step.Kind == StepCall && calls > 0 {
			e.t.Fatalf("a call after one that was not sent: %s", nextPath)
		}
		if step.Kind == StepCall && !r.r.wasNotSent() {
			calls++
		}
		most = max(most, calls)
	}
	e.longest[key] = most
	return most
}

// checkStep checks what the machine asks for.
func (e *attemptExplorer) checkStep(n *attemptNode, step AuthorizationStep, path *attemptPath) {
	m := &n.m
	fail := func(format string, args ...any) {
		e.t.Helper()
		e.t.Fatalf("%s\n%s\n%+v", fmt.Sprintf(format, args...), path, n.facet())
	}
	switch op := step.Call.Op; {
	case step.Kind == StepCall && (op == OpAuthorize || op == OpConfirm):
		if key := m.attempt.IdempotencyKey(); step.Call.Key != key ||
			step.Call.Authorize.Key != key ||
			!step.NeedsCallTimeout {
			fail("%+v", step)
		}
		if n.saved.Generation != m.attempt.Generation || n.saved.ConfirmSent != (op == OpConfirm) {
			fail("the request leaves before its key is saved")
		}
	case step.Kind == StepForget:
		if n.open {
			fail("an attempt is forgotten whose outcome is unknown")
		}
	case step.Kind == StepReleaseLease:
		if step.ResumeAt.IsZero() && !m.attempt.State.IsFinished() && n.open {
			fail("an attempt is left for good whose outcome is unknown")
		}
	case step.Kind == StepDone:
		e.checkResult(n, fail)
	}
}

// checkResult checks what the caller gets.
func (e *attemptExplorer) checkResult(n *attemptNode, fail func(string, ...any)) {
	result, err := n.m.Result()
	var p *Problem
	var notSent *CallNotSentError
	resuming := result.Status == "" && err == nil
	switch {
	case errors.Is(err, errTest), errors.As(err, &notSent),
		errors.Is(err, &Problem{Code: OutcomeUnknown}):
	case n.open && !resuming:
		fail("the outcome is unknown, and the caller gets %+v, %v", result, err)
	case errors.As(err, &p):
		if result.Status != "" || p.Detail == "" {
			fail("%+v beside %v", result, err)
		}
	case resuming:
	case (result.Hold != nil) != (result.Status == AuthorizationDone):
		fail("%+v", result)
	case !n.shown && n.m.tries > 0:
		fail("success without an intent that shows it: %+v", result)
	}
}

// checkApply checks what follows from a result.
func (e *attemptExplorer) checkApply(
	from, to *attemptNode, step AuthorizationStep, r AuthorizationStepResult, path *attemptPath,
) {
	a := r.Answer
	if to.m.attempt.Generation != from.m.attempt.Generation {
		proven := false
		switch step.Call.Op {
		case OpList:
			proven = from.m.state == stateSearchBeforeNewKey && provesNone(a.Page)
		case OpConfirm:
			proven = a.Replayed || a.Kind == AnswerIdempotencyError
		case OpCancel:
			proven = a.Replayed
		}
		if !proven || to.m.attempt.Generation != from.m.attempt.Generation+1 {
			e.t.Fatalf("a new key without proof: %s", path)
		}
	}
	if step.Call.Op == OpCancel && a.Replayed && a.Kind != AnswerOK && !r.wasNotSent() &&
		to.m.attempt.Generation == from.m.attempt.Generation {
		e.t.Fatalf("the next cancel has the key of a stored refusal: %s", path)
	}
	// A run without an outcome is counted, and the sixteenth is published.
	runs := to.m.attempt.InconclusiveRuns
	if resumed := from.m.state == stateResumeSearch || from.m.state == stateResumeRetrieve ||
		from.m.state == stateCancel; resumed && !r.wasNotSent() &&
		to.m.state == stateReleaseLease && to.m.resumeAt.Equal(attemptNow.Add(resumeRetryAfter)) &&
		runs != from.m.attempt.InconclusiveRuns+1 {
		e.t.Fatalf("a run without an outcome is not counted: %s", path)
	}
	if runs >= MaxRunsBeforeAlert && runs > from.m.attempt.InconclusiveRuns &&
		to.m.state != statePublishUnresolved {
		e.t.Fatalf("the sixteenth run without an outcome is not published: %s", path)
	}
	if a.Replayed && a.Kind == AnswerOK && to.m.result.Status != "" && from.m.result.Status == "" {
		e.t.Fatalf("a stored answer decides: %s", path)
	}
}

// TestAuthorizationMachine_EveryAnswer goes through every answer in every
// state, from every beginning.
func TestAuthorizationMachine_EveryAnswer(t *testing.T) {
	e := &attemptExplorer{t: t, longest: map[attemptFacet]int{},
		states:  map[attemptMachineState]bool{},
		applied: map[appliedResult]bool{}}
	most := 0
	for name, n := range attemptStarts() {
		most = max(most, e.explore(&n, &attemptPath{result: name}))
	}
	for s := stateCreate; s <= stateDone; s++ {
		if !e.states[s] {
			t.Errorf("state %s is never reached", s)
		}
	}
	if most > MaxCallsPerAttempt {
		t.Errorf("a run may need %d calls, more than %d", most, MaxCallsPerAttempt)
	}
	t.Logf("%d states of a run, %d results in their states, at most %d calls",
		len(e.longest), len(e.applied), most)
}

// TestAuthorizationMachine_EveryStateHasARow names a state that was added and
// not described.
func TestAuthorizationMachine_EveryStateHasARow(t *testing.T) {
	if len(machineStates) != int(stateDone)+1 {
		t.Errorf("%d rows for %d states", len(machineStates)-1, stateDone)
	}
	for s := stateCreate; s <= stateDone; s++ {
		row := machineStates[s]
		if row.name == "" || row.next == nil || row.apply == nil {
			t.Errorf("state %d has no row in attemptStates", s)
		}
	}
}
