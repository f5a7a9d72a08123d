package hold_test

import (
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// intentWithoutCaptureBefore is an authorization whose charge has no
// capture_before.
func intentWithoutCaptureBefore(method string, created time.Time) *hold.PaymentIntent {
	return heldIntent(func(in *hold.PaymentIntent) {
		in.CaptureBefore, in.PaymentMethodType, in.Created = time.Time{}, method, created
	})
}

// newHoldAt is a new hold that has no time of its own and was scheduled at now.
func newHoldAt(t *testing.T, in *hold.PaymentIntent, now time.Time) hold.Hold {
	t.Helper()
	c, err := hold.DecideNewHold(&hold.ValidRequest{ID: testIntentID, OnExpiry: hold.PolicyCancel}, in, "api", now)
	if err != nil {
		t.Fatal(err)
	}
	return c.Hold
}

func TestAssumedDeadline_ByMethod(t *testing.T) {
	for _, tt := range []struct {
		fact, method string
		want         time.Duration // from creation
	}{
		{"Affirm: 30 days", "affirm", 30 * day},
		{"Afterpay and Clearpay: 13 days", "afterpay_clearpay", 13 * day},
		{"Cash App: 7 days", "cashapp", 7 * day},
		{"PayPal: 10 days, not the 20 of an extension", "paypal", 10 * day},
		{"Terminal: 2 days, the shortest of all brands", "card_present", 2 * day},
		{"card: 7 days", "card", 7 * day},
		{"another method: 7 days", "revolut_pay", 7 * day},
		{"unknown method: 7 days", "", 7 * day},
	} {
		t.Run(tt.fact, func(t *testing.T) {
			h := newHoldAt(t, intentWithoutCaptureBefore(tt.method, t0), t0)
			if got := h.ExpiresAt.Sub(t0); got != tt.want || h.ExpiresSource != hold.SourceAssumed {
				t.Errorf("ends %v after creation (%s), want %v (assumed)", got,
					h.ExpiresSource, tt.want)
			}
			end := t0.Add(tt.want)
			if h := newHoldAt(t, intentWithoutCaptureBefore(tt.method, t0),
				end.Add(-time.Millisecond)); !h.ExpiresAt.Equal(end) {
				t.Errorf("a millisecond before: ends at %v, want %v", h.ExpiresAt, end)
			}
			if h := newHoldAt(t, intentWithoutCaptureBefore(tt.method, t0),
				end); !h.ExpiresAt.Equal(end.Add(day)) {
				t.Errorf("still held at the deadline: ends at %v, want a day later", h.ExpiresAt)
			}
		})
	}
}

func TestAssumedDeadline_KlarnaEndsAtMidnightUTC(t *testing.T) {
	utc := func(s string) time.Time {
		at, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	for _, tt := range []struct{ name, created, want string }{
		{"Stripe's own example", "2020-10-01T14:00:00Z", "2020-10-29T00:00:00Z"},
		{"created at midnight", "2026-11-20T00:00:00Z", "2026-12-18T00:00:00Z"},
		{"created in the last second of a day", "2026-11-20T23:59:59Z", "2026-12-18T00:00:00Z"},
		{"into a leap day", "2028-02-01T12:00:00Z", "2028-02-29T00:00:00Z"},
		{"over a leap day", "2028-02-02T12:00:00Z", "2028-03-01T00:00:00Z"},
		{"created on a leap day", "2028-02-29T12:00:00Z", "2028-03-28T00:00:00Z"},
		{"February without a leap day", "2026-02-02T12:00:00Z", "2026-03-02T00:00:00Z"},
		{"over the end of a year", "2026-12-15T12:00:00Z", "2027-01-12T00:00:00Z"},
		{"the day of UTC, ahead of local time", "2026-11-20T23:30:00-05:00",
			"2026-12-19T00:00:00Z"},
		{"the day of UTC, behind local time", "2026-11-21T00:30:00+01:00", "2026-12-18T00:00:00Z"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			created, want := utc(tt.created), utc(tt.want)
			in := intentWithoutCaptureBefore("klarna", created)
			for _, now := range []time.Time{created, want.Add(-time.Millisecond)} {
				h := newHoldAt(t, in, now)
				if !h.ExpiresAt.Equal(want) || h.ExpiresSource != hold.SourceAssumed {
					t.Errorf("scheduled at %v: ends at %v (%s), want %v (assumed)", now,
						h.ExpiresAt, h.ExpiresSource, want)
				}
			}
			// Were the end of the 28th day meant, the next midnight would be
			// the deadline.
			for _, now := range []time.Time{want, want.Add(9 * time.Hour),
				want.Add(day - time.Millisecond)} {
				if h := newHoldAt(t, in, now); !h.ExpiresAt.Equal(want.Add(day)) {
					t.Errorf("still held at %v: ends at %v, want %v", now,
						h.ExpiresAt, want.Add(day))
				}
			}
		})
	}
}

func TestSchedule_KlarnaCaptureBeforeMidnight(t *testing.T) {
	in, midnight := intentWithoutCaptureBefore("klarna", t0),
		time.Date(2026, 12, 18, 0, 0, 0, 0, time.UTC)
	for at, code := range map[time.Time]hold.ProblemCode{
		midnight.Add(-time.Millisecond): "",
		midnight:                        hold.AfterDeadline,
		t0.Add(28*day - time.Second):    hold.AfterDeadline,
	} {
		_, err := hold.DecideNewHold(&hold.ValidRequest{ID: testIntentID, OnExpiry: hold.PolicyCancel,
			CaptureAt: at}, in, "api", t0)
		wantCode(t, err, code)
	}
}

// Japan's 30 days and extended authorizations appear only in the charge's
// capture_before.
func TestDeadline_CaptureBeforeOverridesMethod(t *testing.T) {
	for _, method := range []string{"card", "card_present"} {
		for _, lasts := range []time.Duration{day, 4*day + 18*time.Hour, 29*day +
			18*time.Hour, 30 * day} {
			in := intentWithoutCaptureBefore(method, t0)
			in.CaptureBefore = t0.Add(lasts)
			if h := newHoldAt(t, in, t0); !h.ExpiresAt.Equal(in.CaptureBefore) ||
				h.ExpiresSource != hold.SourceCharge {
				t.Errorf("%s for %v: ends at %v (%s)", method, lasts, h.ExpiresAt, h.ExpiresSource)
			}
		}
	}
}

func TestApplyPaymentIntent_AssumedDeadlineMovesOnlyEarlier(t *testing.T) {
	midnight := time.Date(2026, 12, 18, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name, method string
		stored, want time.Time
	}{
		{"a later one recorded", "klarna", t0.Add(28 * day), midnight},
		{"the same recorded", "klarna", midnight, midnight},
		{"an earlier one recorded", "klarna", t0.Add(7 * day), t0.Add(7 * day)},
		{"the method cannot be seen", "", t0.Add(28 * day), t0.Add(28 * day)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHoldAt(t, intentWithoutCaptureBefore("klarna", t0), t0)
			h.ExpiresAt = tt.stored
			c := h.ApplyPaymentIntent(intentWithoutCaptureBefore(tt.method, t0), t0.Add(day))
			moved := !tt.stored.Equal(tt.want)
			if !c.Hold.ExpiresAt.Equal(tt.want) || c.NewDeadline != moved || c.Unchanged == moved {
				t.Errorf("ends at %v, new deadline %v, same %v; want %v", c.Hold.ExpiresAt,
					c.NewDeadline, c.Unchanged, tt.want)
			}
		})
	}
}
