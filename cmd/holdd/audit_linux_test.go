package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/holdd/holdd/worker/stripesim"
)

// A second signal does not end the process before the checkpoint is written.
func TestAudit_SecondSignal(t *testing.T) {
	sim := stripesim.New(stripesim.Options{Seed: 1, EndpointRate: -1, OverallRate: -1})
	for range 150 {
		if _, err := sim.Authorize(stripesim.Hold{Amount: 1000}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var lists atomic.Int32
	stripe := sim.Handler()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/payment_intents" && lists.Add(1) == 2 {
			if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
				t.Error(err)
			}
			interrupt() // as main does at the first signal
			<-r.Context().Done()
			return
		}
		stripe.ServeHTTP(w, r)
	}))
	defer server.Close()
	dir := t.TempDir()
	var out, errs bytes.Buffer
	code := Run(ctx, []string{"audit", "--rate", "25", "--checkpoint", filepath.Join(dir, "kept")},
		[]string{"STRIPE_API_BASE=" + server.URL, "STRIPE_API_KEY=" + doctorAPIKey},
		strings.NewReader(""), &out, &errs)
	if code != exitInterrupted ||
		!strings.Contains(errs.String(), "kept keeps 100 PaymentIntents and 0 charges") ||
		!strings.Contains(errs.String(), "hint: continue with: holdd audit --resume") {
		t.Errorf("exit code %d: %s", code, &errs)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 || files[0].Name() != "kept" {
		t.Errorf("%v, files %v", err, files)
	}
}
