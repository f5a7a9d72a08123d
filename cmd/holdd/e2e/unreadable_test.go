package e2e_test

import (
	"errors"
	"testing"
	"time"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

// Another program overwrites records. holdd says so, goes on with the other
// holds, and rebuilds the damaged ones from Stripe.
func TestUnreadableRecords_AreReportedAndRepaired(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unlimitedStripeOptions)
	raw := w.redis.Client()
	r := w.startReplica(binaryPath(t, buildRelease), "HOLDD_MIRROR_TERMS=true")
	all := setDueAt(w.authorizeBookings(5), afterNow(time.Hour))
	other, known, unknown, settled, later := all[0], all[1], all[2], all[3], all[4]
	w.scheduleBookings(r, all)
	storetest.WaitUntil(t, processTimeout, "the terms are mirrored", func() bool {
		for i, b := range all {
			in, _ := w.sim.Intent(b.id)
			if in.Metadata[hold.MetaReference] != bookingReference(i) {
				return false
			}
		}
		return true
	})
	if err := w.sim.Dashboard().Capture(settled.id, 0); err != nil {
		t.Fatal(err)
	}
	for _, b := range []booking{known, unknown, settled} {
		w.mustDo(raw, "HSET", "holdd:{0}:holds", b.id, "garbage of "+b.id)
	}
	// A change of the terms that was not mirrored yet: the metadata is older.
	w.mustDo(raw, "ZADD", "holdd:{0}:mirror", "9999999999999", unknown.id)
	record, err := raw.HGet(t.Context(), "holdd:{0}:holds", later.id).Result()
	if err != nil {
		t.Fatal(err)
	}
	w.mustDo(raw, "HSET", "holdd:{0}:holds", later.id, "\x05"+record[1:])

	for _, b := range []booking{known, unknown, settled, later} {
		_, err := r.client.Get(t.Context(), b.id)
		p, ok := errors.AsType[*api.Problem](err)
		if !ok || p.Code != hold.RecordUnreadable || p.Status != 500 {
			t.Errorf("%s: %v", b.id, err)
		}
		_, err = r.client.Cancel(t.Context(), b.id, "", 0)
		if !errors.Is(err, &api.Problem{Code: hold.RecordUnreadable}) {
			t.Errorf("cancel of %s: %v", b.id, err)
		}
	}
	if n := metricValue(t, r, "holdd_unreadable_records", nil); n != 4 {
		t.Errorf("holdd_unreadable_records is %v", n)
	}
	// The rest of the partition goes on.
	if _, err := r.client.Capture(t.Context(), other.id, hold.CaptureRequest{}, 0); err != nil {
		t.Fatal(err)
	}
	w.waitForState(r, other.id, hold.Captured, processTimeout)

	checkRepairs(t, r, known, unknown, settled, later)
	if n := metricValue(t, r, "holdd_unreadable_records", nil); n != 0 {
		t.Errorf("after the repairs holdd_unreadable_records is %v", n)
	}
	if _, err := r.client.Capture(t.Context(), known.id, hold.CaptureRequest{}, 0); err != nil {
		t.Fatal(err)
	}
	w.waitForState(r, known.id, hold.Captured, processTimeout)
	if n := w.countCaptures(); n != 3 {
		t.Errorf("%d captures, want 3", n)
	}
}

// checkRepairs repairs each record and checks the rebuilt holds.
func checkRepairs(t *testing.T, r *replica, known, unknown, settled, later booking) {
	t.Helper()
	repair := func(b booking, force bool) hold.View {
		t.Helper()
		out, err := r.client.RepairUnreadableRecord(t.Context(), b.id, api.RepairRequest{Force: force})
		if err != nil || out.Hold == nil || out.Quarantined.Size == 0 ||
			len(out.Quarantined.Record) != out.Quarantined.Size {
			t.Fatalf("repair of %s: %+v, %v", b.id, out, err)
		}
		shown, err := r.client.Get(t.Context(), b.id)
		if err != nil || shown.State != out.Hold.State {
			t.Errorf("repaired %s is %+v, %v", b.id, shown, err)
		}
		return *out.Hold
	}
	if v := repair(known, false); v.State != "scheduled" || v.CaptureAt == nil ||
		!v.CaptureAt.Equal(known.due) || v.Reference != bookingReference(1) ||
		v.Amount != known.amount {
		t.Errorf("the hold with mirrored terms is %+v", v)
	}
	if v := repair(unknown, false); v.State != "attention" || v.CaptureAt != nil ||
		v.Cause != "record_unreadable" || v.OnExpiry != "alert" || v.Amount != unknown.amount ||
		!v.ExpiresAt.Equal(unknown.deadline.UTC()) || v.Reference != bookingReference(2) {
		t.Errorf("the hold with unknown terms is %+v", v)
	}
	if v := repair(settled, false); v.State != "captured" || v.CapturedAmount != settled.amount {
		t.Errorf("the settled hold is %+v", v)
	}
	_, err := r.client.RepairUnreadableRecord(t.Context(), known.id, api.RepairRequest{})
	if !errors.Is(err, &api.Problem{Code: hold.RecordReadable}) {
		t.Errorf("repair of a readable record: %v", err)
	}
	_, err = r.client.RepairUnreadableRecord(t.Context(), later.id, api.RepairRequest{})
	if !errors.Is(err, &api.Problem{Code: hold.RecordOfLaterRelease}) {
		t.Errorf("repair of a record of a later release: %v", err)
	}
	if v := repair(later, true); v.State != "scheduled" {
		t.Errorf("the forced hold is %+v", v)
	}
}
