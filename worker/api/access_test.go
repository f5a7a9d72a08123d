package api_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

const (
	readToken    = "read-0123456789abcdef0123456789"
	operateToken = "operate-0123456789abcdef01234567"
)

func parseTestTokens(t testing.TB) *api.Tokens {
	t.Helper()
	k, err := api.ParseTokens(strings.NewReader("# who may\n\nboard   read\t" + readToken + "\r\nfront-desk operate " + operateToken + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestAccess_TokensAndRoles(t *testing.T) {
	m := newFakeHolds()
	m.checks = []health.ReadinessCheckResult{{Name: "redis",
		Detail: "10.0.0.7:6379 does not answer"}}
	m.addHold(t, testHoldID)
	before := m.lastBy
	s, a := startServer(t, api.Options{Holds: holdsOf(m), Tokens: parseTestTokens(t), Version: "1.2.3", Metrics: http.NotFoundHandler()})
	requestBody := `{"payment_intent":"` + testHoldID + `2"}`
	for _, c := range []struct {
		method, path, body, auth string
		status                   int
		code                     hold.ProblemCode
	}{
		{"GET", "/v1/holds", "", "", 401, api.TokenRequired},
		{"GET", "/v1/holds", "", "Basic Ym9hcmQ6eA==", 401, api.TokenRequired},
		{"GET", "/v1/holds", "", "Bearer ", 401, api.TokenRequired},
		{"GET", "/v1/holds", "", "Bearer " + readToken + "x", 401, api.TokenInvalid},
		{"GET", "/v1/holds", "", "Bearer " + readToken[:20], 401, api.TokenInvalid},
		{"POST", "/v1/holds", requestBody, "", 401, api.TokenRequired},
		{"POST", "/v1/holds", requestBody, "Bearer " + readToken, 403, api.TokenReadOnly},
		{"PATCH", "/v1/holds/" + testHoldID, `{"reference":"x"}`, "Bearer " + readToken, 403, api.TokenReadOnly},
		{"POST", "/v1/holds/" + testHoldID + "/capture", "", "Bearer " + readToken, 403, api.TokenReadOnly},
		// unknown routes answer 401 as well
		{"GET", "/v1/unknown", "", "", 401, api.TokenRequired},
		{"POST", "/healthz", "", "", 401, api.TokenRequired},
		{"GET", "/metrics", "", "", 401, api.TokenRequired},
		{"GET", "/v1/holds", "", "bearer " + readToken, 200, ""},
		{"HEAD", "/v1/holds", "", "Bearer " + readToken, 200, ""},
		{"GET", "/v1/holds", "", "Bearer " + operateToken, 200, ""},
		{"GET", "/healthz", "", "", 200, ""},
		{"GET", "/openapi.json", "", "", 200, ""},
		{"GET", "/docs", "", "", 200, ""},
	} {
		got := sendRequest(t, c.method, s.URL+c.path, c.body, "Authorization", c.auth)
		if got.status != c.status || problemCode(t, got) != c.code {
			t.Errorf("%s %s %q: %d %s", c.method, c.path, c.auth, got.status, got.body)
		}
		if challenge := got.header.Get("WWW-Authenticate"); (c.status == 401) != strings.HasPrefix(challenge, "Bearer ") {
			t.Errorf("%s %s: WWW-Authenticate %q", c.method, c.path, challenge)
		}
	}
	if a.UnauthorizedRequests() != 12 {
		t.Errorf("%d refusals counted", a.UnauthorizedRequests())
	}
	if m.lastBy != before {
		t.Errorf("something was changed by %q", m.lastBy)
	}
	if _, _, err := newTestClient(t, s.URL, operateToken).WithClientName("cli").Schedule(t.Context(), newScheduleRequest(m, testHoldID+"2")); err != nil || m.lastBy != "front-desk" {
		t.Errorf("by %q, %v", m.lastBy, err)
	}
	// Only callers with a token see details and version.
	for auth, showsDetails := range map[string]bool{"": false, "Bearer " + readToken: true} {
		ready, health := sendRequest(t, "GET", s.URL+"/readyz", "", "Authorization", auth), sendRequest(t, "GET", s.URL+"/healthz", "", "Authorization", auth)
		if ready.status != 503 || strings.Contains(ready.body, "10.0.0.7") != showsDetails || strings.Contains(health.body, "1.2.3") != showsDetails {
			t.Errorf("%q: %s %s", auth, ready.body, health.body)
		}
	}
}

func TestParseTokens(t *testing.T) {
	long := strings.Repeat("s3cr3t", 5)
	for _, c := range []struct{ text, want string }{
		{"", "no tokens"},
		{"# nothing\n\n", "no tokens"},
		{long, "line 1: 1 word instead"},
		{"desk operate " + long + " more", "line 1: 4 words"},
		{"desk " + long + " operate", "line 1: invalid token (third word) of 7 bytes"},
		{"desk read x", "line 1: invalid token (third word) of 1 byte: want 24 to 512 bytes"},
		{"desk admin " + long, "line 1: invalid role"},
		{"# x\ndesk read s3cr3ts3cr3t", "line 2: invalid token (third word) of 12 bytes"},
		{"desk read " + long + "é", "line 1: invalid token (third word): want visible"},
		{long + "/ read " + long, "line 1: invalid name"},
		{"cli read " + long, "line 1: reserved name (first word)"},
		{"a read " + long + "\na read " + long + "2", "line 2: duplicate name"},
		{"a read " + long + "\nb read " + long, "line 2: duplicate token"},
		{"a read " + strings.Repeat("s3cr3t", 90), "line 1: invalid token (third word) of 540 bytes"},
		{"a read " + long + "\nb read " + strings.Repeat("s3cr3t", 900), "line 2: line too long"},
	} {
		k, err := api.ParseTokens(strings.NewReader(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) || k != nil {
			t.Errorf("%q: %v", c.text, err)
		} else if strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("the token shows: %v", err)
		}
	}
	if _, err := api.ParseTokens(failingReader{}); err == nil {
		t.Error("a file that can't be read gave tokens")
	}
	k := parseTestTokens(t)
	if k.Len() != 2 || strings.Contains(fmt.Sprintf("%v %+v %#v", k, k, k), readToken) {
		t.Errorf("%+v", k)
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errors.New("disk on fire") }

// Without tokens holdd trusts this machine, and browsers run on it too.
func TestAccess_CrossOriginAndHost(t *testing.T) {
	m := newFakeHolds()
	m.addHold(t, testHoldID)
	s, _ := startServer(t, api.Options{Holds: holdsOf(m)})
	port := s.Listener.Addr().(*net.TCPAddr).Port
	for _, c := range []struct {
		what, method string
		headers      []string
		status       int
		code         hold.ProblemCode
	}{
		{"a program", "POST", nil, 200, ""},
		{"localhost", "POST", []string{"Host", fmt.Sprintf("localhost:%d", port)}, 200, ""},
		{"IPv6", "POST", []string{"Host", fmt.Sprintf("[::1]:%d", port)}, 200, ""},
		{"no port", "POST", []string{"Host", "LOCALHOST"}, 200, ""},
		{"rebound name", "POST", []string{"Host", fmt.Sprintf("evil.example:%d", port)}, 403, api.HostNotAllowed},
		{"rebound name reads", "GET", []string{"Host", "evil.example"}, 403, api.HostNotAllowed},
		{"looks like localhost", "GET", []string{"Host", "localhost.evil.example"}, 403, api.HostNotAllowed},
		{"looks like loopback", "GET", []string{"Host", "127.0.0.1.evil.example"}, 403, api.HostNotAllowed},
		{"a proxy", "GET", []string{"X-Forwarded-For", "203.0.113.9"}, 403, api.HostNotAllowed},
		{"a proxy of RFC 7239", "POST", []string{"Forwarded", "for=203.0.113.9"}, 403, api.HostNotAllowed},
		{"a proxy that names itself", "GET", []string{"Via", "1.1 proxy"}, 403, api.HostNotAllowed},
		{"own page", "POST", []string{"Sec-Fetch-Site", "same-origin", "Origin", s.URL}, 200, ""},
		{"typed in", "GET", []string{"Sec-Fetch-Site", "none"}, 200, ""},
		{"another site", "POST", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, 403, api.CrossOriginRefused},
		{"another port", "POST", []string{"Sec-Fetch-Site", "same-site", "Origin", "http://127.0.0.1:1"}, 403, api.CrossOriginRefused},
		{"an old browser", "POST", []string{"Origin", "https://evil.example"}, 403, api.CrossOriginRefused},
		{"a sandbox", "POST", []string{"Origin", "null"}, 403, api.CrossOriginRefused},
	} {
		path := "/v1/holds/" + testHoldID
		if c.method == "POST" {
			path += "/acknowledge"
		}
		if a := sendRequest(t, c.method, s.URL+path, "", c.headers...); a.status != c.status || problemCode(t, a) != c.code {
			t.Errorf("%s: %d %s", c.what, a.status, a.body)
		}
	}
}

// Without tokens holdd rejects a connection to an address that is not loopback,
// even if the settings allowed to listen on it.
func TestAccess_NonLoopbackNeedsTokens(t *testing.T) {
	for _, c := range []struct {
		addr   net.Addr
		tokens *api.Tokens
		status int
	}{
		{&net.TCPAddr{IP: net.IPv4(10, 0, 0, 7), Port: 8420}, nil, 403},
		{&net.TCPAddr{IP: net.IPv4(10, 0, 0, 7), Port: 8420}, parseTestTokens(t), 200},
		{&net.TCPAddr{IP: net.IPv6loopback, Port: 8420}, nil, 200},
		{&net.UnixAddr{Name: "/run/holdd.sock", Net: "unix"}, nil, 200},
	} {
		a, err := api.New(api.Options{Holds: holdsOf(newFakeHolds()), Tokens: c.tokens})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("GET", "http://127.0.0.1:8420/healthz", nil)
		if c.addr.Network() == "unix" {
			r.Host = "any.example"
		}
		r = r.WithContext(withLocalAddr(r, c.addr))
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		if w.Code != c.status {
			t.Errorf("%v: %d %s", c.addr, w.Code, w.Body)
		}
	}
}
