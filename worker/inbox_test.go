package worker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
	"github.com/holdd/holdd/worker/stripesim"
)

func (w *world) put(text string) {
	w.t.Helper()
	if _, err := w.redis.XAdd("holdd:inbox", "*", []string{"hold", text}); err != nil {
		w.t.Fatal(err)
	}
}

// appears lets time pass until there is a hold, in that state.
func (w *world) appears(r *replica, id string, s hold.State, d time.Duration) hold.Hold {
	w.t.Helper()
	for end := time.Now().Add(d); ; time.Sleep(100 * time.Millisecond) {
		if _, _, err := r.Get(w.ctx, id); err == nil {
			return w.eventually(r, id, s, time.Until(end))
		}
		if time.Now().After(end) {
			w.t.Fatalf("no hold %s after %s", id, d)
		}
	}
}

// left are the entries that still stand in a stream.
func (w *world) left(key string) []string {
	var out []string
	entries, err := w.redis.Stream(key)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		out = append(out, strings.Join(e.Values, "|"))
	}
	return out
}

func withInbox(w *world, _ *stripesim.Options) { w.opts.DecodeRequest = api.ParseScheduleRequest }

func TestTheInboxIsTakenInAlsoWhatCameWhileNobodyRan(t *testing.T) {
	inWorld(t, func(w *world) {
		var ids []string
		for range 10 {
			id := w.authorize()
			ids = append(ids, id)
			req := fmt.Sprintf(`{"payment_intent":%q,"capture_at":%q,"reference":"BK"}`, id, in(30*time.Second))
			w.put(req)
			w.put(req) // the same again is fine
		}
		for _, bad := range []string{`{`, `{"payment_intent":"pi_12345678","Amount":5}`, `{"payment_intent":"` + ids[0] + `"}`, `{"payment_intent":"` + ids[1] + `","capture_at":"1999-12-31T00:00:00Z"}`,
			`{"payment_intent":"x"}`, `null`, `{"payment_intent":"pi_12345678","reference":"` + strings.Repeat("a", 70_000) + `"}`} {
			w.put(bad)
		}
		w.redis.XAdd("holdd:inbox", "*", []string{"holds", "{}"})
		time.Sleep(10 * time.Second)
		r := w.start()
		time.Sleep(5 * time.Second)
		for _, id := range ids {
			if h := w.hold(r, id); h.State != hold.Scheduled || h.History[0].By != "inbox" {
				t.Errorf("%+v", h)
			}
		}
		if left := w.left("holdd:inbox"); len(left) != 0 {
			t.Errorf("not answered: %.500q", left)
		}
		rejected := w.left("holdd:inbox:rejected")
		var codes []string
		for _, e := range rejected {
			_, rest, _ := strings.Cut(e, "code|")
			code, _, _ := strings.Cut(rest, "|")
			codes = append(codes, code)
			if !strings.HasPrefix(e, "source|inbox|id|") || len(e) > 70_000 {
				t.Errorf("%.300s", e)
			}
		}
		if got, want := fmt.Sprint(codes), "[invalid_json unknown_field invalid_type entry_too_large entry_without_hold hold_exists in_the_past invalid_id]"; got != want {
			t.Errorf("rejected as %s\n      want %s", got, want)
		}
		if n := w.logs.FilterMessage("inbox.rejected").Len(); n != 8 {
			t.Errorf("%d told of 8", n)
		}
		time.Sleep(30 * time.Second)
		for _, id := range ids {
			w.once(id, "captured 10000 by api")
		}
	}, withInbox)
}

// An intent that Stripe doesn't show yet, a Redis and a Stripe that are away: nothing of it is a reason to reject.
func TestTheInboxRejectsNothingThatMayWorkLater(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.start()
		missing := w.authorize()
		w.sim.AddFault(stripesim.Rule{Class: stripesim.ClassRetrieve, Times: 1, Fault: stripesim.Fault{Kind: stripesim.NotFound}})
		w.put(fmt.Sprintf(`{"payment_intent":%q,"capture_at":%q}`, missing, in(10*time.Minute)))
		time.Sleep(5 * time.Second)
		if len(w.left("holdd:inbox")) != 1 {
			t.Errorf("it was answered: %q", w.left("holdd:inbox:rejected"))
		}
		w.appears(r, missing, hold.Scheduled, 40*time.Second)

		w.sim.AddFault(stripesim.Rule{Class: stripesim.ClassRetrieve, Fault: stripesim.Fault{Kind: stripesim.DropRequest}})
		away := w.authorize()
		w.put(fmt.Sprintf(`{"payment_intent":%q,"capture_at":%q}`, away, in(10*time.Minute)))
		if h := w.appears(r, away, hold.Scheduled, 10*time.Second); h.Verified {
			t.Errorf("checked with a Stripe that is away")
		}
		w.sim.ClearFaults()
		never := "pi_nobodyknowsthis"
		w.put(fmt.Sprintf(`{"payment_intent":%q,"capture_at":%q}`, never, in(10*time.Minute)))
		time.Sleep(4 * time.Minute)
		if got := w.left("holdd:inbox:rejected"); len(got) != 1 || !strings.Contains(got[0], "payment_intent_not_found") {
			t.Errorf("%q", got)
		}
	}, withInbox)
}

