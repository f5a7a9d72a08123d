package gateway_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

func TestInspect(t *testing.T) {
	const notSent, ok = hold.AnswerKind(0), hold.AnswerOK
	const forbidden, notFound = hold.AnswerForbidden, hold.AnswerNotFound
	const unknown = hold.AnswerUnknown
	restrict := func(classes ...stripesim.EndpointClass) func(*simEnv) {
		return func(w *simEnv) { w.sim.Keys.RestrictKey(testAPIKey, classes...) }
	}
	fail := func(kind stripesim.FaultKind) func(*simEnv) {
		return func(w *simEnv) {
			w.addFault(stripesim.FaultRule{Fault: stripesim.Fault{Kind: kind}})
		}
	}
	revoke := func(w *simEnv) { w.sim.Keys.RevokeKey(testAPIKey) }
	list, retrieve, capture := stripesim.ClassList, stripesim.ClassRetrieve, stripesim.ClassCapture
	for name, tt := range map[string]struct {
		prepare                         func(*simEnv)
		list, expand, capture, endpoint hold.AnswerKind
		endpoints                       int
	}{
		"full permissions":     {func(*simEnv) {}, ok, ok, notFound, ok, 2},
		"key rejected":         {revoke, hold.AnswerUnauthorized, notSent, notSent, notSent, 0},
		"reads only":           {restrict(list, retrieve), ok, ok, forbidden, forbidden, 0},
		"no permission":        {restrict(), forbidden, notSent, forbidden, forbidden, 0},
		"required permissions": {restrict(list, retrieve, capture), ok, ok, notFound, forbidden, 0},
		"Stripe unreachable": {
			fail(stripesim.FaultDropRequest), unknown, notSent, notSent, notSent, 0,
		},
		"Stripe unavailable": {
			fail(stripesim.FaultUnavailable), unknown, notSent, notSent, notSent, 0,
		},
		"a proxy's page": {fail(stripesim.FaultHTML), unknown, notSent, notSent, notSent, 0},
	} {
		t.Run(name, func(t *testing.T) {
			runInSim(t, stripesim.Options{}, func(t *testing.T, w *simEnv) {
				w.createHold(stripesim.Hold{})
				w.sim.Webhooks.SetWebhookEndpoints(
					stripesim.WebhookEndpoint{
						URL:        "https://who:pass@hotel.example/webhooks/stripe?token=t0psecret#x",
						APIVersion: "2020-08-27", Events: []string{"charge.expired"},
					},
					stripesim.WebhookEndpoint{URL: "https://other.example/", Disabled: true},
				)
				tt.prepare(w)
				effects := len(w.sim.Ledger())
				in := w.gateway.InspectAPIKeyAndAccount(t.Context())
				if in.ListIntents.Kind != tt.list || in.ListExpanded.Kind != tt.expand ||
					in.CaptureIntent.Kind != tt.capture || in.ListEndpoints.Kind != tt.endpoint ||
					len(in.Endpoints) != tt.endpoints {
					t.Errorf("%+v", in)
				}
				if len(w.sim.Ledger()) != effects {
					t.Error("it moved money")
				}
				for _, secret := range []string{"t0psecret", "who:pass"} {
					if s := fmt.Sprintf("%+v", in); strings.Contains(s, secret) {
						t.Errorf("a secret came out: %s", s)
					}
				}
				if tt.endpoints > 0 {
					checkEndpoints(t, in.Endpoints)
				}
			})
		})
	}
}

func checkEndpoints(t *testing.T, endpoints []gateway.WebhookEndpoint) {
	t.Helper()
	if e := endpoints[1]; e.URL != "https://hotel.example/webhooks/stripe" ||
		e.Path != "/webhooks/stripe" ||
		e.APIVersion != "2020-08-27" || !e.Enabled || len(e.Events) != 1 {
		t.Errorf("%+v", e)
	}
	if e := endpoints[0]; e.APIVersion != "" || e.Enabled || e.Events[0] != "*" {
		t.Errorf("%+v", e)
	}
}

