package e2e_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// addInboxEntries writes entries to the inbox as any program does.
func (w *world) addInboxEntries(values ...[]string) {
	w.tb.Helper()
	rdb := w.redis.Client()
	defer rdb.Close()
	pipe := rdb.Pipeline()
	for _, v := range values {
		pipe.XAdd(w.tb.Context(), &redis.XAddArgs{Stream: "holdd:inbox", Values: v})
	}
	if _, err := pipe.Exec(w.tb.Context()); err != nil {
		w.tb.Fatal(err)
	}
}

func newInboxEntry(tb testing.TB, req hold.ScheduleRequest) []string {
	tb.Helper()
	b, err := json.Marshal(req)
	if err != nil {
		tb.Fatal(err)
	}
	return []string{"hold", string(b)}
}

// A daemon reads the inbox entries that were written before it started. Invalid
// entries are recorded with the reason.
func TestInbox_ReadAfterStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unlimitedStripeOptions)
	at := afterNow(10 * time.Second)
	all := setDueAt(w.authorizeBookings(50), at)
	var good [][]string
	for i, b := range all {
		good = append(good, newInboxEntry(t, hold.ScheduleRequest{PaymentIntent: b.id,
			Reference: bookingReference(i), CaptureAt: formatTime(at)}))
	}
	w.addInboxEntries(good...)
	w.addInboxEntries(good...) // the same again is the same hold
	bad := []struct {
		code  string
		entry []string
	}{
		{"invalid_json", []string{"hold", `{"payment_intent":`}},
		{"unknown_field", []string{"hold", `{"payment_intent":"` + all[0].id + `","Amount":5}`}},
		{"invalid_time", []string{"hold", `{"payment_intent":"` + all[0].id +
			`","capture_at":"tomorrow"}`}},
		{"in_the_past", []string{"hold", `{"payment_intent":"` +
			w.authorizeHold(stripesim.Hold{Amount: 500}) +
			`","capture_at":"2020-01-01T00:00:00Z"}`}},
		{"hold_exists", []string{"hold", `{"payment_intent":"` + all[0].id + `","cancel_at":"` +
			formatTime(at) + `"}`}},
		{"invalid_id", []string{"hold", `{"payment_intent":"order-17"}`}},
		{"entry_without_hold", []string{"wish", `{}`}},
		{"entry_too_large", []string{"hold", `{"reference":"` + strings.Repeat("x", 100_000) +
			`"}`}},
	}
	for _, b := range bad {
		w.addInboxEntries(b.entry)
	}
	r := w.startReplica(binaryPath(t, buildRace), highBudgetSettings...)
	rdb := w.redis.Client()
	defer rdb.Close()
	storetest.WaitUntil(t, processTimeout, "the inbox is empty",
		func() bool { return rdb.XLen(t.Context(), "holdd:inbox").Val() == 0 })
	rejected, err := rdb.XRange(t.Context(), "holdd:inbox:rejected", "-", "+").Result()
	if err != nil || len(rejected) != len(bad) {
		t.Fatalf("%d rejected: %v %v", len(rejected), rejected, err)
	}
	// entries that are invalid by themselves are rejected first
	byCode := map[any]map[string]any{}
	for _, r := range rejected {
		byCode[r.Values["code"]] = r.Values
	}
	for _, b := range bad {
		v := byCode[b.code]
		original := b.entry[1]
		if b.entry[0] != "hold" {
			original = ""
		}
		if kept := fmt.Sprint(v["hold"]); v["source"] != "inbox" || v["reason"] == "" ||
			!strings.HasPrefix(original, kept) || kept == "" && original != "" {
			t.Errorf("%s: rejected as %.300v", b.code, v)
		}
	}
	storetest.WaitUntil(t, processTimeout, "the log tells of each reject",
		func() bool { return r.log.countLines(`"inbox.rejected"`) >= len(bad) })
	w.waitForCaptures(r, len(all), time.Minute)
	w.checkCaptures(r, all, exactlyOnce)
	if n := r.log.countLines(`"inbox.rejected"`); n != len(bad) {
		t.Errorf("the log tells of %d rejects", n)
	}
	v := w.waitForState(r, all[0].id, hold.Captured, processTimeout)
	if v.Reference != bookingReference(0) || v.History[0].By != "inbox" {
		t.Errorf("%+v", v)
	}
}

// A replica is killed while it has a batch of inbox entries. Another replica
// takes them over, and each entry becomes one hold.
func TestInbox_TakenOverFromDeadReplica(t *testing.T) {
	t.Parallel()
	const many = 700 // five batches and a half
	o := unlimitedStripeOptions
	o.FaultFunc = func(c stripesim.Call) stripesim.Fault {
		// holdd retrieves each intent from Stripe, and that takes a while
		if c.Class == stripesim.ClassRetrieve {
			return stripesim.Fault{RequestDelay: 20 * time.Millisecond}
		}
		return stripesim.Fault{}
	}
	w := newWorld(t, o)
	bin := binaryPath(t, buildRace)
	settings := append([]string{"HOLDD_MIRROR_TERMS=false"}, shortLeaseSettings...)
	victim := w.startReplica(bin, settings...)
	all := w.authorizeBookings(many)
	at := afterNow(40 * time.Second)
	var entries [][]string
	for i, b := range setDueAt(all, at) {
		entries = append(entries, newInboxEntry(t, hold.ScheduleRequest{PaymentIntent: b.id,
			Reference: bookingReference(i), CaptureAt: formatTime(at)}))
	}
	w.addInboxEntries(entries...)
	rdb := w.redis.Client()
	defer rdb.Close()
	ctx := t.Context()
	owed, left := int64(0), int64(0)
	storetest.WaitUntil(t, time.Minute,
		"the first replica has a batch, not the first and not the last", func() bool {
			if left = rdb.XLen(ctx, "holdd:inbox").Val(); left > many-200 {
				return false
			}
			if left <= many/10 {
				t.Fatalf("%d entries are left: the replica was too fast to be killed in time", left)
			}
			victim.sendSignal(syscall.SIGSTOP) // between two batches it has no entries
			left = rdb.XLen(ctx, "holdd:inbox").Val()
			if p, err := rdb.XPending(ctx, "holdd:inbox", "holdd").Result(); err == nil {
				owed = p.Count
			}
			if owed == 0 {
				victim.sendSignal(syscall.SIGCONT)
			}
			return owed > 0
		})
	victim.sendSignal(syscall.SIGKILL)
	other := w.startReplica(bin, settings...)
	// The whole inbox is read first, at the speed of a busy machine.
	storetest.WaitUntil(t, 3*time.Minute, "the entries of the dead replica are taken over",
		func() bool {
			p, err := rdb.XPending(ctx, "holdd:inbox", "holdd").Result()
			return err == nil && p.Count == 0 && rdb.XLen(ctx, "holdd:inbox").Val() == 0
		})
	t.Logf("killed with %d entries taken and %d more in the inbox", owed, left-owed)
	if n := rdb.XLen(ctx, "holdd:inbox:rejected").Val(); n != 0 {
		t.Errorf("%d were rejected", n)
	}
	w.waitForCaptures(other, many, 2*time.Minute)
	w.checkCaptures(other, all, exactlyOnce)
	// The replica logs that the other one died. Hundreds of captures at once
	// may exceed the call timeout on a busy machine.
	checkNoErrorsLogged(t, other, `"event":"replica.stopped"`, "Stripe unavailable")
}
