package worker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
	"github.com/holdd/holdd/worker/stripesim"
)

func (w *testEnv) addInboxEntry(text string) {
	w.T.Helper()
	if _, err := w.Redis.XAdd("holdd:inbox", "*", []string{"hold", text}); err != nil {
		w.T.Fatal(err)
	}
}

// waitForHold lets time pass until there is a hold, in that state.
func (w *testEnv) waitForHold(r *replica, id string, s hold.State, d time.Duration) hold.Hold {
	w.T.Helper()
	for end := time.Now().Add(d); ; time.Sleep(100 * time.Millisecond) {
		if _, _, err := r.Get(w.Ctx, id); err == nil {
			return w.waitForState(r, id, s, time.Until(end))
		}
		if time.Now().After(end) {
			w.T.Fatalf("no hold %s after %s", id, d)
		}
	}
}

// streamEntries are the entries that still stand in a stream.
func (w *testEnv) streamEntries(key string) []string {
	var out []string
	entries, err := w.Redis.Stream(key)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		out = append(out, strings.Join(e.Values, "|"))
	}
	return out
}

func enableInbox(w *testEnv, _ *stripesim.Options) {
	w.opts.DecodeRequest = api.DecodeScheduleRequest
}

func TestInbox_SchedulesAndRejects(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		var ids []string
		for range 10 {
			id := w.AuthorizeIntent()
			ids = append(ids, id)
			req := fmt.Sprintf(`{"payment_intent":%q,"capture_at":%q,"reference":"BK"}`, id,
				envtest.In(30*time.Second))
			w.addInboxEntry(req)
			w.addInboxEntry(req) // the same again is fine
		}
		for _, bad := range []string{`{`, `{"payment_intent":"pi_12345678","Amount":5}`,
			`{"payment_intent":"` + ids[0] + `"}`, `{"payment_intent":"` + ids[1] +
				`","capture_at":"1999-12-31T00:00:00Z"}`,
			`{"payment_intent":"x"}`, `null`, `{"payment_intent":"pi_12345678","reference":"` +
				strings.Repeat("a", 70_000) + `"}`} {
			w.addInboxEntry(bad)
		}
		w.Redis.XAdd("holdd:inbox", "*", []string{"holds", "{}"})
		time.Sleep(10 * time.Second)
		r := w.startReplica()
		time.Sleep(5 * time.Second)
		for _, id := range ids {
			if h := w.mustGet(r, id); h.State != hold.Scheduled || h.History[0].By != "inbox" {
				t.Errorf("%+v", h)
			}
		}
		if left := w.streamEntries("holdd:inbox"); len(left) != 0 {
			t.Errorf("not answered: %.500q", left)
		}
		rejected := w.streamEntries("holdd:inbox:rejected")
		var codes []string
		for _, e := range rejected {
			_, rest, _ := strings.Cut(e, "code|")
			code, _, _ := strings.Cut(rest, "|")
			codes = append(codes, code)
			if !strings.HasPrefix(e, "source|inbox|id|") || len(e) > 70_000 {
				t.Errorf("%.300s", e)
			}
		}
		if got, want := fmt.Sprint(codes),
			"[invalid_json unknown_field invalid_type entry_too_large entry_without_hold hold_exists in_the_past invalid_id]"; got != want {
			t.Errorf("rejected as %s\n      want %s", got, want)
		}
		if n := w.Logs.FilterMessage("inbox.rejected").Len(); n != 8 {
			t.Errorf("%d told of 8", n)
		}
		time.Sleep(30 * time.Second)
		for _, id := range ids {
			w.CheckEffects(id, "captured 10000 by api")
		}
	}, enableInbox)
}

