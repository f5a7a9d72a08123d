package e2e_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/holdd/holdd/worker/stripesim"
)

// The console runs the checks of "holdd doctor" with the daemon's settings.
func TestConsole_RunsDoctor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripesim.Options{})
	r := w.startReplica(binaryPath(t, buildRace))
	h := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	a := sendRaw(t, r, http.MethodPost, "/console/health/doctor", h, nil, false)
	if a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.text)
	}
	for _, want := range []string{"Settings", "Redis", "Stripe"} {
		if !strings.Contains(strings.ToLower(a.text), strings.ToLower(want)) {
			t.Errorf("the page has no check of %s:\n%s", want, a.text)
		}
	}
	if strings.Contains(a.text, apiKey) {
		t.Error("the page shows the key")
	}
}
