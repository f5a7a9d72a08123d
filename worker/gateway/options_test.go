package gateway_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/gateway"
)

func TestOptions(t *testing.T) {
	const live = "sk_live_51GatewayTestsOnly"
	for _, tt := range []struct {
		o    gateway.Options
		want string // part of the error; empty: good
	}{
		{gateway.Options{Key: testKey}, ""},
		{gateway.Options{Key: live}, ""},
		{gateway.Options{Key: "rk_test_51GatewayTestsOnly"}, ""},
		{gateway.Options{Key: testKey, Base: "http://stripesim:12111/"}, ""},
		{gateway.Options{Key: testKey, Base: "https://proxy.example/stripe/v1"}, ""},
		{gateway.Options{Key: live, Base: "http://127.0.0.1:12111"}, ""},
		{gateway.Options{Key: live, Base: "http://localhost:12111"}, ""},
		{gateway.Options{}, "is empty"},
		{gateway.Options{Key: "pk_test_51GatewayTestsOnly"}, "publishable"},
		{gateway.Options{Key: testKey + "\n"}, "white space"},
		{gateway.Options{Key: "whsec_51GatewayTestsOnly"}, "webhook"},
		{gateway.Options{Key: intent + "_secret_51GatewayTestsOnly"}, "client secret"},
		{gateway.Options{Key: "sk_51GatewayTestsOnly"}, "cut short"},
		{gateway.Options{Key: "sk_test_"}, "cut short"},
		{gateway.Options{Key: "sk_test_51Gateway\r\nTestsOnly"}, "cut short"},
		{gateway.Options{Key: "51GatewayTestsOnly"}, "none of the forms"},
		{gateway.Options{Key: live, Base: "http://proxy.example"}, "unencrypted"},
		{gateway.Options{Key: testKey, Base: "api.stripe.com"}, "not of the form"},
		{gateway.Options{Key: testKey, Base: "ftp://api.stripe.com"}, "not of the form"},
		{gateway.Options{Key: testKey, Base: "https://"}, "not of the form"},
		{gateway.Options{Key: testKey, Base: "https://api.stripe.com?key=51GatewayTestsOnly"}, "not of the form"},
		{gateway.Options{Key: testKey, Base: "https://user:51GatewayTestsOnly@api.stripe.com"}, "user name"},
		{gateway.Options{Key: testKey, Base: "https://user:51GatewayTestsOnly@api.stripe.com:x"}, "can't be read"},
		{gateway.Options{Key: testKey, Concurrency: -1}, "concurrency"},
		{gateway.Options{Key: testKey, Timeout: -time.Second}, "timeout"},
	} {
		g, err := gateway.New(tt.o)
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.o.Base, err)
		case tt.want == "":
			if g.Livemode() != (tt.o.Key == live) {
				t.Errorf("livemode %t", g.Livemode())
			}
			g.Close()
		case err == nil || !strings.Contains(err.Error(), tt.want):
			t.Errorf("error %v, want one with %q", err, tt.want)
		case strings.Contains(err.Error(), "51Gateway"):
			t.Errorf("the secret is in %v", err)
		}
	}
}

func TestKeyCannotBePrinted(t *testing.T) {
	o := gateway.Options{Key: testKey}
	g := open(t, o)
	asJSON, err := json.Marshal(map[string]any{"keys": []any{o.Key, &o.Key, struct{ K gateway.Key }{o.Key}}})
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{string(asJSON), o.Key.String(), o.Key.GoString()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T %[1]v", "%10.3s"} {
		texts = append(texts, fmt.Sprintf(verb, o.Key), fmt.Sprintf(verb, &o.Key), fmt.Sprintf(verb, o), fmt.Sprintf(verb, &o), fmt.Sprintf(verb, g), fmt.Sprintf(verb, *g))
	}
	for _, s := range texts {
		if strings.Contains(s, "51Gateway") || strings.Contains(s, fmt.Sprintf("%x", "51Gateway")) {
			t.Errorf("the key is in %s", s)
		}
	}
}
