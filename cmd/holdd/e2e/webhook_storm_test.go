package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// diffWithStripe returns how a hold differs from its intent at Stripe, empty if
// it does not.
func diffWithStripe(st stripesim.IntentState, v hold.View, known bool) string {
	terms := st.Metadata["holdd_capture_at"] != ""
	switch {
	case !known && st.Status == "requires_capture" && terms:
		return "not scheduled"
	case !known:
		return ""
	case st.Status == "succeeded" && (v.State != "captured" || v.CapturedAmount != st.Received ||
		v.Cause != "elsewhere"):
		return fmt.Sprintf("%s of %d because of %s, and %d were taken", v.State,
			v.CapturedAmount, v.Cause, st.Received)
	case st.Status == "canceled" && (v.State != "canceled" || v.Cause != "elsewhere"):
		return v.State + " because of " + v.Cause
	case st.Status != "requires_capture":
		return ""
	case v.State == "captured" || v.State == "canceled" || v.State == "expired":
		return v.State
	case v.Amount != st.Capturable:
		return fmt.Sprintf("of %d, and %d are held", v.Amount, st.Capturable)
	case st.Review != "" && v.State != "paused" && v.State != "attention":
		return "under review and " + v.State
	}
	return ""
}

// Two replicas receive thousands of webhooks, shuffled, duplicated and partly
// dropped, sixteen at a time. Every hold then agrees with Stripe. A hold whose
// events were all dropped agrees after the next reconcile run.
func TestWebhook_StormMatchesStripe(t *testing.T) {
	t.Parallel()
	storm := *webhookCount
	// An intent has six events, so about a third of the webhooks are duplicates.
	many := min(storm/8, 1_000)
	var mu sync.Mutex
	var events []stripesim.Event
	o := unlimitedStripeOptions
	o.OnEvent = func(e stripesim.Event) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, e)
	}
	w := newWorld(t, o)
	bin := binaryPath(t, buildRace)
	settings := append(webhookSettings, "HOLDD_SCHEDULE_RECONCILE=@every 5h",
		"HOLDD_MIRROR_TERMS=false")
	replicas := []*replica{w.startReplica(bin, settings...), w.startReplica(bin, settings...)}
	w.waitForFirstReconcile(replicas[0])
	rng := rand.New(rand.NewPCG(11, 7))
	at := formatTime(afterNow(5 * time.Hour))
	var ids []string
	var early, late []hold.ScheduleRequest
	for i := range many {
		h := stripesim.Hold{Amount: 10_000, Incremental: true}
		if i%3 == 0 {
			h.Metadata = termMetadata("capture_at", at)
		}
		id := w.authorizeHold(h)
		ids = append(ids, id)
		switch i % 3 {
		case 1:
			early = append(early, hold.ScheduleRequest{PaymentIntent: id, CaptureAt: at})
		case 2:
			// scheduled when much has happened already, and with what the
			// booking system believes
			late = append(late, hold.ScheduleRequest{PaymentIntent: id, Amount: 10_000,
				Currency: "eur", ExpiresAt: formatTime(afterNow(100 * time.Hour)), CaptureAt: at})
		}
	}
	w.scheduleAll(replicas[0], early)
	dashboard, done := w.sim.Dashboard(), map[string]int{}
	did := func(what string, err error) {
		if err == nil { // what can't be done in this state a person is refused
			done[what]++
		}
	}
	for range 4 {
		for _, id := range ids {
			switch rng.IntN(12) {
			case 0:
				did("capture", dashboard.Capture(id, int64(rng.IntN(2))*3_000))
			case 1:
				did("cancel", dashboard.Cancel(id, ""))
			case 2, 5, 6:
				st, _ := w.sim.Intent(id)
				did("increment", dashboard.Increment(id, st.Amount+1_000))
			case 3:
				did("open review", dashboard.OpenReview(id))
			case 4, 7, 8, 9, 10, 11: // most have no review to close
				did("approve", dashboard.CloseReview(id, "approved"))
			}
		}
	}
	mu.Lock()
	all := events
	mu.Unlock()
	dropped, handled := map[string]bool{}, map[string]bool{}
	var queue []stripesim.Event
	for _, e := range all {
		if rng.IntN(10) == 0 {
			dropped[e.Intent] = true
			continue
		}
		handled[e.Intent] = true
		queue = append(queue, e)
	}
	for len(queue) < storm {
		queue = append(queue, queue[rng.IntN(len(queue))])
	}
	rng.Shuffle(len(queue), func(i, j int) { queue[i], queue[j] = queue[j], queue[i] })

	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32},
		Timeout: processTimeout}
	defer client.CloseIdleConnections()
	began := time.Now()
	deliverAll := func(part []stripesim.Event) {
		var next atomic.Int64
		var again atomic.Int64
		var wg sync.WaitGroup
		for n := range 16 {
			wg.Go(func() {
				for {
					i := int(next.Add(1)) - 1
					if i >= len(part) || t.Failed() {
						return
					}
					e := part[i]
					for try := 0; ; try++ {
						status, err := postWebhookWith(client, replicas[(i+n)%2].url, e.Payload,
							stripesim.Sign(e.Payload, time.Now(), signingSecret))
						if err == nil && status == http.StatusOK {
							break
						}
						// Two that change one hold at a time may be one too
						// many: then Stripe is told to send it again, and does.
						if again.Add(1); try == 20 || err != nil ||
							status != http.StatusServiceUnavailable {
							t.Errorf("%s: %d %v", e.Type, status, err)
							return
						}
					}
				}
			})
		}
		wg.Wait()
		if n := again.Load(); n > 0 {
			t.Logf("%d were asked for again", n)
		}
	}
	deliverAll(queue[:storm/2])
	for _, res := range w.scheduleBatch(replicas[0], late) {
		if res.Problem != nil {
			t.Fatalf("%+v", res.Problem)
		}
	}
	deliverAll(queue[storm/2:])
	took := time.Since(began)
	rdb := w.redis.Client()
	defer rdb.Close()
	storetest.WaitUntil(t, time.Minute, "everything was looked at",
		func() bool { return rdb.ZCard(t.Context(), "holdd:{0}:refresh").Val() == 0 })
	t.Logf("%d webhooks of %d events of %d intents in %s; done by people: %v; %d intents lost some, %d all", storm, len(all), many, took.Round(time.Millisecond), done, len(dropped), many-len(handled))

	compare := func(when string, skip func(string) bool) {
		t.Helper()
		shown := map[string]hold.View{}
		for _, s := range hold.States() {
			for id, v := range w.listByState(replicas[1], s) {
				shown[id] = v
			}
		}
		wrong := 0
		for _, id := range ids {
			st, _ := w.sim.Intent(id)
			v, known := shown[id]
			if diff := diffWithStripe(st, v, known); diff != "" && !skip(id) {
				if wrong++; wrong <= 5 {
					t.Errorf("%s %s is %s at Stripe (review %q), and its hold is %s", when, id,
						st.Status, st.Review, diff)
				}
			}
		}
		if wrong > 5 {
			t.Errorf("%s %d of %d holds are wrong", when, wrong, len(ids))
		}
	}
	compare("after the storm", func(id string) bool { return dropped[id] })
	d := &cliRunner{t, bin, []string{"HOLDD_URL=" + replicas[0].url}}
	d.runCommand(0, []string{"reconcile"})
	compare("after the comparison", func(string) bool { return false })
	// What a booking system says of an amount is compared with Stripe's: where
	// others made it more meanwhile a person is told, and only there.
	reported, grown := map[string]bool{}, map[string]bool{}
	for _, req := range late {
		if st, _ := w.sim.Intent(req.PaymentIntent); st.Amount != req.Amount {
			grown[req.PaymentIntent] = true
		}
	}
	for _, r := range replicas {
		for _, id := range ids {
			for _, e := range r.log.outcomesOf(id) {
				if e.Level != "error" {
					continue
				}
				if reported[id] = true; e.Cause != "mismatch" || !grown[id] {
					t.Errorf("%s reports a failure: %+v", r.name, e)
				}
			}
		}
		if n := r.log.countLines(`"level":"error"`); n > 0 {
			t.Errorf("%s has %d other lines of level error", r.name, n)
		}
	}
	t.Logf("%d amounts were other than their booking system said; a person was told of %d",
		len(grown), len(reported))
	for _, what := range []string{"capture", "cancel", "increment", "open review", "approve"} {
		if done[what] < 20 {
			t.Errorf("only %d times: %s", done[what], what)
		}
	}
	if n := w.countRequests(stripesim.ClassCapture) +
		w.countRequests(stripesim.ClassCancel); n != 0 {
		t.Errorf("%d captures and cancels were sent, and nothing was due", n)
	}
}
