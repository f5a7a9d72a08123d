package worker_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/query"
	"github.com/holdd/holdd/worker/stripesim"
)

const (
	backFromBank = "https://pay.hotel.example/cardholder/t/back"
	backFromForm = backFromBank + "?session={CHECKOUT_SESSION_ID}"
	backToPage   = "https://pay.hotel.example/cardholder/t"
)

// toCardholder is a hold whose renewal waits for its cardholder.
func (w *testEnv) toCardholder(r *replica, outcome stripesim.CardOutcome) (id string) {
	w.T.Helper()
	id, card := w.longStay(r, hold.ScheduleRequest{CaptureAt: envtest.In(5 * time.Minute),
		Renewal: &hold.RenewalRequest{Until: envtest.In(6 * time.Minute)}})
	if err := w.Sim.Cards.SetCardOutcomes(card, outcome); err != nil {
		w.T.Fatal(err)
	}
	time.Sleep(2*time.Minute + 3*time.Second)
	if h := w.mustGet(r, id); h.Renewal.Step != hold.RenewalRequiresAction {
		w.T.Fatalf("the renewal does not wait for the cardholder: %+v", h.Renewal)
	}
	return id
}

var (
	authenticationRequired = stripesim.CardOutcome{Code: "authentication_required"}
	stolenCard             = stripesim.CardOutcome{DeclineCode: "stolen_card"}
)

// status returns what the cardholder sees.
func (w *testEnv) status(r *replica, id string) hold.CardholderRenewalStatus {
	w.T.Helper()
	h, now, err := r.Cardholder.ReadHold(w.Ctx, id)
	if err != nil {
		return hold.CardholderMustWait // the cardholder tries again
	}
	return hold.RenewalStatusForCardholder(&h, 1, now)
}

// goOn does what the page asks for until nothing is left to do, as a patient
// cardholder does.
func (w *testEnv) goOn(ctx context.Context, r *replica, id string) {
	w.T.Helper()
	for end := time.Now().Add(80 * time.Second); time.Now().Before(end) && ctx.Err() == nil; {
		switch w.status(r, id) {
		case hold.CardholderHasNothingToDo:
			return
		case hold.CardholderMustAuthenticate:
			page, err := r.Cardholder.StartAuthentication(ctx, id, 1, backFromBank)
			if err == nil && page.Reveal() != "" {
				h := w.mustGet(w.replicas[0], id)
				_ = w.Sim.Dashboard().CompleteAction(h.Renewal.Intent) // or it was completed
				_ = r.Cardholder.RecordReturnAndWait(ctx, id, 1, "")
			}
		case hold.CardholderMustGiveCard:
			page, err := r.Cardholder.StartCardSetup(ctx, id, 1, backFromForm, backToPage)
			if err == nil {
				_ = r.Cardholder.RecordReturnAndWait(ctx, id, 1, w.fillForm(page))
			}
		}
		time.Sleep(time.Second)
	}
}

// fillForm enters a card on the page of a Checkout Session, and returns its id.
func (w *testEnv) fillForm(page hold.Secret) string {
	w.T.Helper()
	id := page.Reveal()[strings.LastIndex(page.Reveal(), "/")+1:]
	back, err := w.Sim.Cards.CompleteCardSetup(id, "pm_card_mastercard")
	if err != nil {
		w.T.Fatal(err)
	}
	u, err := url.Parse(back)
	if err != nil || !strings.HasPrefix(back, backFromBank) {
		w.T.Fatalf("back to %s, %v", back, err)
	}
	return u.Query().Get("session")
}

// checkRenewedByCardholder checks that the money stayed held, and was captured
// from the new authorization.
func (w *testEnv) checkRenewedByCardholder(r *replica, id string) {
	w.T.Helper()
	h := w.waitForState(r, id, hold.Captured, 4*time.Minute)
	intents := w.checkHeldThroughout(time.Minute)
	if len(intents) != 2 || h.PaymentIntent != intents[1] || h.CapturedAmount != 10_000 {
		w.T.Errorf("captured %d of %s, intents %v", h.CapturedAmount, h.PaymentIntent, intents)
	}
}

