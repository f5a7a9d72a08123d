package main

import (
	"context"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/reconcile"
)

// fakeReconciler finishes a run when it is read the third time. A run with the
// account acct_interrupted does not finish.
type fakeReconciler struct {
	unavailable bool
	mu          sync.Mutex
	run         reconcile.Reconciliation
}

func (c *fakeReconciler) StartRun(_ context.Context, dryRun bool, accounts []string, by string) (reconcile.Reconciliation, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unavailable {
		return reconcile.Reconciliation{}, false, health.ErrUnavailable
	}
	if c.run.State == reconcile.RunRunning {
		return c.run, false, nil
	}
	c.run = reconcile.Reconciliation{ID: "rec_1", DryRun: dryRun, State: reconcile.RunRunning, By: by, StartedAt: time.Now(), UpdatedAt: time.Now()}
	if len(accounts) > 0 {
		c.run.Error = "Stripe does not answer"
	}
	return c.run, true, nil
}

func (c *fakeReconciler) ReadReconciliation(
	_ context.Context, id string,
) (reconcile.Reconciliation, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.run.Percent += 50; c.run.Percent >= 100 {
		c.run.Percent, c.run.State, c.run.FinishedAt, c.run.Listed, c.run.Compared = 100, reconcile.RunFinished, time.Now(), 700, 640
		c.run.Counts = map[reconcile.FindingKind]int64{reconcile.FoundScheduled: 600, reconcile.FoundOrphan: 1, reconcile.FoundRejected: 1, reconcile.FoundRecent: 1}
		ends := time.Now().Add(50*time.Hour + time.Minute)
		c.run.Findings = []reconcile.Finding{
			{Kind: reconcile.FoundScheduled, PaymentIntent: "pi_found0001", Reference: "BK-1", Amount: 12500, Currency: "eur", Detail: "capture at 2026-12-01T11:00:00Z"},
			{Kind: reconcile.FoundOrphan, PaymentIntent: "pi_orphan001", Account: "acct_12345678", Amount: 900, Currency: "jpy", Reference: "BK-77", ExpiresAt: ends, Detail: "nobody has scheduled it; it is left alone"},
			{Kind: reconcile.FoundRecent, PaymentIntent: "pi_3PxYzA2eZvKYlo2C1gQmT0aC", Amount: 700, Currency: "eur", ExpiresAt: ends.Add(100 * time.Hour), Detail: "skipped: created in the last 10 minutes, so it may still be scheduled"},
			{Kind: reconcile.FoundRejected, PaymentIntent: "pi_reject001", Amount: 45000,
				Currency: "eur", Reference: "BADTERMS", ExpiresAt: ends.Add(50 * time.Hour),
				Detail: "capture_at: \"\x1b[31msoon\" is no time"},
		}
		if c.run.Error != "" {
			c.run.State = reconcile.RunInterrupted
		}
	}
	return c.run, id == "" || id == c.run.ID, nil
}
