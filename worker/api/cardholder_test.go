package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

// fakePage admits one link.
type fakePage struct{}

func (fakePage) HasValidLink(r *http.Request) bool {
	return r.URL.Path == api.CardholderPath+"good"
}

func (p fakePage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status := http.StatusOK
	if !p.HasValidLink(r) {
		status = http.StatusNotFound
	}
	w.WriteHeader(status)
	_, _ = w.Write([]byte("page for " + r.Host))
}

func cardholderOptions(elsewhere bool) *api.CardholderOptions {
	return &api.CardholderOptions{Page: fakePage{}, Elsewhere: elsewhere,
		Link: func(h *hold.Hold) (string, time.Time) {
			return "https://pay.hotel.example/cardholder/" + h.ID, h.ExpiresAt
		}}
}

// TestCardholderPage_Public checks that the page needs neither a token nor the
// host of this machine, that no other path is public with it, and that an
// address of its own has nothing else.
func TestCardholderPage_Public(t *testing.T) {
	get := func(url, path string) response {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "pay.hotel.example"
		r.Header.Set("X-Forwarded-For", "192.0.2.1")
		return doRequest(t, r)
	}
	here, _ := startServer(t, api.Options{Holds: holdsOf(newFakeHolds()),
		Cardholder: cardholderOptions(false)})
	for path, want := range map[string]int{"/cardholder/good": 200, "/cardholder/bad": 404,
		"/v1/holds": 403, "/cardholder": 403, "/cardholder/../v1/holds": 404} {
		if got := get(here.URL, path).status; got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	there, handler := startServer(t, api.Options{Holds: holdsOf(newFakeHolds()),
		Cardholder: cardholderOptions(true)})
	if got := get(there.URL, "/cardholder/good").status; got != 403 {
		t.Errorf("with an address of its own, the API serves the page: %d", got)
	}
	own := httptest.NewServer(handler.CardholderHandler())
	defer own.Close()
	for path, want := range map[string]int{"/cardholder/good": 200, "/v1/holds": 404,
		"/metrics": 404, "/console/": 404, "/webhooks/stripe": 404} {
		if a := get(own.URL, path); a.status != want || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v, want %d", path, a.status, a.header, want)
		}
	}
}

func TestCardholderLink(t *testing.T) {
	m := newFakeHolds()
	m.addHold(t, testHoldID)
	path := "/v1/holds/" + testHoldID + "/cardholder_link"
	off, _ := startServer(t, api.Options{Holds: holdsOf(m)})
	if a := sendRequest(t, "POST", off.URL+path, ""); a.status != 409 ||
		problemCode(t, a) != api.CardholderLinksDisabled {
		t.Errorf("without public_url: %d %s", a.status, a.body)
	}
	s, _ := startServer(t, api.Options{Holds: holdsOf(m), Cardholder: cardholderOptions(false)})
	if a := sendRequest(t, "POST", s.URL+path, ""); a.status != 409 ||
		problemCode(t, a) != hold.NoActionRequired {
		t.Errorf("nothing to do: %d %s", a.status, a.body)
	}
	h := m.holds[testHoldID]
	h.Renewal = &hold.Renewal{Step: hold.RenewalRequiresAction, Generation: 1,
		RenewalTerms: hold.RenewalTerms{Until: h.ExpiresAt.Add(time.Hour)},
		DeclineCode:  "authentication_required"}
	m.holds[testHoldID] = h
	link, err := newTestClient(t, s.URL, "").CreateCardholderLink(t.Context(), testHoldID)
	if err != nil || !strings.HasSuffix(link.URL, testHoldID) || link.ActionNeeded != "authentication" ||
		!link.ExpiresAt.Equal(h.ExpiresAt) {
		t.Errorf("%+v, %v", link, err)
	}
}
