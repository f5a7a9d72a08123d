package cardholder_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/cardholder"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

const testHoldID = "pi_3PxYzA2eZvKYlo2C1gQmT0aB"

// fakeDesk has one hold and counts what a visitor does.
type fakeDesk struct {
	h     hold.Hold
	err   error
	page  string
	calls []string
}

func (d *fakeDesk) ReadHold(_ context.Context, id string) (hold.Hold, time.Time, error) {
	d.calls = append(d.calls, "show "+id)
	return d.h, time.Now(), d.err
}

func (d *fakeDesk) StartAuthentication(
	_ context.Context, id string, generation uint32, back string,
) (hold.Secret, error) {
	d.calls = append(d.calls, fmt.Sprintf("authenticate %s %d %s", id, generation, back))
	return hold.NewSecret(d.page), d.err
}

func (d *fakeDesk) StartCardSetup(
	_ context.Context, id string, generation uint32, back, cancel string,
) (hold.Secret, error) {
	d.calls = append(d.calls, fmt.Sprintf("card %s %d %s %s", id, generation, back, cancel))
	return hold.NewSecret(d.page), d.err
}

func (d *fakeDesk) RecordReturnAndWait(
	_ context.Context, id string, generation uint32, session string,
) error {
	d.calls = append(d.calls, fmt.Sprintf("return %s %d %s", id, generation, session))
	return d.err
}

const (
	publicURL = "https://pay.hotel.example"
	secret    = "a secret of the tests, long enough"
)

// waiting is a hold whose renewal waits for its cardholder.
func waiting(code string) hold.Hold {
	at := time.Now().Truncate(time.Second)
	return hold.Hold{ID: testHoldID, Reference: "BK-<2071>", Amount: 42_000, Currency: "eur",
		State: hold.Scheduled, ExpiresAt: at.Add(20 * time.Hour),
		Renewal: &hold.Renewal{Step: hold.RenewalRequiresAction, Generation: 3, Amount: 42_000,
			DeclineCode: code, RenewalTerms: hold.RenewalTerms{Until: at.Add(90 * time.Hour)}}}
}

