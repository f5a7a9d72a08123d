package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// clock writes times for a reader in loc, at now.
type clock struct {
	loc *time.Location
	now time.Time
}

func (c clock) absolute(t time.Time) string { return t.In(c.loc).Format("2006-01-02 15:04 MST") }

func (c clock) exact(t time.Time) string { return t.In(c.loc).Format("2006-01-02 15:04:05.000 MST") }

// both is the time and how far away it is: "2026-12-01 11:00 CET (in 2 d 3 h)".
func (c clock) both(t time.Time) string {
	return c.absolute(t) + " (" + relative(t.Sub(c.now)) + ")"
}

// relative writes a distance in its two largest units, rounded down so that nothing seems farther away than it is.
func relative(d time.Duration) string {
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

// booking is what people call the hold.
func booking(v *hold.View) string {
	if v.Reference != "" {
		return clean(v.Reference)
	}
	return v.ID
}

// amount is the authorized one, with what is to be taken of it where that is less.
func amount(v *hold.View) string {
	s := hold.FormatAmount(v.Amount, v.Currency)
	switch {
	case v.CapturedAmount > 0 && v.CapturedAmount != v.Amount:
		return hold.FormatAmount(v.CapturedAmount, v.Currency) + " of " + s
	case v.CaptureAmount > 0 && v.CaptureAmount != v.Amount && v.SettledAt == nil:
		return hold.FormatAmount(v.CaptureAmount, v.Currency) + " of " + s
	}
	return s
}

var stateColors = map[string]string{
	"waiting": blue, "paused": blue, "scheduled": cyan, "ready": yellow, "working": yellow, "attention": alarm,
	"captured": green, "canceled": faint, "expired": red,
}

// next is what happens to the hold by itself, or what it came to.
func next(v *hold.View, c clock) string {
	switch {
	case v.SettledAt != nil:
		return v.State + " " + c.both(*v.SettledAt)
	case v.Next != "" && v.NextAt != nil:
		return v.Next + " " + c.both(*v.NextAt)
	case v.State == "attention":
		return "a person must look: " + v.Cause
	case v.State == "paused":
		return "paused"
	case v.State == "waiting":
		return "waits for a trigger"
	}
	return ""
}

// facts is what a person wants to know before saying yes, and the head of `holdd show`.
func facts(v *hold.View, c clock) []fact {
	f := []fact{
		{"booking", clean(v.Reference)},
		{"hold", v.ID},
		{"account", v.Account},
		{"amount", hold.FormatAmount(v.Amount, v.Currency) + " authorized"},
		{"state", v.State},
	}
	if v.PaymentIntent != v.ID {
		f = append(f, fact{"intent", v.PaymentIntent + " holds the money now"})
	}
	if v.CaptureAt != nil {
		f = append(f, fact{"capture at", c.both(*v.CaptureAt)})
	}
	if v.CancelAt != nil {
		f = append(f, fact{"cancel at", c.both(*v.CancelAt)})
	}
	if v.CaptureAmount > 0 {
		f = append(f, fact{"to capture", hold.FormatAmount(v.CaptureAmount, v.Currency)})
	}
	if v.SettledAt == nil {
		f = append(f, fact{"expires", c.both(v.ExpiresAt) + sourceOfDeadline(v.ExpiresAtSource)})
	}
	return f
}

func sourceOfDeadline(s string) string {
	switch s {
	case "assumed":
		return ", assumed"
	case "caller":
		return ", as the caller said"
	}
	return ""
}

// line writes v as one line of JSON.
func (a *app) line(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("the answer can't be written as JSON: %w", err)
	}
	_, err = a.out.Write(append(b, '\n'))
	return err
}
