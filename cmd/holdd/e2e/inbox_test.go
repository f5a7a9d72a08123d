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

// put writes entries to the inbox as any program does.
func (w *world) put(values ...[]string) {
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

func entryOf(tb testing.TB, wish hold.ScheduleRequest) []string {
	tb.Helper()
	b, err := json.Marshal(wish)
	if err != nil {
		tb.Fatal(err)
	}
	return []string{"hold", string(b)}
}

// What was written while no daemon ran is taken in by the first one that does. What can't be is kept with the reason.
func TestInboxIsTakenInLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t, boundless)
	at := soon(10 * time.Second)
	all := dueAt(w.authorize(50), at)
	var good [][]string
	for i, b := range all {
		good = append(good, entryOf(t, hold.ScheduleRequest{PaymentIntent: b.id, Reference: reference(i), CaptureAt: stamp(at)}))
	}
	w.put(good...)
	w.put(good...) // the same again is the same hold
	bad := []struct {
		code  string
		entry []string
	}{
		{"invalid_json", []string{"hold", `{"payment_intent":`}},
		{"unknown_field", []string{"hold", `{"payment_intent":"` + all[0].id + `","Amount":5}`}},
		{"invalid_time", []string{"hold", `{"payment_intent":"` + all[0].id + `","capture_at":"tomorrow"}`}},
		{"in_the_past", []string{"hold", `{"payment_intent":"` + w.place(stripesim.Hold{Amount: 500}) + `","capture_at":"2020-01-01T00:00:00Z"}`}},
		{"hold_exists", []string{"hold", `{"payment_intent":"` + all[0].id + `","cancel_at":"` + stamp(at) + `"}`}},
		{"invalid_id", []string{"hold", `{"payment_intent":"order-17"}`}},
		{"entry_without_hold", []string{"wish", `{}`}},
		{"entry_too_large", []string{"hold", `{"reference":"` + strings.Repeat("x", 100_000) + `"}`}},
	}
	for _, b := range bad {
		w.put(b.entry)
	}
	r := w.start(binary(t, watched), highBudget...)
	rdb := w.redis.Client()
	defer rdb.Close()
	storetest.Until(t, startTime, "the inbox is empty", func() bool { return rdb.XLen(t.Context(), "holdd:inbox").Val() == 0 })
	rejected, err := rdb.XRange(t.Context(), "holdd:inbox:rejected", "-", "+").Result()
	if err != nil || len(rejected) != len(bad) {
		t.Fatalf("%d rejected: %v %v", len(rejected), rejected, err)
	}
	byCode := map[any]map[string]any{} // what is wrong by itself is told before what is compared with the schedule
	for _, r := range rejected {
		byCode[r.Values["code"]] = r.Values
	}
	for _, b := range bad {
		v := byCode[b.code]
		original := b.entry[1]
		if b.entry[0] != "hold" {
			original = ""
		}
		if kept := fmt.Sprint(v["hold"]); v["source"] != "inbox" || v["reason"] == "" || !strings.HasPrefix(original, kept) || kept == "" && original != "" {
			t.Errorf("%s: rejected as %.300v", b.code, v)
		}
	}
	storetest.Until(t, startTime, "the log tells of each reject", func() bool { return r.log.lines(`"inbox.rejected"`) >= len(bad) })
	w.await(r, len(all), time.Minute)
	w.judge(r, all, oneLine)
	if n := r.log.lines(`"inbox.rejected"`); n != len(bad) {
		t.Errorf("the log tells of %d rejects", n)
	}
	v := w.eventually(r, all[0].id, hold.Captured, startTime)
	if v.Reference != reference(0) || v.History[0].By != "inbox" {
		t.Errorf("%+v", v)
	}
}

// A replica that is killed with entries in its hands: another one takes them over, and each is one hold.
func TestInboxOfADeadReplica(t *testing.T) {
	t.Parallel()
	const many = 2_000
	o := boundless
	o.Faults = func(c stripesim.Call) stripesim.Fault { // each is looked up at Stripe, and that takes its time
		if c.Class == stripesim.ClassRetrieve {
			return stripesim.Fault{Before: 20 * time.Millisecond}
		}
		return stripesim.Fault{}
	}
	w := newWorld(t, o)
	bin := binary(t, watched)
	settings := append([]string{"HOLDD_MIRROR_TERMS=false"}, shortLease...)
	victim := w.start(bin, settings...)
	all := w.authorize(many)
	at := soon(40 * time.Second)
	var entries [][]string
	for i, b := range dueAt(all, at) {
		entries = append(entries, entryOf(t, hold.ScheduleRequest{PaymentIntent: b.id, Reference: reference(i), CaptureAt: stamp(at)}))
	}
	w.put(entries...)
	rdb := w.redis.Client()
	defer rdb.Close()
	ctx := t.Context()
	owed, left := int64(0), int64(0)
	storetest.Until(t, time.Minute, "the first replica is in the middle of it, with a batch in its hands", func() bool {
		if left = rdb.XLen(ctx, "holdd:inbox").Val(); left > many-200 {
			return false
		}
		if left <= many/10 {
			t.Fatalf("%d entries are left: it was too fast, this test shows nothing", left)
		}
		victim.signal(syscall.SIGSTOP) // between two batches nothing is in its hands
		left = rdb.XLen(ctx, "holdd:inbox").Val()
		if p, err := rdb.XPending(ctx, "holdd:inbox", "holdd").Result(); err == nil {
			owed = p.Count
		}
		if owed == 0 {
			victim.signal(syscall.SIGCONT)
		}
		return owed > 0
	})
	victim.signal(syscall.SIGKILL)
	other := w.start(bin, settings...)
	storetest.Until(t, time.Minute, "what the dead had in its hands is taken over", func() bool {
		p, err := rdb.XPending(ctx, "holdd:inbox", "holdd").Result()
		return err == nil && p.Count == 0 && rdb.XLen(ctx, "holdd:inbox").Val() == 0
	})
	t.Logf("killed with %d entries in its hands and %d more in the inbox", owed, left-owed)
	if n := rdb.XLen(ctx, "holdd:inbox:rejected").Val(); n != 0 {
		t.Errorf("%d were rejected", n)
	}
	w.await(other, many, 2*time.Minute)
	w.judge(other, all, oneLine)
	// It says that the first one died; and two thousand captures at one moment can be more than a busy machine answers within a short lease's time for a call.
	noFailures(t, other, `"event":"replica.stopped"`, "Stripe unavailable")
}
