package stripesim

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"strings"
)

// PagesPath begins the paths of the pages of [Sim.PagesHandler].
const PagesPath = "/_pages/"

// pageURL returns the URL of a page that Stripe hosts for an object.
func (e *environment) pageURL(page, id string) string {
	switch base := e.options.PagesURL; {
	case base != "":
		return strings.TrimSuffix(base, "/") + PagesPath + page + "/" + id
	case page == "setup":
		return "https://checkout.stripe.com/c/pay/" + id
	}
	return "https://hooks.stripe.com/3d_secure_2/simulated"
}

// hostedPages serves what Stripe hosts for browsers.
type hostedPages struct{ sim *Sim }

// PagesHandler serves what Stripe hosts for browsers, under Options.PagesURL: the
// bank's authentication of a PaymentIntent, the form of a Checkout Session, and
// at /v3/ a script with Stripe.js' interface for pages that take a card.
func (s *Sim) PagesHandler() http.Handler {
	h, m := hostedPages{s}, http.NewServeMux()
	m.HandleFunc("GET "+PagesPath+"authenticate/{id}", h.authenticationPage)
	m.HandleFunc("POST "+PagesPath+"authenticate/{id}", h.authenticate)
	m.HandleFunc("GET "+PagesPath+"setup/{id}", h.setupPage)
	m.HandleFunc("POST "+PagesPath+"setup/{id}", h.setUp)
	h.addBrowserRoutes(m)
	return m
}

const hostedPage = `<!doctype html><html lang="en"><meta charset="utf-8"><title>%[1]s</title>
<meta name="viewport" content="width=device-width"><main><h1>%[1]s</h1>%[2]s</main></html>`

// answeredDialog tells the page around the bank's dialog that the bank has
// answered.
const answeredDialog = `<p>Thank you.</p>
<script>parent.postMessage({ name: "authenticated" }, "*")</script>`

func writePage(w http.ResponseWriter, status int, title, body string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintf(w, hostedPage, title, body)
}

// pendingAction is an intent that waits for the cardholder's bank.
type pendingAction struct {
	question           string // of the bank
	returnURL, secret  string
	idName, secretName string // parameters of the return_url
}

// pendingAction returns what waits for the bank under an intent's id, or nil.
func (h hostedPages) pendingAction(id string) *pendingAction {
	var p *pendingAction
	if strings.HasPrefix(id, setupIntentPrefix) {
		_ = h.sim.accounts.withSetupIntent(id, func(_ *operation, si *setupIntent) *apiError {
			if si.status == statusRequiresAction {
				p = &pendingAction{"Save this card?", si.returnURL, si.secret, "setup_intent",
					"setup_intent_client_secret"}
			}
			return nil
		}) // an unknown one waits for nothing
		return p
	}
	_ = h.sim.accounts.withIntent(id, func(_ *operation, in *intent) *apiError {
		if in.status == statusRequiresAction {
			p = &pendingAction{fmt.Sprintf("Confirm %d %s?", in.amount, in.currency), in.returnURL,
				in.secret, "payment_intent", "payment_intent_client_secret"}
		}
		return nil
	})
	return p
}

func (h hostedPages) authenticationPage(w http.ResponseWriter, r *http.Request) {
	p := h.pendingAction(r.PathValue("id"))
	if p == nil {
		writePage(w, http.StatusNotFound, "Simulated bank", "<p>There is nothing to confirm.</p>")
		return
	}
	writePage(w, http.StatusOK, "Simulated bank", fmt.Sprintf(`<p>%s</p>
<form method="post"><button name="do" value="pass" id="pass">Complete</button>
<button name="do" value="fail" id="fail">Fail</button></form>`, html.EscapeString(p.question)))
}

// authenticate passes or fails 3-D Secure, and sends the cardholder back. Like
// Stripe it appends the client secret to the return_url.
func (h hostedPages) authenticate(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	p := h.pendingAction(id)
	if p == nil {
		writePage(w, http.StatusConflict, "Simulated bank", "<p>There is nothing to confirm.</p>")
		return
	}
	answer := h.sim.Dashboard().FailAction
	if r.PostFormValue("do") == "pass" {
		answer = h.sim.Dashboard().CompleteAction
	}
	err := answer(id)
	if err == nil && p.returnURL == "" { // a dialog of the page that takes the card
		writePage(w, http.StatusOK, "Simulated bank", answeredDialog)
		return
	}
	target, parseErr := url.Parse(p.returnURL)
	if err != nil || parseErr != nil {
		writePage(w, http.StatusConflict, "Simulated bank", "<p>There is nothing to confirm.</p>")
		return
	}
	q := target.Query()
	q.Set(p.idName, id)
	q.Set(p.secretName, p.secret)
	target.RawQuery = q.Encode()
	http.Redirect(w, r, target.String(), http.StatusSeeOther)
}

func (h hostedPages) setupPage(w http.ResponseWriter, r *http.Request) {
	status, cancelURL := "", ""
	err := h.sim.accounts.withCheckoutSession(r.PathValue("id"),
		func(op *operation, _ *account, cs *checkoutSession) *apiError {
			status, cancelURL = cs.statusAt(op.now), cs.cancelURL
			return nil
		})
	if err != nil || status != sessionOpen {
		writePage(w, http.StatusNotFound, "Simulated Checkout", "<p>The page has expired.</p>")
		return
	}
	writePage(w, http.StatusOK, "Simulated Checkout", fmt.Sprintf(`<form method="post">
<label for="card">Test card</label> <input id="card" name="card" value="pm_card_visa">
<button id="save">Save card</button></form><p><a id="back" href="%s">Back</a></p>`,
		html.EscapeString(cancelURL)))
}

func (h hostedPages) setUp(w http.ResponseWriter, r *http.Request) {
	back, err := h.sim.Cards.CompleteCardSetup(r.PathValue("id"), r.PostFormValue("card"))
	if err != nil {
		writePage(w, http.StatusConflict, "Simulated Checkout", "<p>"+
			html.EscapeString(err.Error())+"</p>")
		return
	}
	http.Redirect(w, r, back, http.StatusSeeOther)
}
