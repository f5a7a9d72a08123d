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

// runs answers as the worker does.
type runs struct {
	last     reconcile.Reconciliation
	accounts []string
	fail     error
}

func (r *runs) Reconcile(_ context.Context, dryRun bool, accounts []string, by string) (reconcile.Reconciliation, bool, error) {
	for _, a := range accounts {
		if err := hold.CheckAccountID(a); err != nil {
			return reconcile.Reconciliation{}, false, err
		}
	}
	if r.fail != nil || r.last.State == reconcile.RunRunning {
		return r.last, false, r.fail
	}
	r.accounts = accounts
	r.last = reconcile.Reconciliation{ID: "rec_1", DryRun: dryRun, State: reconcile.RunRunning, By: by, StartedAt: time.Now(),
		Counts: map[reconcile.FindingKind]int64{reconcile.FoundOrphan: 3}, Findings: []reconcile.Finding{{Kind: reconcile.FoundOrphan, PaymentIntent: id, Amount: 100, Currency: "eur"}}}
	return r.last, true, nil
}

func (r *runs) Reconciliation(_ context.Context, id string) (reconcile.Reconciliation, bool, error) {
	return r.last, r.last.ID != "" && (id == "" || id == r.last.ID), r.fail
}

func TestReconcile(t *testing.T) {
	r := &runs{}
	s, _ := serve(t, api.Options{Holds: holdsOf(newMemory()), Reconciler: r, Livemode: true})
	c := client(t, s.URL, "").As("cli")
	if _, err := c.Reconciliation(t.Context(), ""); !errors.Is(err, &api.Problem{Code: api.RunNotFound}) {
		t.Errorf("%v", err)
	}
	run, started, err := c.Reconcile(t.Context(), true, []string{"acct_12345678"})
	if err != nil || !started || !run.DryRun || run.By != "cli" || run.State != "running" || run.FinishedAt != nil || !run.Livemode || run.Counts["orphan"] != 3 || len(run.Findings) != 1 || run.Omitted != 2 {
		t.Errorf("%v %v %+v", err, started, run)
	}
	if len(r.accounts) != 1 {
		t.Errorf("%v", r.accounts)
	}
	if again, started, err := c.Reconcile(t.Context(), false, nil); err != nil || started || again.ID != run.ID {
		t.Errorf("%v %v %+v", err, started, again)
	}
	r.last.State, r.last.FinishedAt = reconcile.RunFinished, time.Now()
	if run, err := c.Reconciliation(t.Context(), "rec_1"); err != nil || run.FinishedAt == nil {
		t.Errorf("%v %+v", err, run)
	}
	for body, code := range map[string]hold.Code{
		`{"dryrun":true}`: api.UnknownField, `{"dry_run":"yes"}`: api.InvalidType, `{`: api.InvalidJSON, `{"accounts":["sk_live_1"]}`: hold.InvalidID,
		``: "", `{}`: "",
	} {
		r.last.State = reconcile.RunFinished
		if a := send(t, "POST", s.URL+"/v1/reconcile", body); codeOf(t, a) != code {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	if a := send(t, "GET", s.URL+"/v1/reconcile?id=rec_2", ""); codeOf(t, a) != api.RunNotFound {
		t.Errorf("%d %s", a.status, a.body)
	}
	r.fail = health.ErrUnavailable
	if a := send(t, "POST", s.URL+"/v1/reconcile", ""); codeOf(t, a) != api.Unavailable {
		t.Errorf("%d %s", a.status, a.body)
	}
	none, _ := serve(t, api.Options{Holds: holdsOf(newMemory())})
	if a := send(t, "GET", none.URL+"/v1/reconcile", ""); codeOf(t, a) != api.Unavailable {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// Who may only read may look, and not begin.
func TestReconcileNeedsTheRoleOperate(t *testing.T) {
	r := &runs{}
	s, _ := serve(t, api.Options{Holds: holdsOf(newMemory()), Reconciler: r, Tokens: tokens(t)})
	read := "Bearer " + readToken
	if a := send(t, "POST", s.URL+"/v1/reconcile", "", "Authorization", read); codeOf(t, a) != api.TokenReadOnly || r.last.ID != "" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := send(t, "GET", s.URL+"/v1/reconcile", "", "Authorization", read); codeOf(t, a) != api.RunNotFound {
		t.Errorf("%d %s", a.status, a.body)
	}
}
