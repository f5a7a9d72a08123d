package stripesim_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/holdd/holdd/worker/stripesim"
)

func TestServerHandler_Index(t *testing.T) {
	sim := stripesim.New(unlimitedOptions(1))
	server := httptest.NewServer(sim.ServerHandler())
	t.Cleanup(server.Close)
	get := func(path, accept string) (string, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", accept)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %v", path, res.StatusCode, err)
		}
		return res.Header.Get("Content-Type"), string(body)
	}
	kind, page := get("/", "text/html,application/xhtml+xml,*/*;q=0.8")
	if !strings.HasPrefix(kind, "text/html") || !strings.Contains(page, server.URL+"/v1/") ||
		!strings.Contains(page, sim.Account()) {
		t.Errorf("a browser gets %s %s", kind, page)
	}
	kind, body := get("/", "*/*")
	var index struct {
		Name      string
		Livemode  *bool
		Account   string
		Endpoints []string
	}
	if err := json.Unmarshal([]byte(body), &index); err != nil || kind != "application/json" {
		t.Fatalf("%s %v", kind, err)
	}
	assertEqual(t, "name", index.Name, "stripesim")
	assertEqual(t, "account", index.Account, sim.Account())
	if index.Livemode == nil || *index.Livemode ||
		!slices.Contains(index.Endpoints, "POST /v1/payment_intents/{id}/capture") {
		t.Errorf("the index is %s", body)
	}
	for path, want := range map[string]string{"/_sim/": "Control endpoints",
		"/v3/": "globalThis.Stripe", stripesim.PagesPath + "field.js": "createPaymentMethod"} {
		if _, body := get(path, "*/*"); !strings.Contains(body, want) {
			t.Errorf("%s has no %q", path, want)
		}
	}
}
