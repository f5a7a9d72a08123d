package gateway_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

func TestInspect(t *testing.T) {
	read := []stripesim.Class{stripesim.ClassList, stripesim.ClassRetrieve}
	const none = hold.AnswerKind(0)
	for name, row := range map[string]struct {
		prepare                     func(*world)
		read, expand, write, listed hold.AnswerKind
		endpoints                   int
	}{
		"all is well":     {func(*world) {}, hold.AnswerOK, hold.AnswerOK, hold.AnswerNotFound, hold.AnswerOK, 2},
		"a rejected key":  {func(w *world) { w.sim.RevokeKey(testKey) }, hold.AnswerUnauthorized, none, none, none, 0},
		"reads only":      {func(w *world) { w.sim.RestrictKey(testKey, read...) }, hold.AnswerOK, hold.AnswerOK, hold.AnswerForbidden, hold.AnswerForbidden, 0},
		"no permission":   {func(w *world) { w.sim.RestrictKey(testKey) }, hold.AnswerForbidden, none, hold.AnswerForbidden, hold.AnswerForbidden, 0},
		"what is needed":  {func(w *world) { w.sim.RestrictKey(testKey, append(read, stripesim.ClassCapture)...) }, hold.AnswerOK, hold.AnswerOK, hold.AnswerNotFound, hold.AnswerForbidden, 0},
		"Stripe is away":  {func(w *world) { w.fault(stripesim.Rule{Fault: stripesim.Fault{Kind: stripesim.DropRequest}}) }, hold.AnswerUnknown, none, none, none, 0},
		"Stripe is ill":   {func(w *world) { w.fault(stripesim.Rule{Fault: stripesim.Fault{Kind: stripesim.Unavailable}}) }, hold.AnswerUnknown, none, none, none, 0},
		"a proxy instead": {func(w *world) { w.fault(stripesim.Rule{Fault: stripesim.Fault{Kind: stripesim.HTML}}) }, hold.AnswerUnknown, none, none, none, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, stripesim.Options{}, func(t *testing.T, w *world) {
				w.authorize(stripesim.Hold{})
				w.sim.SetEndpoints(stripesim.Endpoint{URL: "https://who:pass@hotel.example/webhooks/stripe?token=t0psecret#x", APIVersion: "2020-08-27", Events: []string{"charge.expired"}},
					stripesim.Endpoint{URL: "https://other.example/", Disabled: true})
				row.prepare(w)
				effects := len(w.sim.Ledger())
				in := w.g.Inspect(t.Context())
				if in.Read.Kind != row.read || in.Expand.Kind != row.expand || in.Write.Kind != row.write || in.Listed.Kind != row.listed || len(in.Endpoints) != row.endpoints {
					t.Errorf("%+v", in)
				}
				if len(w.sim.Ledger()) != effects {
					t.Error("it moved money")
				}
				if s := fmt.Sprintf("%+v", in); strings.Contains(s, "t0psecret") || strings.Contains(s, "who:pass") {
					t.Errorf("a secret came out: %s", s)
				}
				if row.endpoints == 0 {
					return
				}
				if e := in.Endpoints[1]; e.URL != "https://hotel.example/webhooks/stripe" || e.Path != "/webhooks/stripe" || e.APIVersion != "2020-08-27" || !e.Enabled || len(e.Events) != 1 {
					t.Errorf("%+v", e)
				}
				if e := in.Endpoints[0]; e.APIVersion != "" || e.Enabled || e.Events[0] != "*" {
					t.Errorf("%+v", e)
				}
			})
		})
	}
}

// The difference that is told holds the true one, and is no wider than the second that the header leaves open.
func TestInspectTellsStripesClock(t *testing.T) {
	for _, off := range []time.Duration{0, 400 * time.Millisecond, 90 * time.Second, 100 * time.Hour} {
		inWorld(t, stripesim.Options{}, func(t *testing.T, w *world) {
			w.sim.Advance(off)
			w.fault(stripesim.Rule{Fault: stripesim.Fault{After: 300 * time.Millisecond}})
			in := w.g.Inspect(t.Context())
			if !in.ClockKnown || in.ClockMin > off || in.ClockMax < off || in.ClockMax-in.ClockMin > 1300*time.Millisecond {
				t.Errorf("%s: %s to %s, %v", off, in.ClockMin, in.ClockMax, in.ClockKnown)
			}
			if in.Took != 300*time.Millisecond {
				t.Errorf("it took %s", in.Took)
			}
		})
	}
	g := open(t, gateway.Options{Transport: always(401, fault("invalid_request_error", "", ""))})
	if in := g.Inspect(t.Context()); in.ClockKnown || in.Read.Kind != hold.AnswerUnauthorized {
		t.Errorf("an answer without a date: %+v", in)
	}
}

func TestStripeMockAcceptsAnInspection(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	defer func(out *os.File) { os.Stdout = out }(os.Stdout)
	os.Stdout = null // stripe-mock prints each request
	mock := stripeMock(t)
	var sent []string
	g := open(t, gateway.Options{Transport: transport(func(r *http.Request) (*http.Response, error) {
		sent = append(sent, r.Method+" "+r.URL.Path)
		return mock.RoundTrip(r)
	})})
	in := g.Inspect(t.Context())
	if in.Read.Kind != hold.AnswerOK || in.Expand.Kind != hold.AnswerOK || in.Listed.Kind != hold.AnswerOK || len(in.Endpoints) == 0 {
		t.Errorf("%+v", in)
	}
	if in.Write.HTTPStatus != 200 { // it knows every id
		t.Errorf("%+v", in.Write)
	}
	if len(sent) != 4 {
		t.Errorf("%q", sent)
	}
}
