package auditread_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/holdd/holdd/worker/audit"
	"github.com/holdd/holdd/worker/auditread"
	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/stripesim"
)

const (
	day = 24 * time.Hour
	key = "rk_test_an_audit_may_read_0123456789"
)

var silent = auditread.ReadObserver{PageRead: func() {}, Waiting: func(string) {}}

// world is a simulator with a caller that paces its requests.
type world struct {
	t      *testing.T
	sim    *stripesim.Sim
	caller *gateway.Caller
	writes int
}

func inWorld(t *testing.T, rate float64, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, sim: stripesim.New(stripesim.Options{Seed: 1})}
		g, err := gateway.New(gateway.Options{APIKey: key, ReadOnly: true, Transport: w})
		if err != nil {
			t.Fatal(err)
		}
		w.caller = gateway.NewCaller(g, auditread.NewRequestPacer(rate), gateway.CallerOptions{
			Timeout: 10 * time.Second, Logger: zap.NewNop()})
		f(w)
	})
}

// RoundTrip counts the writes.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet {
		w.writes++
	}
	return w.sim.Transport().RoundTrip(r)
}

// authorizeAndCapture places n holds and captures them an hour later.
func (w *world) authorizeAndCapture(n int) {
	w.t.Helper()
	var ids []string
	for range n {
		id, err := w.sim.Authorize(stripesim.Hold{Amount: 10000})
		if err != nil {
			w.t.Fatal(err)
		}
		ids = append(ids, id)
	}
	time.Sleep(time.Hour)
	for _, id := range ids {
		if err := w.sim.Dashboard().Capture(id, 10000); err != nil {
			w.t.Fatal(err)
		}
	}
	time.Sleep(time.Hour)
}

func (w *world) newProgress() *auditread.ReadProgress {
	return &auditread.ReadProgress{From: time.Now().Add(-10 * day), Until: time.Now()}
}

func (w *world) mustRead(p *auditread.ReadProgress) {
	w.t.Helper()
	if err := auditread.ReadPayments(w.t.Context(), w.caller, p, silent); err != nil {
		w.t.Fatal(err)
	}
	if w.writes > 0 {
		w.t.Errorf("%d writes were sent", w.writes)
	}
}

func report(p *auditread.ReadProgress) audit.Report {
	audit.SetMissingCaptureTimes(p.Payments, p.Captures)
	return audit.ComputeReport(p.Payments, audit.ReportScope{From: p.From, Until: p.Until})
}

func TestRead_AllPages(t *testing.T) {
	inWorld(t, 5, func(w *world) {
		w.authorizeAndCapture(250)
		p, pages, share := w.newProgress(), 0, 0.0
		began := time.Now()
		observer := silent
		observer.PageRead = func() {
			pages++
			if p.ShareDone() < share {
				t.Errorf("the share fell from %v to %v", share, p.ShareDone())
			}
			share = p.ShareDone()
		}
		err := auditread.ReadPayments(w.t.Context(), w.caller, p, observer)
		if err != nil || pages != 6 || p.IntentsRead != 250 || share != 1 || w.writes != 0 {
			t.Errorf("%v, %d pages, %d intents, share %v, %d writes", err, pages, p.IntentsRead, share,
				w.writes)
		}
		if took := time.Since(began); took < 900*time.Millisecond || took > 1500*time.Millisecond {
			t.Errorf("six requests at five a second took %s", took)
		}
		if r := report(p); r.Captured.Count != 250 || r.Sources.CapturesByBalance != 250 ||
			r.TimeToCapture.Median != 3600 {
			t.Errorf("%+v %+v", r.Captured, r.Sources)
		}
	})
}

// TestRead_Resumes stops after each page and continues from JSON, as from a
// file.
func TestRead_Resumes(t *testing.T) {
	inWorld(t, 5, func(w *world) {
		w.authorizeAndCapture(250)
		p, runs := w.newProgress(), 0
		for ; !p.ChargesDone && runs < 10; runs++ {
			ctx, cancel := context.WithCancel(w.t.Context())
			err := auditread.ReadPayments(ctx, w.caller, p,
				auditread.ReadObserver{PageRead: cancel, Waiting: silent.Waiting})
			cancel()
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			saved, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			p = &auditread.ReadProgress{}
			if err := json.Unmarshal(saved, p); err != nil {
				t.Fatal(err)
			}
		}
		for _, class := range []stripesim.EndpointClass{stripesim.ClassList,
			stripesim.ClassChargeList} {
			if n := w.sim.Stats().Calls[stripesim.CallOutcome{Class: class,
				Status: 200}]; n != 3 || runs != 6 {
				t.Errorf("%d pages of %s in %d runs: a resumed audit reads no page again", n, class,
					runs)
			}
		}
		if r := report(p); r.Captured.Count != 250 || p.IntentsRead != 250 {
			t.Errorf("%d captured of %d", r.Captured.Count, p.IntentsRead)
		}
	})
}

