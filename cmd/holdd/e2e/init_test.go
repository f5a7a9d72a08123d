package e2e_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// TestInit_WebhooksArrive starts holdd with the files that holdd init wrote. An
// event of the endpoint that it created schedules a hold.
func TestInit_WebhooksArrive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unlimitedStripeOptions)
	w.runStripe()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	bin, dir := binaryPath(t, buildRelease), t.TempDir()
	key, settings := filepath.Join(dir, "key"), filepath.Join(dir, "holdd.yaml")
	if err := os.WriteFile(key, []byte(apiKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := runHoldd(t, bin, []string{"STRIPE_API_BASE=http://" + w.stripe.addr},
		"init", "--config", settings, "--stripe-api-key-file", key, "--redis-url", w.redis.URL(),
		"--public-url", "http://"+address)
	if code != 0 || !strings.Contains(stdout, "Created the webhook endpoint") {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	r := startReplica(t, "a replica with the files", bin, "HOLDD_CONFIG="+settings,
		"HOLDD_LISTEN="+address)
	w.waitForFirstReconcile(r)
	pi := w.authorizeHold(stripesim.Hold{Amount: 12000, Metadata: map[string]string{
		hold.MetaReference: "BK-2071", "holdd_capture_at": formatTime(afterNow(48 * time.Hour))}})
	v := w.waitForState(r, pi, hold.Scheduled, processTimeout)
	if v.Reference != "BK-2071" || v.History[0].By != "stripe" {
		t.Errorf("%+v", v)
	}
	checkNoErrorsLogged(t, r)
}
