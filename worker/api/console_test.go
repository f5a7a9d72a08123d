package api_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/holdd/holdd/worker/api"
)

// fakeConsole answers every request.
type fakeConsole struct{}

func (fakeConsole) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, "a page")
}
func (fakeConsole) IsStream(string) bool { return false }

func TestConsole_AddressAndOrigin(t *testing.T) {
	a, err := api.New(api.Options{Holds: holdsOf(newFakeHolds()), Console: fakeConsole{}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(a)
	defer server.Close()
	for _, tt := range []struct {
		name, method, host, site string
		status                   int
	}{
		{"a page", http.MethodGet, "", "none", http.StatusOK},
		{"a form", http.MethodPost, "", "same-origin", http.StatusOK},
		{"a form of another site", http.MethodPost, "", "cross-site", http.StatusForbidden},
		{"a name that resolves to this machine", http.MethodGet, "evil.example", "none",
			http.StatusForbidden},
	} {
		r, err := http.NewRequestWithContext(t.Context(), tt.method, server.URL+"/console/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Sec-Fetch-Site", tt.site)
		r.Host = tt.host
		resp, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.status {
			t.Errorf("%s: status %d, want %d", tt.name, resp.StatusCode, tt.status)
		}
	}
}

func TestTokens_AuthenticateSession(t *testing.T) {
	const file = "anna operate aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\nbert read bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\n"
	tokens, err := api.ParseTokens(strings.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	name, mayOperate, ok := tokens.Authenticate("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb")
	if name != "bert" || mayOperate || !ok {
		t.Error(name, mayOperate, ok)
	}
	if _, _, ok := tokens.Authenticate("another token of the same size.."); ok {
		t.Error("an unknown token is accepted")
	}
	anna, mayOperate, ok := tokens.ComputeSessionMAC("anna", "m")
	bert, _, _ := tokens.ComputeSessionMAC("bert", "m")
	if !ok || !mayOperate || string(anna) == string(bert) {
		t.Error("the codes of two tokens are equal")
	}
	if _, _, ok := tokens.ComputeSessionMAC("carl", "m"); ok {
		t.Error("an unknown name has a code")
	}
}
