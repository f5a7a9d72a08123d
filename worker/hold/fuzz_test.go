package hold_test

import (
	"encoding/json"
	"errors"
	"testing"
	"unicode/utf8"

	"github.com/holdd/holdd/worker/hold"
)

// checkIsProblem checks what a caller is told of a refusal.
func checkIsProblem(t *testing.T, err error) {
	t.Helper()
	var p *hold.Problem
	if !errors.As(err, &p) || p.Code == "" || p.Detail == "" {
		t.Fatalf("%T %v: want a *Problem with a code and a sentence", err, err)
	}
	if !utf8.ValidString(p.Error()) || len(p.Error()) > 1000 {
		t.Fatalf("%d bytes, valid text %v: %q", len(p.Error()), utf8.ValidString(p.Error()),
			p.Error())
	}
}

func FuzzScheduleRequest(f *testing.F) {
	for _, s := range []string{
		`{"payment_intent":"pi_3PxYzA2eZvKYlo2C1gQmT0aB"}`,
		`{"payment_intent":"pi_3PxYzA2eZvKYlo2C1gQmT0aB","capture_at":"2026-12-01T11:00","time_zone":"Europe/Paris","capture_amount":500}`,
		`{"payment_intent":"pi_3PxYzA2eZvKYlo2C1gQmT0aB","amount":42000,"currency":"EUR","expires_at":"2026-11-27T09:00:00Z","cancel_at":"2026-11-21T09:00:00+14:00","on_expiry":"alert","metadata":{"a":"b"}}`,
		`{"payment_intent":"pi_x_secret_y","account":"sk_live_1"}`,
		`{"payment_intent":"","amount":-9223372036854775808}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var w hold.ScheduleRequest
		if json.Unmarshal([]byte(s), &w) != nil {
			return
		}
		d, err := w.Validate(t0)
		if err != nil {
			checkIsProblem(t, err)
			return
		}
		for _, in := range []*hold.PaymentIntent{nil, heldIntent()} {
			c, err := hold.DecideNewHold(d, in, "api", t0)
			if err != nil {
				checkIsProblem(t, err)
				continue
			}
			h := c.Hold
			if h.State != hold.Waiting && h.State != hold.Scheduled || h.Amount < 0 ||
				h.CaptureAmount < 0 || h.Amount > 0 && h.CaptureAmount > h.Amount ||
				!h.CaptureAt.IsZero() && !h.CancelAt.IsZero() ||
				h.ExpiresAt.IsZero() || h.OnExpiry == 0 {
				t.Fatalf("%+v", h)
			}
			if !d.HasSameTermsAs(&h) {
				t.Fatal("the same wish again is another wish")
			}
			if p := c.SortedSetPlacement(&hold.Hold{}, t0, testRules); p.NextMilestone.IsZero() {
				t.Fatal("no milestone ahead")
			}
			p := hold.Patch{CaptureAt: &w.CancelAt, CancelAt: &w.CaptureAt, TimeZone: w.TimeZone,
				CaptureAmount: &w.Amount, OnExpiry: &w.Reference,
				Reference: &w.OnExpiry, Metadata: w.Metadata}
			if _, err := h.ApplyPatch(&p, "api", t0); err != nil {
				checkIsProblem(t, err)
			}
			if _, err := json.Marshal(hold.NewView(&h, t0, true)); err != nil {
				t.Fatalf("can't be shown: %v", err)
			}
		}
	})
}

func FuzzParseTime(f *testing.F) {
	f.Add("2026-12-01T11:00:00+01:00", "")
	f.Add("2026-03-29T02:30", "Europe/Paris")
	f.Add("2026-10-25 02:30:00.5", "Australia/Lord_Howe")
	f.Add("0000-01-01T00:00", "UTC")
	f.Add("9999-12-31T23:59:59-23:59", "../x")
	f.Fuzz(func(t *testing.T, s, zone string) {
		got, err := hold.ParseTime("capture_at", s, zone)
		if err != nil {
			checkIsProblem(t, err)
			return
		}
		if got.Location().String() != "UTC" || got.Nanosecond()%1e6 != 0 {
			t.Fatalf("%q %q: %v is not in UTC and milliseconds", s, zone, got)
		}
	})
}
