package browser_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/holdd/holdd/cmd/holdd-dev/hotel"
	"github.com/holdd/holdd/worker/stripesim"
)

// openHotel starts the demo's hotel and opens its booking page.
func (w *world) openHotel(v *visitor) (url string) {
	w.t.Helper()
	customer, card, err := w.sim.Cards.SaveCard("", "pm_card_visa")
	if err != nil {
		w.t.Fatal(err)
	}
	server := httptest.NewServer(hotel.New(hotel.Options{Holdd: w.client,
		ScriptURL: w.stripeURL + "/v3/", PublishableKey: "pk_test_browser",
		StripeURL: w.stripeURL, StripeKey: "sk_test_browser", ConsoleURL: w.url + "/console/",
		Returning: hotel.ReturningCustomer{Name: "Hana Sato", Customer: customer,
			PaymentMethod: card, Last4: "4242"}}))
	w.t.Cleanup(server.Close)
	v.url = server.URL
	v.open("/")
	return server.URL
}

// Test cards.
const (
	visa              = "4242424242424242"
	threeDSecure      = "4000002760003184"
	insufficientFunds = "4000000000009995"
)

// clickFrame clicks into a frame, near its left edge.
func (v *visitor) clickFrame(selector string) {
	v.t.Helper()
	v.waitFor(selector)
	at := evaluate[[]float64](v, fmt.Sprintf(`(() => { const e = document.querySelector(%q);
		e.scrollIntoView({block: "center"}); const r = e.getBoundingClientRect();
		return [r.x + 30, r.y + 20] })()`, selector))
	v.do(chromedp.MouseClickXY(at[0], at[1]))
}

// waitFor waits until the page has an element.
func (v *visitor) waitFor(selector string) {
	v.t.Helper()
	v.do(chromedp.WaitVisible(chromedp.CSS(selector)))
}

// typeKeys presses one key after the other.
func (v *visitor) typeKeys(keys string) {
	v.t.Helper()
	v.do(chromedp.KeyEvent(keys))
}

// enterCard types a card as a person does.
func (v *visitor) enterCard(number string) {
	v.t.Helper()
	v.fill("#guest", "Grete Berg")
	v.clickFrame("#card iframe")
	v.typeKeys(number + kb.Tab + "12/34" + kb.Tab + "123")
}

// press clicks a button of the page, which stays.
func (v *visitor) press(selector string) {
	v.t.Helper()
	v.do(chromedp.Click(chromedp.CSS(selector)))
}

// onlyIntent returns the one intent of a world.
func (w *world) onlyIntent() stripesim.IntentState {
	w.t.Helper()
	all := w.sim.Intents("")
	if len(all) != 1 {
		w.t.Fatalf("%d intents: %+v", len(all), all)
	}
	return all[0]
}

// answerBank clicks the first or second button of the bank's dialog.
func (v *visitor) answerBank(button int) {
	v.t.Helper()
	v.waitFor("#stripe-3ds iframe")
	v.clickFrame("#stripe-3ds iframe")
	v.typeKeys(strings.Repeat(kb.Tab, button) + kb.Enter)
}

// The whole way of a guest: booked with 3-D Secure, found in the console, a part
// captured, the rest released, and the audit names who did it.
func TestCheckout_ThreeDSecureToCapture(t *testing.T) {
	w := startWorld(t, worldOptions{})
	v := w.newVisitor()
	w.openHotel(v)
	v.see("2 nights, 240.00 EUR", "340.00 EUR")
	v.enterCard(threeDSecure)
	v.press("#pay")
	v.answerBank(1)
	v.see("You are booked", "WEB-0001", "Grete Berg")
	in := w.onlyIntent()
	if in.Status != "requires_capture" || in.Amount != 34_000 {
		t.Fatalf("%+v", in)
	}
	v.click("main p a")
	v.see("WEB-0001", "340.00 EUR", "Timeline")
	v.click(act("capture"))
	v.fill("#amount", "251.50")
	v.click("main form button")
	v.see("Captures 251.50 EUR", "The rest, 88.50 EUR, is released")
	v.click(confirm)
	got := w.waitForState(in.ID, "captured")
	if got.CapturedAmount != 25_150 {
		t.Errorf("captured %d", got.CapturedAmount)
	}
	var effects []string
	for _, e := range w.effects(in.ID) {
		effects = append(effects, fmt.Sprint(e.Kind, " ", e.Amount))
	}
	if want := "[captured 25150 released 8850]"; fmt.Sprint(effects) != want {
		t.Errorf("Stripe's ledger has %v, want %s", effects, want)
	}
	v.url = w.url
	v.open("/console/audit")
	v.see("WEB-0001", "console")
}

