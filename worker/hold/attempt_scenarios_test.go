package hold

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// play drives a machine with one result per step and returns the names of its
// steps.
func play(t *testing.T, m *AuthorizationAttemptMachine, results ...AuthorizationStepResult) string {
	t.Helper()
	var steps []string
	for {
		step := m.NextStep(attemptNow)
		if step.Kind == StepDone {
			break
		}
		name := step.Kind.String()
		if step.Kind == StepCall {
			name = step.Call.Op.String()
			if g := strings.LastIndexByte(step.Call.Key, '-'); g >= 0 {
				name += step.Call.Key[g:]
			}
		}
		steps = append(steps, name)
		r := AuthorizationStepResult{}
		if step.Kind != StepSave && step.Kind != StepReleaseLease && step.Kind != StepForget {
			if len(results) == 0 {
				t.Fatalf("no result for %s", strings.Join(steps, " "))
			}
			r, results = results[0], results[1:]
		}
		m.ApplyStepResult(r, attemptNow)
	}
	if len(results) > 0 {
		t.Errorf("%d results are left after %s", len(results), strings.Join(steps, " "))
	}
	return strings.Join(steps, " ")
}

// outcome is what the caller gets, in a word.
func outcome(m *AuthorizationAttemptMachine) string {
	result, err := m.Result()
	var p *Problem
	var notSent *CallNotSentError
	switch {
	case errors.As(err, &p):
		return string(p.Code)
	case errors.As(err, &notSent):
		return "unavailable"
	case err != nil:
		return err.Error()
	case result.Created:
		return string(result.Status) + ", created"
	}
	return string(result.Status)
}

