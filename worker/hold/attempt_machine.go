package hold

import "time"

const (
	// maxAuthorizeTries is how often one run sends the request to create or to
	// confirm.
	maxAuthorizeTries = 3
	// authorizeRetryPause lies between two tries.
	authorizeRetryPause = 500 * time.Millisecond
	// ResumeAttemptAfter is when an attempt is resumed whose process did not
	// end it.
	ResumeAttemptAfter = 2 * time.Minute
	// resumeRetryAfter is when an attempt is resumed again that could not be
	// ended.
	resumeRetryAfter = time.Minute
	// MaxRunsBeforeAlert is how many runs in a row may resume an attempt
	// without an outcome before an alert goes out. It is a power of two.
	MaxRunsBeforeAlert = 16
	// resumeRetrySlow is the same after that alert.
	resumeRetrySlow = 15 * time.Minute
	// MaxCallsPerAttempt bounds the calls of one run. The searches need the
	// most.
	MaxCallsPerAttempt = maxAuthorizeTries*(1+maxSearchPages) + maxSearchPages + 4
)

// AuthorizationAttemptMachine is the state machine of one attempt to authorize:
// one that creates an intent, one that confirms an intent, or one that a crash
// or the cardholder left unfinished.
//
// [AuthorizationAttemptMachine.NextStep] names the next step. The driver
// executes it and passes its result to
// [AuthorizationAttemptMachine.ApplyStepResult], until the step is [StepDone].
// Then [AuthorizationAttemptMachine.Result] is the response for the caller of
// the API.
//
// Rules that keep the cardholder's money safe:
//
//   - The record has the idempotency key before a request with it is sent.
//   - A new key to create an intent needs a search that read the whole list and
//     found no intent of this attempt, and an old key that is spent or that
//     Stripe may have forgotten. A new key to confirm is always safe, because
//     one intent is authorized once.
//   - An unknown outcome is neither success nor failure: the caller gets
//     [OutcomeUnknown] and repeats the request.
//   - A replayed answer may be stale, so the intent is read before the machine
//     decides anything.
//   - Every run ends within [MaxCallsPerAttempt] calls, and no call follows one
//     that was not sent. Runs without an outcome are alerted at
//     [MaxRunsBeforeAlert].
//
// A new state needs a constant below, a row in machineStates, a function that
// names its step and one that applies the result. Only the latter changes the
// machine. Tests fail for a state without a row and for one that no sequence of
// answers reaches.
type AuthorizationAttemptMachine struct {
	attempt AuthorizationAttempt
	request AuthorizeParams // what creates or confirms the intent, without its key
	state   attemptMachineState

	fresh     bool      // no attempt of this id was known
	unknown   bool      // the outcome of a request with the present key is unknown
	spent     bool      // Stripe only replays its answer to the present key
	tries     int       // requests to create or to confirm in this run
	notBefore time.Time // no call is sent earlier

	search intentSearch
	// an answer that is applied once the record is saved or the search is over
	answer   Answer
	intent   *PaymentIntent // the attempt's intent as it was last read
	resumeAt time.Time      // when to resume the attempt after its release

	result   AuthorizationResult
	err      error
	foreign  *Answer                  // an answer with the intent of another attempt
	canceled *CanceledAbandonedIntent // this run canceled it
}

// AuthorizationResult is what the caller of the API gets. Its secrets are for
// the cardholder's browser alone.
type AuthorizationResult struct {
	PaymentIntent string
	Status        AuthorizationStatus
	Hold          *Hold // once authorized
	Created       bool  // by this very request
	Now           time.Time
	ClientSecret  Secret
	NextAction    string
	RedirectURL   Secret
}

// AuthorizationStatus says who does the next step.
type AuthorizationStatus string