// pageRequest requests a path below the link of a hold.
func pageRequest(t *testing.T, d *fakeDesk, method, link, suffix string, header ...string) (
	*httptest.ResponseRecorder, *cardholder.Page) {
	t.Helper()
	page := cardholder.NewPage(cardholder.Options{Links: cardholder.NewLinkSigner(publicURL,
		secret),
		Desk: d, Property: "Hotel <Example>"})
	r := httptest.NewRequest(method, strings.TrimPrefix(link, publicURL)+suffix, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	page.ServeHTTP(w, r)
	return w, page
}

func linkOf(h hold.Hold) string {
	url, _ := cardholder.NewLinkSigner(publicURL+"/", secret).SignLink(&h)
	return url
}

func TestLink_OnlyValidLinksRead(t *testing.T) {
	h := waiting("authentication_required")
	good := linkOf(h)
	token := good[strings.LastIndexByte(good, '/')+1:]
	other, _ := cardholder.NewLinkSigner(publicURL, "another secret, also long enough").SignLink(&h)
	over := h
	over.ExpiresAt = time.Now().Add(-time.Second)
	prefix := publicURL + "/cardholder/"
	for name, tt := range map[string]struct {
		link string
		want int
	}{
		"valid":              {good, 200},
		"expired":            {linkOf(over), 410},
		"of another secret":  {other, 404},
		"other hold":         {prefix + strings.Replace(token, "pi_3Px", "pi_3Qx", 1), 404},
		"other generation":   {prefix + strings.Replace(token, ".3.", ".4.", 1), 404},
		"later expiry":       {prefix + strings.Replace(token, ".3.1", ".3.9", 1), 404},
		"without signature":  {prefix + token[:strings.LastIndexByte(token, '.')], 404},
		"a shorter one":      {good[:len(good)-1], 404},
		"a longer one":       {good + "A", 404},
		"another last digit": {good[:len(good)-1] + "_", 404},
		"nothing":            {prefix + "x", 404},
		"endless":            {prefix + strings.Repeat("a.", 4000), 404},
	} {
		t.Run(name, func(t *testing.T) {
			for _, do := range []struct{ method, suffix string }{{"GET", ""}, {"GET", "/card"},
				{"GET", "/back?session=cs_1"}, {"POST", "/bank"}, {"POST", "/card"}} {
				d := &fakeDesk{h: h}
				w, page := pageRequest(t, d, do.method, tt.link, do.suffix)
				valid := tt.want == 200
				if !valid && (w.Code != tt.want || len(d.calls) != 0) || valid && len(d.calls) == 0 {
					t.Errorf("%s %s: %d, reads %q", do.method, do.suffix, w.Code, d.calls)
				}
				r := httptest.NewRequest(do.method, strings.TrimPrefix(tt.link, publicURL)+do.suffix, nil)
				if page.HasValidLink(r) != valid {
					t.Errorf("%s %s is admitted: %v", do.method, do.suffix, !valid)
				}
			}
		})
	}
}

// TestPage_Says checks that the page says who holds what until when, what to do
// and what happens next, and escapes what is not of the code.
func TestPage_Says(t *testing.T) {
	for code, button := range map[string]string{"authentication_required": "Continue to your bank",
		"stolen_card": "Continue to the card form"} {
		d := &fakeDesk{h: waiting(code)}
		w, _ := pageRequest(t, d, http.MethodGet, linkOf(d.h), "")
		body := w.Body.String()
		for _, want := range []string{"Hotel &lt;Example&gt;", "420.00 EUR", "BK-&lt;2071&gt;",
			d.h.ExpiresAt.UTC().Format("2 January 2006, 15:04"),
			d.h.Renewal.Until.UTC().Format("2 January 2006, 15:04"), "the old one is released", button,
			"Test mode", `<html lang="en">`} {
			if !strings.Contains(body, want) {
				t.Errorf("%s: the page does not say %q:\n%s", code, want, body)
			}
		}
		if n := strings.Count(body, "<button>"); n != 1 || strings.Contains(body, "<script") ||
			strings.Contains(body, "{") && strings.Contains(body, "{amount}") {
			t.Errorf("%s: %d buttons:\n%s", code, n, body)
		}
		header := w.Header()
		if header.Get("Cache-Control") != "no-store" || header.Get("Referrer-Policy") != "no-referrer" ||
			!strings.HasPrefix(header.Get("Content-Security-Policy"), "default-src 'none'; style-src 'sha256-") {
			t.Errorf("headers %v", header)
		}
	}
}

func TestPage_Statuses(t *testing.T) {
	with := func(edit func(*hold.Hold)) hold.Hold {
		h := waiting("authentication_required")
		edit(&h)
		return h
	}
	link := linkOf(waiting(""))
	for name, tt := range map[string]struct {
		h    hold.Hold
		want string
	}{
		"under way":       {with(func(h *hold.Hold) { h.Renewal.Step = hold.RenewalConfirm }), "One moment"},
		"done":            {with(func(h *hold.Hold) { h.Renewal.Step = hold.RenewalIdle }), "Thank you"},
		"another renewal": {with(func(h *hold.Hold) { h.Renewal.Generation = 4 }), "This link has expired"},
		"failed":          {with(func(h *hold.Hold) { h.Renewal.Step = hold.RenewalFailed }), "Nothing left to do"},
		"captured":        {with(func(h *hold.Hold) { h.State = hold.Captured }), "Nothing left to do"},
		"no renewal":      {with(func(h *hold.Hold) { h.Renewal = nil }), "This link has expired"},
	} {
		w, _ := pageRequest(t, &fakeDesk{h: tt.h}, http.MethodGet, link, "")
		body := w.Body.String()
		if w.Code != 200 || !strings.Contains(body, "<h1>"+tt.want) || strings.Contains(body, "<button") {
			t.Errorf("%s: %d\n%s", name, w.Code, body)
		}
		if refreshes := w.Header().Get("Refresh") != ""; refreshes != (name == "under way") {
			t.Errorf("%s: refreshes %v", name, refreshes)
		}
	}
	d := &fakeDesk{err: &hold.Problem{Code: hold.HoldNotFound}}
	if w, _ := pageRequest(t, d, http.MethodGet, link, ""); w.Code != 200 {
		t.Errorf("a hold that is gone: %d", w.Code)
	}
	d.err = fmt.Errorf("redis: %w", health.ErrUnavailable)
	for _, do := range []struct{ method, suffix string }{{"GET", ""}, {"GET", "/back"},
		{"POST", "/bank"}, {"POST", "/card"}} {
		w, _ := pageRequest(t, d, do.method, link, do.suffix)
		if w.Code != 503 || !strings.Contains(w.Body.String(), "Please try again") {
			t.Errorf("%s %s without Redis: %d", do.method, do.suffix, w.Code)
		}
	}
}

// TestPage_Leaves checks where a click leads, and that the way back leads to a
// path without the secrets of Stripe's query.
func TestPage_Leaves(t *testing.T) {
	d := &fakeDesk{h: waiting("authentication_required"), page: "https://hooks.stripe.com/a?b=c&d=e"}
	link := linkOf(d.h)
	path := strings.TrimPrefix(link, publicURL)
	for suffix, call := range map[string]string{
		"/bank": "authenticate " + testHoldID + " 3 " + link + "/back",
		"/card": "card " + testHoldID + " 3 " + link + "/back?session={CHECKOUT_SESSION_ID} " + link} {
		d.calls = nil
		w, _ := pageRequest(t, d, http.MethodPost, link, suffix)
		if w.Code != 200 || w.Header().Get("Refresh") != "0; url="+d.page ||
			!strings.Contains(w.Body.String(), `href="https://hooks.stripe.com/a?b=c&amp;d=e"`) ||
			len(d.calls) != 1 || d.calls[0] != call {
			t.Errorf("%s: %d %v\n%q", suffix, w.Code, w.Header(), d.calls)
		}
		get, _ := pageRequest(t, d, http.MethodGet, link, "/bank")
		if get.Code != 405 && get.Code != 404 {
			t.Errorf("a GET acts: %d", get.Code)
		}
	}
	for page, why := range map[string]string{"": "nothing to do", "javascript:alert(1)": "no page"} {
		d.page = page
		if w, _ := pageRequest(t, d, http.MethodPost, link, "/bank"); w.Code != 303 ||
			w.Header().Get("Location") != path {
			t.Errorf("%s: %d to %s", why, w.Code, w.Header().Get("Location"))
		}
	}
	for query, session := range map[string]string{
		"?payment_intent_client_secret=pi_1_secret_2": "", "?session=cs_test_1": "cs_test_1",
		"?session=../../x": ""} {
		d.calls = nil
		w, _ := pageRequest(t, d, http.MethodGet, link, "/back"+query)
		want := "return " + testHoldID + " 3 " + session
		if w.Code != 303 || w.Header().Get("Location") != path || len(d.calls) != 1 || d.calls[0] != want {
			t.Errorf("%s: %d to %s, %q", query, w.Code, w.Header().Get("Location"), d.calls)
		}
	}
}

func TestPage_Languages(t *testing.T) {
	for accept, want := range map[string]string{"": "en", "de": "de", "de-AT,de;q=0.9,en;q=0.8": "de",
		"fr;q=0.5, es;q=0.7": "es", "ja, pt-BR;q=0.9": "en", "ja, FR-ca;q=0.9": "fr", "*;q=0.1": "en",
		"de;q=0": "en", "de;q=x, es;q=0.1": "es", strings.Repeat("xx,", 10_000) + "de": "en"} {
		d := &fakeDesk{h: waiting("authentication_required")}
		w, _ := pageRequest(t, d, http.MethodGet, linkOf(d.h), "", "Accept-Language", accept)
		if !strings.Contains(w.Body.String(), `<html lang="`+want+`">`) ||
			w.Header().Get("Content-Language") != want {
			t.Errorf("%.60q: %s, want %s", accept, w.Header().Get("Content-Language"), want)
		}
		if strings.ContainsAny(strings.SplitN(w.Body.String(), "</style>", 2)[1], "{}") {
			t.Errorf("%s: a placeholder is left:\n%s", want, w.Body.String())
		}
	}
}
