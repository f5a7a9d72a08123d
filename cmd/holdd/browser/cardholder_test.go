package browser_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

const (
	bankButton = "Continue to your bank"
	cardButton = "Continue to the card form"
	thanks     = "Thank you"
	pageButton = "main form button"
)

// cardholderWorld is a world in which renewals are due at once.
type cardholderWorld struct {
	*world
	public string
}

func startCardholderWorld(t *testing.T) *cardholderWorld {
	t.Helper()
	// The address of the page must be known before the daemon starts.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	w := &cardholderWorld{public: "http://" + address}
	w.world = startWorld(t, worldOptions{
		settings: []string{"HOLDD_PUBLIC_URL=" + w.public, "HOLDD_PROPERTY_NAME=Hotel Example",
			"HOLDD_CARDHOLDER_LISTEN=" + address,
			"HOLDD_CARDHOLDER_SECRET=a secret of the browser tests, long enough"},
		stripe: stripesim.Options{
			ClockOffset: -23 * time.Hour, // what is authorized now looks a day old
			AuthorizationWindow: func(c stripesim.Card) time.Duration {
				if c.Metadata[hold.MetaHold] != "" {
					return 100 * time.Hour
				}
				return 30 * time.Hour
			}},
	})
	return w
}

// link returns a hold whose renewal waits for its cardholder, and the link.
func (w *cardholderWorld) link(outcome stripesim.CardOutcome) (id, link string) {
	w.t.Helper()
	customer, card, err := w.sim.Cards.SaveCard("", "")
	if err != nil {
		w.t.Fatal(err)
	}
	id, err = w.sim.Authorize(stripesim.Hold{Amount: 42_000, Currency: "eur", Customer: customer,
		PaymentMethod: card, FutureUsage: "off_session"})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.sim.Cards.SetCardOutcomes(card, outcome); err != nil {
		w.t.Fatal(err)
	}
	if _, _, err = w.client.Schedule(w.t.Context(), hold.ScheduleRequest{PaymentIntent: id,
		Reference: "BK-2071", CaptureAt: in(40 * time.Hour),
		Renewal: &hold.RenewalRequest{Until: in(50 * time.Hour)}}); err != nil {
		w.t.Fatal(err)
	}
	w.waitForStep(id, "requires_action")
	l, err := w.client.CreateCardholderLink(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return id, l.URL
}

// waitForStep waits until the renewal of a hold has a step.
func (w *cardholderWorld) waitForStep(id, step string) hold.View {
	w.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		v := w.get(id)
		if v.Renewal != nil && v.Renewal.Step == step {
			return v
		}
		if time.Now().After(end) {
			w.t.Fatalf("the renewal is %+v, want the step %s", v.Renewal, step)
		}
	}
}

// checkRenewed checks that the hold was renewed once and holds its amount once.
func (w *cardholderWorld) checkRenewed(id string) {
	w.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		held := 0
		for _, in := range w.sim.Intents("") {
			own := in.ID == id || in.Metadata[hold.MetaHold] == id
			if own && in.Status == "requires_capture" {
				held++
			}
		}
		v := w.get(id)
		if held == 1 && v.Renewal.Completed == 1 && v.PaymentIntent != id {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("%d intents hold money, %d renewals", held, v.Renewal.Completed)
		}
	}
}

func (v *visitor) openURL(url string) {
	v.t.Helper()
	v.do(chromedp.Navigate(url))
}

var (
	requiresAuthentication = stripesim.CardOutcome{Code: "authentication_required"}
	isStolen               = stripesim.CardOutcome{DeclineCode: "stolen_card"}
)

// TestCardholder_WholeWay follows the cardholder from the link to the bank, or to
// the form for a card, and back, with scripts and without.
func TestCardholder_WholeWay(t *testing.T) {
	for name, script := range map[string]bool{"script": true, "no script": false} {
		t.Run(name, func(t *testing.T) {
			w := startCardholderWorld(t)
			open := w.newVisitorWithoutScript
			if script {
				open = w.newVisitor
			}
			t.Run("bank", func(t *testing.T) {
				id, link := w.link(requiresAuthentication)
				v := open()
				v.openURL(link)
				v.see("Hotel Example", "420.00 EUR", "BK-2071", "You are not charged now", bankButton)
				v.click(pageButton)
				v.see("Simulated bank", "Confirm 42000 eur?")
				v.openURL(link) // the visitor comes back and clicks again
				v.see(bankButton)
				v.click(pageButton)
				v.see("Simulated bank")
				v.click("#pass")
				v.see(thanks, "There is nothing left for you to do")
				w.checkRenewed(id)
				if url := evaluateURL(v); url != link {
					t.Errorf("the way back ends at %s, want %s", url, link)
				}
				v.openURL(link)
				v.see(thanks)
				v.seeNot(bankButton)
			})
			t.Run("card", func(t *testing.T) {
				id, link := w.link(isStolen)
				v := open()
				v.openURL(link)
				v.see("Your bank did not accept the saved card", cardButton)
				v.click(pageButton)
				v.see("Simulated Checkout")
				v.click("#back")
				v.see(cardButton)
				v.click(pageButton)
				v.see("Simulated Checkout")
				v.click("#save")
				v.see(thanks)
				w.checkRenewed(id)
			})
		})
	}
}

