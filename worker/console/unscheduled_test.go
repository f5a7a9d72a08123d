package console_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/holdd/holdd/worker/console"
	"github.com/holdd/holdd/worker/reconcile"
)

// findings is a reconciler whose last run found these.
type findings struct {
	console.Reconciler
	list []reconcile.Finding
}

func (f findings) ReadReconciliation(
	context.Context, string,
) (run reconcile.Reconciliation, ok bool, err error) {
	return reconcile.Reconciliation{Findings: f.list}, true, nil
}

func TestNotScheduled_ListsIntentsThatNeedAdoption(t *testing.T) {
	one := newHeldOne()
	for _, kind := range reconcile.FindingKinds() {
		one.findings = append(one.findings, reconcile.Finding{Kind: kind,
			PaymentIntent: "pi_" + string(kind) + "1", Reference: "BK-" + string(kind),
			Amount: 450 * euros, Currency: "eur"})
	}
	p := one.send(t, "ann", http.MethodGet, "/console/not-scheduled", nil)
	for _, kind := range reconcile.FindingKinds() {
		want := kind == reconcile.FoundOrphan || kind == reconcile.FoundRejected
		if got := strings.Contains(p.text, "BK-"+string(kind)); got != want {
			t.Errorf("%s is listed: %v", kind, got)
		}
	}
	p = one.send(t, "ann", http.MethodGet, "/console/not-scheduled/pi_rejected1", nil)
	if p.status != http.StatusOK || !strings.Contains(p.text, "BK-rejected") {
		t.Errorf("%d %s", p.status, p.text)
	}
}

// A capture that fails after the adoption can be sent again: the hold has the button.
func TestNotScheduled_AdoptedIntentLeadsToItsHold(t *testing.T) {
	one := newHeldOne()
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		p := one.send(t, "ann", method, "/console/not-scheduled/pi_1", url.Values{"then": {"capture"}})
		if p.status != http.StatusSeeOther || p.location != "/console/holds/pi_1" {
			t.Errorf("%s: %d %s", method, p.status, p.location)
		}
		p = one.send(t, "ann", method, "/console/not-scheduled/pi_2", nil)
		if p.status != http.StatusNotFound {
			t.Errorf("%s of an unknown intent: %d", method, p.status)
		}
	}
}
