package stripesim_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/stripesim"
)

// cardholder is a browser at the hosted pages. It follows no redirect.
type cardholder struct {
	t      *testing.T
	client *http.Client
}

func (c *cardholder) submit(page string, form url.Values) (back string) {
	c.t.Helper()
	r, err := c.client.PostForm(page, form)
	if err != nil {
		c.t.Fatal(err)
	}
	defer r.Body.Close()
	return r.Header.Get("Location")
}

func newCardholder(t *testing.T) (*testClient, *cardholder) {
	t.Helper()
	o := unlimitedOptions(1)
	pages := http.NewServeMux()
	server := httptest.NewServer(pages)
	t.Cleanup(server.Close)
	o.PagesURL = server.URL + "/"
	c := newTestClient(t, o)
	pages.Handle(stripesim.PagesPath, c.sim.PagesHandler())
	return c, &cardholder{t, &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}}
}

const setupForm = "mode=setup&success_url=https%3A%2F%2Fhotel.example%2Fok%3Fs%3D%7BCHECKOUT_SESSION_ID%7D" +
	"&cancel_url=https%3A%2F%2Fhotel.example%2F&metadata[holdd_hold]=pi_1&customer="

func TestCheckoutSession_SavesCard(t *testing.T) {
	c, browser := newCardholder(t)
	customer, _, err := c.sim.Cards.SaveCard("", "")
	if err != nil {
		t.Fatal(err)
	}
	s := c.mustSucceed("POST", "/v1/checkout/sessions", setupForm+customer)
	assertEqual(t, "status", s.stringAt("status"), "open")
	page := s.stringAt("url")
	back := browser.submit(page, url.Values{"card": {"pm_card_mastercard"}})
	assertEqual(t, "back", back, "https://hotel.example/ok?s="+s.id())
	s = c.mustSucceed("GET", "/v1/checkout/sessions/"+s.id(), "expand[]=setup_intent")
	assertEqual(t, "status", s.stringAt("status"), "complete")
	assertEqual(t, "url", s.valueAt("url"), nil)
	card := s.stringAt("setup_intent.payment_method")
	intent := c.mustSucceed("POST", "/v1/payment_intents", manualCaptureForm+card+
		"&customer="+customer+offSessionForm)
	assertEqual(t, "authorized with it", intent.stringAt("status"), "requires_capture")
	if again := browser.submit(page,
		url.Values{"card": {"pm_card_visa"}}); again != "" {
		t.Errorf("a second card leads to %s", again)
	}
}

func TestCheckoutSession_ExpiresAndRefuses(t *testing.T) {
	c, _ := newCardholder(t)
	customer, _, err := c.sim.Cards.SaveCard("", "")
	if err != nil {
		t.Fatal(err)
	}
	c.mustFail(400, "resource_missing", "POST", "/v1/checkout/sessions", setupForm+"cus_none")
	c.mustFail(400, "parameter_missing", "POST", "/v1/checkout/sessions", "mode=setup&customer="+customer)
	c.mustFail(404, "resource_missing", "GET", "/v1/checkout/sessions/cs_none", "")
	s := c.mustSucceed("POST", "/v1/checkout/sessions", setupForm+customer)
	c.sim.Advance(24 * time.Hour)
	assertEqual(t, "status", c.mustSucceed("GET", "/v1/checkout/sessions/"+s.id(), "").
		stringAt("status"), "expired")
	if _, err := c.sim.Cards.CompleteCardSetup(s.id(), "pm_card_visa"); err == nil {
		t.Error("an expired session takes a card")
	}
}

func TestAuthenticationPage(t *testing.T) {
	for do, want := range map[string]string{"pass": "requires_capture", "fail": "requires_payment_method"} {
		t.Run(do, func(t *testing.T) {
			c, browser := newCardholder(t)
			in := c.mustSucceed("POST", "/v1/payment_intents", manualCaptureForm+
				"pm_card_authenticationRequired&return_url="+queryEscape("https://hotel.example/?a=b"))
			page := in.stringAt("next_action.redirect_to_url.url")
			back := browser.submit(page, url.Values{"do": {do}})
			if !strings.HasPrefix(back, "https://hotel.example/?a=b&payment_intent="+in.id()) {
				t.Errorf("back to %s", back)
			}
			assertEqual(t, "status", c.intentState(in.id()).Status, want)
		})
	}
}
