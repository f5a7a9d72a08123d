package gateway_test

import (
	"net/http/httptest"
	"testing"

	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// newServerEnv returns the simulator behind a real listener, whose connections
// can break.
func newServerEnv(t *testing.T) *simEnv {
	t.Helper()
	sim := stripesim.New(stripesim.Options{Seed: 1, EndpointRate: -1, OverallRate: -1})
	s := httptest.NewUnstartedServer(sim.Handler())
	s.Config.ErrorLog = discardLogger()
	s.Start()
	t.Cleanup(s.Close)
	return &simEnv{t: t, sim: sim, gateway: newGateway(t, gateway.Options{BaseURL: s.URL})}
}

func TestSim_RealConnections(t *testing.T) {
	w := newServerEnv(t)
	for _, kind := range []stripesim.FaultKind{
		stripesim.FaultDropRequest, stripesim.FaultDropReply, stripesim.FaultCutBody,
		stripesim.FaultBrokenBody,
	} {
		id := w.createHold(stripesim.Hold{})
		c := hold.Call{Op: hold.OpCapture, PaymentIntent: id, Key: "k-" + id}
		w.addFault(stripesim.FaultRule{Intent: id, Times: 2, Fault: stripesim.Fault{Kind: kind}})
		// net/http may send it again by itself over a new connection, into the
		// second fault or past it.
		for range 3 {
			if a := w.gateway.Do(t.Context(), c); a.Kind == hold.AnswerOK {
				break
			} else if a.Kind != hold.AnswerUnknown {
				t.Errorf("%s: %+v", kind, a)
			}
		}
		if st, _ := w.sim.Intent(id); st.Received != 10000 ||
			w.countEffects(id, stripesim.EffectCaptured) != 1 {
			t.Errorf("%s: %+v", kind, st)
		}
	}
}

// TestSim_RetransmittedByTransport checks that Retransmitted is set for the
// answer to a second try. If a kept-alive connection is dead, net/http sends a
// request with an Idempotency-Key again, and Stripe can answer the second try
// before it checks the key.
func TestSim_RetransmittedByTransport(t *testing.T) {
	w := newServerEnv(t)
	id := w.createHold(stripesim.Hold{})
	// leaves an idle connection
	w.checkDo(hold.Call{Op: hold.OpRead, PaymentIntent: id}, hold.AnswerOK)
	lost := stripesim.Fault{Kind: stripesim.FaultDropReply}
	locked := stripesim.Fault{Kind: stripesim.FaultLockTimeout}
	w.addFault(stripesim.FaultRule{Intent: id, Class: stripesim.ClassCapture, Nth: 1, Fault: lost})
	w.addFault(stripesim.FaultRule{Intent: id, Class: stripesim.ClassCapture,
		Times: 1, Fault: locked})
	capture := hold.Call{Op: hold.OpCapture, PaymentIntent: id, Key: "k-" + id}
	a := w.checkDo(capture, hold.AnswerLockTimeout)
	if !a.Retransmitted || w.countEffects(id, stripesim.EffectCaptured) != 1 {
		t.Errorf("retransmitted %v, captured %d times", a.Retransmitted,
			w.countEffects(id, stripesim.EffectCaptured))
	}
	if a := w.checkDo(capture, hold.AnswerOK); a.Retransmitted {
		t.Error("an ordinary call passes for a retransmitted one")
	}
}