func TestAuthorizationMachine_Scenarios(t *testing.T) {
	answer := func(k AnswerKind, edit ...func(*Answer)) AuthorizationStepResult {
		a := Answer{Kind: k}
		for _, e := range edit {
			e(&a)
		}
		return AuthorizationStepResult{Answer: a}
	}
	replayed := func(a *Answer) { a.Replayed = true }
	limited := func(a *Answer) { a.RateLimited = true }
	in := func(s PaymentIntentStatus, edit ...func(*PaymentIntent)) func(*Answer) {
		return func(a *Answer) { a.Intent = attemptIntentIn(s, edit...) }
	}
	page := func(p IntentListPage) AuthorizationStepResult {
		return answer(AnswerOK,
			func(a *Answer) { a.Page = &p })
	}
	found := page(IntentListPage{Intents: []PaymentIntent{*attemptIntentIn(StatusRequiresCapture)}})
	none := page(IntentListPage{})
	is := func(s PaymentIntentStatus, edit ...func(*PaymentIntent)) AuthorizationStepResult {
		return answer(AnswerOK, in(s, edit...))
	}
	authorized := is(StatusRequiresCapture)
	unconfirmed := is(StatusRequiresConfirmation)
	placed := AuthorizationStepResult{Hold: attemptHold, Created: true}
	lost := answer(AnswerUnknown)
	notSent := AuthorizationStepResult{Err: errNotSent}
	storedError := answer(AnswerReplayedError, replayed)
	results := func(r ...AuthorizationStepResult) []AuthorizationStepResult { return r }
	call := AuthorizeParams{PaymentMethod: "pm_1"}

	for _, tt := range []struct {
		name    string
		attempt AuthorizationAttempt
		lookup  AttemptLookupResult // 0: resume
		results []AuthorizationStepResult
		steps   string
		want    string
		state   AuthorizationAttemptState
	}{
		{"create: authorized", attemptRecord(), LookupCreated,
			results(authorized, placed),
			"authorize-1 place_hold release", "authorized, created", AttemptAuthorized},
		{"create: 3-D Secure", attemptRecord(), LookupCreated,
			results(is(StatusRequiresAction)),
			"authorize-1 release", "requires_action", AttemptAwaitsCardholder},
		{"confirm: rate limited, a retry is useless", attemptRecord(confirming), LookupCreated,
			results(unconfirmed, answer(AnswerReplayedError, limited)),
			"read save confirm-1 release", "unavailable", AttemptBegun},
		{"create: processing", attemptRecord(), LookupCreated,
			results(is(StatusProcessing)),
			"authorize-1 release", "processing", AttemptAwaitsCardholder},
		{"create: declined", attemptRecord(), LookupCreated,
			results(answer(AnswerDeclined, in(StatusRequiresPaymentMethod))),
			"authorize-1 release", "card_declined", AttemptDeclined},
		{"create: refused", attemptRecord(), LookupCreated,
			results(answer(AnswerInvalid)),
			"authorize-1 forget", "authorization_refused", AttemptBegun},
		{"create: another request's key", attemptRecord(), LookupCreated,
			results(answer(AnswerIdempotencyError)),
			"authorize-1 forget", "idempotency_key_reused", AttemptBegun},
		{"create: not sent", attemptRecord(), LookupCreated,
			results(notSent),
			"authorize-1 release", "unavailable", AttemptBegun},
		{"create: rate limited", attemptRecord(), LookupCreated,
			results(answer(AnswerRateLimited)),
			"authorize-1 release", "unavailable", AttemptBegun},
		{"create: rate limited, a retry is useless", attemptRecord(), LookupCreated,
			results(answer(AnswerReplayedError, limited)),
			"authorize-1 release", "unavailable", AttemptBegun},
		{"create: never answered", attemptRecord(), LookupCreated,
			results(lost, lost, lost),
			"authorize-1 authorize-1 authorize-1 release", "outcome_unknown", AttemptBegun},
		{"create: never reached", attemptRecord(), LookupCreated,
			results(answer(AnswerUnreachable), answer(AnswerUnreachable),
				answer(AnswerUnreachable)),
			"authorize-1 authorize-1 authorize-1 release", "unavailable", AttemptBegun},
		{"create: first answer lost", attemptRecord(), LookupCreated,
			results(lost, answer(AnswerOK, replayed, in(StatusRequiresCapture)), authorized,
				placed),
			"authorize-1 authorize-1 save read place_hold release",
			"authorized, created", AttemptAuthorized},
		{"create: spent key, no intent", attemptRecord(), LookupResumed,
			results(storedError, none, authorized, placed),
			"authorize-1 list save authorize-2 place_hold release",
			"authorized, created", AttemptAuthorized},
		{"create: spent key, intent found", attemptRecord(), LookupResumed,
			results(storedError, found, authorized, placed),
			"authorize-1 list read place_hold release", "authorized, created", AttemptAuthorized},
		{"create: spent key, list unreadable", attemptRecord(), LookupResumed,
			results(storedError, lost),
			"authorize-1 list release", "outcome_unknown", AttemptBegun},
		{"create: old key", attemptRecord(staleKey), LookupResumed,
			results(none, authorized, placed),
			"list save authorize-2 place_hold release", "authorized, created", AttemptAuthorized},
		{"create: refused after an unknown outcome", attemptRecord(), LookupResumed,
			results(answer(AnswerInvalid), found, authorized, placed),
			"authorize-1 list read place_hold release", "authorized, created", AttemptAuthorized},
		{"create: other parameters by another version", attemptRecord(), LookupResumed,
			results(answer(AnswerIdempotencyError), none, authorized, placed),
			"authorize-1 list save authorize-2 place_hold release",
			"authorized, created", AttemptAuthorized},
		{"create: another attempt's intent", attemptRecord(), LookupCreated,
			results(is(StatusRequiresCapture, foreign)),
			"authorize-1 release", "outcome_unknown", AttemptBegun},
		{"create: hold not placed", attemptRecord(), LookupCreated,
			results(authorized, AuthorizationStepResult{Err: errTest}),
			"authorize-1 place_hold release", "not done", AttemptBegun},
		{"create: captured meanwhile", attemptRecord(named), LookupResumed,
			results(is(StatusSucceeded), AuthorizationStepResult{}),
			"read read_hold release", "already_captured", AttemptAuthorized},

		{"confirm: authorized", attemptRecord(confirming), LookupCreated,
			results(unconfirmed, authorized, placed),
			"read save confirm-1 place_hold release", "authorized, created", AttemptAuthorized},
		{"confirm: no such intent", attemptRecord(confirming), LookupCreated,
			results(answer(AnswerNotFound)),
			"read forget", "authorization_not_found", AttemptBegun},
		{"confirm: not holdd's intent", attemptRecord(confirming), LookupCreated,
			results(is(StatusRequiresConfirmation, unmarked)),
			"read forget", "authorization_not_found", AttemptBegun},
		{"confirm: too late", attemptRecord(confirming), LookupCreated,
			results(is(StatusRequiresConfirmation, windowOver)),
			"read forget", "authorization_abandoned", AttemptBegun},
		{"confirm: answer lost", attemptRecord(confirming), LookupCreated,
			results(unconfirmed, lost, authorized, placed),
			"read save confirm-1 read place_hold release",
			"authorized, created", AttemptAuthorized},
		{"confirm: stored error", attemptRecord(confirming), LookupCreated,
			results(unconfirmed, storedError, unconfirmed, authorized, placed),
			"read save confirm-1 save read confirm-2 place_hold release",
			"authorized, created", AttemptAuthorized},
		{"confirm: declined before", attemptRecord(confirming, confirmSent), LookupResumed,
			results(is(StatusRequiresPaymentMethod)),
			"read release", "card_declined", AttemptDeclined},

		{"finished: hold there", attemptRecord(named, inAttemptState(AttemptAuthorized)),
			LookupFinished,
			results(AuthorizationStepResult{Hold: attemptHold}), "read_hold", "authorized",
			AttemptAuthorized},
		{"finished: hold lost", attemptRecord(named, inAttemptState(AttemptAuthorized)),
			LookupFinished,
			results(AuthorizationStepResult{}, authorized, placed),
			"read_hold read place_hold release", "authorized, created", AttemptAuthorized},
		{"finished: declined", attemptRecord(inAttemptState(AttemptDeclined)), LookupFinished,
			nil, "", "card_declined", AttemptDeclined},

		{"resume: authorized", attemptRecord(named), 0,
			results(authorized, placed),
			"read place_hold release", "", AttemptAuthorized},
		{"resume: found", attemptRecord(), 0,
			results(found, authorized, placed),
			"list read place_hold release", "", AttemptAuthorized},
		{"resume: no intent", attemptRecord(), 0,
			results(none), "list release", "", AttemptBegun},
		{"resume: cardholder has time", attemptRecord(named), 0,
			results(is(StatusRequiresAction)),
			"read release", "", AttemptAwaitsCardholder},
		{"resume: abandoned", attemptRecord(named), 0,
			results(is(StatusRequiresAction, overdue), is(StatusCanceled),
				AuthorizationStepResult{}),
			"read cancel-1 publish_abandoned release", "", AttemptAbandoned},
		{"resume: abandoned after a decline", attemptRecord(named, inAttemptState(AttemptDeclined)),
			0,
			results(is(StatusRequiresPaymentMethod, overdue), is(StatusCanceled),
				AuthorizationStepResult{}),
			"read cancel-1 publish_abandoned release", "", AttemptDeclined},
		{"resume: canceled, maybe not published", attemptRecord(named), 0,
			results(is(StatusCanceled, abandoned), AuthorizationStepResult{}),
			"read publish_abandoned release", "", AttemptAbandoned},
		{"resume: not published", attemptRecord(named), 0,
			results(is(StatusCanceled, abandoned), AuthorizationStepResult{Err: errTest}),
			"read publish_abandoned release", "", AttemptBegun},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := NewResumedAttemptMachine(tt.attempt)
			if tt.lookup != 0 {
				m = NewAuthorizationAttemptMachine(tt.attempt, tt.lookup, call, attemptNow)
			}
			steps := play(t, m, tt.results...)
			if steps != tt.steps || outcome(m) != tt.want || m.Attempt().State != tt.state {
				t.Errorf("steps %q, outcome %q, state %d\nwant  %q, outcome %q, state %d",
					steps, outcome(m), m.Attempt().State, tt.steps, tt.want, tt.state)
			}
		})
	}
}

