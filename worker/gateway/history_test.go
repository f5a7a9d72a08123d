package gateway_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// TestReadOnly_SendsNoWrite sends every operation through a read-only gateway.
func TestReadOnly_SendsNoWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := stripesim.New(stripesim.Options{Seed: 1})
		w := &simEnv{t: t, sim: sim}
		id := w.createHold(stripesim.Hold{})
		var written []string
		g, err := gateway.New(gateway.Options{APIKey: testAPIKey, ReadOnly: true,
			Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
				if r.Method != http.MethodGet {
					written = append(written, r.Method+" "+r.URL.Path)
				}
				return sim.Transport().RoundTrip(r)
			})})
		if err != nil {
			t.Fatal(err)
		}
		w.gateway = g
		params := &hold.AuthorizeParams{Amount: 100, Currency: "eur", PaymentMethod: "pm_card_visa",
			Customer: "cus_1"}
		for op := hold.OpCapture; op < hold.OpRenew; op++ {
			c := hold.Call{Op: op, PaymentIntent: id, Key: "k", Amount: 100, Authorize: params,
				Metadata: map[string]string{"a": "b"}, CancellationReason: hold.ReasonAbandoned}
			want := hold.AnswerUnreachable // nothing was sent
			if op == hold.OpRead || op == hold.OpList || op == hold.OpCheck {
				want = hold.AnswerOK
			}
			w.checkDo(c, want)
		}
		if len(written) > 0 || len(sim.Ledger()) != 1 {
			t.Errorf("sent %v, and the ledger has %+v", written, sim.Ledger())
		}
	})
}

// TestList_Histories reads what became of intents in every state.
func TestList_Histories(t *testing.T) {
	runInSim(t, stripesim.Options{}, func(t *testing.T, w *simEnv) {
		began := time.Now()
		wants, ends := map[string]hold.ChargeHistory{}, map[string]time.Time{}
		add := func(h stripesim.Hold, want hold.ChargeHistory) string {
			id := w.createHold(h)
			want.Charge, want.AuthorizedAt, want.Authorized = "ch", time.Now(), 10000
			wants[id] = want
			return id
		}
		captured := add(stripesim.Hold{}, hold.ChargeHistory{Brand: "visa", Manual: true,
			Captured: 2500, CapturedAt: began.Add(time.Hour)})
		byType := add(stripesim.Hold{Amount: 10000, ManualByType: true,
			PaymentMethod: "pm_card_mastercard"}, hold.ChargeHistory{Brand: "mastercard",
			Manual: true, Captured: 10000, CapturedAt: began.Add(time.Hour)})
		canceled := add(stripesim.Hold{Amount: 10000, Extended: true}, hold.ChargeHistory{
			Brand: "visa", Extended: true, Manual: true})
		expired := add(stripesim.Hold{}, hold.ChargeHistory{Brand: "visa", Manual: true})
		ends[canceled], ends[expired] = began.Add(time.Hour), began.Add(7*24*time.Hour)
		time.Sleep(time.Hour)
		add(stripesim.Hold{}, hold.ChargeHistory{Brand: "visa", Manual: true}) // still held
		w.checkDo(hold.Call{Op: hold.OpCapture, PaymentIntent: captured, Amount: 2500, Key: "a"},
			hold.AnswerOK)
		w.checkDo(hold.Call{Op: hold.OpCapture, PaymentIntent: byType, Key: "b"}, hold.AnswerOK)
		w.checkDo(hold.Call{Op: hold.OpCancel, PaymentIntent: canceled, Key: "c",
			CancellationReason: hold.ReasonAbandoned}, hold.AnswerOK)
		time.Sleep(7*24*time.Hour - time.Hour)
		w.sim.ProcessDue()
		checkHistories(t, w, wants, ends, expired)

		a := w.checkDo(hold.Call{Op: hold.OpList, Content: hold.ContentCaptures}, hold.AnswerOK)
		if len(a.Page.Captures) != 2 || a.Page.Captures[0].At != began.Add(time.Hour).UTC() ||
			a.Page.Captures[0].Charge == "" || a.Page.More {
			t.Errorf("the events of captures: %+v", a.Page)
		}
		a = w.checkDo(hold.Call{Op: hold.OpList, Content: hold.ContentCaptures,
			After: a.Page.Captures[0].ID}, hold.AnswerOK)
		if len(a.Page.Captures) != 1 {
			t.Errorf("the second page: %+v", a.Page)
		}
		w.checkDo(hold.Call{Op: hold.OpList, Content: hold.ContentCaptures, After: "pi_1"},
			hold.AnswerInvalid)
	})
}

func checkHistories(
	t *testing.T, w *simEnv, wants map[string]hold.ChargeHistory, ends map[string]time.Time,
	expired string,
) {
	t.Helper()
	for _, content := range []hold.StripeListKind{hold.ContentHistories, hold.ContentCharges} {
		a := w.checkDo(hold.Call{Op: hold.OpList, Content: content,
			CreatedFrom: time.Now().Add(-8 * 24 * time.Hour)}, hold.AnswerOK)
		if len(a.Page.Histories) != len(wants) {
			t.Fatalf("%d histories of %d intents", len(a.Page.Histories), len(wants))
		}
		for i, got := range a.Page.Histories {
			want := wants[a.Page.Intents[i].ID]
			if content == hold.ContentCharges {
				want.CapturedAt = time.Time{}
			}
			if got.Charge == "" {
				t.Errorf("no charge: %+v", got)
			}
			got.Charge = want.Charge
			want.AuthorizedAt = want.AuthorizedAt.UTC()
			if !want.CapturedAt.IsZero() {
				want.CapturedAt = want.CapturedAt.UTC()
			}
			if got != want {
				t.Errorf("content %d: %+v, want %+v", content, got, want)
			}
			in := a.Page.Intents[i]
			if (in.ID == expired) != in.ExpiredByNetwork() {
				t.Errorf("%s is expired: %v", in.ID, in.ExpiredByNetwork())
			}
			if !in.CanceledAt.Equal(ends[in.ID]) {
				t.Errorf("%s was canceled at %s, want %s", in.ID, in.CanceledAt, ends[in.ID])
			}
		}
	}
	a := w.checkDo(hold.Call{Op: hold.OpList, Content: hold.ContentHistories,
		CreatedFrom: time.Now().Add(-time.Hour)}, hold.AnswerOK)
	if len(a.Page.Intents) != 0 {
		t.Errorf("%d intents are younger than an hour", len(a.Page.Intents))
	}
}
