package e2e_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// nthCapture leads the n-th capture and the later ones to a kill point.
type nthCapture struct {
	next  http.Handler
	kill  *killPoint
	count atomic.Int32
	n     int32
}

func (c *nthCapture) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	isCapture := r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/capture")
	if isCapture && c.count.Add(1) >= c.n {
		c.kill.ServeHTTP(w, r)
		return
	}
	c.next.ServeHTTP(w, r)
}

// newPartsWorld is a world with a hold that can be captured in parts.
func newPartsWorld(t *testing.T) (w *world, id string) {
	t.Helper()
	w = newWorld(t, unlimitedStripeOptions)
	id, err := w.sim.Authorize(stripesim.Hold{Amount: 12_500, Currency: "eur", Multicapture: true})
	if err != nil {
		t.Fatal(err)
	}
	return w, id
}

// capturedParts are the amounts that were captured of an intent, in order.
func (w *world) capturedParts(id string) (parts []int64) {
	for _, e := range w.sim.Ledger() {
		if e.Intent == id && e.Kind == stripesim.EffectCaptured {
			parts = append(parts, e.Amount)
		}
	}
	return parts
}

// TestParts_ProcessKilled kills the process at one of three captures of a hold.
// Another process takes over, and each part is captured once.
func TestParts_ProcessKilled(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		part        int32
		afterEffect bool
	}{{1, true}, {2, false}, {2, true}, {3, true}} {
		t.Run(fmt.Sprintf("part %d, had its effect %v", tt.part, tt.afterEffect),
			func(t *testing.T) {
				t.Parallel()
				w, id := newPartsWorld(t)
				kill := &killPoint{next: w.sim.Handler(), endpoint: "/capture",
					afterEffect: tt.afterEffect, reached: make(chan struct{}),
					killed: make(chan struct{})}
				w.stripe.close()
				w.stripe.handler = &nthCapture{next: w.sim.Handler(), kill: kill, n: tt.part}
				w.stripe.open()
				bin := binaryPath(t, buildRace)
				first := w.startReplica(bin, shortLeaseSettings...)
				w.scheduleAll(first, []hold.ScheduleRequest{{PaymentIntent: id,
					Captures: []hold.CaptureStageRequest{
						{At: formatTime(afterNow(2 * time.Second)), Amount: 3_000},
						{At: formatTime(afterNow(3 * time.Second)), Amount: 4_000},
						{At: formatTime(afterNow(4 * time.Second)), Amount: 5_000}}}})
				select {
				case <-kill.reached:
				case <-time.After(processTimeout):
					t.Fatal("the captures have not come that far")
				}
				first.sendSignal(syscall.SIGKILL)
				close(kill.killed)
				second := w.startReplica(bin, shortLeaseSettings...)
				var h hold.View
				storetest.WaitUntil(t, 2*processTimeout, "all parts to be captured", func() (done bool) {
					var err error
					h, err = second.client.Get(t.Context(), id)
					return err == nil && h.State == "captured"
				})
				if got := w.capturedParts(id); !slices.Equal(got, []int64{3_000, 4_000, 5_000}) {
					t.Errorf("captured %v", got)
				}
				if h.CapturedAmount != 12_000 || h.CapturedElsewhere != 0 {
					t.Errorf("the hold says %d captured, %d elsewhere", h.CapturedAmount,
						h.CapturedElsewhere)
				}
			})
	}
}

// TestParts_Console captures a part by the console's form, and sends the form
// twice, as a double click does.
func TestParts_Console(t *testing.T) {
	t.Parallel()
	w, id := newPartsWorld(t)
	r := w.startReplica(binaryPath(t, buildRace))
	w.scheduleAll(r, []hold.ScheduleRequest{{PaymentIntent: id}})
	var h hold.View
	storetest.WaitUntil(t, processTimeout, "the charge to be read", func() bool {
		var err error
		h, err = r.client.Get(t.Context(), id)
		return err == nil && slices.Contains(h.Features, "multicapture")
	})
	page := sendRaw(t, r, http.MethodGet, "/console/holds/"+id+"/part?part=45.00", nil, nil, false)
	if page.status != http.StatusOK || !strings.Contains(page.text, "80.00 EUR") ||
		!strings.Contains(page.text, "stays held") {
		t.Fatalf("%d %s", page.status, page.text)
	}
	if parts := w.capturedParts(id); len(parts) != 0 {
		t.Fatalf("before the confirmation: %v", parts)
	}
	form := url.Values{"part": {"45.00"}, "revision": {strconv.FormatUint(h.Revision, 10)}}
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	for range 2 {
		a := sendRaw(t, r, http.MethodPost, "/console/holds/"+id+"/part", header,
			[]byte(form.Encode()), false)
		if a.status >= http.StatusInternalServerError {
			t.Fatalf("%d %s", a.status, a.text)
		}
	}
	storetest.WaitUntil(t, processTimeout, "the part to be captured", func() bool {
		h, err := r.client.Get(t.Context(), id)
		return err == nil && h.CapturedAmount == 4_500 && h.State == "waiting"
	})
	if got := w.capturedParts(id); !slices.Equal(got, []int64{4_500}) {
		t.Errorf("captured %v", got)
	}
}
