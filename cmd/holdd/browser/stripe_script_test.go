package browser_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
)

// cardPage takes a card with the simulator's Stripe.js, and shows what its method
// returns for a client secret.
const cardPage = `<!doctype html><title>Card</title><script src=%q></script>
<div id="card"></div><button id="go">Go</button><p id="result"></p>
<script>
const stripe = Stripe("pk_test_browser");
const card = stripe.elements().create("card");
card.mount("#card");
document.getElementById("go").addEventListener("click", async () => {
  const r = await (%s);
  document.getElementById("result").textContent = "Result: " + (r.error ?
    r.error.code : (r.setupIntent ?? r.paymentIntent ?? r.token).status ?? r.token.id);
});
</script>`

// openCardPage opens a page that runs a call of Stripe.js on a click.
func (w *world) openCardPage(v *visitor, call string) {
	w.t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(rw, cardPage, w.stripeURL+"/v3/", call)
	}))
	w.t.Cleanup(server.Close)
	v.openURL(server.URL)
}

// callStripe sends a call with a secret key and returns the object.
func (w *world) callStripe(path string, form url.Values) map[string]any {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), "POST", w.stripeURL+path,
		strings.NewReader(form.Encode()))
	if err != nil {
		w.t.Fatal(err)
	}
	r.SetBasicAuth("sk_test_browser", "")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	var object map[string]any
	if err := json.NewDecoder(res.Body).Decode(&object); err != nil ||
		res.StatusCode != http.StatusOK {
		w.t.Fatalf("%s: %d %v %v", path, res.StatusCode, err, object)
	}
	return object
}

// A page saves a card with confirmCardSetup and the bank's dialog.
func TestStripeScript_ConfirmCardSetup(t *testing.T) {
	for button, want := range []string{1: "Result: succeeded",
		2: "Result: setup_intent_authentication_failure"} {
		if want == "" {
			continue
		}
		t.Run(want, func(t *testing.T) {
			w := startWorld(t, worldOptions{})
			si := w.callStripe("/v1/setup_intents", url.Values{"payment_method_types[]": {"card"}})
			v := w.newVisitor()
			w.openCardPage(v, fmt.Sprintf("stripe.confirmCardSetup(%q, {payment_method: {card}})",
				si["client_secret"]))
			v.clickFrame("#card iframe")
			v.typeKeys(threeDSecure + kb.Tab + "12/34" + kb.Tab + "123")
			v.press("#go")
			v.answerBank(button)
			v.see(want)
		})
	}
}

// A page makes the token of a card, and its server pays with it.
func TestStripeScript_CreateToken(t *testing.T) {
	w := startWorld(t, worldOptions{})
	v := w.newVisitor()
	w.openCardPage(v, "stripe.createToken(card)")
	v.clickFrame("#card iframe")
	v.typeKeys(visa + kb.Tab + "12/34" + kb.Tab + "123")
	v.press("#go")
	v.see("Result: tok_")
	_, token, _ := strings.Cut(v.text(), "Result: ")
	token, _, _ = strings.Cut(token, "\n")
	in := w.callStripe("/v1/payment_intents", url.Values{"amount": {"500"}, "currency": {"eur"},
		"confirm": {"true"}, "payment_method_types[]": {"card"},
		"payment_method_data[type]": {"card"}, "payment_method_data[card][token]": {token}})
	if in["status"] != "succeeded" {
		t.Errorf("the payment is %v", in["status"])
	}
}

// A page that asks for an element that the script does not have learns which ones
// there are.
func TestStripeScript_UnknownElement(t *testing.T) {
	w := startWorld(t, worldOptions{})
	v := w.newVisitor()
	w.openCardPage(v, `new Promise((resolve) => {
		try { stripe.elements({mode: "payment"}).create("payment"); }
		catch (e) { resolve({error: {code: e.message}}); }
	})`)
	v.press("#go")
	v.see("Result: IntegrationError: the simulator's script has no element payment, only card and " +
		"cardCvc")
}
