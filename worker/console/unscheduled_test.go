package console_test

import (
	"context"
	"net/http"
	"net/url"
	"testing"

	"github.com/holdd/holdd/worker/console"
	"github.com/holdd/holdd/worker/reconcile"
)

// noFindings is a reconciler whose last run found no intent without a hold.
type noFindings struct{ console.Reconciler }

func (noFindings) ReadReconciliation(
	context.Context, string,
) (run reconcile.Reconciliation, ok bool, err error) {
	return run, true, nil
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
