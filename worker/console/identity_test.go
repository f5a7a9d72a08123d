package console

import (
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func TestTrustedIdentity(t *testing.T) {
	identity := &TrustedIdentity{Header: "X-Forwarded-Email", MayOperate: true,
		Proxies: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"),
			netip.MustParsePrefix("::1/128")}}
	for _, tt := range []struct {
		peer   string
		values []string
		want   string
	}{
		{"10.1.2.3:555", []string{" anna@example.com "}, "anna@example.com"},
		{"[::ffff:10.1.2.3]:555", []string{"anna"}, "anna"},
		{"[::1]:555", []string{"anna"}, "anna"},
		{"10.2.2.3:555", []string{"anna"}, ""},
		{"@", []string{"anna"}, ""},
		{"10.1.2.3:555", nil, ""},
		{"10.1.2.3:555", []string{""}, ""},
		{"10.1.2.3:555", []string{"anna", "bert"}, ""},
		{"10.1.2.3:555", []string{"an\u202ena"}, ""},
		{"10.1.2.3:555", []string{"an\x00na"}, ""},
		{"10.1.2.3:555", []string{strings.Repeat("a", 101)}, ""},
	} {
		r := httptest.NewRequest("GET", "/console/", nil)
		r.RemoteAddr = tt.peer
		for _, v := range tt.values {
			r.Header.Add("X-Forwarded-Email", v)
		}
		v, ok := identity.authenticateVisitor(r)
		if v.name != tt.want || ok != (tt.want != "") || ok != v.mayOperate || v.signedIn {
			t.Errorf("%s %q: %+v, %t", tt.peer, tt.values, v, ok)
		}
	}
	if _, ok := (*TrustedIdentity)(nil).authenticateVisitor(httptest.NewRequest("GET", "/",
		nil)); ok {
		t.Error("without the setting a visitor is named")
	}
}
