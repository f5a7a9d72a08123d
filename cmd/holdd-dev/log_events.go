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

// logCore is a zap core: it hears the daemon's log, keeps the books from it,
// and tells it in words.
type logCore struct {
	ledger  *bookingLedger
	printer *printer
	fields  []zapcore.Field
}

// Enabled implements zapcore.Core, as do the methods below.
func (l *logCore) Enabled(zapcore.Level) bool { return true }

func (l *logCore) With(fields []zapcore.Field) zapcore.Core {
	return &logCore{l.ledger, l.printer, slices.Concat(l.fields, fields)}
}

func (l *logCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if e.Level >= zapcore.InfoLevel || strings.HasPrefix(e.Message, "hold.") {
		return ce.AddCore(e, l)
	}
	return ce
}

func (l *logCore) Sync() error { return nil }

func (l *logCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	m := zapcore.NewMapObjectEncoder()
	for _, f := range slices.Concat(l.fields, fields) {
		f.AddTo(m)
	}
	if name, ok := m.Fields["event"].(string); ok && name == e.Message {
		l.handleHoldEvent(hold.EventType(name), m.Fields)
		return nil
	}
	if e.Level < zapcore.WarnLevel || strings.HasPrefix(e.Message, "Redis hides ") {
		return nil // the banner says that this Redis keeps everything in memory
	}
	l.printer.printLine(subject{ref: "holdd"}, yellow, e.Level.String(),
		formatLogLine(e.Message, m.Fields))
	return nil
}

// formatLogLine is a log line of the daemon that is about no hold.
func formatLogLine(message string, fields map[string]any) string {
	var b strings.Builder
	b.WriteString(message)
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		fmt.Fprintf(&b, "; %s: %v", strings.ReplaceAll(k, "_", " "), fields[k])
	}
	return b.String()
}

// handleHoldEvent is one log line about a hold.
func (l *logCore) handleHoldEvent(what hold.EventType, fields map[string]any) {
	text := func(k string) string { s, _ := fields[k].(string); return s }
	number := func(k string) int64 { n, _ := fields[k].(int64); return n }
	intent, cause, amount := text("hold"), text("cause"), number("amount")
	s := subject{ref: text("reference"), cardholder: "not the hotel's", currency: text("currency"),
		amount: amount}
	if s.ref == "" {
		s.ref = "—"
	}
	k := l.ledger.find(intent)
	if k != nil {
		s = k.subject
	}
	switch what {
	case hold.EventCaptured:
		if k = l.ledger.settle(intent, captureOutcomes[cause], amount); k == nil {
			k = &booking{subject: s}
		}
		s.amount = amount
		l.printer.printLine(s, green, "captured", l.captureReason(k, intent, cause,
			amount, number("lateness_ms")))
	case hold.EventCanceled:
		l.ledger.settle(intent, releaseOutcomes[cause], 0)
		l.printer.printLine(s, green, "released", releaseReason(k, cause))
	case hold.EventExpired:
		l.ledger.settle(intent, expired, 0)
		l.printer.printLine(s, red, "expired",
			"nobody decided (on_expiry is alert), so the card network let the guest's money go")
	case hold.EventExpiring:
		l.handleExpiring(s, cause, fields)
	case hold.EventRetrying:
		l.handleRetrying(s, intent, fields)
	case hold.EventAttention:
		l.ledger.count(attentionRequired)
		l.printer.printLine(s, red, "attention", "a person must look: "+
			strings.ReplaceAll(cause, "_", " "))
	case hold.EventScheduled:
		if k == nil {
			l.printer.printLine(s, cyan, "booked", "scheduled by somebody else: "+intent)
		}
	case hold.EventChanged:
		if k == nil || !k.changing {
			l.printer.printLine(s, cyan, "changed", "somebody else asked holdd: "+intent)
		}
	case hold.EventPaused, hold.EventResumed, hold.EventAcknowledged:
		l.printer.printLine(s, cyan, strings.TrimPrefix(string(what), "hold."), "as asked")
	}
}

var captureOutcomes = map[string]outcome{
	hold.CauseSchedule.String(): capturedAtItsTime, hold.CauseTrigger.String(): capturedWhenAsked,
	hold.CauseOnExpiry.String():  capturedBeforeDeadline,
	hold.CauseElsewhere.String(): capturedElsewhere,
}

var releaseOutcomes = map[string]outcome{
	hold.CauseSchedule.String(): releasedAtItsTime, hold.CauseTrigger.String(): releasedWhenAsked,
	hold.CauseOnExpiry.String():  releasedBeforeDeadline,
	hold.CauseElsewhere.String(): releasedElsewhere,
}

func (l *logCore) captureReason(k *booking, intent, cause string, amount, lateMS int64) string {
	reason := "at checkout, as planned"
	switch captureOutcomes[cause] {
	case capturedWhenAsked:
		reason = "as the desk asked"
	case capturedBeforeDeadline:
		reason = "saved from expiry: nobody told of a checkout, and on_expiry says capture"
	case capturedElsewhere:
		reason = "found captured in the Dashboard: nothing is taken twice"
	default:
		if lateMS >= 1000 {
			reason += fmt.Sprintf(" (%s late)",
				formatDuration(time.Duration(lateMS)*time.Millisecond))
		}
	}
	if rest := k.amount - amount; k.outcome == capturedInPart && rest > 0 {
		reason += "; " + hold.FormatAmount(rest, k.currency) + " go back to the guest"
	}
	if k.kind == lostReplyCapture {
		reason += fmt.Sprintf("; Stripe's ledger has %s of it",
			countNoun(l.ledger.captures(intent), "capture"))
	}
	return reason
}

func releaseReason(k *booking, cause string) string {
	switch releaseOutcomes[cause] {
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

func (l *logCore) handleExpiring(s subject, cause string, fields map[string]any) {
	switch cause {
	case hold.CauseExpired.String():
		return // how it ended comes next
	case hold.CauseAfterDeadline.String():
		l.printer.printLine(s, yellow, "warning",
			"the authorization will end before the time planned")
		return
	}
	l.ledger.count(warned)
	left := "soon"
	if at, ok := fields["expires_at"].(time.Time); ok {
		left = "in " + formatDuration(max(0, time.Until(at)))
	}
	reason := "the authorization ends " + left + ", and the hold is still open"
	if cause == hold.CauseOnExpiry.String() {
		reason = "the authorization ends " + left +
			", and on_expiry says alert: somebody has to decide"
	}
	l.printer.printLine(s, yellow, "warning", reason)
}

func (l *logCore) handleRetrying(s subject, intent string, fields map[string]any) {
	answer, _ := fields["answer"].(string)
	in := ""
	if at, ok := fields["next_at"].(time.Time); ok {
		in = " in " + formatDuration(max(0, time.Until(at)))
	}
	switch answer {
	case hold.AnswerUnknown.String(), hold.AnswerReplayedError.String():
		l.ledger.markOutcomeUnknown(intent)
		l.ledger.count(lostReply)
		l.printer.printLine(s, yellow, "unknown",
			"Stripe's answer got lost: done or not? holdd asks again"+in+
				", with the same idempotency key")
	default:
		l.printer.printLine(s, yellow, "again", "Stripe answered "+strings.ReplaceAll(answer, "_",
			" ")+"; holdd tries again"+in)
	}
}

func countNoun(n int, what string) string {
	if n == 1 {
		return "exactly 1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