// TestInspect_ClockOffset checks that the range contains the true offset. It
// must not be wider than the second of the header plus the time of the call.
func TestInspect_ClockOffset(t *testing.T) {
	for _, offset := range []time.Duration{0, 400 * time.Millisecond,
		90 * time.Second, 100 * time.Hour} {
		runInSim(t, stripesim.Options{}, func(t *testing.T, w *simEnv) {
			w.sim.Advance(offset)
			w.addFault(stripesim.FaultRule{Fault: stripesim.Fault{ReplyDelay: 300 * time.Millisecond}})
			in := w.gateway.InspectAPIKeyAndAccount(t.Context())
			if !in.ClockOffsetKnown || in.ClockOffsetMin > offset || in.ClockOffsetMax < offset ||
				in.ClockOffsetMax-in.ClockOffsetMin > 1300*time.Millisecond {
				t.Errorf("%s: %s to %s, %v", offset, in.ClockOffsetMin,
					in.ClockOffsetMax, in.ClockOffsetKnown)
			}
			if in.Latency != 300*time.Millisecond {
				t.Errorf("it took %s", in.Latency)
			}
		})
	}
	g := gatewayOn(t, invalidRequest(401, ""))
	if in := g.InspectAPIKeyAndAccount(t.Context()); in.ClockOffsetKnown ||
		in.ListIntents.Kind != hold.AnswerUnauthorized {
		t.Errorf("an answer without a date: %+v", in)
	}
}

func TestInspect_AcceptedByStripeMock(t *testing.T) {
	mock := newStripeMock(t)
	var sent []string
	g := gatewayOn(t, func(r *http.Request) (*http.Response, error) {
		sent = append(sent, r.Method+" "+r.URL.Path)
		return mock.RoundTrip(r)
	})
	in := g.InspectAPIKeyAndAccount(t.Context())
	if in.ListIntents.Kind != hold.AnswerOK || in.ListExpanded.Kind != hold.AnswerOK ||
		in.ListEndpoints.Kind != hold.AnswerOK || len(in.Endpoints) == 0 {
		t.Errorf("%+v", in)
	}
	if in.CaptureIntent.HTTPStatus != 200 { // stripe-mock knows every id
		t.Errorf("%+v", in.CaptureIntent)
	}
	if in.ReadAccount.Kind != hold.AnswerOK || !strings.HasPrefix(in.Account, "acct_") {
		t.Errorf("account %q: %+v", in.Account, in.ReadAccount)
	}
	if len(sent) != 6 {
		t.Errorf("%q", sent)
	}
}

// TestInspect_CardFeatures checks that the features of the newest card charges are
// found, and whether cardholders can give another card.
func TestInspect_CardFeatures(t *testing.T) {
	runInSim(t, stripesim.Options{}, func(t *testing.T, w *simEnv) {
		w.createHold(stripesim.Hold{})
		w.createHold(stripesim.Hold{Multicapture: true, Overcapture: true})
		in := w.gateway.InspectAPIKeyAndAccount(t.Context())
		if got := in.CardFeatures.Names(); in.CardCharges != 2 ||
			!slices.Equal(got, []string{"multicapture", "overcapture"}) {
			t.Errorf("%d charges with %v", in.CardCharges, got)
		}
		if in.CreateSession.Kind != hold.AnswerNotFound {
			t.Errorf("a session of no customer: %+v", in.CreateSession)
		}
		w.sim.Keys.RestrictKey(testAPIKey, stripesim.ClassList, stripesim.ClassRetrieve)
		if in = w.gateway.InspectAPIKeyAndAccount(t.Context()); in.CreateSession.Kind != hold.AnswerForbidden {
			t.Errorf("a key without the permission: %+v", in.CreateSession)
		}
	})
}
