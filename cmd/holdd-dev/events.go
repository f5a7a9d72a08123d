package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/holdd/holdd/worker/hold"
)

// listener is a zap core: it hears the daemon's log, keeps the books from it, and tells it in words.
type listener struct {
	books *books
	tell  *teller
	with  []zapcore.Field
}

// Enabled implements zapcore.Core, as do the methods below.
func (l *listener) Enabled(zapcore.Level) bool { return true }

func (l *listener) With(fields []zapcore.Field) zapcore.Core {
	return &listener{l.books, l.tell, slices.Concat(l.with, fields)}
}

func (l *listener) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if e.Level >= zapcore.InfoLevel || strings.HasPrefix(e.Message, "hold.") {
		return ce.AddCore(e, l)
	}
	return ce
}

func (l *listener) Sync() error { return nil }

func (l *listener) Write(e zapcore.Entry, fields []zapcore.Field) error {
	m := zapcore.NewMapObjectEncoder()
	for _, f := range slices.Concat(l.with, fields) {
		f.AddTo(m)
	}
	if name, ok := m.Fields["event"].(string); ok && name == e.Message {
		l.event(hold.EventType(name), m.Fields)
		return nil
	}
	if e.Level < zapcore.WarnLevel || strings.HasPrefix(e.Message, "Redis hides ") {
		return nil // the banner says that this Redis keeps everything in memory
	}
	l.tell.line(subject{ref: "holdd"}, yellow, e.Level.String(), sentence(e.Message, m.Fields))
	return nil
}

// sentence is a log line of the daemon that is about no hold.
func sentence(message string, fields map[string]any) string {
	var b strings.Builder
	b.WriteString(message)
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		fmt.Fprintf(&b, "; %s: %v", strings.ReplaceAll(k, "_", " "), fields[k])
	}
	return b.String()
}

// event is one log line about a hold.
func (l *listener) event(what hold.EventType, fields map[string]any) {
	text := func(k string) string { s, _ := fields[k].(string); return s }
	number := func(k string) int64 { n, _ := fields[k].(int64); return n }
	intent, cause, amount := text("hold"), text("cause"), number("amount")
	s := subject{ref: text("reference"), guest: "not the hotel's", currency: text("currency"), amount: amount}
	if s.ref == "" {
		s.ref = "—"
	}
	k := l.books.find(intent)
	if k != nil {
		s = k.subject
	}
	switch what {
	case hold.EventCaptured:
		if k = l.books.settle(intent, captures[cause], amount); k == nil {
			k = &booking{subject: s}
		}
		s.amount = amount
		l.tell.line(s, green, "captured", l.whyCaptured(k, intent, cause, amount, number("lateness_ms")))
	case hold.EventCanceled:
		l.books.settle(intent, releases[cause], 0)
		l.tell.line(s, green, "released", whyReleased(k, cause))
	case hold.EventExpired:
		l.books.settle(intent, expired, 0)
		l.tell.line(s, red, "expired", "nobody decided (on_expiry is alert), so the card network let the guest's money go")
	case hold.EventExpiring:
		l.expiring(s, cause, fields)
	case hold.EventRetrying:
		l.retrying(s, intent, fields)
	case hold.EventAttention:
		l.books.count(neededPeople)
		l.tell.line(s, red, "attention", "a person must look: "+strings.ReplaceAll(cause, "_", " "))
	case hold.EventScheduled:
		if k == nil {
			l.tell.line(s, cyan, "booked", "scheduled by somebody else: "+intent)
		}
	case hold.EventChanged:
		if k == nil || !k.changing {
			l.tell.line(s, cyan, "changed", "somebody else asked holdd: "+intent)
		}
	case hold.EventPaused, hold.EventResumed, hold.EventAcknowledged:
		l.tell.line(s, cyan, strings.TrimPrefix(string(what), "hold."), "as asked")
	}
}

var captures = map[string]outcome{
	hold.CauseSchedule.String(): capturedAtItsTime, hold.CauseTrigger.String(): capturedWhenAsked,
	hold.CauseOnExpiry.String(): capturedBeforeDeadline, hold.CauseElsewhere.String(): capturedElsewhere,
}

var releases = map[string]outcome{
	hold.CauseSchedule.String(): releasedAtItsTime, hold.CauseTrigger.String(): releasedWhenAsked,
	hold.CauseOnExpiry.String(): releasedBeforeDeadline, hold.CauseElsewhere.String(): releasedElsewhere,
}

func (l *listener) whyCaptured(k *booking, intent, cause string, amount, lateMS int64) string {
	why := "at checkout, as planned"
	switch captures[cause] {
	case capturedWhenAsked:
		why = "as the desk asked"
	case capturedBeforeDeadline:
		why = "saved from expiry: nobody told of a checkout, and on_expiry says capture"
	case capturedElsewhere:
		why = "found captured in the Dashboard: nothing is taken twice"
	default:
		if lateMS >= 1000 {
			why += fmt.Sprintf(" (%s late)", length(time.Duration(lateMS)*time.Millisecond))
		}
	}
	if rest := k.amount - amount; k.outcome == capturedInPart && rest > 0 {
		why += "; " + hold.FormatAmount(rest, k.currency) + " go back to the guest"
	}
	if k.kind == lost {
		why += fmt.Sprintf("; Stripe's ledger has %s of it", times(l.books.captures(intent), "capture"))
	}
	return why
}

func whyReleased(k *booking, cause string) string {
	switch releases[cause] {
	case releasedWhenAsked:
		return "the cancel was in time: nothing captures this hold any more"
	case releasedBeforeDeadline:
		return "nobody told of a checkout, and on_expiry says cancel: the guest has the money back early"
	case releasedElsewhere:
		return "found canceled in the Dashboard"
	}
	if k != nil && k.kind == deposit {
		return "the deposit goes back, as planned: nothing was broken"
	}
	return "as planned"
}

func (l *listener) expiring(s subject, cause string, fields map[string]any) {
	switch cause {
	case hold.CauseExpired.String():
		return // how it ended comes next
	case hold.CauseAfterDeadline.String():
		l.tell.line(s, yellow, "warning", "the authorization will end before the time planned")
		return
	}
	l.books.count(warned)
	left := "soon"
	if at, ok := fields["expires_at"].(time.Time); ok {
		left = "in " + length(max(0, time.Until(at)))
	}
	why := "the authorization ends " + left + ", and the hold is still open"
	if cause == hold.CauseOnExpiry.String() {
		why = "the authorization ends " + left + ", and on_expiry says alert: somebody has to decide"
	}
	l.tell.line(s, yellow, "warning", why)
}

func (l *listener) retrying(s subject, intent string, fields map[string]any) {
	answer, _ := fields["answer"].(string)
	in := ""
	if at, ok := fields["next_at"].(time.Time); ok {
		in = " in " + length(max(0, time.Until(at)))
	}
	switch answer {
	case hold.AnswerUnknown.String(), hold.AnswerReplayedError.String():
		l.books.doubt(intent)
		l.books.count(lostReply)
		l.tell.line(s, yellow, "unknown", "Stripe's answer got lost: done or not? holdd asks again"+in+", with the same idempotency key")
	default:
		l.tell.line(s, yellow, "again", "Stripe answered "+strings.ReplaceAll(answer, "_", " ")+"; holdd tries again"+in)
	}
}

func times(n int, what string) string {
	if n == 1 {
		return "exactly 1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
