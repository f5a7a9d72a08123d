package console_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

func (one *heldOne) RequestCancel(
	_ context.Context, _, reason string, revision uint64, by string,
) (hold.Hold, time.Time, error) {
	return one.change(revision, func(h hold.Hold) (hold.Decision, error) {
		return h.RequestCancel(reason, by, one.now)
	})
}

func (one *heldOne) AcknowledgeWarnings(
	_ context.Context, _ string, revision uint64, by string,
) (hold.Hold, time.Time, error) {
	return one.change(revision, func(h hold.Hold) (hold.Decision, error) {
		return h.AcknowledgeWarnings(by, one.now)
	})
}

func (one *heldOne) RequestIncrementAndWait(
	_ context.Context, _ string, req hold.IncrementRequest, revision uint64, by string,
) (hold.Hold, time.Time, error) {
	return one.change(revision, func(h hold.Hold) (hold.Decision, error) {
		return h.RequestIncrement(req, by, one.now, hold.DecisionRules{})
	})
}

func (one *heldOne) PatchTerms(
	_ context.Context, _ string, p hold.Patch, revision uint64, by string,
) (hold.Hold, time.Time, error) {
	return one.change(revision, func(h hold.Hold) (hold.Decision, error) {
		return h.ApplyPatch(&p, by, one.now)
	})
}

// completePart does what the worker does with a requested part.
func (one *heldOne) completePart(t *testing.T) {
	t.Helper()
	h := one.h
	h.PreviousState, h.State = h.State, hold.Working
	received := hold.CapturedSoFar(&h)
	for range 3 {
		call := h.NextCall(one.now)
		received += call.Amount
		d := h.ApplyAnswer(call, hold.Answer{Kind: hold.AnswerOK, HTTPStatus: http.StatusOK,
			Intent: &hold.PaymentIntent{ID: h.PaymentIntent, Status: hold.StatusRequiresCapture,
				Amount: 420 * euros, AmountCapturable: 420*euros - received,
				AmountReceived: received, Currency: h.Currency, CaptureBefore: h.ExpiresAt,
				Features: h.Features, MaxCapturable: h.MaxCapturable}}, one.now)
		h = d.Hold
		if !d.NextStepNow {
			break
		}
	}
	if h.State != hold.Scheduled || h.PartialCaptures.Part != 0 {
		t.Fatalf("the part has no outcome: the hold is %s, %+v", h.State, h.PartialCaptures)
	}
	one.h = h
}

// open opens the confirmation of an act, such as "capture?amount=12.50".
func (one *heldOne) open(t *testing.T, by, act string) url.Values {
	t.Helper()
	p := one.send(t, by, http.MethodGet, "/console/holds/"+one.h.ID+"/"+act, nil)
	if p.status != http.StatusOK || p.fields.Get("revision") == "" {
		t.Fatalf("%s: status %d\n%s", act, p.status, p.text)
	}
	return p.fields
}

// confirm confirms an act, and reports whether the console says that it is done.
func (one *heldOne) confirm(t *testing.T, by, act string, fields url.Values) (done bool) {
	t.Helper()
	p := one.send(t, by, http.MethodPost, "/console/holds/"+one.h.ID+"/"+act, fields)
	return p.status == http.StatusSeeOther
}

// TestRepeatedSubmit clicks the confirmations of one visitor one after the other.
// All of them were opened before the first click.
func TestRepeatedSubmit(t *testing.T) {
	later, latest := reschedule(48*time.Hour), reschedule(72*time.Hour)
	for name, tt := range map[string]struct {
		first, second string
		reason        string // of the second, a cancel
		captureAmount int64
		done          bool
	}{
		"capture":                {"capture?amount=420.00", "capture?amount=420.00", "", 0, true},
		"capture another amount": {"capture?amount=420.00", "capture?amount=100.00", "", 0, false},
		"part":                   {"part?part=45.00", "part?part=45.00", "", 0, true},
		"part of other amount":   {"part?part=45.00", "part?part=30.00", "", 0, false},
		"capture after part":     {"part?part=45.00", "capture?amount=45.00", "", 0, false},
		"capture of the terms after part": {"part?part=45.00", "capture?amount=420.00", "",
			420 * euros, false},
		"part after capture":     {"capture?amount=45.00", "part?part=45.00", "", 0, false},
		"cancel":                 {"cancel", "cancel", "", 0, true},
		"cancel for a reason":    {"cancel", "cancel", "fraudulent", 0, false},
		"cancel after capture":   {"capture?amount=420.00", "cancel", "", 0, false},
		"increment":              {"increment?total=450.00", "increment?total=450.00", "", 0, true},
		"increment to another":   {"increment?total=450.00", "increment?total=460.00", "", 0, false},
		"reschedule":             {later, later, "", 0, true},
		"reschedule to new time": {later, latest, "", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			one := newHeldOne()
			one.h.CaptureAmount = tt.captureAmount
			first, second := one.open(t, "anna", tt.first), one.open(t, "anna", tt.second)
			if tt.reason != "" {
				second.Set("reason", tt.reason)
			}
			if !one.confirm(t, "anna", nameOf(tt.first), first) {
				t.Fatal("the first click is not done")
			}
			before := one.h.Revision
			if done := one.confirm(t, "anna", nameOf(tt.second), second); done != tt.done {
				t.Errorf("the console says done %t, want %t", done, tt.done)
			}
			if one.h.Revision != before {
				t.Errorf("the second click changed the hold: %+v", one.h)
			}
		})
	}
}

