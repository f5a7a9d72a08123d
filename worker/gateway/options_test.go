package gateway_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/gateway"
)

func TestNew_ValidatesOptions(t *testing.T) {
	const live = "sk_live_51GatewayTestsOnly"
	base := func(key gateway.APIKey, url string) gateway.Options {
		return gateway.Options{APIKey: key, BaseURL: url}
	}
	for _, tt := range []struct {
		o    gateway.Options
		want string // part of the error; empty if there is none
	}{
		{gateway.Options{APIKey: testAPIKey}, ""},
		{gateway.Options{APIKey: live}, ""},
		{gateway.Options{APIKey: "rk_test_51GatewayTestsOnly"}, ""},
		{base(testAPIKey, "http://stripesim:12113/"), ""},
		{base(testAPIKey, "https://proxy.example/stripe/v1"), ""},
		{base(live, "http://127.0.0.1:12113"), ""},
		{base(live, "http://localhost:12113"), ""},
		{gateway.Options{}, "empty Stripe key"},
		{gateway.Options{APIKey: "pk_test_51GatewayTestsOnly"}, "publishable"},
		{gateway.Options{APIKey: testAPIKey + "\n"}, "white space"},
		{gateway.Options{APIKey: "whsec_51GatewayTestsOnly"}, "webhook"},
		{gateway.Options{APIKey: testIntentID + "_secret_51GatewayTestsOnly"}, "client secret"},
		{gateway.Options{APIKey: "sk_51GatewayTestsOnly"}, "truncated"},
		{gateway.Options{APIKey: "sk_test_"}, "truncated"},
		{gateway.Options{APIKey: "sk_test_51Gateway\r\nTestsOnly"}, "truncated"},
		{gateway.Options{APIKey: "51GatewayTestsOnly"}, "unknown form"},
		{base(live, "http://proxy.example"), "unencrypted"},
		{base(testAPIKey, "api.stripe.com"), "want the form of"},
		{base(testAPIKey, "ftp://api.stripe.com"), "want the form of"},
		{base(testAPIKey, "https://"), "want the form of"},
		{base(testAPIKey, "https://api.stripe.com?key=51GatewayTestsOnly"), "want the form of"},
		{base(testAPIKey, "https://user:51GatewayTestsOnly@api.stripe.com"), "user name"},
		{base(testAPIKey, "https://user:51GatewayTestsOnly@api.stripe.com:x"), "want one like"},
		{gateway.Options{APIKey: testAPIKey, Concurrency: -1}, "concurrency"},
		{gateway.Options{APIKey: testAPIKey, Timeout: -time.Second}, "timeout"},
	} {
		g, err := gateway.New(tt.o)
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.o.BaseURL, err)
		case tt.want == "":
			if g.Livemode() != (tt.o.APIKey == live) {
				t.Errorf("livemode %t", g.Livemode())
			}
			g.CloseIdleConnections()
		case err == nil || !strings.Contains(err.Error(), tt.want):
			t.Errorf("error %v, want one with %q", err, tt.want)
		case strings.Contains(err.Error(), "51Gateway"):
			t.Errorf("the secret is in %v", err)
		}
	}
}

func TestAPIKey_NeverPrinted(t *testing.T) {
	o := gateway.Options{APIKey: testAPIKey}
	g := newGateway(t, o)
	type wrapped struct{ K gateway.APIKey }
	asJSON, err := json.Marshal([]any{o.APIKey, &o.APIKey, wrapped{o.APIKey}})
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{string(asJSON), o.APIKey.String(), o.APIKey.GoString()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X",
		"%d", "%T %[1]v", "%10.3s"} {
		for _, v := range []any{o.APIKey, &o.APIKey, o, &o, g, *g} {
			texts = append(texts, fmt.Sprintf(verb, v))
		}
	}
	for _, s := range texts {
		if strings.Contains(s, "51Gateway") || strings.Contains(s, fmt.Sprintf("%x", "51Gateway")) {
			t.Errorf("the key is in %s", s)
		}
	}
}
