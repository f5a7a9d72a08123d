package stripesim_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdd/holdd/worker/stripesim"
)

// TestLedger_Invariants runs random calls, acts at the Dashboard, faults and
// time against a few intents. Each authorized amount is captured, released,
// expired or still held. At most one effect of an intent is final, and only a
// refund follows it. No more is refunded than was captured. A key has at most one
// effect.
func TestLedger_Invariants(t *testing.T) {
	kinds := []stripesim.FaultKind{"", "", "", "", "", "", "", "", "", "",
		stripesim.FaultDropRequest, stripesim.FaultDropReply, stripesim.FaultErrorBefore,
		stripesim.FaultErrorAfter, stripesim.FaultHTMLAfter,
		stripesim.FaultBrokenBody, stripesim.FaultUnavailable, stripesim.FaultKeyInUse,
		stripesim.FaultLockTimeout, stripesim.FaultDecline}
	rapid.Check(t, func(r *rapid.T) {
		o := unlimitedOptions(rapid.Uint64().Draw(r, "seed"))
		o.FaultFunc = func(stripesim.Call) stripesim.Fault {
			return stripesim.Fault{Kind: rapid.SampledFrom(kinds).Draw(r, "fault")}
		}
		c := newTestClient(t, o)
		var ids []string
		for range rapid.IntRange(1, 3).Draw(r, "intents") {
			ids = append(
				ids, c.authorize(stripesim.Hold{Amount: rapid.Int64Range(50, 5000).Draw(r, "amount"),
					Multicapture: rapid.Bool().Draw(r, "multi"),
					Overcapture:  rapid.Bool().Draw(r, "over"),
					Incremental:  rapid.Bool().Draw(r, "increment")}))
		}
		for n := range rapid.IntRange(1, 30).Draw(r, "steps") {
			id := rapid.SampledFrom(ids).Draw(r, "intent")
			amount := rapid.Int64Range(0, 6000).Draw(r, "amount")
			idem := fmt.Sprint("k", rapid.IntRange(0, 3*n).Draw(r, "key"))
			switch rapid.IntRange(0, 11).Draw(r, "step") {
			case 0:
				c.tryCall("POST", intentPath(id, "capture"), "", "Idempotency-Key", idem)
			case 1:
				c.tryCall("POST", intentPath(id, "capture"), fmt.Sprintf("amount_to_capture=%d",
					amount), "Idempotency-Key", idem)
			case 2, 3, 4:
				c.tryCall("POST", intentPath(id, "capture"),
					fmt.Sprintf("amount_to_capture=%d&final_capture=false", amount/10),
					"Idempotency-Key", idem)
			case 5:
				c.tryCall("POST", intentPath(id, "cancel"), "", "Idempotency-Key", idem)
			case 6:
				c.tryCall("POST", intentPath(id, "increment_authorization"),
					fmt.Sprintf("amount=%d", amount), "Idempotency-Key", idem)
			case 7:
				c.sim.Advance(time.Duration(rapid.IntRange(1, 80).Draw(r, "hours")) * time.Hour)
			case 8:
				_ = c.sim.Dashboard().Capture(id, amount)
			case 9:
				c.tryCall("POST", intentPath(id, "capture"),
					"amount_to_capture=0&final_capture=true", "Idempotency-Key", idem)
			case 10:
				c.tryCall("POST", "/v1/refunds", fmt.Sprintf("payment_intent=%s&amount=%d", id,
					amount/10), "Idempotency-Key", idem)
			case 11:
				c.tryCall("POST", "/v1/refunds", "payment_intent="+id, "Idempotency-Key", idem)
			}
			checkLedgerInvariants(r, c)
		}
	})
}

func checkLedgerInvariants(r *rapid.T, c *testClient) {
	type sum struct{ in, out, captured, refunded int64 }
	sums, final, byKey := map[string]sum{}, map[string]bool{}, map[string]stripesim.Effect{}
	states := c.sim.Intents("")
	for i, e := range c.sim.Ledger() {
		if e.Seq != int64(i+1) || e.Amount < 0 {
			r.Fatalf("effect %d is %+v", i, e)
		}
		s := sums[e.Intent]
		switch e.Kind {
		case stripesim.EffectAuthorized, stripesim.EffectIncremented, stripesim.EffectOvercaptured:
			s.in += e.Amount
		case stripesim.EffectRefunded:
			s.refunded += e.Amount
		case stripesim.EffectCaptured:
			s.captured += e.Amount
			s.out += e.Amount
		default:
			s.out += e.Amount
		}
		sums[e.Intent] = s
		if s.refunded > s.captured {
			r.Fatalf("%s: more is refunded than captured: %+v", e.Intent, e)
		}
		if final[e.Intent] && e.Kind != stripesim.EffectReleased &&
			e.Kind != stripesim.EffectRefunded {
			r.Fatalf("%s: an effect after the final one: %+v", e.Intent, e)
		}
		if e.Final {
			if final[e.Intent] {
				r.Fatalf("%s: two final effects: %+v", e.Intent, e)
			}
			final[e.Intent] = true
		}
		if e.IdempotencyKey != "" {
			if old, ok := byKey[e.IdempotencyKey]; ok && old.RequestID != e.RequestID &&
				e.Time.Sub(old.Time) < day {
				r.Fatalf("key %s had effects twice within a day: %+v and %+v",
					e.IdempotencyKey, old, e)
			}
			byKey[e.IdempotencyKey] = e
		}
	}
	for _, st := range states {
		s := sums[st.ID]
		if s.in != s.out+st.Capturable {
			r.Fatalf("%s: %d came in, %d went out, %d are held", st.ID, s.in, s.out, st.Capturable)
		}
		if final[st.ID] != (st.Status == "succeeded" || st.Status == "canceled") {
			r.Fatalf("%s is %s, final is %v", st.ID, st.Status, final[st.ID])
		}
		if st.Capturable < 0 || st.Status != "requires_capture" && st.Capturable != 0 {
			r.Fatalf("%s is %s with %d capturable", st.ID, st.Status, st.Capturable)
		}
	}
	for _, total := range c.sim.Totals() {
		if total.Authorized != total.Captured+total.Released+total.Expired+total.Held {
			r.Fatalf("the totals don't add up: %+v", total)
		}
	}
}
