package api_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/reconcile"
)

// fakeReconciler answers as the worker does.
type fakeReconciler struct {
	lastRun  reconcile.Reconciliation
	accounts []string
	err      error
}

func (r *fakeReconciler) StartRun(_ context.Context, dryRun bool, accounts []string, by string) (reconcile.Reconciliation, bool, error) {
	for _, a := range accounts {
		if err := hold.CheckAccountID(a); err != nil {
			return reconcile.Reconciliation{}, false, err
		}
	}
	if r.err != nil || r.lastRun.State == reconcile.RunRunning {
		return r.lastRun, false, r.err
	}
	r.accounts = accounts
	r.lastRun = reconcile.Reconciliation{ID: "rec_1", DryRun: dryRun, State: reconcile.RunRunning, By: by, StartedAt: time.Now(),
		Counts: map[reconcile.FindingKind]int64{reconcile.FoundOrphan: 3}, Findings: []reconcile.Finding{{Kind: reconcile.FoundOrphan, PaymentIntent: testHoldID, Amount: 100, Currency: "eur"}}}
	return r.lastRun, true, nil
}

func (r *fakeReconciler) ReadReconciliation(
	_ context.Context, id string,
) (reconcile.Reconciliation, bool, error) {
	return r.lastRun, r.lastRun.ID != "" && (id == "" || id == r.lastRun.ID), r.err
}

func TestReconcile_StartAndShow(t *testing.T) {
	r := &fakeReconciler{}
	s, _ := startServer(t, api.Options{Holds: holdsOf(newFakeHolds()), Reconciler: r, Livemode: true})
	c := newTestClient(t, s.URL, "").WithClientName("cli")
	if _, err := c.GetReconciliation(t.Context(), ""); !errors.Is(err,
		&api.Problem{Code: api.ReconcileRunNotFound}) {
		t.Errorf("%v", err)
	}
	run, started, err := c.StartReconcile(t.Context(), true, []string{"acct_12345678"})
	if err != nil || !started || !run.DryRun || run.By != "cli" || run.State != "running" || run.FinishedAt != nil || !run.Livemode || run.CountsByKind["orphan"] != 3 || len(run.Findings) != 1 || run.FindingsOmitted != 2 {
		t.Errorf("%v %v %+v", err, started, run)
	}
	if len(r.accounts) != 1 {
		t.Errorf("%v", r.accounts)
	}
	again, started, err := c.StartReconcile(t.Context(), false, nil)
	if err != nil || started || again.ID != run.ID {
		t.Errorf("%v %v %+v", err, started, again)
	}
	r.lastRun.State, r.lastRun.FinishedAt = reconcile.RunFinished, time.Now()
	if run, err := c.GetReconciliation(t.Context(), "rec_1"); err != nil || run.FinishedAt == nil {
		t.Errorf("%v %+v", err, run)
	}
	for body, code := range map[string]hold.ProblemCode{
		`{"dryrun":true}`: api.UnknownField, `{"dry_run":"yes"}`: api.InvalidType, `{`: api.InvalidJSON, `{"accounts":["sk_live_1"]}`: hold.InvalidID,
		``: "", `{}`: "",
	} {
		r.lastRun.State = reconcile.RunFinished
		if a := sendRequest(t, "POST", s.URL+"/v1/reconcile", body); problemCode(t, a) != code {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	if a := sendRequest(t, "GET", s.URL+"/v1/reconcile?id=rec_2", ""); problemCode(t, a) != api.ReconcileRunNotFound {
		t.Errorf("%d %s", a.status, a.body)
	}
	r.err = health.ErrUnavailable
	if a := sendRequest(t, "POST", s.URL+"/v1/reconcile", ""); problemCode(t, a) != api.Unavailable {
		t.Errorf("%d %s", a.status, a.body)
	}
	none, _ := startServer(t, api.Options{Holds: holdsOf(newFakeHolds())})
	if a := sendRequest(t, "GET", none.URL+"/v1/reconcile", ""); problemCode(t, a) != api.Unavailable {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// The role read shows runs and does not start one.
func TestReconcile_ReadRoleCannotStart(t *testing.T) {
	r := &fakeReconciler{}
	s, _ := startServer(t, api.Options{Holds: holdsOf(newFakeHolds()), Reconciler: r, Tokens: parseTestTokens(t)})
	read := "Bearer " + readToken
	if a := sendRequest(t, "POST", s.URL+"/v1/reconcile", "", "Authorization", read); problemCode(t, a) != api.TokenReadOnly || r.lastRun.ID != "" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := sendRequest(t, "GET", s.URL+"/v1/reconcile", "", "Authorization", read); problemCode(t, a) != api.ReconcileRunNotFound {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// The parameter kind selects findings, such as what is not scheduled.
func TestReconciliation_FindingsOfOneKind(t *testing.T) {
	ends := time.Date(2026, 12, 6, 11, 0, 0, 0, time.UTC)
	c := &fakeReconciler{lastRun: reconcile.Reconciliation{ID: "rec_1", State: reconcile.RunFinished,
		Counts: map[reconcile.FindingKind]int64{reconcile.FoundOrphan: 3, reconcile.FoundCaptured: 9},
		Findings: []reconcile.Finding{
			{Kind: reconcile.FoundCaptured, PaymentIntent: "pi_captured1"},
			{Kind: reconcile.FoundOrphan, PaymentIntent: testHoldID, Reference: "BK-1", ExpiresAt: ends},
		}}}
	s, _ := startServer(t, api.Options{Holds: holdsOf(newFakeHolds()), Reconciler: c})
	run, err := newTestClient(t, s.URL, "").ListReconciliationFindingsOfKind(t.Context(), "orphan")
	if err != nil || len(run.Findings) != 1 || run.FindingsOmitted != 2 || len(run.CountsByKind) != 1 ||
		run.Findings[0].Reference != "BK-1" || !run.Findings[0].ExpiresAt.Equal(ends) {
		t.Errorf("%+v %v", run, err)
	}
	if len(c.lastRun.Findings) != 2 {
		t.Error("the run itself was changed")
	}
	if r := sendRequest(t, "GET", s.URL+"/v1/reconcile?kind=foreign", ""); r.status != 422 {
		t.Errorf("an unknown kind: %v", r)
	}
}
