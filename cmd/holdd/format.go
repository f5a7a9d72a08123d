package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// timeFormatter writes times in a location, with their distance from now.
type timeFormatter struct {
	location     *time.Location
	now          time.Time
	relativeOnly bool // formatWithRelative leaves the time out
}

// withRelativeTimesOnly returns a formatter that writes distances from now alone.
func (c timeFormatter) withRelativeTimesOnly() timeFormatter {
	c.relativeOnly = true
	return c
}

func (c timeFormatter) formatMinute(t time.Time) string {
	return t.In(c.location).Format("2006-01-02 15:04 MST")
}

func (c timeFormatter) formatMillisecond(t time.Time) string {
	return t.In(c.location).Format("2006-01-02 15:04:05.000 MST")
}

// formatWithRelative writes a time and its distance from now: "2026-12-01 11:00
// CET (in 2 d 3 h)".
func (c timeFormatter) formatWithRelative(t time.Time) string {
	if c.relativeOnly {
		return formatRelative(t.Sub(c.now))
	}
	return c.formatMinute(t) + " (" + formatRelative(t.Sub(c.now)) + ")"
}

// formatActionTimeOf writes the time of a capture or release in the hold's terms. A time that is
// still to come has no distance from now if nothing happens then.
func (c timeFormatter) formatActionTimeOf(v *hold.View, t time.Time) string {
	if t.After(c.now) && !reachesActionAt(v, t) {
		return c.formatMinute(t)
	}
	return c.formatTermOf(v, t)
}

// reachesActionAt reports whether the hold's own schedule gets to the action at t. It does not
// while the hold is paused or needs attention, or if an earlier action ends the hold.
func reachesActionAt(v *hold.View, t time.Time) bool {
	if v.State == hold.Paused.String() || v.State == hold.Attention.String() {
		return false
	}
	isLastCapture := v.Next == hold.OpCapture.String() &&
		(v.NextCapture == nil || v.NextCapture.Final)
	endsHold := isLastCapture || v.Next == hold.OpCancel.String()
	return !endsHold || v.NextAt == nil || !v.NextAt.Before(t)
}

// formatTermOf writes the time of a hold's term. Of a settled hold a time that is still to come
// has no distance from now, because nothing happens then.
func (c timeFormatter) formatTermOf(v *hold.View, t time.Time) string {
	if v.SettledAt != nil && t.After(c.now) {
		return c.formatMinute(t)
	}
	return c.formatWithRelative(t)
}

// formatRelative writes a distance in its two largest units, rounded down: a
// deadline never seems farther away than it is.
func formatRelative(d time.Duration) string {
	format := "in %s"
	if d < 0 {
		format, d = "%s ago", -d
	}
	if d < time.Second {
		return "now"
	}
	units := []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"min", time.Minute}, {"s", time.Second}}
	var parts []string
	for _, u := range units {
		n := d / u.size
		d -= n * u.size
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, u.name))
		} else if len(parts) > 0 {
			break
		}
		if len(parts) == 2 {
			break
		}
	}
	return fmt.Sprintf(format, strings.Join(parts, " "))
}

// wasOrWere returns the verb of a number.
func wasOrWere(n int) string {
	if n == 1 {
		return "was"
	}
	return "were"
}

// holdDisplayName returns the hold's reference, or its id if it has none.
func holdDisplayName(v *hold.View) string {
	if v.Reference != "" {
		return sanitize(v.Reference)
	}
	return v.ID
}

// formatHoldAmount writes the authorized amount, and the amount to capture if
// it is less.
func formatHoldAmount(v *hold.View) string {
	s := hold.FormatAmount(v.Amount, v.Currency)
	switch {
	case v.CapturedAmount > 0 && v.SettledAt == nil:
		return s + ", " + hold.FormatAmount(v.CapturedAmount, v.Currency) + " captured"
	case v.CapturedAmount > 0 && v.CapturedAmount != v.Amount:
		return hold.FormatAmount(v.CapturedAmount, v.Currency) + " of " + s
	case v.CaptureAmount > 0 && v.CaptureAmount != v.Amount && v.SettledAt == nil &&
		!isReleaseScheduled(v):
		return hold.FormatAmount(v.CaptureAmount, v.Currency) + " of " + s
	}
	return s
}

