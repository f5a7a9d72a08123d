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

// truth says in which way a hold differs from what Stripe knows of its intent; empty: it doesn't.
func truth(st stripesim.IntentState, v hold.View, known bool) string {
	terms := st.Metadata["holdd_capture_at"] != ""
	switch {
	case !known && st.Status == "requires_capture" && terms:
		return "not scheduled"
	case !known:
		return ""
	case st.Status == "succeeded" && (v.State != "captured" || v.CapturedAmount != st.Received || v.Cause != "elsewhere"):
		return fmt.Sprintf("%s of %d because of %s, and %d were taken", v.State, v.CapturedAmount, v.Cause, st.Received)
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

// Twenty thousand webhooks, shuffled, doubled and partly dropped, sixteen at a time, at two replicas: every hold is where Stripe's truth is. Of an intent
// whose every event was dropped nothing can be known until the next comparison.
func TestStormOfWebhooks(t *testing.T) {
	t.Parallel()
	const many, storm = 1_000, 20_000
	var mu sync.Mutex
	var events []stripesim.Event
	o := boundless
	o.OnEvent = func(e stripesim.Event) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, e)
	}
	w := newWorld(t, o)
	bin := binary(t, watched)
	settings := append(withHooks, "HOLDD_SCHEDULE_RECONCILE=@every 5h", "HOLDD_MIRROR_TERMS=false")
	replicas := []*replica{w.start(bin, settings...), w.start(bin, settings...)}
	w.compared(replicas[0])
	rng := rand.New(rand.NewPCG(11, 7))
	at := stamp(soon(5 * time.Hour))
	var ids []string
	var early, late []hold.ScheduleRequest
	for i := range many {
		h := stripesim.Hold{Amount: 10_000, Incremental: true}
		if i%3 == 0 {
			h.Metadata = terms("capture_at", at)
		}
		id := w.place(h)
		ids = append(ids, id)
		switch i % 3 {
		case 1:
			early = append(early, hold.ScheduleRequest{PaymentIntent: id, CaptureAt: at})
		case 2: // scheduled when much has happened already, and with what the booking system believes
			late = append(late, hold.ScheduleRequest{PaymentIntent: id, Amount: 10_000, Currency: "eur", ExpiresAt: stamp(soon(100 * time.Hour)), CaptureAt: at})
		}
	}
	w.send(replicas[0], early)
	people, done := w.sim.Dashboard(), map[string]int{}
	did := func(what string, err error) {
		if err == nil { // what can't be done in this state a person is refused
			done[what]++
		}
	}
	for range 4 {
		for _, id := range ids {
			switch rng.IntN(12) {
			case 0:
				did("capture", people.Capture(id, int64(rng.IntN(2))*3_000))
			case 1:
				did("cancel", people.Cancel(id, ""))
			case 2, 5, 6:
				st, _ := w.sim.Intent(id)
				did("increment", people.Increment(id, st.Amount+1_000))
			case 3:
				did("open review", people.OpenReview(id))
			case 4:
				did("approve", people.CloseReview(id, "approved"))
			}
		}
	}
	mu.Lock()
	all := events
	mu.Unlock()
	dropped, heard := map[string]bool{}, map[string]bool{}
	var queue []stripesim.Event
	for _, e := range all {
		if rng.IntN(10) == 0 {
			dropped[e.Intent] = true
			continue
		}
		heard[e.Intent] = true
		queue = append(queue, e)
	}
	for len(queue) < storm {
		queue = append(queue, queue[rng.IntN(len(queue))])
	}
	rng.Shuffle(len(queue), func(i, j int) { queue[i], queue[j] = queue[j], queue[i] })

	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}, Timeout: startTime}
	defer client.CloseIdleConnections()
	began := time.Now()
	blow := func(part []stripesim.Event) {
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
						status, err := deliver(client, replicas[(i+n)%2].url, e.Payload, stripesim.Sign(e.Payload, time.Now(), signingSecret))
						if err == nil && status == http.StatusOK {
							break
						}
						// Two that change one hold at a time may be one too many: then Stripe is told to send it again, and does.
						if again.Add(1); try == 20 || err != nil || status != http.StatusServiceUnavailable {
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
	blow(queue[:storm/2])
	for _, res := range w.batch(replicas[0], late) {
		if res.Problem != nil {
			t.Fatalf("%+v", res.Problem)
		}
	}
	blow(queue[storm/2:])
	took := time.Since(began)
	rdb := w.redis.Client()
	defer rdb.Close()
	storetest.Until(t, time.Minute, "everything was looked at", func() bool { return rdb.ZCard(t.Context(), "holdd:{0}:refresh").Val() == 0 })
	t.Logf("%d webhooks of %d events of %d intents in %s; done by people: %v; %d intents lost some, %d all", storm, len(all), many, took.Round(time.Millisecond), done, len(dropped), many-len(heard))

	compare := func(when string, skip func(string) bool) {
		t.Helper()
		shown := map[string]hold.View{}
		for _, s := range hold.States() {
			for id, v := range w.views(replicas[1], s) {
				shown[id] = v
			}
		}
		wrong := 0
		for _, id := range ids {
			st, _ := w.sim.Intent(id)
			v, known := shown[id]
			if why := truth(st, v, known); why != "" && !skip(id) {
				if wrong++; wrong <= 5 {
					t.Errorf("%s %s is %s at Stripe (review %q), and its hold is %s", when, id, st.Status, st.Review, why)
				}
			}
		}
		if wrong > 5 {
			t.Errorf("%s %d of %d holds are wrong", when, wrong, len(ids))
		}
	}
	compare("after the storm", func(id string) bool { return dropped[id] })
	d := &desk{t, bin, []string{"HOLDD_URL=" + replicas[0].url}}
	d.run(0, []string{"reconcile"})
	compare("after the comparison", func(string) bool { return false })
	// What a booking system says of an amount is compared with Stripe's: where others made it more meanwhile a person is told, and only there.
	told, grown := map[string]bool{}, map[string]bool{}
	for _, wish := range late {
		if st, _ := w.sim.Intent(wish.PaymentIntent); st.Amount != wish.Amount {
			grown[wish.PaymentIntent] = true
		}
	}
	for _, r := range replicas {
		for _, id := range ids {
			for _, e := range r.log.of(id) {
				if e.Level != "error" {
					continue
				}
				if told[id] = true; e.Cause != "mismatch" || !grown[id] {
					t.Errorf("%s reports a failure: %+v", r.name, e)
				}
			}
		}
		if n := r.log.lines(`"level":"error"`); n > 0 {
			t.Errorf("%s has %d other lines of level error", r.name, n)
		}
	}
	t.Logf("%d amounts were other than their booking system said; a person was told of %d", len(grown), len(told))
	for _, what := range []string{"capture", "cancel", "increment", "open review", "approve"} {
		if done[what] < 20 {
			t.Errorf("only %d times: %s", done[what], what)
		}
	}
	if n := w.sent(stripesim.ClassCapture) + w.sent(stripesim.ClassCancel); n != 0 {
		t.Errorf("%d captures and cancels were sent, and nothing was due", n)
	}
}
