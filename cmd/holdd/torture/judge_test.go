package torture

import (
	"fmt"
	"time"

	"github.com/holdd/holdd/worker/stripesim"
)

// exact is how far apart the ledger's clock and a time in milliseconds may be.
const exact = 2 * time.Millisecond

// evidence is all that the judge knows.
type evidence struct {
	losses []loss
	count  func(what string)
}

// exposed says whether a granted wish may be among what Redis forgot.
func (v *evidence) exposed(x *wish) bool {
	for _, l := range v.losses {
		if !x.first.After(l.to) && !x.acked.Before(l.from) {
			return true
		}
	}
	return false
}

// crossed says whether an effect may be that of a request whose claim Redis forgot, so that x could be granted though it was under way.
func (v *evidence) crossed(at time.Time, x *wish) bool {
	for _, l := range v.losses {
		if at.After(l.from) && at.Before(l.to.Add(lease)) && x.acked.After(l.to) {
			return true
		}
	}
	return false
}

// judge returns what is wrong with one hold: nothing, if all is well.
func (v *evidence) judge(b *booking, effects []stripesim.Effect) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	var captured, finals int
	var end *stripesim.Effect
	for i := range effects {
		e := &effects[i]
		switch {
		case e.Kind == stripesim.Captured:
			captured++
			end = e
		case e.Final:
			end = e
		}
		if e.Final {
			finals++
		}
		if e.By == "automatic" {
			say("the authorization was let lapse")
		}
	}
	if captured > 1 {
		say("captured %d times", captured)
	}
	if finals > 1 {
		say("ended %d times", finals)
	}
	if end != nil && end.By == "api" {
		if why := v.unasked(b, end); why != "" {
			say("%s", why)
		}
	}
	v.told(b, end, say)
	return wrong
}

// unasked says why an effect by holdd is none that it was asked for. Empty: it was.
func (v *evidence) unasked(b *booking, e *stripesim.Effect) string {
	why, crossed := fmt.Sprintf("%s %d, which nobody has asked for", e.Kind, e.Amount), false
	for i, x := range b.wishes {
		switch {
		case !x.possible() || x.effect != e.Kind:
			continue
		case e.Kind == stripesim.Captured && x.amount != e.Amount:
			why = fmt.Sprintf("captured %d, asked for was %d", e.Amount, x.amount)
			continue
		case e.Time.Add(exact).Before(x.earliest):
			why = fmt.Sprintf("%s at %s, %s before its time", e.Kind, clock(e.Time), x.earliest.Sub(e.Time))
			continue
		}
		replaced, excused := "", true
		for _, y := range b.wishes[i+1:] {
			if y.acked.IsZero() || v.exposed(y) {
				continue
			}
			replaced = y.what
			excused = excused && v.crossed(e.Time, y)
		}
		if replaced == "" {
			return ""
		}
		crossed = crossed || excused
		why = fmt.Sprintf("%s %d at %s, though %q was granted", e.Kind, e.Amount, clock(e.Time), replaced)
	}
	if crossed {
		v.count("requests on the way while Redis forgot their claim, so that another wish was granted")
		return ""
	}
	return why
}

// told compares what holdd says at the end with what happened.
func (v *evidence) told(b *booking, end *stripesim.Effect, say func(string, ...any)) {
	if len(b.wishes) == 0 {
		return
	}
	first := b.wishes[0]
	lost, due := false, false // something granted may be forgotten; something granted must be done
	for _, x := range b.wishes {
		if x.acked.IsZero() {
			continue
		}
		if v.exposed(x) {
			lost = true
		} else if x.effect != "" {
			due = true
		}
	}
	for _, x := range b.wishes[1:] {
		if x.missing && !v.exposed(first) {
			say("%q was answered with: there is no such hold", x.what)
		}
	}
	switch {
	case !b.viewed:
		say("holdd did not tell what became of it")
	case b.view == nil:
		if first.acked.IsZero() {
			return
		}
		if v.exposed(first) {
			v.count("holds lost with Redis' tail")
			return
		}
		say("it was scheduled and is gone")
	case end == nil && b.view.State == "waiting":
		if !due {
			if lost {
				v.count("wishes lost with Redis' tail")
			}
			return
		}
		say("it waits, though there is something to do")
	case end == nil:
		say("nothing happened to the money, and holdd says %s (%s)", b.view.State, b.view.Cause)
	case b.view.State == "waiting" && lost && !due:
		v.count("outcomes lost with Redis' tail")
	case end.Kind == stripesim.Captured && (b.view.State != "captured" || b.view.CapturedAmount != end.Amount):
		say("the ledger says captured %d, holdd says %s %d", end.Amount, b.view.State, b.view.CapturedAmount)
	case end.Kind == stripesim.Canceled && b.view.State != "canceled":
		say("the ledger says canceled, holdd says %s", b.view.State)
	case !b.listed:
		say("it is missing in the list of all holds")
	default:
		v.lostWishes(b, end)
	}
}

// lostWishes counts granted wishes that an end shows to be forgotten.
func (v *evidence) lostWishes(b *booking, end *stripesim.Effect) {
	for _, x := range b.wishes {
		if x.what == "cancel" && !x.acked.IsZero() && end.Kind == stripesim.Captured && end.By == "api" && v.exposed(x) {
			v.count("cancels lost with Redis' tail")
		}
	}
}