// isReleaseScheduled reports whether the hold's own schedule releases it. Its amount to capture
// is then for a capture on request.
func isReleaseScheduled(v *hold.View) bool {
	return v.SettledAt == nil && v.CancelAt != nil && v.Next != hold.OpCapture.String()
}

// shortHoldAmount is formatHoldAmount with one currency: 30.00 of 70.00 EUR.
func shortHoldAmount(v *hold.View) string {
	return strings.Replace(formatHoldAmount(v), " "+strings.ToUpper(v.Currency)+" of ", " of ", 1)
}

var stateColors = map[string]string{
	"waiting": blue, "paused": blue, "scheduled": cyan, "ready": yellow,
	"working": yellow, "attention": boldRed,
	"captured": green, "canceled": faint, "expired": red,
}

// describeNextAction returns the hold's next action, or its final state.
func describeNextAction(v *hold.View, c timeFormatter) string {
	switch {
	case v.SettledAt != nil:
		return v.State + " " + c.formatWithRelative(*v.SettledAt)
	case v.Next != "" && v.NextAt != nil:
		next := v.Next
		if v.NextCapture != nil && !v.NextCapture.Final {
			next += " of " + hold.FormatAmount(v.NextCapture.Amount, v.Currency)
		}
		return next + " " + c.formatWithRelative(*v.NextAt)
	case v.State == "attention":
		return "needs attention: " + v.Cause
	case v.State == "paused":
		return "paused"
	case v.State == "waiting":
		return "waits for a trigger"
	}
	return ""
}

// authorizedAmount writes an authorized amount: 120.00 EUR authorized.
func authorizedAmount(n int64, currency string) string {
	if n == 0 && currency == "" {
		return "unknown"
	}
	return hold.FormatAmount(n, currency) + " authorized"
}

// holdSummaryValues describes a hold in questions and at the head of `holdd
// show`.
func holdSummaryValues(v *hold.View, c timeFormatter) []labeledValue {
	f := []labeledValue{
		{"booking", sanitize(v.Reference)},
		{"hold", v.ID},
		{"account", v.Account},
		{"amount", authorizedAmount(v.Amount, v.Currency)},
		{"state", v.State},
	}
	if v.PaymentIntent != v.ID {
		f = append(f, labeledValue{"intent", v.PaymentIntent + " holds the money now"})
	}
	captureLabel, cancelLabel, amountLabel := "capture at", "cancel at", "to capture"
	if v.SettledAt != nil {
		captureLabel, cancelLabel = "capture was due", "cancel was due"
		amountLabel = "was to capture"
	}
	if v.CaptureAt != nil {
		f = append(f, labeledValue{captureLabel, c.formatActionTimeOf(v, *v.CaptureAt)})
	}
	if v.CancelAt != nil {
		f = append(f, labeledValue{cancelLabel, c.formatActionTimeOf(v, *v.CancelAt)})
	}
	if v.CaptureAmount > 0 {
		amount := hold.FormatAmount(v.CaptureAmount, v.Currency)
		if isReleaseScheduled(v) {
			amount += " if a capture is requested before"
		}
		f = append(f, labeledValue{amountLabel, amount})
	}
	f = append(append(f, captureParamLines(v)...), stageLines(v, c)...)
	f = append(f, renewalLines(v, c)...)
	if v.SettledAt == nil {
		f = append(f, labeledValue{"expires", c.formatWithRelative(v.ExpiresAt) +
			deadlineSourceSuffix(v.ExpiresAtSource)})
	}
	return f
}

// captureParamLines describes what the capture sends beside its amount.
func captureParamLines(v *hold.View) (f []labeledValue) {
	if n := v.ApplicationFeeAmount; n > 0 {
		f = append(f, labeledValue{"fee", hold.FormatAmount(n, v.Currency)})
	}
	if n := v.TransferData.Amount; n > 0 {
		f = append(f, labeledValue{"transfer", hold.FormatAmount(n, v.Currency)})
	}
	if s := v.StatementDescriptorSuffix; s != "" {
		f = append(f, labeledValue{"statement", sanitize(s)})
	}
	for _, k := range slices.Sorted(maps.Keys(v.CaptureMetadata)) {
		f = append(f, labeledValue{"at capture", sanitize(k + "=" + v.CaptureMetadata[k])})
	}
	return f
}

func deadlineSourceSuffix(s string) string {
	switch s {
	case "assumed":
		return ", assumed"
	case "caller":
		return ", as the caller said"
	}
	return ""
}