// A bank that refuses, and a guest who closes its dialog, hold nothing. Another
// card then books the same booking.
func TestCheckout_ThreeDSecureFailsOrIsClosed(t *testing.T) {
	for name, leave := range map[string]func(v *visitor){
		"failed": func(v *visitor) { v.answerBank(2) },
		"closed": func(v *visitor) { v.press("#stripe-3ds button") },
	} {
		t.Run(name, func(t *testing.T) {
			w := startWorld(t, worldOptions{})
			v := w.newVisitor()
			w.openHotel(v)
			v.enterCard(threeDSecure)
			v.press("#pay")
			v.waitFor("#stripe-3ds iframe")
			leave(v)
			v.see("Your bank did not confirm the payment")
			if in := w.onlyIntent(); in.Status != "requires_payment_method" {
				t.Fatalf("%+v", in)
			}
			v.press("#pay") // the card is still in its fields
			v.answerBank(1)
			v.see("You are booked")
			if in := w.onlyIntent(); in.Status != "requires_capture" {
				t.Fatalf("%+v", in)
			}
		})
	}
}

func TestCheckout_DeclineThenAnotherCard(t *testing.T) {
	w := startWorld(t, worldOptions{})
	v := w.newVisitor()
	w.openHotel(v)
	v.enterCard("4242424242424241")
	v.press("#pay")
	v.see("Your card number is incorrect")
	v.open(evaluate[string](v, "location.pathname"))
	v.enterCard(insufficientFunds)
	v.press("#pay")
	v.see("insufficient funds", "Nothing is held on it")
	v.open(evaluate[string](v, "location.pathname"))
	v.enterCard(visa)
	v.press("#pay")
	v.see("You are booked")
	if in := w.onlyIntent(); in.Status != "requires_capture" {
		t.Errorf("%+v", in)
	}
}

// Two clicks, a reload during the bank's dialog and another visit authorize
// one card once.
func TestCheckout_RepeatsAuthorizeOnce(t *testing.T) {
	w := startWorld(t, worldOptions{})
	v := w.newVisitor()
	w.openHotel(v)
	v.enterCard(threeDSecure)
	evaluate[bool](v, `(document.getElementById("pay").click(),
		document.getElementById("checkout").requestSubmit(), true)`)
	v.waitFor("#stripe-3ds iframe")
	path := evaluate[string](v, "location.pathname")
	v.open(path)
	v.press("#continue")
	v.answerBank(1)
	v.see("You are booked")
	v.open("/desk")
	v.see("WEB-0001")
	v.open(path)
	v.see("You are booked")
	if in := w.onlyIntent(); in.Status != "requires_capture" {
		t.Errorf("%+v", in)
	}
	if n := len(w.sim.Ledger()); n != 1 {
		t.Errorf("%d effects: %+v", n, w.sim.Ledger())
	}
}

// A returning guest enters only the security code. The front desk adds what the
// room's bar cost, and releases the rest.
func TestCheckout_SavedCardAndFrontDesk(t *testing.T) {
	w := startWorld(t, worldOptions{})
	v := w.newVisitor()
	w.openHotel(v)
	v.fill("#guest", "Hana Sato")
	v.press("#saved")
	v.press("#pay")
	v.see("security code is incomplete")
	v.clickFrame("#cvc iframe")
	v.typeKeys("123")
	v.press("#pay")
	v.see("You are booked", "Hana Sato")
	in := w.onlyIntent()
	v.open("/desk")
	v.see("WEB-0001", "held: 340.00 EUR")
	v.fill("[name=extras]", "12.5.0")
	v.click("section button")
	v.see("An amount is written as 12.50")
	v.fill("[name=extras]", "12.50")
	v.fill("[name=damage]", "30")
	v.click("section button")
	v.see("282.50 EUR are being captured")
	if got := w.waitForState(in.ID, "captured"); got.CapturedAmount != 28_250 {
		t.Errorf("captured %d", got.CapturedAmount)
	}
}

// A card that is kept for the stay is saved for a customer of the hotel's.
func TestCheckout_KeepsCard(t *testing.T) {
	w := startWorld(t, worldOptions{})
	v := w.newVisitor()
	w.openHotel(v)
	v.enterCard(visa)
	v.press("[name=keep]")
	v.press("#pay")
	v.see("You are booked")
	h := w.get(w.onlyIntent().ID)
	if h.State != "waiting" || h.OnExpiry != "capture" || h.CaptureAmount != 24_000 {
		t.Errorf("%+v", h)
	}
	if in := w.onlyIntent(); in.Customer == "" || in.FutureUsage != "off_session" {
		t.Errorf("the card is not saved: %+v", in)
	}
}

func TestHotel_Accessible(t *testing.T) {
	w, axe := startWorld(t, worldOptions{}), readAxe(t)
	v := w.newVisitor()
	w.openHotel(v)
	v.waitFor("#card iframe")
	check := func(page string) {
		t.Helper()
		for _, dark := range []bool{false, true} {
			v.setTheme(dark)
			for _, finding := range v.axeViolations(axe,
				`{resultTypes: ["violations"], iframes: false}`) {
				t.Errorf("%s, dark %t: %s", page, dark, finding)
			}
		}
	}
	check("checkout")
	v.enterCard(visa)
	v.press("#pay")
	v.see("You are booked")
	check("booked")
	v.open("/desk")
	v.see("WEB-0001")
	check("desk")
}
