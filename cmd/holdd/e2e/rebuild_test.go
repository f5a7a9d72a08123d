package e2e_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// variedRequest is the nth of many holds, of every kind: cards, currencies with
// and without minor units, accounts, times, amounts, policies.
func (w *world) variedRequest(
	i int, metadata map[string]string,
) (hold.ScheduleRequest, stripesim.Hold) {
	at := afterNow(time.Duration(10+i%30) * time.Hour)
	h := stripesim.Hold{Amount: 10_000 + int64(i), Currency: []string{"eur", "jpy", "kwd", "usd",
		"krw"}[i%5], Metadata: metadata, PaymentMethod: "pm_card_visa"}
	if h.Currency == "kwd" {
		h.Amount *= 10 // Stripe wants the last digit to be zero
	}
	switch i % 11 {
	case 1:
		h.PaymentMethod = "pm_card_mastercard"
	case 2:
		h.Channel = stripesim.ChannelOffSession
	case 3:
		h.Channel = stripesim.ChannelTerminal
	case 4:
		h.Extended = true
	}
	if i%7 < 2 {
		h.Account = fmt.Sprintf("acct_1Connected%05d", i%7)
	}
	req := hold.ScheduleRequest{Account: h.Account}
	switch i % 10 {
	case 0, 1, 2:
		req.CaptureAt = formatTime(at)
	case 3, 8:
		req.CancelAt = formatTime(at)
	case 4:
		req.CaptureAt, req.CaptureAmount = formatTime(at), h.Amount/2/10*10
	case 5:
		req.OnExpiry = "capture"
	case 6:
		req.CaptureAt, req.OnExpiry = formatTime(at), "alert"
		req.Metadata = map[string]string{"room": fmt.Sprint(i), "note": "Zimmer für zwei: " +
			strings.Repeat("ü", 200), "more": strings.Repeat("x", 500)}
	case 7: // it waits, and lets go in the end
	case 9:
		req.CaptureAt, req.TimeZone = at.UTC().Format("2006-01-02T15:04"), "Asia/Kathmandu"
	}
	if i%3 == 0 || req.CaptureAt == "" && req.CancelAt == "" {
		req.Reference = fmt.Sprintf("BK-%05d", i)
	}
	return req, h
}

// openHolds returns terms, amounts and times of every open hold, by id.
func (w *world) openHolds(r *replica) map[string]string {
	w.tb.Helper()
	out := map[string]string{}
	for _, s := range hold.States() {
		if s.IsFinal() {
			continue
		}
		for id, v := range w.listByState(r, s) {
			v.CreatedAt, v.Mirrored, v.Revision = time.Time{}, false, 0
			b, err := json.Marshal(v)
			if err != nil {
				w.tb.Fatal(err)
			}
			out[id] = string(b)
		}
	}
	return out
}

