package main

import (
	"context"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/repair"
)

// fakeRepairer repairs by the name of the hold.
type fakeRepairer struct{}

func (fakeRepairer) Repair(_ context.Context, q repair.Request) (repair.Result, error) {
	now := time.Now()
	r := repair.Result{Now: now, Quarantined: hold.QuarantinedRecord{HoldID: q.ID, At: now,
		By: q.By, Size: 7, Record: []byte("garbage")}}
	switch {
	case q.ID == "pi_fine0001":
		return r, &hold.Problem{Code: hold.RecordReadable, Detail: "nothing to repair"}
	case q.ID == "pi_later001" && !q.Force:
		return r, &hold.Problem{Code: hold.RecordOfLaterRelease, Detail: "of a newer holdd"}
	case q.ID == "pi_renewed1":
		r.Reason = "run holdd reconcile"
		return r, nil
	}
	r.Hold = hold.Hold{ID: q.ID, PaymentIntent: q.ID, State: hold.Attention, Amount: 12_000,
		Currency: "eur", Reason: hold.CauseRecordUnreadable, CreatedAt: now,
		ExpiresAt: now.Add(time.Hour), Revision: 2}
	return r, nil
}