// TestAuthorizationMachine_ConfirmTooLate keeps the record as it is if the
// first request to confirm is not begun: a repetition would otherwise take the
// old decline for its own.
func TestAuthorizationMachine_ConfirmTooLate(t *testing.T) {
	m := NewAuthorizationAttemptMachine(attemptRecord(confirming), LookupCreated,
		AuthorizeParams{PaymentMethod: "pm_1"}, attemptNow)
	declined := Answer{Kind: AnswerOK, Intent: attemptIntentIn(StatusRequiresPaymentMethod)}
	m.ApplyStepResult(AuthorizationStepResult{Answer: declined}, attemptNow)
	if step := m.NextStep(attemptNow); step.Kind != StepSave || !step.NeedsCallTimeout ||
		!m.Attempt().ConfirmSent {
		t.Fatalf("%+v", step)
	}
	m.ApplyStepResult(AuthorizationStepResult{TooLate: true}, attemptNow)
	if m.Attempt().ConfirmSent || outcome(m) != "unavailable" {
		t.Errorf("%+v, %s", m.Attempt(), outcome(m))
	}
}

// TestAuthorizationMachine_Waits lets some time pass between two tries, however
// the clock is set.
func TestAuthorizationMachine_Waits(t *testing.T) {
	m := NewAuthorizationAttemptMachine(attemptRecord(), LookupCreated, AuthorizeParams{},
		attemptNow)
	if w := m.NextStep(attemptNow).Wait; w != 0 {
		t.Errorf("the first call waits %s", w)
	}
	m.ApplyStepResult(AuthorizationStepResult{Answer: Answer{Kind: AnswerUnknown}}, attemptNow)
	for _, now := range []time.Duration{-time.Hour, 0} {
		if w := m.NextStep(attemptNow.Add(now)).Wait; w != authorizeRetryPause {
			t.Errorf("at %s: waits %s", now, w)
		}
	}
	if w := m.NextStep(attemptNow.Add(authorizeRetryPause)).Wait; w != 0 {
		t.Errorf("after the pause: waits %s", w)
	}
	if s := fmt.Sprint(stateDone+1, attemptMachineState(0)); s != "unknown unknown" {
		t.Error(s)
	}
}
