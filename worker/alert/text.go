package alert

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/holdd/holdd/worker/hold"
)

// writer puts an alert into words.
type writer struct {
	style Style
	now   time.Time
	title string
	lines []string
}

func (w *writer) line(format string, args ...any) {
	w.lines = append(w.lines, fmt.Sprintf(format, args...))
}

// head names the booking, its money, and what is the matter with it.
func (w *writer) head(h *hold.View, format string, args ...any) {
	name := plain(h.Reference, 80)
	if name == "" {
		name = h.ID
	}
	amount := h.Amount
	if h.State == "captured" && h.CapturedAmount > 0 {
		amount = h.CapturedAmount
	}
	w.title = name + ", " + hold.FormatAmount(amount, h.Currency) + ": " + fmt.Sprintf(format, args...)
	w.line("Hold: %s", h.ID)
	w.account(h.Account)
	w.line("Ends: %s%s.", w.when(h.ExpiresAt), map[bool]string{true: ", which is only assumed"}[h.ExpiresAtSource == "assumed"])
}

func (w *writer) account(account string) {
	if account != "" {
		w.line("Account: %s", account)
	}
}

// itself says what happens to a hold if nobody does anything.
func (w *writer) itself(h *hold.View) {
	switch {
	case (h.Next == "capture" || h.Next == "cancel") && h.NextAt != nil && h.NextAt.Before(h.ExpiresAt):
		w.line("By itself: it is %s %s.", map[string]string{"capture": "captured", "cancel": "released"}[h.Next], w.when(*h.NextAt))
	case h.State == "working":
		w.line("By itself: Stripe is asked until it is known what became of it.")
	case h.OnExpiry == "cancel" && (h.State != "attention" || h.Cause == hold.CauseAfterDeadline.String()):
		w.line("By itself: it is released shortly before it ends (on_expiry is cancel).")
	case h.OnExpiry == "capture" && h.CancelAt == nil && (h.State == "waiting" || h.State == "scheduled" || h.State == "attention" && h.Cause == hold.CauseAfterDeadline.String()):
		w.line("By itself: it is captured shortly before it ends (on_expiry is capture).")
	default:
		w.line("By itself: nothing; the card network lets it go when it ends.")
	}
}

// act says what a person can do about a hold.
func (w *writer) act(h *hold.View) {
	if h.State == "paused" {
		w.line("Do: holdd resume %s, or holdd cancel %s; holdd acknowledge %s if this is fine.", h.ID, h.ID, h.ID)
		return
	}
	w.line("Do: holdd capture %s, or holdd cancel %s; holdd acknowledge %s if this is fine.", h.ID, h.ID, h.ID)
}

// clock is a time as people write it.
func (w *writer) clock(t time.Time) string {
	zone := w.style.Zone
	if zone == nil {
		zone = time.UTC
	}
	return t.In(zone).Format("Mon 2 Jan 2006 15:04 MST")
}

// ahead is how far away a time is.
func (w *writer) ahead(t time.Time) string {
	if d := t.Sub(w.now); d < 0 {
		return span(-d) + " ago"
	} else if d < time.Minute {
		return "now"
	} else {
		return "in " + span(d)
	}
}

func (w *writer) when(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return w.clock(t) + " (" + w.ahead(t) + ")"
}

// span writes a duration in at most two units: 3 d 4 h, 5 h 30 min, 12 min.
func span(d time.Duration) string {
	d = d.Round(time.Minute)
	days, hours, minutes := int(d/(24*time.Hour)), int(d/time.Hour)%24, int(d/time.Minute)%60
	switch {
	case days > 0 && hours > 0:
		return fmt.Sprintf("%d d %d h", days, hours)
	case days > 0:
		return fmt.Sprintf("%d d", days)
	case hours > 0 && minutes > 0:
		return fmt.Sprintf("%d h %d min", hours, minutes)
	case hours > 0:
		return fmt.Sprintf("%d h", hours)
	}
	return fmt.Sprintf("%d min", max(minutes, 1))
}

// plain makes a text from outside fit for a chat: one line of it, nothing that calls everybody or makes a link.
func plain(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r), unicode.In(r, unicode.Cf), r == '<', r == '>', r == '`', r == '*', r == '|':
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