const (
	// AuthorizationDone: holdd, there is a hold.
	AuthorizationDone AuthorizationStatus = "authorized"
	// AuthorizationRequiresAction: the cardholder, with the client secret.
	AuthorizationRequiresAction AuthorizationStatus = "requires_action"
	// AuthorizationRequiresConfirmation: the caller, who confirms.
	AuthorizationRequiresConfirmation AuthorizationStatus = "requires_confirmation"
	// AuthorizationProcessing: Stripe. The hold appears by itself.
	AuthorizationProcessing AuthorizationStatus = "processing"
)

// CanceledAbandonedIntent is an abandoned intent that was canceled, for the
// log.
type CanceledAbandonedIntent struct {
	Intent         PaymentIntent // as it was before
	IdempotencyKey string
	RequestID      string
	Declined       bool // the attempt was answered with a decline before
}

// attemptMachineState is what an [AuthorizationAttemptMachine] waits for.
type attemptMachineState uint8

const (
	// the answer to the request that creates the intent
	stateCreate             attemptMachineState = iota + 1
	stateResaveLostAttempt                      // a save: Redis had lost the attempt
	stateSearchBeforeNewKey                     // a search, before a new key is used
	stateSaveKey                                // a save of the new key
	stateSearchAfterRefusal                     // a search, after Stripe refused a repetition
	stateRetrieve                               // the intent, to answer by it
	stateCheckConfirmable                       // the intent, to see whether it can be confirmed
	stateSaveConfirm                            // a save, before the first request to confirm
	stateConfirm                                // the answer to the request that confirms it
	stateSaveConfirmKey                         // a save of a new key
	statePlace                                  // the hold of the authorized intent
	stateReadHoldOfCaptured                     // the hold of an intent that is captured already
	stateReadHoldOfFinished                     // the hold of an attempt that had ended
	// a search for the intent of an unfinished attempt
	stateResumeSearch
	stateResumeRetrieve    // the intent of an unfinished attempt
	stateResumePlace       // the hold of its authorized intent
	stateCancel            // the cancel of an abandoned intent
	statePublishAbandoned  // the event that an intent was abandoned
	statePublishUnresolved // the event that many runs had no outcome
	stateReleaseLease      // the last save
	stateForget            // the deletion of the record
	stateDone              // nothing
)

// machineStates has for each state the step that it needs and the handler of
// its result.
var machineStates = [...]struct {
	name  string
	next  func(m *AuthorizationAttemptMachine, now time.Time) AuthorizationStep
	apply func(m *AuthorizationAttemptMachine, r AuthorizationStepResult, now time.Time)
}{
	stateCreate:             {"create", newCreateIntentStep, applyCreateIntentResult},
	stateResaveLostAttempt:  {"save_lost", newSaveAttemptStep, applyResaveLostAttemptResult},
	stateSearchBeforeNewKey: {"search_for_key", newSearchPageStep, applySearchBeforeNewKeyResult},
	stateSaveKey:            {"save_key", newSaveAttemptStep, applySaveNewKeyResult},
	stateSearchAfterRefusal: {"search_refused", newSearchPageStep, applySearchAfterRefusalResult},
	stateRetrieve:           {"retrieve", newRetrieveIntentStep, applyRetrieveIntentResult},
	stateCheckConfirmable:   {"check", newRetrieveIntentStep, applyConfirmableCheckResult},
	stateSaveConfirm:        {"save_confirm", newSaveBeforeConfirmStep, applySaveConfirmResult},
	stateConfirm:            {"confirm", newConfirmIntentStep, applyConfirmResult},
	stateSaveConfirmKey:     {"save_confirm_key", newSaveAttemptStep, applySaveNewConfirmKeyResult},
	statePlace:              {"place", newCreateHoldStep, applyCreateHoldResult},
	stateReadHoldOfCaptured: {"read_captured", newReadHoldStep, applyReadCapturedHoldResult},
	stateReadHoldOfFinished: {"read_finished", newReadHoldStep, applyReadHoldResult},
	stateResumeSearch:       {"resume_search", newSearchPageStep, applyResumeSearchResult},
	stateResumeRetrieve:     {"resume_retrieve", newRetrieveIntentStep, applyResumeRetrieveResult},
	stateResumePlace:        {"resume_place", newCreateHoldStep, applyResumeCreateHoldResult},
	stateCancel:             {"cancel", newCancelIntentStep, applyCancelIntentResult},
	statePublishAbandoned: {"publish", newPublishAbandonedIntentStep,
		applyPublishAbandonedResult},
	statePublishUnresolved: {"publish_unresolved", newPublishUnresolvedAttemptStep,
		applyPublishUnresolvedResult},
	stateReleaseLease: {"release", newReleaseLeaseStep, applyReleaseLeaseResult},
	stateForget:       {"forget", newDeleteAttemptStep, applyReleaseLeaseResult},
	stateDone:         {"done", newDoneStep, ignoreStepResult},
}

