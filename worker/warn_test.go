package worker_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/holdd/holdd/worker"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// ending places a hold whose authorization ends after d.
func (w *world) ending(d time.Duration, f ...func(*stripesim.Hold)) string {
	w.t.Helper()
	id := w.authorize(f...)
	if err := w.sim.SetCaptureBefore(id, time.Now().Add(d)); err != nil {
		w.t.Fatal(err)
	}
	return id
}

// events are the published events of a hold, oldest first.
func (w *world) events(id string) (all []worker.Event) {
	w.t.Helper()
	entries, err := w.redis.Stream("holdd:{0}:events")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		var ev worker.Event
		if err := json.Unmarshal([]byte(e.Values[1]), &ev); err != nil {
			w.t.Fatal(err)
		}
		if ev.Data.Hold.ID == id {
			all = append(all, ev)
		}
	}
	return all
}

// warned checks which thresholds hold.expiring was published for, in their order, each under an id of its own.
func (w *world) warned(id string, want ...string) {
	w.t.Helper()
	var got []string
	ids := map[string]bool{}
	for _, e := range w.events(id) {
		if ids[e.ID] {
			w.t.Errorf("event %s (%s) was published twice", e.ID, e.Type)
		}
		ids[e.ID] = true
		if e.Type == hold.NoticeExpiring {
			got = append(got, e.Data.Threshold)
		}
	}
	if !slices.Equal(got, want) {
		w.t.Fatalf("%s was warned of at %q, want %q", id, got, want)
	}
}

func TestExpiring_HoldArrivesInsideAThreshold(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.start()
		id := w.ending(5 * time.Hour)
		req := hold.Wish{PaymentIntent: id, OnExpiry: "alert"}
		w.schedule(r, req)
		time.Sleep(10 * time.Second)
		w.warned(id, "6h0m0s")
		w.schedule(r, req) // the same request again is no news
		if _, _, err := r.Pause(w.ctx, id, 0, "test"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.Resume(w.ctx, id, 0, "test"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		w.warned(id, "6h0m0s")
		time.Sleep(4 * time.Hour)
		w.warned(id, "6h0m0s", "1h0m0s")

		timed := w.ending(5 * time.Hour)
		w.schedule(r, hold.Wish{PaymentIntent: timed, CaptureAt: in(3 * time.Hour)})
		far := w.ending(100 * time.Hour)
		w.schedule(r, hold.Wish{PaymentIntent: far})
		time.Sleep(10 * time.Second)
		w.warned(timed, "6h0m0s") // as at any threshold, whatever its own time
		w.warned(far)
	}, calmly)
}

func TestExpiring_AcknowledgedAtOnceIsNotWarned(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.start()
		id := w.ending(30 * time.Hour)
		w.schedule(r, hold.Wish{PaymentIntent: id, OnExpiry: "alert"})
		if _, _, err := r.Acknowledge(w.ctx, id, 0, "test"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		if err := w.sim.SetCaptureBefore(id, time.Now().Add(5*time.Hour)); err != nil {
			t.Fatal(err)
		}
		w.compared(r, false)
		if h := w.hold(r, id); h.ExpiresAt.After(time.Now().Add(6 * time.Hour)) {
			t.Fatal("the deadline was not pulled in")
		}
		time.Sleep(time.Minute)
		w.warned(id)
	}, calmly)
}

func TestExpiring_DeadlinePulledIn(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.start()
		id := w.ending(100 * time.Hour)
		w.schedule(r, hold.Wish{PaymentIntent: id, OnExpiry: "alert"})
		move := func(d time.Duration) {
			t.Helper()
			time.Sleep(5 * time.Minute) // a list says nothing of a hold that has just changed
			if err := w.sim.SetCaptureBefore(id, time.Now().Add(d)); err != nil {
				t.Fatal(err)
			}
			w.compared(r, false)
			time.Sleep(2 * time.Second)
		}
		time.Sleep(2 * time.Second)
		w.warned(id)
		move(5 * time.Hour)
		w.warned(id, "6h0m0s")
		move(4 * time.Hour) // inside the same threshold: told already
		w.warned(id, "6h0m0s")
		move(50 * time.Minute)
		w.warned(id, "6h0m0s", "1h0m0s")
	})
}

func TestExpiring_DeadlineLearnedAfterTheRequest(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.start()
		id := w.ending(5 * time.Hour)
		down, err := w.sim.AddFault(stripesim.Rule{Fault: stripesim.Fault{Kind: stripesim.Unavailable}})
		if err != nil {
			t.Fatal(err)
		}
		if h := w.schedule(r, hold.Wish{PaymentIntent: id, OnExpiry: "alert"}); h.Verified {
			t.Fatal("the deadline is known")
		}
		time.Sleep(2 * time.Second)
		w.warned(id)
		w.sim.RemoveFault(down)
		time.Sleep(time.Minute)
		w.warned(id, "6h0m0s")
	})
}

// A threshold that the job was late with is told by the new deadline, and one that was told is not told again.
func TestExpiring_PulledInBeforeTheJobHasTold(t *testing.T) {
	for _, late := range []bool{true, false} {
		inWorld(t, func(w *world) {
			r := w.start()
			id := w.ending(6*time.Hour + 40*time.Minute)
			w.schedule(r, hold.Wish{PaymentIntent: id, OnExpiry: "alert"})
			time.Sleep(35 * time.Minute)
			want := []string{"24h0m0s"}
			w.warned(id, want...)
			if late {
				r.end()
			}
			time.Sleep(15 * time.Minute) // 5 h 50 min are left
			if !late {
				want = append(want, "6h0m0s")
			}
			w.warned(id, want...)
			if late {
				r = w.start()
			}
			if err := w.sim.SetCaptureBefore(id, time.Now().Add(5*time.Hour)); err != nil {
				t.Fatal(err)
			}
			w.compared(r, false)
			time.Sleep(11 * time.Minute)
			w.warned(id, "24h0m0s", "6h0m0s")
		}, func(w *world, _ *stripesim.Options) { w.opts.Schedules.Expiry = "@every 10m" })
	}
}

func TestExpiring_FoundInMetadata(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.start()
		id := w.ending(5*time.Hour, func(h *stripesim.Hold) {
			h.Metadata = map[string]string{hold.MetaWaiting: "true", hold.MetaOnExpiry: "alert"}
		})
		w.compared(r, false)
		w.eventually(r, id, hold.Waiting, 20*time.Second)
		time.Sleep(2 * time.Second)
		w.warned(id, "6h0m0s")
		w.compared(r, false)
		time.Sleep(time.Minute)
		w.warned(id, "6h0m0s")
	})
}
