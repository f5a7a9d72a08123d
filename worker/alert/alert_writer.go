package alert

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/holdd/holdd/worker/hold"
)

// alertWriter puts an alert into words.
type alertWriter struct {
	options RenderOptions
	now     time.Time
	title   string
	lines   []string
}

func (w *alertWriter) addLine(format string, args ...any) {
	w.lines = append(w.lines, fmt.Sprintf(format, args...))
}

// addHoldHeader names the booking, its money, and what is the matter with it.
func (w *alertWriter) addHoldHeader(h *hold.View, format string, args ...any) {
	name := sanitizeText(h.Reference, 80)
	if name == "" {
		name = h.ID
	}
	amount := h.Amount
	if h.State == "captured" && h.CapturedAmount > 0 {
		amount = h.CapturedAmount
	}
	w.title = name + ", " + hold.FormatAmount(amount, h.Currency) + ": " +
		fmt.Sprintf(format, args...)
	w.addLine("Hold: %s", h.ID)
	w.addAccountLine(h.Account)
	w.addLine("Ends: %s%s.", w.formatTimeAndLeft(h.ExpiresAt),
		map[bool]string{true: ", which is only assumed"}[h.ExpiresAtSource == "assumed"])
}

func (w *alertWriter) addAccountLine(account string) {
	if account != "" {
		w.addLine("Account: %s", account)
	}
}

// addAutomaticAction says what happens to a hold if nobody does anything.
func (w *alertWriter) addAutomaticAction(h *hold.View) {
	switch {
	case (h.Next == "capture" || h.Next == "cancel") && h.NextAt != nil &&
		h.NextAt.Before(h.ExpiresAt):
		w.addLine("By itself: it is %s %s.", map[string]string{"capture": "captured",
			"cancel": "released"}[h.Next], w.formatTimeAndLeft(*h.NextAt))
	case h.State == "working":
		w.addLine("By itself: Stripe is asked until it is known what became of it.")
	case h.OnExpiry == "cancel" &&
		(h.State != "attention" || h.Cause == hold.CauseAfterDeadline.String()):
		w.addLine("By itself: it is released shortly before it ends (on_expiry is cancel).")
	case h.OnExpiry == "capture" && h.CancelAt == nil &&
		(h.State == "waiting" || h.State == "scheduled" || h.State == "attention" &&
			h.Cause == hold.CauseAfterDeadline.String()):
		w.addLine("By itself: it is captured shortly before it ends (on_expiry is capture).")
	default:
		w.addLine("By itself: nothing; the card network lets it go when it ends.")
	}
}

// addOperatorAction says what a person can do about a hold.
func (w *alertWriter) addOperatorAction(h *hold.View) {
	if h.State == "paused" {
		w.addLine("Do: holdd resume %s, or holdd cancel %s; holdd acknowledge %s if this is fine.",
			h.ID, h.ID, h.ID)
		return
	}
	w.addLine("Do: holdd capture %s, or holdd cancel %s; holdd acknowledge %s if this is fine.",
		h.ID, h.ID, h.ID)
}

// formatTime is a time as people write it.
func (w *alertWriter) formatTime(t time.Time) string {
	zone := w.options.Zone
	if zone == nil {
		zone = time.UTC
	}
	return t.In(zone).Format("Mon 2 Jan 2006 15:04 MST")
}

// formatTimeLeft is how far away a time is.
func (w *alertWriter) formatTimeLeft(t time.Time) string {
	if d := t.Sub(w.now); d < 0 {
		return formatDuration(-d) + " ago"
	} else if d < time.Minute {
		return "now"
	} else {
		return "in " + formatDuration(d)
	}
}

func (w *alertWriter) formatTimeAndLeft(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return w.formatTime(t) + " (" + w.formatTimeLeft(t) + ")"
}

// formatDuration writes a duration in at most two units: 3 d 4 h, 5 h 30 min,
// 12 min.
func formatDuration(d time.Duration) string {
	d = d.Round(time.Minute)
	lifetimes, hours, minutes := int(d/(24*time.Hour)), int(d/time.Hour)%24, int(d/time.Minute)%60
	switch {
	case lifetimes > 0 && hours > 0:
		return fmt.Sprintf("%d d %d h", lifetimes, hours)
	case lifetimes > 0:
		return fmt.Sprintf("%d d", lifetimes)
	case hours > 0 && minutes > 0:
		return fmt.Sprintf("%d h %d min", hours, minutes)
	case hours > 0:
		return fmt.Sprintf("%d h", hours)
	}
	return fmt.Sprintf("%d min", max(minutes, 1))
}

// sanitizeText makes a text from outside fit for a chat: one line of it,
// nothing that calls everybody or makes a link.
func sanitizeText(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r), unicode.In(r, unicode.Cf), r == '<', r == '>',
			r == '`', r == '*', r == '|':
			return -1
		case r == '@':
			return '＠'
		}
		return r
	}, s)
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}
