package hold

import "time"

// AuthorizationStepKind is the kind of a machine's step.
type AuthorizationStepKind uint8

// The kinds of steps.
const (
	StepCall              AuthorizationStepKind = iota + 1 // send AuthorizationStep.Call to Stripe
	StepSave                                               // save the record and keep the lease
	StepReleaseLease                                       // save the record and end the lease
	StepForget                                             // delete the record
	StepReadHold                                           // read the hold of the record's PaymentIntent
	StepPlaceHold                                          // store the hold of AuthorizationStep.Intent, unless it exists
	StepPublishAbandoned                                   // publish, once, that AuthorizationStep.Intent was abandoned
	StepPublishUnresolved                                  // publish, once, that many runs had no outcome
	StepDone                                               // nothing: the machine has its result
)

var stepNames = [...]string{"", "call", "save", "release", "forget", "read_hold", "place_hold",
	"publish_abandoned", "publish_unresolved", "done"}

func (k AuthorizationStepKind) String() string { return enumName(stepNames[:], int(k)) }

// AuthorizationStep is the next thing that a machine needs.
type AuthorizationStep struct {
	Kind AuthorizationStepKind
	Call Call          // of StepCall
	Wait time.Duration // of StepCall: how long to wait before it is sent
	// NeedsCallTimeout says that the step may begin only if the lease outlasts
	// one call: its effect, or that of the next call, must not come after the
	// lease.
	NeedsCallTimeout bool
	Intent           *PaymentIntent // of StepPlaceHold and StepPublishAbandoned
	ResumeAt         time.Time      // of a save: when to resume the attempt, zero for never
}

// AuthorizationStepResult is the result of a step.
type AuthorizationStepResult struct {
	Answer  Answer // of a call that was sent
	Err     error  // if the step was not done; a *[CallNotSentError] for a call
	TooLate bool   // the step was not begun, because the lease or the process is ending
	Hold    *Hold  // of StepReadHold and StepPlaceHold; nil if there is none
	Created bool   // of StepPlaceHold: it is new
}

// wasNotSent reports whether a call was not sent.
func (r *AuthorizationStepResult) wasNotSent() bool { return r.Err != nil || r.TooLate }
