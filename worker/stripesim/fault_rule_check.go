package stripesim

import (
	"fmt"
	"slices"
	"strings"
)

// faultRuleHint says where the values of a rule are listed.
const faultRuleHint = "GET /_sim/ lists them"

// faultKindsWithStatus answer with Fault.Status.
var faultKindsWithStatus = []FaultKind{FaultErrorBefore, FaultErrorAfter, FaultUnavailable,
	FaultHTML, FaultHTMLAfter}

// faultKindsWithCode answer with Fault.Code.
var faultKindsWithCode = []FaultKind{FaultErrorBefore, FaultErrorAfter, FaultUnavailable,
	FaultFailedDependency, FaultDecline}

// check refuses a rule that can never act, or that does not do what it says.
func (r *FaultRule) check() error {
	if err := r.checkSelection(); err != nil {
		return err
	}
	return r.Fault.check()
}

// checkSelection checks the fields that select calls.
func (r *FaultRule) checkSelection() error {
	switch {
	case r.Class != "" && !isEndpointClass(r.Class):
		return fmt.Errorf("unknown class %q: %s", r.Class, faultRuleHint)
	case r.Fault.Kind == FaultDecline && r.Class != "" &&
		!slices.Contains(declinableClasses, r.Class):
		return fmt.Errorf("no bank is asked by %s: want a decline of one of %v", r.Class,
			declinableClasses)
	case r.Intent != "" && !strings.HasPrefix(r.Intent, "pi_"):
		return fmt.Errorf("invalid payment_intent %q: want an id that starts with pi_", r.Intent)
	case r.Intent != "" && r.Class != "" && !namesIntent(r.Class):
		return fmt.Errorf("payment_intent with class %s: its calls name no PaymentIntent in the "+
			"path: leave one out", r.Class)
	case r.Nth < 0:
		return fmt.Errorf("invalid nth %d: want 1 or more", r.Nth)
	case r.Times < 0:
		return fmt.Errorf("invalid times %d: want 1 or more", r.Times)
	case r.Probability < 0 || r.Probability > 1:
		return fmt.Errorf("invalid probability %v: want more than 0 and at most 1", r.Probability)
	}
	return nil
}

// check checks what goes wrong.
func (f *Fault) check() error {
	switch {
	case !f.Kind.isValid():
		return fmt.Errorf("unknown fault kind %q: %s", f.Kind, faultRuleHint)
	case f.RequestDelay < 0 || f.ServiceTime < 0 || f.ReplyDelay < 0:
		return fmt.Errorf("invalid before %s, service %s, after %s: want no negative duration",
			f.RequestDelay, f.ServiceTime, f.ReplyDelay)
	case f.Status != 0 && !slices.Contains(faultKindsWithStatus, f.Kind):
		return fmt.Errorf("status has no effect on kind %q: want one of %v", f.Kind,
			faultKindsWithStatus)
	case f.Status != 0 && (f.Status < 400 || f.Status > 599):
		return fmt.Errorf("invalid status %d: want 400 to 599", f.Status)
	case f.Code != "" && !slices.Contains(faultKindsWithCode, f.Kind):
		return fmt.Errorf("code has no effect on kind %q: want one of %v", f.Kind,
			faultKindsWithCode)
	case f.ShouldRetry != "" && f.ShouldRetry != "true" && f.ShouldRetry != "false":
		return fmt.Errorf("invalid should_retry %q: want true or false", f.ShouldRetry)
	case *f == (Fault{}):
		return fmt.Errorf("no effect: want a kind, a duration or should_retry")
	}
	return nil
}

// namesIntent reports whether calls of the class have a PaymentIntent in the
// path.
func namesIntent(c EndpointClass) bool {
	for name, r := range routes {
		if r.class == c && strings.Contains(name, " payment_intents/{id}") {
			return true
		}
	}
	return false
}
