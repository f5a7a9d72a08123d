package torture

import (
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// The judge must see each kind of wrong, and must not see one where Redis' tail
// explains it.
func TestChecker_DetectsViolations(t *testing.T) {
	t0 := time.Date(2026, 12, 1, 11, 0, 0, 0, time.UTC)
	at := func(s float64) time.Time { return t0.Add(time.Duration(s * float64(time.Second))) }
	scheduled := func() *request {
		return &request{description: "schedule", effect: stripesim.EffectCaptured, amount: 5000,
			notBefore: at(3), firstTryAt: at(0), acceptedAt: at(0.1)}
	}
	cancel := func(s float64) *request {
		return &request{description: "cancel", effect: stripesim.EffectCanceled, notBefore: at(s),
			firstTryAt: at(s), lastTryAt: at(s), acceptedAt: at(s + 0.1)}
	}
	lower := func(s float64) *request {
		return &request{description: "change", effect: stripesim.EffectCaptured, amount: 4000,
			notBefore: at(3), firstTryAt: at(s), acceptedAt: at(s + 0.1)}
	}
	unknown := func(x *request) *request {
		x.acceptedAt, x.unansweredTries = time.Time{},
			1
		return x
	}
	refused := func(x *request) *request { x.acceptedAt = time.Time{}; return x }
	captured := func(s float64, amount int64) stripesim.Effect {
		return stripesim.Effect{Time: at(s), Kind: stripesim.EffectCaptured, Amount: amount,
			Final: true, Actor: "api"}
	}
	canceled := func(s float64) stripesim.Effect {
		return stripesim.Effect{Time: at(s), Kind: stripesim.EffectCanceled, Amount: 5000,
			Final: true, Actor: "api"}
	}
	released := func(s float64) stripesim.Effect {
		return stripesim.Effect{Time: at(s), Kind: stripesim.EffectReleased,
			Amount: 1000, Actor: "api"}
	}
	byDashboard := func(e stripesim.Effect) stripesim.Effect { e.Actor = "dashboard"; return e }
	says := func(state string, amount int64) *hold.View {
		return &hold.View{State: state, CapturedAmount: amount}
	}
	died := func(s float64) []lossWindow { return []lossWindow{{at(s).Add(-maxRedisLoss), at(s)}} }

	for _, c := range []struct {
		name    string
		wishes  []*request
		effects []stripesim.Effect
		view    *hold.View
		losses  []lossWindow
		wrong   string // "" if all is well
	}{
		{"as asked", []*request{scheduled()}, []stripesim.Effect{captured(3, 5000)},
			says("captured", 5000), nil, ""},
		{"a part", []*request{scheduled(), lower(1)}, []stripesim.Effect{captured(3, 4000),
			released(3)}, says("captured", 4000), nil, ""},
		{"twice", []*request{scheduled()}, []stripesim.Effect{captured(3, 5000), captured(4, 5000)},
			says("captured", 5000), nil, "captured 2 times"},
		{"captured and canceled", []*request{scheduled(), unknown(cancel(3))},
			[]stripesim.Effect{captured(3, 5000), canceled(4)}, says("canceled", 0), nil,
			"ended 2 times"},
		{"early", []*request{scheduled()}, []stripesim.Effect{captured(2.9, 5000)},
			says("captured", 5000), nil, "before its time"},
		{"too much", []*request{scheduled()}, []stripesim.Effect{captured(3, 5001)},
			says("captured", 5001), nil, "asked for was 5000"},
		{"the old amount", []*request{scheduled(), lower(1)}, []stripesim.Effect{captured(3, 5000)},
			says("captured", 5000), nil, "asked for was 4000"},
		{"the old amount, the change refused", []*request{scheduled(), refused(lower(3))},
			[]stripesim.Effect{captured(3, 5000)}, says("captured", 5000), nil, ""},
		{"the old amount, the change not answered", []*request{scheduled(), unknown(lower(1))},
			[]stripesim.Effect{captured(3, 5000)}, says("captured", 5000), nil, ""},
		{"the new amount, the change not answered", []*request{scheduled(), unknown(lower(1))},
			[]stripesim.Effect{captured(3, 4000)}, says("captured", 4000), nil, ""},
		{"the new amount, the change refused", []*request{scheduled(), refused(lower(1))},
			[]stripesim.Effect{captured(3, 4000)}, says("captured", 4000),
			nil, "asked for was 5000"},
		{"after a cancel", []*request{scheduled(), cancel(1)},
			[]stripesim.Effect{captured(3, 5000)}, says("captured", 5000), nil,
			`though "cancel" was granted`},
		{"before a cancel that was granted all the same", []*request{scheduled(), cancel(3.5)},
			[]stripesim.Effect{captured(3, 5000)}, says("captured", 5000), nil,
			`though "cancel" was granted`},
		{"after a cancel, by a person", []*request{scheduled(), cancel(1)},
			[]stripesim.Effect{byDashboard(captured(3, 5000))}, says("captured", 5000), nil, ""},
		{"after a cancel that Redis forgot", []*request{scheduled(), cancel(1)},
			[]stripesim.Effect{captured(3, 5000)}, says("captured", 5000), died(2), ""},
		{"after a cancel that Redis had time to keep", []*request{scheduled(), cancel(1)},
			[]stripesim.Effect{captured(9, 5000)}, says("captured", 5000), died(8),
			`though "cancel" was granted`},
		{"on the way while Redis forgot the claim", []*request{scheduled(), cancel(3.5)},
			[]stripesim.Effect{captured(3.3, 5000)}, says("captured", 5000), died(3.2), ""},
		{"too long after Redis forgot the claim", []*request{scheduled(), cancel(3.5)},
			[]stripesim.Effect{captured(9.3, 5000)}, says("captured", 5000), died(3.2),
			`though "cancel" was granted`},
		{"canceled as asked, and asked again", []*request{scheduled(), cancel(1), cancel(3.5)},
			[]stripesim.Effect{canceled(2)}, says("canceled", 0), nil, ""},
		{"canceled unasked", []*request{scheduled()}, []stripesim.Effect{canceled(3)},
			says("canceled", 0), nil, "nobody has asked"},
		{"canceled before a cancel was sent", []*request{scheduled(), cancel(3)},
			[]stripesim.Effect{canceled(2)}, says("canceled", 0), nil, "before its time"},
		{"never done", []*request{scheduled()}, nil, says("ready", 0), nil,
			"nothing happened to the money"},
		{"attention", []*request{scheduled()}, nil, says("attention", 0), nil,
			"nothing happened to the money"},
		{"told what is not so", []*request{scheduled()}, []stripesim.Effect{captured(3, 5000)},
			says("canceled", 0), nil, "the ledger says captured 5000"},
		{"told another amount", []*request{scheduled()}, []stripesim.Effect{captured(3, 5000)},
			says("captured", 4000), nil, "the ledger says captured 5000"},
		{"gone", []*request{scheduled()}, nil, nil, nil, "is gone"},
		{"gone with the tail", []*request{scheduled()}, nil, nil, died(1), ""},
		{"gone, never granted", []*request{unknown(scheduled())}, nil, nil, nil, ""},
		{"waits with nothing to do",
			[]*request{{description: "schedule with no time", firstTryAt: at(0),
				acceptedAt: at(0.1)}}, nil, says("waiting", 0), nil, ""},
		{"waits though canceled",
			[]*request{{description: "schedule with no time", firstTryAt: at(0),
				acceptedAt: at(0.1)}, cancel(1)}, nil, says("waiting", 0), nil,
			"there is something to do"},
		{"waits, the cancel forgotten",
			[]*request{{description: "schedule with no time", firstTryAt: at(0),
				acceptedAt: at(0.1)}, cancel(6)}, nil, says("waiting", 0), died(7), ""},
		{"let lapse", []*request{scheduled()},
			[]stripesim.Effect{{Time: at(9), Kind: stripesim.EffectExpired, Amount: 5000,
				Final: true, Actor: "automatic"}}, says("expired", 0), nil, "let lapse"},
	} {
		v := &checker{losses: c.losses, countAllowed: func(string) {}}
		b := &booking{id: "pi_1", requests: c.wishes, finalView: c.view,
			readAtEnd: true, inFinalList: true}
		got := strings.Join(v.checkBooking(b, c.effects), "; ")
		if (got == "") != (c.wrong == "") || !strings.Contains(got, c.wrong) {
			t.Errorf("%s: judged %q, want %q", c.name, got, c.wrong)
		}
	}
}