func (s attemptMachineState) String() string {
	if int(s) >= len(machineStates) || machineStates[s].name == "" {
		return "unknown"
	}
	return machineStates[s].name
}

// NewAuthorizationAttemptMachine returns the machine of an attempt that a
// caller asks for. attempt is the record as the store has it, lookup what the
// store found, and call what creates or confirms the intent.
func NewAuthorizationAttemptMachine(
	attempt AuthorizationAttempt, lookup AttemptLookupResult, call AuthorizeParams, now time.Time,
) *AuthorizationAttemptMachine {
	m := &AuthorizationAttemptMachine{attempt: attempt, request: call}
	m.fresh, m.unknown = lookup == LookupCreated, lookup != LookupCreated
	switch {
	case lookup == LookupFinished:
		startWithFinishedAttempt(m)
	case attempt.Confirm:
		m.state = stateCheckConfirmable
	case attempt.PaymentIntent != "":
		m.state = stateRetrieve
	default:
		createIntentOrSearch(m, now)
	}
	return m
}

// NewResumedAttemptMachine returns the machine of an attempt that was
// left unfinished.
func NewResumedAttemptMachine(attempt AuthorizationAttempt) *AuthorizationAttemptMachine {
	m := &AuthorizationAttemptMachine{attempt: attempt, unknown: true, state: stateResumeRetrieve}
	if attempt.PaymentIntent == "" {
		startIntentSearch(m, stateResumeSearch)
	}
	return m
}

// Attempt is the record as it is to be saved.
func (m *AuthorizationAttemptMachine) Attempt() AuthorizationAttempt { return m.attempt }

// NextStep names the step that is needed now. It changes nothing.
func (m *AuthorizationAttemptMachine) NextStep(now time.Time) AuthorizationStep {
	step := machineStates[m.state].next(m, now)
	if step.Kind == StepCall {
		step.Wait = max(0, min(m.notBefore.Sub(now), authorizeRetryPause))
	}
	return step
}

// ApplyStepResult applies the result of the step that
// [AuthorizationAttemptMachine.NextStep] named.
func (m *AuthorizationAttemptMachine) ApplyStepResult(r AuthorizationStepResult, now time.Time) {
	if r.Answer.Kind == AnswerOK && r.Answer.Intent == nil && r.Answer.Page == nil {
		r.Answer.Kind = AnswerUnknown // an answer that tells nothing
	}
	machineStates[m.state].apply(m, r, now)
}

// Result is what the caller of the API gets, once the step is [StepDone]. An
// error is a *[Problem], a *[CallNotSentError] if nothing was decided, or the
// error of a step.
func (m *AuthorizationAttemptMachine) Result() (AuthorizationResult, error) {
	return m.result,
		m.err
}

// MismatchedAnswer is an answer with the intent of another attempt, nil if there
// was none.
func (m *AuthorizationAttemptMachine) MismatchedAnswer() *Answer { return m.foreign }

// CanceledAbandonedIntent is the abandoned intent that this run canceled, nil
// if it did not.
func (m *AuthorizationAttemptMachine) CanceledAbandonedIntent() *CanceledAbandonedIntent {
	return m.canceled
}

// errNotAsked is the answer where no request was sent, or surely none had an
// effect.
var errNotAsked = &CallNotSentError{Reason: "Stripe could not be asked"}