func TestRead_WithoutBalanceTransactions(t *testing.T) {
	for _, c := range []struct {
		allowed        []stripesim.EndpointClass
		byEvent, never int
	}{
		{[]stripesim.EndpointClass{stripesim.ClassList, stripesim.ClassChargeList,
			stripesim.ClassEventList}, 150, 0},
		{[]stripesim.EndpointClass{stripesim.ClassList, stripesim.ClassChargeList}, 0, 150},
	} {
		inWorld(t, 5, func(w *world) {
			w.authorizeAndCapture(150)
			w.sim.Keys.RestrictKey(key, c.allowed...)
			p := w.newProgress()
			w.mustRead(p)
			r := report(p)
			if r.Captured.Count != 150 || r.Sources.CapturesByEvent != c.byEvent ||
				r.Sources.CapturesUnknown != c.never || r.TimeToCapture.Count != c.byEvent {
				t.Errorf("%v: %+v", c.allowed, r.Sources)
			}
			if c.byEvent > 0 && r.TimeToCapture.Median != 3600 {
				t.Errorf("median %d", r.TimeToCapture.Median)
			}
		})
	}
}

func TestRead_Errors(t *testing.T) {
	for name, c := range map[string]struct {
		before func(w *world)
		want   error
	}{
		"forbidden": {func(w *world) { w.sim.Keys.RestrictKey(key) }, auditread.ErrForbidden},
		"rejected":  {func(w *world) { w.sim.Keys.RevokeKey(key) }, auditread.ErrKeyRejected},
		"unavailable": {func(w *world) {
			w.sim.Faults.SetFaultFunc(func(stripesim.Call) stripesim.Fault {
				return stripesim.Fault{Kind: stripesim.FaultUnavailable}
			})
		}, auditread.ErrUnavailable},
	} {
		inWorld(t, 5, func(w *world) {
			c.before(w)
			began := time.Now()
			reasons := 0
			observer := silent
			observer.Waiting = func(string) { reasons++ }
			err := auditread.ReadPayments(w.t.Context(), w.caller, w.newProgress(), observer)
			if !errors.Is(err, c.want) || time.Since(began) > 10*time.Minute {
				t.Errorf("%s: %v after %s", name, err, time.Since(began))
			}
			if waits := errors.Is(c.want, auditread.ErrUnavailable); waits != (reasons == 1) {
				t.Errorf("%s: told %d times that Stripe does not answer", name, reasons)
			}
		})
	}
}

// TestRead_OutlastsFaults answers every second request with a fault.
func TestRead_OutlastsFaults(t *testing.T) {
	kinds := []stripesim.FaultKind{stripesim.FaultRateLimited, stripesim.FaultUnavailable,
		stripesim.FaultDropReply, stripesim.FaultBrokenBody, stripesim.FaultHTML}
	inWorld(t, 5, func(w *world) {
		w.authorizeAndCapture(250)
		w.sim.Faults.SetFaultFunc(func(c stripesim.Call) stripesim.Fault {
			if c.NumberInClass%2 == 0 {
				return stripesim.Fault{}
			}
			return stripesim.Fault{Kind: kinds[int(c.NumberInClass/2)%len(kinds)]}
		})
		p := w.newProgress()
		w.mustRead(p)
		if r := report(p); r.Captured.Count != 250 {
			t.Errorf("%d captured", r.Captured.Count)
		}
	})
}

// TestRead_ChargesAPI reads payments that have no PaymentIntent.
func TestRead_ChargesAPI(t *testing.T) {
	inWorld(t, 5, func(w *world) {
		began := time.Now()
		var charges []string
		for i := range 4 {
			id, err := w.sim.Authorize(stripesim.Hold{Amount: 10000, ChargesAPI: true,
				Customer: "", Metadata: map[string]string{"booking_id": "BK-7"}})
			if err != nil {
				t.Fatal(err)
			}
			st, _ := w.sim.Intent(id)
			charges = append(charges, st.Charge)
			time.Sleep(time.Hour)
			switch i {
			case 0:
				err = w.sim.Dashboard().Capture(id, 6000)
			case 1:
				err = w.sim.Dashboard().Cancel(id, "requested_by_customer")
			case 2:
				time.Sleep(8 * day) // it expires
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		p := w.newProgress()
		w.mustRead(p)
		r := report(p)
		if p.IntentsRead != 0 || p.ChargesRead != 4 || r.Sources.ChargesAlone != 4 ||
			r.Captured.Count != 1 || r.Canceled.Count != 1 || r.Expired.Count != 1 ||
			r.HeldNow.Count != 1 || r.TimeToCapture.Median != 3600 {
			t.Errorf("%+v", r)
		}
		if e := r.Expired.Payments; len(e) != 1 || e[0].ID != charges[2] ||
			!e[0].EndedAt.Truncate(time.Minute).Equal(began.Add(2*time.Hour+7*day).Truncate(time.Minute)) {
			t.Errorf("%+v", e)
		}
	})
}

// TestPacer_HalvesTheRate measures six pages, of which the first meets a 429.
func TestPacer_HalvesTheRate(t *testing.T) {
	inWorld(t, 10, func(w *world) {
		w.authorizeAndCapture(300)
		first := true
		w.sim.Faults.SetFaultFunc(func(stripesim.Call) stripesim.Fault {
			if !first {
				return stripesim.Fault{}
			}
			first = false
			return stripesim.Fault{Kind: stripesim.FaultRateLimited}
		})
		began := time.Now()
		w.mustRead(w.newProgress())
		// A second until the retry, then five steps of some 200 ms instead of 100.
		if took := time.Since(began); took < 1750*time.Millisecond || took > 2500*time.Millisecond {
			t.Errorf("took %s", took)
		}
	})
}
