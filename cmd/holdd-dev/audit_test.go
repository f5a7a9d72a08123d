package main

import (
	"strings"
	"testing"

	"github.com/holdd/holdd/worker/stripesim"
)

func TestCompareLedgers_PerHold(t *testing.T) {
	const intent = "pi_1"
	effect := func(kind stripesim.EffectKind, amount int64, by, key string) stripesim.Effect {
		return stripesim.Effect{Intent: intent, Kind: kind, Amount: amount, Currency: "eur", Actor: by, IdempotencyKey: key}
	}
	placed := effect(stripesim.EffectAuthorized, 1000, "dashboard", "")
	const key = "holdd-pi_1-capture-0-1"
	for _, c := range []struct {
		name                   string
		outcome                outcome
		captured               int64
		unknown                bool
		ledger                 []stripesim.Effect
		agrees                 bool
		differs, unread, other int
	}{
		{"captured", capturedAtItsTime, 1000, false, []stripesim.Effect{placed, effect(stripesim.EffectCaptured, 1000, "api", key)}, true, 0, 0, 0},
		{"captured in part", capturedInPart, 300, false,
			[]stripesim.Effect{placed, effect(stripesim.EffectCaptured, 300, "api", key), effect(stripesim.EffectReleased, 700, "api", key)}, true, 0, 0, 0},
		{"released", releasedAtItsTime, 0, false, []stripesim.Effect{placed, effect(stripesim.EffectCanceled, 1000, "api", key)}, true, 0, 0, 0},
		{"still held", stillHeld, 0, false, []stripesim.Effect{placed}, true, 0, 0, 0},
		{"declined", declined, 0, false, nil, true, 0, 0, 0},
		{"left at 3-D Secure", abandoned, 0, false, []stripesim.Effect{effect(stripesim.EffectCanceled, 0, "dashboard", "")}, true, 0, 0, 0},
		{"captured in the Dashboard, not read yet", stillHeld, 0, false, []stripesim.Effect{placed, effect(stripesim.EffectCaptured, 1000, "dashboard", "")}, true, 0, 1, 0},
		{"expired, not read yet", stillHeld, 0, false, []stripesim.Effect{placed, effect(stripesim.EffectExpired, 1000, "automatic", "")}, true, 0, 1, 0},
		{"captured by holdd, which knows that it doesn't know", stillHeld, 0, true, []stripesim.Effect{placed, effect(stripesim.EffectCaptured, 1000, "api", key)}, true, 0, 1, 0},
		{"captured by holdd, and it says nothing", stillHeld, 0, false, []stripesim.Effect{placed, effect(stripesim.EffectCaptured, 1000, "api", key)}, false, 1, 0, 0},
		{"said to be captured and not", capturedAtItsTime, 1000, false, []stripesim.Effect{placed}, false, 1, 0, 0},
		{"said to be captured and released", capturedAtItsTime, 1000, false, []stripesim.Effect{placed, effect(stripesim.EffectCanceled, 1000, "api", key)}, false, 1, 0, 0},
		{"another amount", capturedInPart, 300, false,
			[]stripesim.Effect{placed, effect(stripesim.EffectCaptured, 301, "api", key), effect(stripesim.EffectReleased, 699, "api", key)}, false, 1, 0, 0},
		{"captured twice", capturedAtItsTime, 1000, false,
			[]stripesim.Effect{placed, effect(stripesim.EffectCaptured, 500, "api", key), effect(stripesim.EffectCaptured, 500, "api", key)}, false, 1, 0, 0},
		{"never authorized at Stripe", stillHeld, 0, false, nil, false, 1, 0, 0},
		{"incremented by somebody", stillHeld, 0, false, []stripesim.Effect{placed, effect(stripesim.EffectIncremented, 100, "dashboard", "")}, true, 0, 0, 1},
		{"somebody else's intent", declined, 0, false, []stripesim.Effect{{Intent: "pi_2", Kind: stripesim.EffectAuthorized, Amount: 5, Currency: "usd"}}, true, 0, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := &booking{subject: subject{ref: "HB-0001", cardholder: "Guest", amount: 1000, currency: "eur"}, intent: intent, outcome: c.outcome, captured: c.captured, unknown: c.unknown}
			a := compareLedgers([]*booking{k}, c.ledger)
			if a.agrees() != c.agrees || len(a.differences) != c.differs || len(a.notYetRead) != c.unread || a.foreign != c.other {
				t.Errorf("agrees %v, differences %q, unread %q, others %d", a.agrees(), a.differences, a.notYetRead, a.foreign)
			}
			if c.differs > 0 && !strings.Contains(a.differences[0], "HB-0001") {
				t.Errorf("the difference does not name its booking: %s", a.differences[0])
			}
		})
	}
}

func TestCompareLedgers_Currency(t *testing.T) {
	k := &booking{subject: subject{amount: 1000, currency: "eur"}, intent: "pi_1", outcome: stillHeld}
	a := compareLedgers([]*booking{k}, []stripesim.Effect{{Intent: "pi_1", Kind: stripesim.EffectAuthorized, Amount: 1000, Currency: "usd"}})
	if a.agrees() {
		t.Error("euros agree with dollars")
	}
}
