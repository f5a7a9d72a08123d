package stripesim

import (
	"embed"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

//go:embed static
var staticFiles embed.FS

// maxBrowserForm bounds the form of a browser's request, in bytes.
const maxBrowserForm = 16 << 10

// addBrowserRoutes serves the script of a checkout page, the frames with the
// card's fields, and the calls that both send.
func (h hostedPages) addBrowserRoutes(m *http.ServeMux) {
	m.HandleFunc("GET /v3/{$}", serveScript("stripe.js"))
	m.HandleFunc("GET "+PagesPath+"field.js", serveScript("field.js"))
	m.HandleFunc("GET "+PagesPath+"field/{type}", fieldPage)
	m.HandleFunc("POST "+PagesPath+"payment_methods", h.createBrowserMethod)
	m.HandleFunc("POST "+PagesPath+"tokens", h.createBrowserToken)
	m.HandleFunc("GET "+PagesPath+"intents/{id}", h.showIntent)
	m.HandleFunc("POST "+PagesPath+"intents/{id}/confirm", h.confirmInBrowser)
	m.HandleFunc("POST "+PagesPath+"intents/{id}/abandon", h.abandonAction)
}

func serveScript(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		script, err := staticFiles.ReadFile("static/" + name)
		if err != nil {
			panic(err) // the file is embedded
		}
		w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
		_, _ = w.Write(script) // fails only if the browser has left
	}
}

const (
	cardFields = `<input id="number" placeholder="Card number" aria-label="Card number" inputmode="numeric"
 autocomplete="cc-number" size="19" maxlength="23">
<input id="exp" placeholder="MM / YY" aria-label="Expiry, month and year" inputmode="numeric"
 autocomplete="cc-exp" size="7" maxlength="9">
`
	cvcField = `<input id="cvc" placeholder="CVC" aria-label="Security code" inputmode="numeric"
 autocomplete="cc-csc" size="4" maxlength="4">`
	fieldDocument = `<!doctype html><html lang="en"><meta charset="utf-8"><title>Card</title>
<style>body{margin:0;display:flex;gap:.25rem}input{font:1rem system-ui;padding:.6rem;
border:1px solid #818b98;border-radius:.35rem;min-width:0}#number{flex:1}</style>
%s<script type="module" src="/_pages/field.js"></script></html>`
)

// fieldPage has the fields of a Stripe.js element.
func fieldPage(w http.ResponseWriter, r *http.Request) {
	fields, ok := map[string]string{"card": cardFields + cvcField,
		"cardCvc": cvcField}[r.PathValue("type")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, fieldDocument, fields)
}

// callForBrowser sends a call to the API with a publishable key.
func (h hostedPages) callForBrowser(
	r *http.Request, method, path string, form url.Values,
) (status int, body []byte) {
	call, err := http.NewRequestWithContext(r.Context(), method, "http://stripesim"+path,
		strings.NewReader(form.Encode()))
	if err != nil {
		return http.StatusBadRequest, unansweredCall
	}
	call.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	call.Header.Set("Authorization", "Bearer pk_test_browser")
	answer, err := h.sim.Transport().RoundTrip(call)
	if err != nil {
		return http.StatusBadGateway, unansweredCall
	}
	defer answer.Body.Close()
	if body, err = io.ReadAll(answer.Body); err != nil {
		return http.StatusBadGateway, unansweredCall
	}
	return answer.StatusCode, body
}

var unansweredCall = []byte(`{"error":{"type":"api_connection_error","message":"No answer."}}`)

func writeBrowserReply(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // fails only if the browser has left
}

func (h hostedPages) createBrowserMethod(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBrowserForm)
	if r.ParseForm() != nil {
		http.Error(w, "invalid form", http.StatusBadRequest)
		return
	}
	status, body := h.callForBrowser(r, "POST", "/v1/payment_methods", r.PostForm)
	writeBrowserReply(w, status, body)
}

// createBrowserToken makes the token of a card, or of a security code that the
// cardholder entered again.
func (h hostedPages) createBrowserToken(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBrowserForm)
	if r.ParseForm() != nil {
		http.Error(w, "invalid form", http.StatusBadRequest)
		return
	}
	status, body := h.callForBrowser(r, "POST", "/v1/tokens", r.PostForm)
	writeBrowserReply(w, status, body)
}

// intentPath returns the API's path of a PaymentIntent or a SetupIntent.
func intentPath(id string) string {
	if strings.HasPrefix(id, setupIntentPrefix) {
		return "/v1/setup_intents/" + id
	}
	return "/v1/payment_intents/" + id
}

// showIntent and confirmInBrowser do what Stripe.js does with a publishable key.
func (h hostedPages) showIntent(w http.ResponseWriter, r *http.Request) {
	status, body := h.callForBrowser(r, "GET", intentPath(r.PathValue("id"))+"?"+
		url.Values{"client_secret": {r.FormValue("client_secret")}}.Encode(), nil)
	writeBrowserReply(w, status, body)
}

func (h hostedPages) confirmInBrowser(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBrowserForm)
	form := url.Values{"client_secret": {r.FormValue("client_secret")}}
	for _, name := range []string{"payment_method", "return_url"} {
		if v := r.FormValue(name); v != "" {
			form.Set(name, v)
		}
	}
	status, body := h.callForBrowser(r, "POST", intentPath(r.PathValue("id"))+"/confirm", form)
	writeBrowserReply(w, status, body)
}

// abandonAction is a cardholder who closes the bank's window.
func (h hostedPages) abandonAction(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBrowserForm)
	id := r.PathValue("id")
	if p := h.pendingAction(id); p != nil && p.secret == r.FormValue("client_secret") {
		_ = h.sim.Dashboard().FailAction(id) // fails if the bank has answered before
	}
	h.showIntent(w, r)
}
