package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/hold"
)

func TestRepartitionCommand(t *testing.T) {
	r := storetest.StartUnix(t)
	env := []string{"REDIS_URL=" + r.URL(), "STRIPE_API_KEY=sk_test_repartition"}
	if code, _, stderr := runCommand(t, env, "repartition", "--to", "4"); code != exitUsage || !strings.Contains(stderr, "this Redis has no data of holdd") {
		t.Errorf("%d %s", code, stderr)
	}
	s, _, err := store.Open(t.Context(), store.Options{URL: r.URL()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	due := time.Now().Add(time.Hour)
	for i := range 20 {
		id := fmt.Sprintf("pi_%08d", i)
		if ok, err := s.Commit(t.Context(), []hold.HoldWrite{{
			Hold: hold.Hold{ID: id, PaymentIntent: id, Amount: 100, Currency: "eur", CaptureAt: due, ExpiresAt: due.Add(time.Hour), State: hold.Scheduled,
				OnExpiry: hold.PolicyCancel, Revision: 1, Generation: 1, NextOp: hold.OpCapture, NextAt: due, Reason: hold.CauseSchedule},
			Placement: hold.SortedSetPlacement{DueAt: due, NextMilestone: due},
		}}); err != nil || !ok[0].IsCommitted() {
			t.Fatal(err)
		}
	}
	if _, _, err := s.SendHeartbeat(t.Context(), "desk-1", time.Minute); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := runCommand(t, env, "repartition", "--to", "4"); code != exitUsage || !strings.Contains(stderr, "stop desk-1 first") {
		t.Errorf("%d %s", code, stderr)
	}
	if code, stdout, stderr := runCommand(t, env, "repartition", "--to", "4", "--dry-run"); code != exitOK ||
		!strings.Contains(stdout, "Would move the holds from 1 to 4 partitions") || !strings.Contains(stderr, "stop desk-1 first") {
		t.Errorf("%d %s %s", code, stdout, stderr)
	}
	if err := s.DeregisterReplica(t.Context(), "desk-1"); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := runCommand(t, env, "repartition", "--to", "4"); code != exitOK || !strings.Contains(stderr, "set partitions (HOLDD_PARTITIONS) to 4 and start the replicas") {
		t.Errorf("%d %s", code, stderr)
	}
	if _, _, err := store.Open(t.Context(), store.Options{URL: r.URL()}); err == nil || !strings.Contains(err.Error(), "divided into 4 partitions") {
		t.Error(err)
	}
	if code, _, stderr := runCommand(t, env, "repartition"); code != exitUsage || !strings.Contains(stderr, `"to"`) {
		t.Errorf("%d %s", code, stderr)
	}
}
