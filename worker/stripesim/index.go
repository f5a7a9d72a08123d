package stripesim

import (
	"cmp"
	"fmt"
	"html"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// ServerHandler serves all of a simulator at one address: the API at /v1/, the
// control endpoints at /_sim/, what Stripe hosts for browsers at /_pages/ and
// /v3/, and at / what the server is. Keep it on loopback.
func (s *Sim) ServerHandler() http.Handler {
	m := http.NewServeMux()
	m.Handle("/", s.Handler())
	m.Handle("/_sim/", s.ControlHandler())
	pages := s.PagesHandler()
	m.Handle(PagesPath, pages)
	m.Handle("/v3/", pages)
	m.HandleFunc("GET /{$}", s.serveIndex)
	return m
}

// indexJSON says what the server is.
type indexJSON struct {
	Name             string            `json:"name"`
	Description      string            `json:"description"`
	Livemode         bool              `json:"livemode"`
	Account          string            `json:"account"`
	APIVersion       string            `json:"api_version"`
	NewestAPIVersion string            `json:"newest_api_version"`
	Now              time.Time         `json:"now"`
	Paths            map[string]string `json:"paths"`
	Endpoints        []string          `json:"endpoints"`
}

const indexPage = `<!doctype html><html lang="en"><meta charset="utf-8"><title>stripesim</title>
<meta name="viewport" content="width=device-width">
<style>body{font:1rem/1.5 system-ui;max-width:48rem;margin:2rem auto;padding:0 1rem}
pre{overflow:auto;background:#f3f4f6;padding:.75rem}dt{font-weight:600}</style>
<main><h1>stripesim</h1><p>%s</p>
<p>The simulator's clock shows %s. Calls without <code>Stripe-Version</code> have version <code>%s</code>.
The account is <code>%s</code>.</p>
<dl>%s</dl>
<h2>A first call</h2>
<pre>curl -sS --fail-with-body %s/v1/payment_intents -u sk_test_example: \
  -d amount=5000 -d currency=eur -d capture_method=manual -d confirm=true \
  -d payment_method=pm_card_visa -d 'automatic_payment_methods[enabled]=true' \
  -d 'automatic_payment_methods[allow_redirects]=never'</pre>
<h2>Endpoints</h2><pre>%s</pre></main></html>
`

// serveIndex describes the server, in JSON unless the caller takes HTML.
func (s *Sim) serveIndex(w http.ResponseWriter, r *http.Request) {
	j := indexJSON{Name: "stripesim",
		Description: "A stateful simulator of Stripe's API for tests. It moves no money, and it " +
			"accepts keys that begin with sk_test_, rk_test_ or pk_test_.",
		Account: s.Account(), APIVersion: s.env.options.APIVersion,
		NewestAPIVersion: NewestAPIVersion, Now: s.Now().UTC().Truncate(time.Second),
		Paths: map[string]string{"/v1/": "Stripe's API",
			"/_sim/":  "control endpoints: clock, faults, Dashboard, ledger",
			"/v3/":    "a script with the interface of Stripe.js",
			PagesPath: "pages that Stripe hosts: authentication, the form for a card"}}
	for name := range routes {
		method, path, _ := strings.Cut(name, " ")
		j.Endpoints = append(j.Endpoints, method+" /v1/"+path)
	}
	slices.SortFunc(j.Endpoints, func(a, b string) int {
		_, pathA, _ := strings.Cut(a, " ")
		_, pathB, _ := strings.Cut(b, " ")
		return cmp.Or(strings.Compare(pathA, pathB), strings.Compare(a, b))
	})
	w.Header().Set("Vary", "Accept")
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(encodeJSON(j)) // fails only if the caller has left
		return
	}
	var paths strings.Builder
	for _, path := range slices.Sorted(maps.Keys(j.Paths)) {
		name := path
		if path == "/_sim/" || path == "/v3/" { // a browser can open these
			name = `<a href="` + path + `">` + path + `</a>`
		}
		fmt.Fprintf(&paths, "<dt>%s</dt><dd>%s</dd>", name, html.EscapeString(j.Paths[path]))
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, indexPage, html.EscapeString(j.Description), j.Now.Format(time.RFC3339),
		html.EscapeString(j.APIVersion), html.EscapeString(j.Account), paths.String(),
		html.EscapeString("http://"+r.Host), html.EscapeString(strings.Join(j.Endpoints, "\n")))
}