// An intent that Stripe doesn't show yet, a Redis and a Stripe that are away:
// nothing of it is a reason to reject.
func TestInbox_RetriesTransientFailures(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		missing := w.AuthorizeIntent()
		w.Sim.Faults.AddFaultRule(stripesim.FaultRule{Class: stripesim.ClassRetrieve, Times: 1,
			Fault: stripesim.Fault{Kind: stripesim.FaultNotFound}})
		w.addInboxEntry(fmt.Sprintf(`{"payment_intent":%q,"capture_at":%q}`, missing,
			envtest.In(10*time.Minute)))
		time.Sleep(5 * time.Second)
		if len(w.streamEntries("holdd:inbox")) != 1 {
			t.Errorf("it was answered: %q", w.streamEntries("holdd:inbox:rejected"))
		}
		w.waitForHold(r, missing, hold.Scheduled, 40*time.Second)

		w.Sim.Faults.AddFaultRule(stripesim.FaultRule{Class: stripesim.ClassRetrieve,
			Fault: stripesim.Fault{Kind: stripesim.FaultDropRequest}})
		unverified := w.AuthorizeIntent()
		w.addInboxEntry(fmt.Sprintf(`{"payment_intent":%q,"capture_at":%q}`, unverified,
			envtest.In(10*time.Minute)))
		if h := w.waitForHold(r, unverified, hold.Scheduled, 10*time.Second); h.Verified {
			t.Errorf("checked with a Stripe that is away")
		}
		w.Sim.Faults.ClearFaultRules()
		nonexistent := "pi_nobodyknowsthis"
		w.addInboxEntry(fmt.Sprintf(`{"payment_intent":%q,"capture_at":%q}`, nonexistent,
			envtest.In(10*time.Minute)))
		time.Sleep(4 * time.Minute)
		if got := w.streamEntries("holdd:inbox:rejected"); len(got) != 1 ||
			!strings.Contains(got[0], "payment_intent_not_found") {
			t.Errorf("%q", got)
		}
	}, enableInbox)
}

// What a replica took and never answered is taken over by another.
func TestInbox_TakesOverFromDeadReplica(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		dead := w.startReplica()
		id := w.AuthorizeIntent()
		w.addInboxEntry(fmt.Sprintf(`{"payment_intent":%q,"capture_at":%q}`, id,
			envtest.In(10*time.Minute)))
		entries, _, err := dead.store.ReadInboxEntries(w.Ctx, "replica-0", 10, 30*time.Second,
			intake.MaxInboxEntryBytes)
		if err != nil || len(entries) != 1 {
			t.Fatalf("%v %v", entries, err)
		}
		dead.SimulateSIGKILL()
		r := w.startReplica()
		time.Sleep(20 * time.Second)
		if got := len(w.streamEntries("holdd:inbox")); got != 1 {
			t.Fatalf("%d", got)
		}
		w.waitForHold(r, id, hold.Scheduled, 15*time.Second)
		if left := w.streamEntries("holdd:inbox"); len(left) != 0 {
			t.Errorf("%q", left)
		}
	}, enableInbox)
}

