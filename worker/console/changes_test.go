package console_test

import (
	"context"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/console"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/reconcile"
)

// heldOne is a console's only hold. It changes by the decisions of package hold,
// at a revision as intake.Changer does.
type heldOne struct {
	console.HoldReader
	console.HoldChanger
	h        hold.Hold
	now      time.Time
	findings []reconcile.Finding
}

func (one *heldOne) Get(_ context.Context, id string) (hold.Hold, time.Time, error) {
	if id != one.h.ID {
		return hold.Hold{}, one.now, &hold.Problem{Code: hold.HoldNotFound}
	}
	return one.h, one.now, nil
}

func (one *heldOne) change(
	revision uint64, decide func(hold.Hold) (hold.Decision, error),
) (hold.Hold, time.Time, error) {
	if revision != one.h.Revision {
		return one.h, one.now, &hold.Problem{Code: hold.RevisionMismatch}
	}
	d, err := decide(one.h)
	if err == nil {
		one.h = d.Hold
	}
	return one.h, one.now, err
}

func (one *heldOne) RequestCapture(
	_ context.Context, _ string, req hold.CaptureRequest, revision uint64, by string,
) (hold.Hold, time.Time, error) {
	return one.change(revision, func(h hold.Hold) (hold.Decision, error) {
		return h.RequestCapture(req, by, one.now)
	})
}

// page is what a console shows.
type page struct {
	status   int
	location string // of a redirect
	text     string
	fields   url.Values // hidden in its form
}

var hiddenField = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

// send sends a request of a visitor.
func (one *heldOne) send(t *testing.T, by, method, path string, form url.Values) page {
	t.Helper()
	c, err := console.New(console.Options{Reader: one, Changer: one,
		Scheduler: struct{ console.HoldScheduler }{}, Planner: struct{ console.Planner }{},
		Reconciler: findings{list: one.findings}, Deliveries: struct{ console.DeliveryService }{},
		Readiness: struct{ console.ReadinessChecker }{}, Store: struct{ console.StoreReader }{},
		Stages: struct{ console.StageReporter }{},
		Identity: &console.TrustedIdentity{Header: "X-User", MayOperate: true,
			Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := httptest.NewRequest(method, path, strings.NewReader(form.Encode()))
	r.Header.Set("X-User", by)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	p := page{status: w.Code, location: w.Header().Get("Location"), text: w.Body.String(),
		fields: url.Values{}}
	for _, m := range hiddenField.FindAllStringSubmatch(p.text, -1) {
		p.fields.Add(html.UnescapeString(m[1]), html.UnescapeString(m[2]))
	}
	return p
}

const euros = 100

// newHeldOne returns a hold of 420 EUR that can be captured in parts, at
// revision 5.
func newHeldOne() *heldOne {
	now := time.Now().UTC().Truncate(time.Millisecond)
	return &heldOne{now: now, h: hold.Hold{ID: "pi_1", PaymentIntent: "pi_1", Reference: "BK-1",
		State: hold.Scheduled, NextOp: hold.OpCapture, NextAt: now.Add(24 * time.Hour),
		Reason: hold.CauseSchedule, CaptureAt: now.Add(24 * time.Hour), OnExpiry: hold.PolicyAlert,
		Amount: 420 * euros, Currency: "eur", Revision: 5, Generation: 1, CreatedAt: now,
		ExpiresAt: now.Add(6 * 24 * time.Hour), ExpiresSource: hold.SourceCharge, Verified: true,
		Features: hold.FeaturesKnown | hold.FeatureMulticapture | hold.FeatureOvercapture |
			hold.FeatureIncremental,
		MaxCapturable: 500 * euros,
		History:       []hold.HistoryEntry{{At: now, Kind: hold.HistoryScheduled, By: "api"}}}}
}

// TestBulkCapture_TakesConfirmedAmount captures in bulk what is left after
// captures by holdd and by another system.
func TestBulkCapture_TakesConfirmedAmount(t *testing.T) {
	for _, own := range []int64{0, 45 * euros} {
		for _, elsewhere := range []int64{0, 20 * euros} {
			for _, terms := range []int64{0, 300 * euros, 480 * euros} {
				t.Run(fmt.Sprintf("own %d, elsewhere %d, capture_amount %d", own, elsewhere, terms),
					func(t *testing.T) {
						one := newHeldOne()
						one.h.Amount -= own + elsewhere
						one.h.CapturedElsewhere, one.h.CaptureAmount = elsewhere, terms
						if own > 0 {
							one.h.PartialCaptures = &hold.PartialCaptures{Captured: own, Count: 1}
						}
						want := one.h.Amount
						if terms > 0 {
							want = terms - own - elsewhere
						}
						one.captureInBulk(t, want)
						taken := one.h.NextCall(one.now).Amount
						if taken != want {
							t.Errorf("%d is captured, and %d was confirmed", taken, want)
						}
					})
			}
		}
	}
	t.Run("capture_amount is reached", func(t *testing.T) {
		one := newHeldOne()
		one.h.Amount, one.h.CapturedElsewhere, one.h.CaptureAmount = 400*euros, 20*euros, 20*euros
		one.captureInBulk(t, 0)
		if c, _ := hold.NextCaptureAmount(&one.h); c != 0 || one.h.Reason != hold.CauseTrigger {
			t.Errorf("%d is to be captured, %s", c, one.h.Reason)
		}
	})
}

// captureInBulk captures the hold with the bulk act, which confirms amount.
func (one *heldOne) captureInBulk(t *testing.T, amount int64) {
	t.Helper()
	sum := "1 hold, " + hold.FormatAmount(amount, "eur")
	p := one.send(t, "anna", http.MethodGet, "/console/bulk/capture?id=pi_1", nil)
	if !strings.Contains(p.text, sum) {
		t.Fatalf("the page does not confirm %q:\n%s", sum, p.text)
	}
	p = one.send(t, "anna", http.MethodPost, "/console/bulk/capture", p.fields)
	if p.status != http.StatusOK || !strings.Contains(p.text, "Capture requested: "+sum) {
		t.Fatalf("status %d\n%s", p.status, p.text)
	}
}