func TestCardholder_GoesOn(t *testing.T) {
	for name, outcome := range map[string]stripesim.CardOutcome{
		"bank": authenticationRequired, "card": stolenCard} {
		t.Run(name, func(t *testing.T) {
			runTestEnv(t, func(w *testEnv) {
				r := w.startReplica()
				id := w.toCardholder(r, outcome)
				w.goOn(w.Ctx, r, id)
				w.checkRenewedByCardholder(r, id)
				var asked []string
				for _, e := range w.events(id) {
					if e.Type == hold.EventRequiresAction {
						asked = append(asked, e.Data.CardholderLink)
					}
				}
				if !slices.Equal(asked, []string{"link of " + id}) {
					t.Errorf("asked with %q, want once, with the link", asked)
				}
			}, withWindow(4*time.Minute), withCardholderLink)
		})
	}
}

func withCardholderLink(w *testEnv, _ *stripesim.Options) {
	w.opts.CardholderLink = func(h *hold.Hold) string { return "link of " + h.ID }
}

// TestCardholder_Faults checks that the cardholder's renewal succeeds whatever
// Stripe answers at first.
func TestCardholder_Faults(t *testing.T) {
	for name, outcome := range map[string]stripesim.CardOutcome{
		"bank": authenticationRequired, "card": stolenCard} {
		for _, class := range []stripesim.EndpointClass{stripesim.ClassConfirm,
			stripesim.ClassRetrieve, stripesim.ClassCheckoutCreate, stripesim.ClassCheckoutRetrieve,
			stripesim.ClassCancel} {
			for _, kind := range []stripesim.FaultKind{stripesim.FaultDropRequest,
				stripesim.FaultDropReply, stripesim.FaultErrorAfter, stripesim.FaultLockTimeout} {
				t.Run(fmt.Sprintf("%s/%s/%s", name, class, kind), func(t *testing.T) {
					t.Parallel()
					runTestEnv(t, func(w *testEnv) {
						r := w.startReplica()
						id := w.toCardholder(r, outcome)
						w.AddStripeFault(stripesim.FaultRule{Class: class, Times: 2,
							Fault: stripesim.Fault{Kind: kind}})
						w.goOn(w.Ctx, r, id)
						w.checkRenewedByCardholder(r, id)
					}, withWindow(4*time.Minute))
				})
			}
		}
	}
}

// TestCardholder_Killed kills the replica at each of its requests while the
// cardholder acts. Another one takes over, and the cardholder goes on there.
func TestCardholder_Killed(t *testing.T) {
	for name, outcome := range map[string]stripesim.CardOutcome{
		"bank": authenticationRequired, "card": stolenCard} {
		for crashAt := 1; crashAt <= 10; crashAt++ {
			t.Run(fmt.Sprintf("%s/%d", name, crashAt), func(t *testing.T) {
				t.Parallel()
				runTestEnv(t, func(w *testEnv) {
					r := w.startReplica()
					id := w.toCardholder(r, outcome)
					r.stopAndWait()
					doomed := &replica{Process: w.NewProcess(), done: make(chan error, 1)}
					doomed.store = doomed.OpenStore(w.store)
					doomed.Engine = w.newCrashingWorker(doomed, crashAt)
					w.OnStop(doomed.stopAndWait)
					ctx, stop := context.WithTimeout(w.Ctx, 20*time.Second)
					doomed.stop = stop
					go func() { doomed.done <- doomed.Run(ctx) }()
					w.replicas[0] = doomed
					doomed.parts = partsOf(doomed.Engine)
					w.goOn(ctx, doomed, id)
					stop()
					survivor := w.startReplica()
					w.replicas[0] = survivor
					w.goOn(w.Ctx, survivor, id)
					w.checkRenewedByCardholder(survivor, id)
				}, withWindow(4*time.Minute))
			})
		}
	}
}

