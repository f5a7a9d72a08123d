package hold

import "time"

// StepKind is what kind of thing a machine needs done.
type StepKind uint8

const (
	StepCall             StepKind = iota + 1 // send Step.Call to Stripe
	StepSave                                 // save the record and keep the lease
	StepRelease                              // save the record and end the lease
	StepForget                               // delete the record
	StepReadHold                             // read the hold of the record's PaymentIntent
	StepPlaceHold                            // place the hold of Step.Intent, or find it
	StepPublishAbandoned                     // publish, once, that Step.Intent was abandoned
	StepDone                                 // nothing: the result is there
)

var stepNames = [...]string{"", "call", "save", "release", "forget", "read_hold", "place_hold",
	"publish_abandoned", "done"}

func (k StepKind) String() string { return enumName(stepNames[:], int(k)) }

// Step is what a machine needs done now.
type Step struct {
	Kind StepKind
	Call Call          // of StepCall
	Wait time.Duration // of StepCall: how long to wait before it is sent
	// NeedsCallTimeout says that the step may begin only while the lease lasts
	// as long as one call may take: its effect, or that of the call that
	// follows, must not come after the lease.
	NeedsCallTimeout bool
	Intent           *Intent   // of StepPlaceHold and StepPublishAbandoned
	ResumeAt         time.Time // of a save: when to resume the attempt, zero for never
}

// StepResult is what came of a step.
type StepResult struct {
	Answer  Answer // of a call that was sent
	Err     error  // why the step was not done; of a call a *[NotSentError]
	TooLate bool   // the step was not begun, because the lease or the process ends
	Hold    *Hold  // of StepReadHold and StepPlaceHold; nil if there is none
	Created bool   // of StepPlaceHold: it is new
}

// notSent reports whether a call was not sent.
func (r *StepResult) notSent() bool { return r.Err != nil || r.TooLate }