// endNotSent ends the run because a call was not sent.
func (m *AuthorizationAttemptMachine) endNotSent(r AuthorizationStepResult, now time.Time) {
	if r.TooLate {
		m.endWithoutAnswer(now)
		return
	}
	m.endWithError(r.Err, now)
}

// endWithoutAnswer ends the run without an answer of Stripe's.
func (m *AuthorizationAttemptMachine) endWithoutAnswer(now time.Time) {
	if m.unknown {
		m.endOutcomeUnknown(now)
		return
	}
	m.endWithError(errNotAsked, now)
}

// endOutcomeUnknown ends the run because it is unknown whether the card was
// authorized.
func (m *AuthorizationAttemptMachine) endOutcomeUnknown(now time.Time) {
	m.endWithError(
		newProblem(OutcomeUnknown, "",
			"Stripe's answer was lost, so it is unknown whether the card "+
				"was authorized: repeat the same request with the same Idempotency-Key, which authorizes at most "+
				"once"),
		now,
	)
}

// endRequestRefused ends the run because Stripe refused the request. Nothing
// happened, so the record is deleted: if the key is spent, Stripe says so next
// time.
func (m *AuthorizationAttemptMachine) endRequestRefused(a Answer) {
	code, message := a.Code, a.Message
	if code == "" {
		code = a.Kind.String()
	}
	if message == "" {
		message = "no reason given"
	}
	p := newProblem(AuthorizationRefused, "", "Stripe refused the request (%s): %s", code, message)
	p.PaymentIntent = m.attempt.PaymentIntent
	m.endAndDeleteRecord(p)
}

// endWithError ends the run with an error and leaves the attempt to a
// repetition, or to the job that resumes it.
func (m *AuthorizationAttemptMachine) endWithError(err error, now time.Time) {
	m.err, m.resumeAt, m.state = err, now.Add(ResumeAttemptAfter), stateReleaseLease
}

// endAndSaveAttempt ends the run with the attempt in a state. A zero resumeAt
// says that nothing is left to do.
func (m *AuthorizationAttemptMachine) endAndSaveAttempt(
	s AuthorizationAttemptState, resumeAt time.Time,
) {
	m.attempt.State, m.resumeAt, m.state = s, resumeAt, stateReleaseLease
}

// endAndDeleteRecord ends the run with an error and deletes the record.
func (m *AuthorizationAttemptMachine) endAndDeleteRecord(err error) {
	m.err, m.state = err,
		stateForget
}

// endWithoutSaving ends the run without touching the record.
func (m *AuthorizationAttemptMachine) endWithoutSaving(err error) {
	m.err, m.state = err,
		stateDone
}

// newSaveAttemptStep saves the record before something is done that it has to
// tell of.
func newSaveAttemptStep(_ *AuthorizationAttemptMachine, now time.Time) AuthorizationStep {
	return AuthorizationStep{Kind: StepSave, ResumeAt: now.Add(ResumeAttemptAfter)}
}

func newReleaseLeaseStep(m *AuthorizationAttemptMachine, _ time.Time) AuthorizationStep {
	return AuthorizationStep{Kind: StepReleaseLease, ResumeAt: m.resumeAt}
}

func newDeleteAttemptStep(*AuthorizationAttemptMachine, time.Time) AuthorizationStep {
	return AuthorizationStep{Kind: StepForget}
}

// applyReleaseLeaseResult ends the run whether or not the record was saved. An
// attempt that is not saved is resumed, and its intent at Stripe tells how it
// ended.
func applyReleaseLeaseResult(
	m *AuthorizationAttemptMachine, _ AuthorizationStepResult, _ time.Time,
) {
	m.state = stateDone
}

func newDoneStep(*AuthorizationAttemptMachine, time.Time) AuthorizationStep {
	return AuthorizationStep{Kind: StepDone}
}

func ignoreStepResult(*AuthorizationAttemptMachine, AuthorizationStepResult, time.Time) {}
