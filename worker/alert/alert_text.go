package alert

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/holdd/holdd/worker/hold"
)

// alertTextBuilder writes the title and the text of an alert.
type alertTextBuilder struct {
	options RenderOptions
	now     time.Time
	lines   []string
}

func (w *alertTextBuilder) addLinef(format string, args ...any) {
	w.lines = append(w.lines, fmt.Sprintf(format, args...))
}

// addHoldLines adds the lines that say which hold an alert is about.
func (w *alertTextBuilder) addHoldLines(h *hold.View) {
	w.addLinef("Hold: %s", h.ID)
	w.addAccountLine(h.Account)
	assumed := ""
	if h.ExpiresAtSource == "assumed" {
		assumed = ", an assumed deadline"
	}
	w.addLinef("Expires: %s%s.", w.formatTimeWithTimeLeft(h.ExpiresAt), assumed)
}

func (w *alertTextBuilder) addAccountLine(account string) {
	if account != "" {
		w.addLinef("Account: %s", account)
	}
}

// setTitleAndText sets the title and the text of a.
func (w *alertTextBuilder) setTitleAndText(a *Alert, summary string) {
	label := a.Severity.String()
	if a.Resolved {
		label = "resolved"
	}
	a.Title = "[" + label + "] " + summary
	if !w.options.Livemode {
		a.Title += " (test mode)"
	}
	if w.options.RunbookURL != "" {
		w.addLinef("Runbook: %s#%s", w.options.RunbookURL, a.Kind)
	}
	a.Text = strings.Join(w.lines, "\n")
}

// formatHoldNameAndAmount names a hold by its booking and its amount.
func formatHoldNameAndAmount(h *hold.View) string {
	name := sanitizeTextForChat(h.Reference, 80)
	if name == "" {
		name = h.ID
	}
	amount := h.Amount
	if h.State == "captured" && h.CapturedAmount > 0 {
		amount = h.CapturedAmount
	}
	return name + ", " + hold.FormatAmount(amount, h.Currency)
}

// formatTime writes a time in the operator's zone.
func (w *alertTextBuilder) formatTime(t time.Time) string {
	zone := w.options.Zone
	if zone == nil {
		zone = time.UTC
	}
	return t.In(zone).Format("Mon 2 Jan 2006 15:04 MST")
}

// formatTimeLeft writes how far away a time is.
func (w *alertTextBuilder) formatTimeLeft(t time.Time) string {
	if d := t.Sub(w.now); d < 0 {
		return formatDuration(-d) + " ago"
	} else if d < time.Minute {
		return "now"
	} else {
		return "in " + formatDuration(d)
	}
}

func (w *alertTextBuilder) formatTimeWithTimeLeft(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return w.formatTime(t) + " (" + w.formatTimeLeft(t) + ")"
}

// formatDuration writes a duration in at most two units: 3 d 4 h, 5 h 30 min,
// 12 min.
func formatDuration(d time.Duration) string {
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

// sanitizeTextForChat makes text of a request safe for a chat: one line of at
// most n characters, without mentions, links or markup.
func sanitizeTextForChat(s string, n int) string {
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
	// A chat turns an address into a link.
	s = strings.NewReplacer("://", "[:]//", "www.", "www[.]").Replace(s)
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}