// What a replica took and never answered is taken over by another.
func TestADeadReplicasEntriesAreTakenOver(t *testing.T) {
	inWorld(t, func(w *world) {
		dead := w.start()
		id := w.authorize()
		w.put(fmt.Sprintf(`{"payment_intent":%q,"capture_at":%q}`, id, in(10*time.Minute)))
		entries, _, err := dead.store.ReadInbox(w.ctx, "replica-0", 10, 30*time.Second, intake.MaxInboxEntryBytes)
		if err != nil || len(entries) != 1 {
			t.Fatalf("%v %v", entries, err)
		}
		dead.kill()
		r := w.start()
		time.Sleep(20 * time.Second)
		if got := len(w.left("holdd:inbox")); got != 1 {
			t.Fatalf("%d", got)
		}
		w.appears(r, id, hold.Scheduled, 15*time.Second)
		if left := w.left("holdd:inbox"); len(left) != 0 {
			t.Errorf("%q", left)
		}
	}, withInbox)
}

func TestTermsAreMirrored(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.start()
		id, plain, full := w.authorize(), w.authorize(func(h *stripesim.Hold) { h.Metadata = map[string]string{"room": "12"} }),
			w.authorize(func(h *stripesim.Hold) {
				h.Metadata = map[string]string{}
				for i := range 50 {
					h.Metadata[fmt.Sprint("k", i)] = "v"
				}
			})
		at := time.Now().Add(10 * time.Minute).UTC().Truncate(time.Second)
		s := w.schedule(r, hold.ScheduleRequest{PaymentIntent: id, CaptureAt: at.Format(time.RFC3339), CaptureAmount: 5_000, Reference: "BK-1", OnExpiry: "alert", Metadata: map[string]string{"note": strings.Repeat("ü", 490), "b": strings.Repeat("c", 300)}})
		if s.Mirrored {
			t.Error("mirrored at once")
		}
		w.schedule(r, hold.ScheduleRequest{PaymentIntent: plain})
		w.schedule(r, hold.ScheduleRequest{PaymentIntent: full})
		gone := "pi_goneforever00"
		w.schedule(r, hold.ScheduleRequest{PaymentIntent: gone, Amount: 5, Currency: "eur", ExpiresAt: in(48 * time.Hour), CaptureAt: in(10 * time.Minute)})
		time.Sleep(10 * time.Second)
		truth := func(id string) (hold.ScheduleRequest, bool) {
			st, _ := w.sim.Intent(id)
			req, paused, ok, err := hold.RequestFromMetadata(&hold.Intent{ID: id, Metadata: st.Metadata}, "")
			if !ok || err != nil {
				t.Fatalf("%v %v %q %v", ok, err, st.Metadata, w.logs.FilterMessageSnippet("can't be written").All())
			}
			return req, paused
		}
		if req, _ := truth(id); req.CaptureAt != at.Format(time.RFC3339) || req.CaptureAmount != 5_000 || req.Reference != "BK-1" || req.OnExpiry != "alert" || len(req.Metadata["note"]) != 980 {
			t.Errorf("%+v", req)
		}
		for id, want := range map[string]bool{id: true, plain: true, full: false, gone: false} {
			if h := w.hold(r, id); h.Mirrored != want || h.Unmirrorable == want {
				t.Errorf("%s: mirrored %v", id, h.Mirrored)
			}
		}
		if n := w.logs.FilterMessageSnippet("can't be written to its intent").Len(); n != 2 {
			t.Errorf("%d told of 2", n)
		}
		// Terms that change are written again, and what the earlier ones left is gone.
		empty, cancel := "", in(15*time.Minute)
		if _, _, err := r.Patch(w.ctx, id, hold.Patch{CaptureAt: &empty, CancelAt: &cancel, Metadata: map[string]string{"note": "", "b": ""}}, 0, "test"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.Pause(w.ctx, id, 0, false, "test"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if req, paused := truth(id); req.CaptureAt != "" || req.CancelAt == "" || len(req.Metadata) != 0 || !paused {
			t.Errorf("%+v %v", req, paused)
		}
		if st, _ := w.sim.Intent(plain); st.Metadata["room"] != "12" || st.Metadata["holdd_waiting"] != "true" {
			t.Errorf("%q", st.Metadata)
		}
	}, func(w *world, _ *stripesim.Options) { w.opts.Rules.Mirror = true })
}

// A crowd of holds that are due is captured as fast with terms to mirror as without, and all is mirrored in the end.
func TestTheMirrorTakesNothingFromCaptures(t *testing.T) {
	inWorld(t, func(w *world) {
		w.store.Rates.Total = 25 // a sandbox: everything shares one bucket
		r := w.start()
		var due, later []hold.ScheduleRequest
		at := in(20 * time.Second)
		for i := range 250 {
			h := hold.ScheduleRequest{PaymentIntent: w.authorize(), Amount: 10_000, Currency: "eur", ExpiresAt: in(5 * 24 * time.Hour), CaptureAt: at}
			if i >= 150 {
				h.CaptureAt = in(time.Hour)
				later = append(later, h)
			} else {
				due = append(due, h)
			}
		}
		r.Schedule(w.ctx, due, "test")
		time.Sleep(19 * time.Second)
		r.Schedule(w.ctx, later, "test")
		time.Sleep(8 * time.Second)
		captured := 0
		for _, h := range due {
			if st, _ := w.sim.Intent(h.PaymentIntent); st.Status == "succeeded" {
				captured++
			}
		}
		if captured < 140 {
			t.Errorf("%d of 150 were captured in 7 s at 25 a second", captured)
		}
		time.Sleep(40 * time.Second)
		for _, h := range later {
			if !w.hold(r, h.PaymentIntent).Mirrored {
				t.Fatal("not mirrored after the crowd was gone")
			}
		}
	}, func(w *world, _ *stripesim.Options) { w.opts.Rules.Mirror = true })
}