// evaluateURL returns the address of the page. It needs no script in the page.
func evaluateURL(v *visitor) string {
	v.t.Helper()
	url, err := chromedp.Run(v.ctx, chromedp.Location())
	if err != nil {
		v.t.Fatal(err)
	}
	return url
}

// TestCardholder_OtherWays follows a cardholder who fails at the bank and gives
// another card instead.
func TestCardholder_OtherWays(t *testing.T) {
	w := startCardholderWorld(t)
	id, link := w.link(requiresAuthentication)
	v := w.newVisitor()
	v.openURL(link)
	v.click(pageButton)
	v.see("Simulated bank")
	v.click("#fail")
	v.see(bankButton)
	v.click("main a")
	v.see(cardButton)
	v.seeNot(bankButton)
	v.click(pageButton)
	v.see("Simulated Checkout")
	v.click("#save")
	v.see(thanks)
	w.checkRenewed(id)
}

// TestCardholder_Closed checks what links without use lead to.
func TestCardholder_Closed(t *testing.T) {
	w := startCardholderWorld(t)
	id, link := w.link(requiresAuthentication)
	v := w.newVisitor()
	v.open("/console/holds?tab=cardholder")
	v.see("BK-2071")
	v.open("/console/holds/" + id)
	v.see("must confirm the renewal with the bank")
	v.click(act("link"))
	v.click(confirm)
	v.see(link)
	v.openURL(strings.Replace(link, ".1.", ".2.", 1))
	v.see("This link is not valid")
	v.openURL(w.public + "/cardholder/")
	v.see("This link is not valid")
	v.openURL(w.public + "/console/")
	v.seeNot("holdd")
	if _, err := w.client.Cancel(w.t.Context(), id, "", 0); err != nil {
		t.Fatal(err)
	}
	w.waitForState(id, "canceled")
	v.openURL(link)
	v.see("Nothing left to do", "please ask Hotel Example")
	v.seeNot(bankButton)
}

// TestCardholder_Pages checks accessibility, a narrow window and the language.
func TestCardholder_Pages(t *testing.T) {
	w, axe := startCardholderWorld(t), readAxe(t)
	_, bank := w.link(requiresAuthentication)
	_, card := w.link(isStolen)
	v := w.newVisitor()
	v.do(chromedp.EmulateViewport(390, 844))
	for name, url := range map[string]string{"bank": bank, "card": card, "other card": bank + "/card",
		"invalid": bank + "x"} {
		for _, dark := range []bool{false, true} {
			v.setTheme(dark)
			v.openURL(url)
			v.see("e")
			for _, finding := range v.axeViolations(axe, `{resultTypes: ["violations"]}`) {
				t.Errorf("%s, dark %v: %s", name, dark, finding)
			}
		}
		if wide := evaluate[int](v, "document.documentElement.scrollWidth"); wide > 390 {
			t.Errorf("%s is %d wide on a phone", name, wide)
		}
		v.screenshot("cardholder-" + strings.ReplaceAll(name, " ", "-"))
	}
	_, err := chromedp.Call(v.ctx, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{
		Headers: network.Headers{"Accept-Language": "de-CH,de;q=0.9,en;q=0.5"}})
	if err != nil {
		t.Fatal(err)
	}
	v.openURL(bank)
	v.see("Weiter zu Ihrer Bank", "420.00 EUR")
}

// TestConsole_CardholderLink checks that the console shows the link of the
// cardholder after a confirmation only, and that it leads to the page.
func TestConsole_CardholderLink(t *testing.T) {
	w := startCardholderWorld(t)
	id, _ := w.link(stripesim.CardOutcome{Code: "authentication_required"})
	v := w.newVisitorWithoutScript()
	v.open("/console/holds/" + id)
	v.see("must confirm the renewal with the bank")
	v.seeNot(w.public)
	v.click(act("link"))
	v.see("can act as the cardholder", "BK-2071")
	v.seeNot(w.public)
	v.click(confirm)
	v.see(w.public+"/cardholder/", "Send this link to nobody else")
	v.openURL(evaluate[string](v, `document.querySelector("code[data-copy]").textContent`))
	v.see("Hotel Example")
}