// reschedule returns the act that releases the hold after a time.
func reschedule(in time.Duration) string {
	return "reschedule?then=cancel&at=" + time.Now().UTC().Add(in).Format("2006-01-02T15:04")
}

func nameOf(act string) string {
	name, _, _ := strings.Cut(act, "?")
	return name
}

// A change by another visitor is not the act that the form asks for, even if the
// visitor did the same shortly before.
func TestRepeatedSubmit_ChangedByAnother(t *testing.T) {
	one := newHeldOne()
	before := one.open(t, "anna", "part?part=45.00")
	if !one.confirm(t, "anna", "part", before) {
		t.Fatal("the first part is not accepted")
	}
	one.completePart(t)
	if !one.confirm(t, "anna", "part", before) {
		t.Error("a part is not recognized after its outcome")
	}
	for _, act := range []string{"part?part=45.00", "capture?amount=45.00"} {
		again := one.open(t, "anna", act)
		if !one.confirm(t, "ben", "acknowledge", one.open(t, "ben", "acknowledge")) {
			t.Fatal("ben's change is not accepted")
		}
		if one.confirm(t, "anna", nameOf(act), again) {
			t.Errorf("%s: the console says done", act)
		}
		one.h.Acknowledged = false
	}
	if got := one.h.PartialCaptures; got.Part != 0 || got.Captured != 45*euros {
		t.Errorf("%+v", got)
	}
}

// An act before the form was opened is not its first click.
func TestRepeatedSubmit_SameActBeforeForm(t *testing.T) {
	one := newHeldOne()
	if !one.confirm(t, "anna", "capture", one.open(t, "anna", "capture?amount=420.00")) {
		t.Fatal("the capture is not accepted")
	}
	form := one.open(t, "anna", "capture?amount=420.00")
	if !one.confirm(t, "ben", "acknowledge", one.open(t, "ben", "acknowledge")) {
		t.Fatal("ben's change is not accepted")
	}
	if one.confirm(t, "anna", "capture", form) {
		t.Error("the console says done")
	}
}

// After a loss of Redis a hold begins at revision 1 again, and knows the parts
// that the metadata names. The same form is another part then.
func TestPart_AfterHoldWasRebuilt(t *testing.T) {
	for name, forget := range map[string]func(one *heldOne){
		"created later": func(one *heldOne) {
			one.h.CreatedAt = one.h.CreatedAt.Add(time.Hour)
			one.h.PartialCaptures.Captured, one.h.CapturedElsewhere = 0, 0
		},
		"more captured": func(*heldOne) {},
	} {
		t.Run(name, func(t *testing.T) {
			one := newHeldOne()
			first := one.h.Revision
			if !one.confirm(t, "anna", "part", one.open(t, "anna", "part?part=45.00")) {
				t.Fatal("the first part is not accepted")
			}
			one.completePart(t)
			one.h.Revision = first
			forget(one)
			if !one.confirm(t, "anna", "part", one.open(t, "anna", "part?part=45.00")) {
				t.Fatal("the second part is not accepted")
			}
			if want := hold.CapturedSoFar(&one.h) + 45*euros; one.h.PartialCaptures.Part != want {
				t.Errorf("the part is to reach %d, want %d", one.h.PartialCaptures.Part, want)
			}
		})
	}
}