func TestMirror_WritesTermsToMetadata(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		id, withoutTime, noRoom := w.AuthorizeIntent(),
			w.AuthorizeIntent(
				func(h *stripesim.Hold) { h.Metadata = map[string]string{"room": "12"} }),
			w.AuthorizeIntent(func(h *stripesim.Hold) {
				h.Metadata = map[string]string{}
				for i := range 50 {
					h.Metadata[fmt.Sprint("k", i)] = "v"
				}
			})
		at := time.Now().Add(10 * time.Minute).UTC().Truncate(time.Second)
		s := w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id,
			CaptureAt: at.Format(time.RFC3339), CaptureAmount: 5_000, Reference: "BK-1",
			OnExpiry: "alert", Metadata: map[string]string{"note": strings.Repeat("ü", 490),
				"b": strings.Repeat("c", 300)}})
		if s.Mirrored {
			t.Error("mirrored at once")
		}
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: withoutTime})
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: noRoom})
		nonexistent := "pi_goneforever00"
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: nonexistent, Amount: 5,
			Currency: "eur", ExpiresAt: envtest.In(48 * time.Hour),
			CaptureAt: envtest.In(10 * time.Minute)})
		time.Sleep(10 * time.Second)
		termsAtStripe := func(id string) (hold.ScheduleRequest, bool) {
			st, _ := w.Sim.Intent(id)
			req, paused, ok, err := hold.RequestFromMetadata(
				&hold.PaymentIntent{ID: id, Metadata: st.Metadata}, "")
			if !ok || err != nil {
				t.Fatalf("%v %v %q %v", ok, err, st.Metadata, w.Logs.FilterMessageSnippet(
					"can't be written").All())
			}
			return req, paused
		}
		if req, _ := termsAtStripe(id); req.CaptureAt != at.Format(time.RFC3339) ||
			req.CaptureAmount != 5_000 || req.Reference != "BK-1" || req.OnExpiry != "alert" ||
			len(req.Metadata["note"]) != 980 {
			t.Errorf("%+v", req)
		}
		for id, want := range map[string]bool{id: true, withoutTime: true,
			noRoom: false, nonexistent: false} {
			if h := w.mustGet(r, id); h.Mirrored != want || h.Unmirrorable == want {
				t.Errorf("%s: mirrored %v", id, h.Mirrored)
			}
		}
		if n := w.Logs.FilterMessageSnippet("can't be written to its intent").Len(); n != 2 {
			t.Errorf("%d told of 2", n)
		}
		// Terms that change are written again, and what the earlier ones left
		// is gone.
		empty, cancel := "", envtest.In(15*time.Minute)
		if _, _, err := r.PatchTerms(w.Ctx, id, hold.Patch{CaptureAt: &empty, CancelAt: &cancel,
			Metadata: map[string]string{"note": "", "b": ""}}, 0, "test"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.PauseHold(w.Ctx, id, 0, false, "test"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if req, paused := termsAtStripe(id); req.CaptureAt != "" || req.CancelAt == "" ||
			len(req.Metadata) != 0 || !paused {
			t.Errorf("%+v %v", req, paused)
		}
		if st, _ := w.Sim.Intent(withoutTime); st.Metadata["room"] != "12" ||
			st.Metadata["holdd_waiting"] != "true" {
			t.Errorf("%q", st.Metadata)
		}
	}, func(w *testEnv, _ *stripesim.Options) { w.opts.Rules.Mirror = true })
}

// A crowd of holds that are due is captured as fast with terms to mirror as
// without, and all is mirrored in the end.
func TestMirror_YieldsToCaptures(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		w.store.Rates.Total = 25 // a sandbox: everything shares one bucket
		r := w.startReplica()
		var due, later []hold.ScheduleRequest
		at := envtest.In(20 * time.Second)
		for i := range 250 {
			h := hold.ScheduleRequest{PaymentIntent: w.AuthorizeIntent(), Amount: 10_000,
				Currency: "eur", ExpiresAt: envtest.In(5 * 24 * time.Hour), CaptureAt: at}
			if i >= 150 {
				h.CaptureAt = envtest.In(time.Hour)
				later = append(later, h)
			} else {
				due = append(due, h)
			}
		}
		r.Schedule(w.Ctx, due, "test")
		time.Sleep(19 * time.Second)
		r.Schedule(w.Ctx, later, "test")
		time.Sleep(8 * time.Second)
		captured := 0
		for _, h := range due {
			if st, _ := w.Sim.Intent(h.PaymentIntent); st.Status == "succeeded" {
				captured++
			}
		}
		if captured < 140 {
			t.Errorf("%d of 150 were captured in 7 s at 25 a second", captured)
		}
		time.Sleep(40 * time.Second)
		for _, h := range later {
			if !w.mustGet(r, h.PaymentIntent).Mirrored {
				t.Fatal("not mirrored after the crowd was gone")
			}
		}
	}, func(w *testEnv, _ *stripesim.Options) { w.opts.Rules.Mirror = true })
}