// Redis is emptied while it has hundreds of holds of every kind and from every
// source. The schedule is rebuilt from Stripe and goes on.
func TestReconcile_RebuildsEmptiedRedis(t *testing.T) {
	t.Parallel()
	many := *rebuildCount
	w, d := newWorldWithWebhooks(t, unlimitedStripeOptions)
	r := w.startReplica(binaryPath(t, buildRelease),
		append(webhookSettings, "HOLDD_SCHEDULE_RECONCILE=@every 5h",
			"HOLDD_SCHEDULE_REPORT=@every 1s", "HOLDD_ALERT_THRESHOLDS=72h")...)
	w.waitForFirstReconcile(r)
	d.forwardTo(r)
	rdb := w.redis.Client()
	defer rdb.Close()
	ctx := t.Context()

	began := time.Now()
	var reqs []hold.ScheduleRequest
	inbox := rdb.Pipeline()
	for i := range many {
		req, h := w.variedRequest(i, nil)
		if i%10 < 3 && i%20 < 10 { // the booking system writes the terms itself
			h.Metadata = termMetadata("capture_at", req.CaptureAt, "reference", "BK-meta")
			if req.TimeZone != "" {
				h.Metadata["holdd_time_zone"] = req.TimeZone
			}
			w.authorizeHold(h)
			continue
		}
		req.PaymentIntent = w.authorizeHold(h)
		if i%5 == 4 {
			text, err := json.Marshal(req)
			if err != nil {
				t.Fatal(err)
			}
			inbox.XAdd(ctx, &redis.XAddArgs{Stream: "holdd:inbox", Values: []any{"hold", text}})
			continue
		}
		reqs = append(reqs, req)
	}
	if _, err := inbox.Exec(ctx); err != nil {
		t.Fatal(err)
	}
	for part := range slices.Chunk(reqs, 200) {
		w.scheduleAll(r, part)
	}
	for i, req := range reqs {
		if i%25 == 0 && (req.CaptureAt != "" || req.CancelAt != "") {
			if _, err := r.client.Pause(ctx, req.PaymentIntent, 0, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	card := func(key string) int64 { return rdb.ZCard(ctx, "holdd:{0}:"+key).Val() }
	storetest.WaitUntil(t, 5*time.Minute,
		"all holds are in the schedule, met with Stripe, and their terms stand there", func() bool {
			return card("expiring") == int64(many) && card("mirror") == 0 &&
				card("unverified") == 0 &&
				rdb.XLen(ctx, "holdd:inbox").Val() == 0
		})
	before := w.openHolds(r)
	if len(before) != many {
		t.Fatalf("%d holds are shown", len(before))
	}
	t.Logf("%d holds in the schedule and at Stripe after %s", many,
		time.Since(began).Round(100*time.Millisecond))

	// A few more fall due while Redis is rebuilt. Of these only Stripe knows.
	d.dropAll.Store(true)
	at := afterNow(15 * time.Second)
	var due []string
	for range 20 {
		due = append(
			due, w.authorizeHold(stripesim.Hold{Amount: 7_700, Metadata: termMetadata("capture_at", formatTime(at), "capture_amount", "7000")}))
	}
	began = time.Now()
	if err := rdb.FlushAll(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	storetest.WaitUntil(t, time.Minute, "the comparison after the loss is over",
		func() bool { return r.log.countLines(`"reconcile.finished"`) == 2 })
	took := time.Since(began)
	if time.Now().After(at) {
		t.Logf("rebuilding took until after the time of those that were to fall due meanwhile")
	}
	after := w.openHolds(r)
	for _, id := range due {
		delete(after, id)
	}
	wrong := 0
	for id, was := range before {
		if is := after[id]; is != was {
			if wrong++; wrong <= 5 {
				t.Errorf("%s was\n%s\nand is\n%s", id, was, is)
			}
		}
	}
	if wrong > 0 || len(after) != len(before) {
		t.Errorf("%d of %d holds are not what they were, and there are %d now", wrong,
			len(before), len(after))
	}
	t.Logf("rebuilt %s after FLUSHALL", took.Round(time.Millisecond))
	storetest.WaitUntil(t, time.Until(at)+processTimeout, "what fell due was captured",
		func() bool { return w.countCaptures() >= len(due) })
	for _, id := range due {
		if got := w.moneyEffects(id); got != "captured 7000 by api, released 700 by api" ||
			w.lastEffectAt(id).Before(at) {
			t.Errorf("%s: %s, %s after its time", id, got, w.lastEffectAt(id).Sub(at))
		}
	}
	if n := w.countCaptures(); n != len(due) {
		t.Errorf("%d captures", n)
	}
	states := map[string]int{}
	for _, s := range before {
		var v hold.View
		if err := json.Unmarshal([]byte(s), &v); err != nil {
			t.Fatal(err)
		}
		states[v.State]++
		states[v.Currency]++
	}
	t.Logf("of these: %v", states)
	for _, s := range []string{"waiting", "paused", "scheduled", "eur", "jpy", "kwd"} {
		if states[s] < many/100 {
			t.Errorf("only %d holds are %s", states[s], s)
		}
	}
	if n := r.log.countLines(`"redis.data_lost"`); n != 1 {
		t.Errorf("%d lines tell that Redis was emptied", n)
	}
	for _, line := range r.log.errorLines() {
		if !strings.Contains(line, `"redis.data_lost"`) {
			t.Errorf("a failure is reported: %s", line)
		}
	}
	if c := slices.Sorted(maps.Keys(w.listByState(r, hold.Attention))); len(c) > 0 {
		t.Errorf("%d holds want a person's attention: %v", len(c), c[:min(len(c), 5)])
	}
}
