package torture

import (
	"fmt"
	"time"

	"github.com/holdd/holdd/worker/stripesim"
)

// ledgerClockTolerance is how far apart the ledger's clock and a time in
// milliseconds may be.
const ledgerClockTolerance = 2 * time.Millisecond

// checker is all that the judge knows.
type checker struct {
	losses       []lossWindow
	countAllowed func(what string)
}

// mayBeForgotten reports whether Redis may have lost an accepted request.
func (v *checker) mayBeForgotten(x *request) bool {
	for _, l := range v.losses {
		if !x.firstTryAt.After(l.to) && !x.acceptedAt.Before(l.from) {
			return true
		}
	}
	return false
}

// claimMayBeForgotten says whether an effect may be that of a request whose
// claim Redis forgot, so that x could be granted though it was under way.
func (v *checker) claimMayBeForgotten(at time.Time, x *request) bool {
	for _, l := range v.losses {
		if at.After(l.from) && at.Before(l.to.Add(lease)) && x.acceptedAt.After(l.to) {
			return true
		}
	}
	return false
}

// checkBooking returns what is wrong with one hold: nothing, if all is well.
func (v *checker) checkBooking(b *booking, effects []stripesim.Effect) (wrong []string) {
	report := func(format string, args ...any) {
		wrong = append(wrong, fmt.Sprintf(format, args...))
	}
	var captured, finals int
	var end *stripesim.Effect
	for i := range effects {
		e := &effects[i]
		switch {
		case e.Kind == stripesim.EffectCaptured:
			captured++
			end = e
		case e.Final:
			end = e
		}
		if e.Final {
			finals++
		}
		if e.Actor == "automatic" {
			report("the authorization was let lapse")
		}
	}
	if captured > 1 {
		report("captured %d times", captured)
	}
	if finals > 1 {
		report("ended %d times", finals)
	}
	if end != nil && end.Actor == "api" {
		if violation := v.checkRequested(b, end); violation != "" {
			report("%s", violation)
		}
	}
	v.checkReported(b, end, report)
	return wrong
}

// checkRequested says why an effect by holdd is none that it was asked for.
// Empty: it was.
func (v *checker) checkRequested(b *booking, e *stripesim.Effect) string {
	violation, crossed := fmt.Sprintf("%s %d, which nobody has asked for", e.Kind, e.Amount), false
	for i, x := range b.requests {
		switch {
		case !x.mayBeAccepted() || x.effect != e.Kind:
			continue
		case e.Kind == stripesim.EffectCaptured && x.amount != e.Amount:
			violation = fmt.Sprintf("captured %d, asked for was %d", e.Amount, x.amount)
			continue
		case e.Time.Add(ledgerClockTolerance).Before(x.notBefore):
			violation = fmt.Sprintf("%s at %s, %s before its time", e.Kind, formatClock(e.Time),
				x.notBefore.Sub(e.Time))
			continue
		}
		replaced, excused := "", true
		for _, y := range b.requests[i+1:] {
			if y.acceptedAt.IsZero() || v.mayBeForgotten(y) || y.repeats(e) {
				continue
			}
			replaced = y.description
			excused = excused && v.claimMayBeForgotten(e.Time, y)
		}
		if replaced == "" {
			return ""
		}
		crossed = crossed || excused
		violation = fmt.Sprintf("%s %d at %s, though %q was granted", e.Kind, e.Amount,
			formatClock(e.Time), replaced)
	}
	if crossed {
		v.countAllowed(
			"requests on the way while Redis forgot their claim, so that another wish was granted")
		return ""
	}
	return violation
}

// checkReported compares what holdd says at the end with what happened.
func (v *checker) checkReported(b *booking, end *stripesim.Effect, report func(string, ...any)) {
	if len(b.requests) == 0 {
		return
	}
	first := b.requests[0]
	lost, due := false, false // something granted may be forgotten; something granted must be done
	for _, x := range b.requests {
		if x.acceptedAt.IsZero() {
			continue
		}
		if v.mayBeForgotten(x) {
			lost = true
		} else if x.effect != "" {
			due = true
		}
	}
	for _, x := range b.requests[1:] {
		if x.answeredNotFound && !v.mayBeForgotten(first) {
			report("%q was answered with: there is no such hold", x.description)
		}
	}
	switch {
	case !b.readAtEnd:
		report("holdd did not tell what became of it")
	case b.finalView == nil:
		if first.acceptedAt.IsZero() {
			return
		}
		if v.mayBeForgotten(first) {
			v.countAllowed("holds lost with Redis' tail")
			return
		}
		report("it was scheduled and is gone")
	case end == nil && b.finalView.State == "waiting":
		if !due {
			if lost {
				v.countAllowed("wishes lost with Redis' tail")
			}
			return
		}
		report("it waits, though there is something to do")
	case end == nil:
		report("nothing happened to the money, and holdd says %s (%s)",
			b.finalView.State, b.finalView.Cause)
	case b.finalView.State == "waiting" && lost && !due:
		v.countAllowed("outcomes lost with Redis' tail")
	case end.Kind == stripesim.EffectCaptured && (b.finalView.State != "captured" ||
		b.finalView.CapturedAmount != end.Amount):
		report("the ledger says captured %d, holdd says %s %d", end.Amount, b.finalView.State,
			b.finalView.CapturedAmount)
	case end.Kind == stripesim.EffectCanceled && b.finalView.State != "canceled":
		report("the ledger says canceled, holdd says %s", b.finalView.State)
	case !b.inFinalList:
		report("it is missing in the list of all holds")
	default:
		v.countLostCancels(b, end)
	}
}

// countLostCancels counts accepted requests that a hold's end shows to be lost.
func (v *checker) countLostCancels(b *booking, end *stripesim.Effect) {
	for _, x := range b.requests {
		if x.description == "cancel" && !x.acceptedAt.IsZero() &&
			end.Kind == stripesim.EffectCaptured && end.Actor == "api" && v.mayBeForgotten(x) {
			v.countAllowed("cancels lost with Redis' tail")
		}
	}
}