// TestCardholder_Twice checks that a second click leads to the same page of the
// bank, and confirms nothing again.
func TestCardholder_Twice(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		id := w.toCardholder(r, authenticationRequired)
		w.checkRequiresAction(r, id)
		confirmed := w.CountStripeCalls(stripesim.ClassConfirm)
		type click struct {
			page hold.Secret
			err  error
		}
		clicks := make(chan click, 3)
		for range 3 {
			go func() {
				page, err := r.Cardholder.StartAuthentication(w.Ctx, id, 1, backFromBank)
				clicks <- click{page, err}
			}()
		}
		first := <-clicks
		for _, c := range []click{first, <-clicks, <-clicks} {
			if c.err != nil || c.page.Reveal() == "" || c.page.Reveal() != first.page.Reveal() {
				t.Errorf("a click leads to %q, %v", c.page.Reveal(), c.err)
			}
		}
		page, err := r.Cardholder.StartAuthentication(w.Ctx, id, 1, backFromBank)
		if err != nil || page.Reveal() != first.page.Reveal() {
			t.Errorf("a later click leads to %q, %v", page.Reveal(), err)
		}
		if n := w.CountStripeCalls(stripesim.ClassConfirm) - confirmed; n != 1 {
			t.Errorf("confirmed %d times", n)
		}
		w.goOn(w.Ctx, r, id)
		w.checkRequiresAction(r)
		w.checkRenewedByCardholder(r, id)
		_, err = r.Cardholder.StartAuthentication(w.Ctx, id, 1, backFromBank)
		if !errors.Is(err, &hold.Problem{Code: hold.NoActionRequired}) {
			t.Errorf("after the end: %v", err)
		}
		if got := w.status(r, id); got != hold.CardholderTooLate {
			t.Errorf("after the end: status %d", got)
		}
	}, withWindow(4*time.Minute))
}

// checkRequiresAction checks which holds are listed as waiting for their
// cardholder.
func (w *testEnv) checkRequiresAction(r *replica, want ...string) {
	w.T.Helper()
	page, err := r.List(w.Ctx, query.HoldQuery{RequiresAction: true})
	var got []string
	for _, h := range page.Holds {
		got = append(got, h.ID)
	}
	if err != nil || !slices.Equal(got, want) {
		w.T.Errorf("waiting for the cardholder: %v, %v, want %v", got, err, want)
	}
}

// TestCardholder_FailsAtBank checks that a failed authentication can be repeated,
// and that a forged session changes neither the card nor the session that is read.
func TestCardholder_FailsAtBank(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		id := w.toCardholder(r, authenticationRequired)
		if _, err := r.Cardholder.StartAuthentication(w.Ctx, id, 1, backFromBank); err != nil {
			t.Fatal(err)
		}
		if err := w.Sim.Dashboard().FailAction(w.mustGet(r, id).Renewal.Intent); err != nil {
			t.Fatal(err)
		}
		if err := r.Cardholder.RecordReturnAndWait(w.Ctx, id, 1, ""); err != nil {
			t.Fatal(err)
		}
		if got := w.status(r, id); got != hold.CardholderMustAuthenticate {
			t.Errorf("after a failure: status %d", got)
		}
		if _, err := r.Cardholder.StartCardSetup(w.Ctx, id, 1, backFromForm, backToPage); err != nil {
			t.Fatal(err)
		}
		before := w.mustGet(r, id).Renewal
		if err := r.Cardholder.RecordReturnAndWait(w.Ctx, id, 1, "cs_test_forged"); err != nil {
			t.Fatal(err)
		}
		got := w.mustGet(r, id).Renewal
		if got.PaymentMethod != before.PaymentMethod || before.CardSetup == "" ||
			got.CardSetup != before.CardSetup {
			t.Errorf("a forged session: %+v", got)
		}
		w.goOn(w.Ctx, r, id)
		w.checkRenewedByCardholder(r, id)
	}, withWindow(4*time.Minute))
}
