package torture

import (
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// The judge must see each kind of wrong, and must not see one where Redis' tail explains it.
func TestTheJudgeBites(t *testing.T) {
	t0 := time.Date(2026, 12, 1, 11, 0, 0, 0, time.UTC)
	at := func(s float64) time.Time { return t0.Add(time.Duration(s * float64(time.Second))) }
	scheduled := func() *wish {
		return &wish{what: "schedule", effect: stripesim.Captured, amount: 5000, earliest: at(3), first: at(0), acked: at(0.1)}
	}
	cancel := func(s float64) *wish {
		return &wish{what: "cancel", effect: stripesim.Canceled, earliest: at(s), first: at(s), acked: at(s + 0.1)}
	}
	lower := func(s float64) *wish {
		return &wish{what: "change", effect: stripesim.Captured, amount: 4000, earliest: at(3), first: at(s), acked: at(s + 0.1)}
	}
	unknown := func(x *wish) *wish { x.acked, x.open = time.Time{}, 1; return x }
	refused := func(x *wish) *wish { x.acked = time.Time{}; return x }
	captured := func(s float64, amount int64) stripesim.Effect {
		return stripesim.Effect{Time: at(s), Kind: stripesim.Captured, Amount: amount, Final: true, By: "api"}
	}
	canceled := func(s float64) stripesim.Effect {
		return stripesim.Effect{Time: at(s), Kind: stripesim.Canceled, Amount: 5000, Final: true, By: "api"}
	}
	released := func(s float64) stripesim.Effect {
		return stripesim.Effect{Time: at(s), Kind: stripesim.Released, Amount: 1000, By: "api"}
	}
	person := func(e stripesim.Effect) stripesim.Effect { e.By = "dashboard"; return e }
	says := func(state string, amount int64) *hold.View { return &hold.View{State: state, CapturedAmount: amount} }
	died := func(s float64) []loss { return []loss{{at(s).Add(-tail), at(s)}} }

	for _, c := range []struct {
		name    string
		wishes  []*wish
		effects []stripesim.Effect
		view    *hold.View
		losses  []loss
		wrong   string // "" if all is well
	}{
		{"as asked", []*wish{scheduled()}, []stripesim.Effect{captured(3, 5000)}, says("captured", 5000), nil, ""},
		{"a part", []*wish{scheduled(), lower(1)}, []stripesim.Effect{captured(3, 4000), released(3)}, says("captured", 4000), nil, ""},
		{"twice", []*wish{scheduled()}, []stripesim.Effect{captured(3, 5000), captured(4, 5000)}, says("captured", 5000), nil, "captured 2 times"},
		{"captured and canceled", []*wish{scheduled(), unknown(cancel(3))}, []stripesim.Effect{captured(3, 5000), canceled(4)}, says("canceled", 0), nil, "ended 2 times"},
		{"early", []*wish{scheduled()}, []stripesim.Effect{captured(2.9, 5000)}, says("captured", 5000), nil, "before its time"},
		{"too much", []*wish{scheduled()}, []stripesim.Effect{captured(3, 5001)}, says("captured", 5001), nil, "asked for was 5000"},
		{"the old amount", []*wish{scheduled(), lower(1)}, []stripesim.Effect{captured(3, 5000)}, says("captured", 5000), nil, "asked for was 4000"},
		{"the old amount, the change refused", []*wish{scheduled(), refused(lower(3))}, []stripesim.Effect{captured(3, 5000)}, says("captured", 5000), nil, ""},
		{"the old amount, the change not answered", []*wish{scheduled(), unknown(lower(1))}, []stripesim.Effect{captured(3, 5000)}, says("captured", 5000), nil, ""},
		{"the new amount, the change not answered", []*wish{scheduled(), unknown(lower(1))}, []stripesim.Effect{captured(3, 4000)}, says("captured", 4000), nil, ""},
		{"the new amount, the change refused", []*wish{scheduled(), refused(lower(1))}, []stripesim.Effect{captured(3, 4000)}, says("captured", 4000), nil, "asked for was 5000"},
		{"after a cancel", []*wish{scheduled(), cancel(1)}, []stripesim.Effect{captured(3, 5000)}, says("captured", 5000), nil, `though "cancel" was granted`},
		{"before a cancel that was granted all the same", []*wish{scheduled(), cancel(3.5)}, []stripesim.Effect{captured(3, 5000)}, says("captured", 5000), nil, `though "cancel" was granted`},
		{"after a cancel, by a person", []*wish{scheduled(), cancel(1)}, []stripesim.Effect{person(captured(3, 5000))}, says("captured", 5000), nil, ""},
		{"after a cancel that Redis forgot", []*wish{scheduled(), cancel(1)}, []stripesim.Effect{captured(3, 5000)}, says("captured", 5000), died(2), ""},
		{"after a cancel that Redis had time to keep", []*wish{scheduled(), cancel(1)}, []stripesim.Effect{captured(9, 5000)}, says("captured", 5000), died(8), `though "cancel" was granted`},
		{"on the way while Redis forgot the claim", []*wish{scheduled(), cancel(3.5)}, []stripesim.Effect{captured(3.3, 5000)}, says("captured", 5000), died(3.2), ""},
		{"too long after Redis forgot the claim", []*wish{scheduled(), cancel(3.5)}, []stripesim.Effect{captured(9.3, 5000)}, says("captured", 5000), died(3.2), `though "cancel" was granted`},
		{"canceled unasked", []*wish{scheduled()}, []stripesim.Effect{canceled(3)}, says("canceled", 0), nil, "nobody has asked"},
		{"canceled before a cancel was sent", []*wish{scheduled(), cancel(3)}, []stripesim.Effect{canceled(2)}, says("canceled", 0), nil, "before its time"},
		{"never done", []*wish{scheduled()}, nil, says("ready", 0), nil, "nothing happened to the money"},
		{"attention", []*wish{scheduled()}, nil, says("attention", 0), nil, "nothing happened to the money"},
		{"told what is not so", []*wish{scheduled()}, []stripesim.Effect{captured(3, 5000)}, says("canceled", 0), nil, "the ledger says captured 5000"},
		{"told another amount", []*wish{scheduled()}, []stripesim.Effect{captured(3, 5000)}, says("captured", 4000), nil, "the ledger says captured 5000"},
		{"gone", []*wish{scheduled()}, nil, nil, nil, "is gone"},
		{"gone with the tail", []*wish{scheduled()}, nil, nil, died(1), ""},
		{"gone, never granted", []*wish{unknown(scheduled())}, nil, nil, nil, ""},
		{"waits with nothing to do", []*wish{{what: "schedule with no time", first: at(0), acked: at(0.1)}}, nil, says("waiting", 0), nil, ""},
		{"waits though canceled", []*wish{{what: "schedule with no time", first: at(0), acked: at(0.1)}, cancel(1)}, nil, says("waiting", 0), nil, "there is something to do"},
		{"waits, the cancel forgotten", []*wish{{what: "schedule with no time", first: at(0), acked: at(0.1)}, cancel(6)}, nil, says("waiting", 0), died(7), ""},
		{"let lapse", []*wish{scheduled()}, []stripesim.Effect{{Time: at(9), Kind: stripesim.Expired, Amount: 5000, Final: true, By: "automatic"}}, says("expired", 0), nil, "let lapse"},
	} {
		v := &evidence{losses: c.losses, count: func(string) {}}
		b := &booking{id: "pi_1", wishes: c.wishes, view: c.view, viewed: true, listed: true}
		got := strings.Join(v.judge(b, c.effects), "; ")
		if (got == "") != (c.wrong == "") || !strings.Contains(got, c.wrong) {
			t.Errorf("%s: judged %q, want %q", c.name, got, c.wrong)
		}
	}
}
