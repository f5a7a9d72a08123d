package gateway_test

import (
	"testing"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

func TestSim_Increment(t *testing.T) {
	runInSim(t, stripesim.Options{}, func(t *testing.T, w *simEnv) {
		id := w.createHold(stripesim.Hold{Amount: 10000, Incremental: true})
		read := hold.Call{Op: hold.OpRead, PaymentIntent: id}
		in := w.checkDo(read, hold.AnswerOK).Intent
		if in.Features != hold.FeaturesKnown|hold.FeatureIncremental {
			t.Errorf("features %v", in.Features.Names())
		}
		raise := hold.Call{Op: hold.OpIncrement, PaymentIntent: id, Amount: 15000, Key: "holdd-1"}
		for range 2 { // Stripe replays the second
			in = w.checkDo(raise, hold.AnswerOK).Intent
			if in.AmountCapturable != 15000 || in.Amount != 15000 || in.CaptureBefore.IsZero() ||
				in.Features&hold.FeatureIncremental == 0 {
				t.Errorf("%+v", in)
			}
		}
		if n := w.countEffects(id, stripesim.EffectIncremented); n != 1 {
			t.Errorf("raised %d times", n)
		}
		w.addFault(stripesim.FaultRule{Class: stripesim.ClassIncrement, Times: 1,
			Fault: stripesim.Fault{Kind: stripesim.FaultDecline, Code: "insufficient_funds"}})
		raise.Amount, raise.Key = 20000, "holdd-2"
		if a := w.checkDo(raise, hold.AnswerDeclined); a.Code != "insufficient_funds" {
			t.Errorf("code %q", a.Code)
		}
		raise.Key = "holdd-3"
		w.addFault(stripesim.FaultRule{Class: stripesim.ClassIncrement, Times: 1,
			Fault: stripesim.Fault{Kind: stripesim.FaultDropReply}})
		w.checkDo(raise, hold.AnswerUnknown)
		if in := w.checkDo(read, hold.AnswerOK).Intent; in.AmountCapturable != 20000 {
			t.Errorf("%+v", in)
		}
		raise.Amount, raise.Key = 19000, "holdd-4"
		w.checkDo(raise, hold.AnswerInvalid)
	})
}

func TestSim_CardFeatures(t *testing.T) {
	runInSim(t, stripesim.Options{}, func(t *testing.T, w *simEnv) {
		all := stripesim.Hold{Amount: 10000, Extended: true, Incremental: true, Multicapture: true,
			Overcapture: true}
		terminal := all
		terminal.Channel = stripesim.ChannelTerminal
		for want, h := range map[hold.CardFeatures]stripesim.Hold{
			hold.FeaturesKnown: {Amount: 10000},
			hold.FeaturesKnown | hold.FeatureExtended | hold.FeatureIncremental |
				hold.FeatureMulticapture | hold.FeatureOvercapture: all,
			hold.FeaturesKnown | hold.FeatureIncremental | hold.FeatureOvercapture: terminal,
		} {
			id := w.createHold(h)
			in := w.checkDo(hold.Call{Op: hold.OpRead, PaymentIntent: id}, hold.AnswerOK).Intent
			if in.Features != want {
				t.Errorf("%+v: %v, want %v", h, in.Features.Names(), want.Names())
			}
		}
	})
}
