package worker_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

var webhookCount = flag.Int("webhooks", 800,
	"webhooks of the shuffled storm; make prove asks for 6,000")

// After thousands of webhooks, shuffled, duplicated and partly dropped, every
// hold agrees with Stripe. A hold whose last events were dropped agrees once it
// is acted on, or after a reconcile run.
func TestWebhook_ShuffledDuplicatedAndDropped(t *testing.T) {
	skipIfShort(t)
	storm := *webhookCount
	holds := min(400, storm/4)
	for seed := range uint64(1) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			runWebhookEnv(t, func(w *webhookEnv, r *replica) {
				rng := rand.New(rand.NewPCG(seed, 7))
				var ids []string
				w.Sim.Settings.SetRateLimits(-1, -1)
				for i := range holds {
					ids = append(ids, w.AuthorizeIntent(func(h *stripesim.Hold) {
						h.Incremental = true
						if i%3 == 0 {
							h.Metadata = map[string]string{
								"holdd_capture_at": envtest.In(15 * time.Minute)}
						}
					}))
				}
				var reqs []hold.ScheduleRequest
				for i, id := range ids {
					if i%3 == 1 {
						reqs = append(reqs, hold.ScheduleRequest{PaymentIntent: id,
							CaptureAt: envtest.In(15 * time.Minute)})
					}
				}
				schedule := func(reqs []hold.ScheduleRequest) {
					for i, s := range r.Schedule(w.Ctx, reqs, "test") {
						if s.Err != nil &&
							!errors.Is(s.Err, &hold.Problem{Code: hold.NotCapturable}) {
							t.Fatalf("%+v: %v", reqs[i], s.Err)
						}
					}
				}
				schedule(reqs)
				d := w.Sim.Dashboard()
				increments := 0
				for range 4 {
					for _, id := range ids {
						switch rng.IntN(12) {
						case 0:
							d.Capture(id, int64(rng.IntN(2))*3_000)
						case 1:
							d.Cancel(id, "")
						case 2, 5, 6:
							if st, _ := w.Sim.Intent(id); d.Increment(id, st.Amount+1_000) == nil {
								increments++
							}
						case 3:
							d.OpenReview(id)
						case 4:
							d.CloseReview(id, "approved")
						}
					}
				}
				if increments == 0 {
					t.Fatal("no hold grew")
				}
				// Of every intent something that was told last comes through,
				// or is dropped: then only acting can tell.
				events := w.takeEvents()
				dropped := map[string]bool{}
				var queue []stripesim.Event
				for i, e := range events {
					if rng.IntN(10) == 0 {
						dropped[e.Intent] = true
						continue
					}
					queue = append(queue, events[i])
				}
				for len(queue) < storm {
					queue = append(queue, queue[rng.IntN(len(queue))])
				}
				rng.Shuffle(len(queue), func(i, j int) { queue[i], queue[j] = queue[j], queue[i] })
				for i, e := range queue {
					if i == len(queue)/2 { // the booking system is late with the rest
						reqs = nil
						for i, id := range ids {
							if i%3 == 2 {
								reqs = append(reqs, hold.ScheduleRequest{PaymentIntent: id,
									Amount: 10_000, Currency: "eur",
									ExpiresAt: envtest.In(5 * 24 * time.Hour),
									CaptureAt: envtest.In(14 * time.Minute)})
							}
						}
						schedule(reqs)
					}
					if i%(storm/100) == 0 {
						time.Sleep(time.Second) // what was told is looked at in between
					}
					code, body := postWebhook(w.handler, e.Payload,
						signWebhook(e.Payload, signingSecret))
					if code != 200 {
						t.Fatalf("%s: %d %s", e.Type, code, body)
					}
				}
				time.Sleep(5 * time.Minute)
				mismatches := 0
				for _, id := range ids {
					intent, _ := w.Sim.Intent(id)
					h, _, err := r.Get(w.Ctx, id)
					known := err == nil
					problem := ""
					switch {
					case !known && intent.Status == "requires_capture" &&
						intent.Metadata["holdd_capture_at"] != "" && !dropped[id]:
						problem = "not scheduled"
					case !known:
					case intent.Status == "succeeded" && (h.State != hold.Captured ||
						h.CapturedAmount != intent.Received),
						intent.Status == "canceled" && h.State != hold.Canceled:
						problem = "not settled"
					case intent.Status == "requires_capture" && h.State.IsFinal():
						problem = "settled and held"
					case intent.Status == "requires_capture" && h.Amount != intent.Capturable &&
						h.State != hold.Attention:
						problem = fmt.Sprint("amount ", h.Amount, " not ", intent.Capturable)
					case intent.Status == "requires_capture" && intent.Review != "" &&
						h.State == hold.Scheduled:
						problem = "under review and scheduled"
					}
					if problem != "" && !dropped[id] {
						t.Errorf("%s is %s (%d received, review %q): %s, %s %s", id, intent.Status,
							intent.Received, intent.Review, problem, h.State, h.Reason)
						if mismatches++; mismatches > 5 {
							t.FailNow()
						}
					}
				}
				// everything acts: whatever was dropped, the truth is met
				time.Sleep(20 * time.Minute)
				for _, id := range ids {
					intent, _ := w.Sim.Intent(id)
					h, _, err := r.Get(w.Ctx, id)
					if err != nil {
						continue
					}
					switch {
					case intent.Status == "succeeded" && h.State != hold.Captured,
						intent.Status == "canceled" && h.State != hold.Canceled &&
							h.State != hold.Expired,
						intent.Status == "requires_capture" && h.State.IsFinal(),
						h.State == hold.Scheduled, h.State == hold.Working:
						if h.State == hold.Attention && h.Reason == hold.CauseMismatch &&
							intent.Status == "requires_capture" {
							continue
						}
						t.Errorf("in the end %s is %s and its hold %s (%s)", id,
							intent.Status, h.State, h.Reason)
					}
				}
			})
		})
	}
}
