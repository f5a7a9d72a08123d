package console

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// renderTime writes a time in the property's zone with its distance from now.
func (q *request) renderTime(t time.Time) node {
	if t.IsZero() {
		return text("–")
	}
	local := t.In(q.zone)
	layout := "2 Jan 15:04"
	if local.Year() != q.now.In(q.zone).Year() {
		layout = "2 Jan 2006 15:04"
	}
	return el("time", a("datetime", t.UTC().Format(time.RFC3339)),
		a("title", local.Format("Mon 2 Jan 2006 15:04:05 MST")), text(local.Format(layout)+" "),
		el("small", text(q.formatRelative(t.Sub(q.now)))))
}

// formatRelative writes a distance in its two largest units, rounded down: a
// deadline never seems farther away than it is.
func (q *request) formatRelative(d time.Duration) string {
	key := "time.in"
	if d < 0 {
		key, d = "time.ago", -d
	}
	if d < time.Second {
		return q.t("time.now")
	}
	return q.t(key, q.formatDuration(d))
}

// formatDuration writes a duration in its two largest units, rounded down.
func (q *request) formatDuration(d time.Duration) string {
	if d < time.Second {
		return q.t("time.s", 0)
	}
	var parts []string
	for _, u := range []struct {
		key  string
		size time.Duration
	}{{"time.d", 24 * time.Hour}, {"time.h", time.Hour}, {"time.min", time.Minute},
		{"time.s", time.Second}} {
		n := d / u.size
		d -= n * u.size
		if n > 0 {
			parts = append(parts, q.t(u.key, n))
		} else if len(parts) > 0 {
			break
		}
		if len(parts) == 2 {
			break
		}
	}
	return strings.Join(parts, " ")
}

// holdDisplayName returns the hold's reference, or its id if it has none.
func holdDisplayName(h *hold.Hold) string {
	if h.Reference != "" {
		return replaceControlChars(h.Reference)
	}
	return h.ID
}

func holdPagePath(id string) string { return "/console/holds/" + url.PathEscape(id) }

func actPagePath(id, act string) string { return holdPagePath(id) + "/" + act }

// stripeDashboardURL returns the page of an intent in Stripe's Dashboard.
func stripeDashboardURL(livemode bool, intent, account string) string {
	u := "https://dashboard.stripe.com/"
	if account != "" {
		u += url.PathEscape(account) + "/"
	}
	if !livemode {
		u += "test/"
	}
	return u + "payments/" + url.PathEscape(intent)
}

// amountToCapture returns what a capture would take by the terms.
func amountToCapture(h *hold.Hold) int64 {
	if h.CaptureAmount > 0 {
		return max(0, h.CaptureAmount-hold.CapturedSoFar(h))
	}
	return h.Amount
}

// renderHoldAmount writes what the hold holds, and the part that is captured or is
// to be captured if that is less.
func (q *request) renderHoldAmount(h *hold.Hold) node {
	whole := hold.FormatAmount(h.Amount, h.Currency)
	switch {
	case !h.State.IsFinal() && hold.CapturedSoFar(h) > 0:
		return text(q.t("amount.partly", whole, hold.FormatAmount(hold.CapturedSoFar(h), h.Currency)))
	case h.CapturedAmount > 0 && h.CapturedAmount != h.Amount:
		return text(q.t("amount.of", hold.FormatAmount(h.CapturedAmount, h.Currency), whole))
	case h.CaptureAmount > 0 && h.CaptureAmount != h.Amount && !h.State.IsFinal():
		return text(q.t("amount.of", hold.FormatAmount(h.CaptureAmount, h.Currency), whole))
	}
	return text(whole)
}

func (q *request) renderState(h *hold.Hold, now time.Time) node {
	s := h.StateWithDueAsReady(now).String()
	return el("span", class("state "+s), text(q.t("state."+s)))
}

// renderNextAction says what happens to a hold next, or when it was settled.
func (q *request) renderNextAction(h *hold.Hold) node {
	switch {
	case h.State.IsFinal():
		return q.renderTime(h.SettledAt)
	case h.State == hold.Attention:
		return text(q.t("cause." + h.Reason.String()))
	case h.NextOp != 0:
		return group{text(q.t("op."+h.NextOp.String()) + " "), q.renderTime(h.NextAt)}
	case h.State == hold.Paused:
		return text(q.t("next.paused"))
	}
	return text(q.t("next.waiting"))
}

// renderExpiry says when the authorization ends. Less than a day is marked.
func (q *request) renderExpiry(h *hold.Hold, now time.Time) node {
	if h.State.IsFinal() {
		return text("–")
	}
	if h.ExpiresAt.Before(now.Add(24 * time.Hour)) {
		return el("span", class("soon"), q.renderTime(h.ExpiresAt))
	}
	return q.renderTime(h.ExpiresAt)
}

// formatSums writes totals by currency.
func (q *request) formatSums(list []hold.Sum) string {
	var parts []string
	unknown := 0 // holds whose intent has not been read yet
	for _, s := range list {
		if s.Currency == "" {
			unknown += s.Count
		} else {
			parts = append(parts, hold.FormatAmount(s.Amount, s.Currency))
		}
	}
	switch {
	case len(parts) == 0:
		return q.t("sums.none")
	case unknown > 0:
		parts = append(parts, q.t("sums.unknown", unknown))
	}
	return strings.Join(parts, " + ")
}

func sumHoldCounts(list []hold.Sum) (n int) {
	for _, s := range list {
		n += s.Count
	}
	return n
}

// formatCountAndSums writes how many holds there are and their totals.
func (q *request) formatCountAndSums(list []hold.Sum) string {
	n := sumHoldCounts(list)
	if n == 0 {
		return q.t("count.none")
	}
	return q.formatHoldCount(n) + ", " + q.formatSums(list)
}

func (q *request) formatHoldCount(n int) string {
	if n == 1 {
		return q.t("count.one")
	}
	return q.t("count.many", fmt.Sprint(n))
}
