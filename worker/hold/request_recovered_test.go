package hold_test

import (
	"errors"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// What becomes of terms that are found at Stripe, by how their time lies to now
// and to the deadline.
func TestScheduleRequest_ValidateRecovered(t *testing.T) {
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	in := &hold.PaymentIntent{ID: "pi_recover0001", Status: hold.StatusRequiresCapture, Amount: 100,
		AmountCapturable: 100, Currency: "eur", Created: now.Add(-48 * time.Hour),
		CaptureBefore: now.Add(72 * time.Hour)}
	at := func(d time.Duration) string { return now.Add(d).Format(time.RFC3339) }
	for _, c := range []struct {
		name    string
		wish    hold.ScheduleRequest
		paused  bool
		state   hold.State
		why     hold.Cause
		refused hold.ProblemCode
	}{
		{"ahead", hold.ScheduleRequest{CaptureAt: at(time.Hour)}, false, hold.Scheduled,
			hold.CauseSchedule, ""},
		{"within the hour", hold.ScheduleRequest{CaptureAt: at(-time.Minute)}, false,
			hold.Scheduled, hold.CauseSchedule, ""},
		{"a day late", hold.ScheduleRequest{CaptureAt: at(-hold.RecoveredCaptureGrace)}, false,
			hold.Scheduled, hold.CauseSchedule, ""},
		{"later", hold.ScheduleRequest{CaptureAt: at(-hold.RecoveredCaptureGrace - time.Second)},
			false, hold.Attention, hold.CauseOverdue, ""},
		{"a release, however late", hold.ScheduleRequest{CancelAt: at(-40 * 24 * time.Hour)}, false,
			hold.Scheduled, hold.CauseSchedule, ""},
		{"local time", hold.ScheduleRequest{CaptureAt: "2026-11-30T20:00",
			TimeZone: "Europe/Paris"}, false, hold.Scheduled, hold.CauseSchedule, ""},
		{"after the deadline", hold.ScheduleRequest{CaptureAt: at(72 * time.Hour)}, false,
			hold.Attention, hold.CauseAfterDeadline, ""},
		{"paused", hold.ScheduleRequest{CaptureAt: at(time.Hour)}, true, hold.Paused, 0, ""},
		{"paused and late", hold.ScheduleRequest{CaptureAt: at(-48 * time.Hour)},
			true, hold.Paused, 0, ""},
		{"no time", hold.ScheduleRequest{OnExpiry: "capture"}, false, hold.Waiting, 0, ""},
		{"too much", hold.ScheduleRequest{CaptureAt: at(-48 * time.Hour), CaptureAmount: 101},
			false, 0, 0, hold.AmountTooLarge},
		{"both", hold.ScheduleRequest{CaptureAt: at(-48 * time.Hour), CancelAt: at(time.Hour)},
			false, 0, 0, hold.ConflictingTimes},
		{"nonsense", hold.ScheduleRequest{CaptureAt: "soon"}, false, 0, 0, hold.InvalidTime},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.wish.PaymentIntent = in.ID
			d, err := c.wish.ValidateRecoveredTerms(c.paused, now)
			var ch hold.Decision
			if err == nil {
				ch, err = hold.DecideNewHold(d, in, "reconcile", now)
			}
			var p *hold.Problem
			if c.refused != "" {
				if !errors.As(err, &p) || p.Code != c.refused {
					t.Fatalf("%v", err)
				}
				return
			}
			h := &ch.Hold
			if err != nil || h.State != c.state || h.Reason != c.why || !ch.NewDeadline ||
				ch.Events[0].Type != hold.EventScheduled {
				t.Fatalf("%v %s %s %v", err, h.State, h.Reason, ch.Events)
			}
			if alerted := len(ch.Events) == 2 &&
				ch.Events[1].Type == hold.EventAttention; alerted != (c.state == hold.Attention) {
				t.Errorf("%v", ch.Events)
			}
			if c.state == hold.Attention && ch.SortedSetPlacement(&hold.Hold{}, now,
				hold.DecisionRules{}).NeedsAttention != true {
				t.Error("not where a person looks")
			}
		})
	}
}
