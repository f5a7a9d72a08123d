package e2e_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/stripesim"
)

// Tokens, webhook secrets and the Stripe key are replaced while holdd runs, by a
// signal or a changed file. An invalid file, and a key of another account,
// change nothing.
func TestReload_SecretsAreReplaced(t *testing.T) {
	t.Parallel()
	const (
		newOperateToken = "e2e-second-0123456789abcdef01234567"
		newSecret       = "whsec_e2e_the_second_one"
		newKey          = "sk_test_e2e_51TheSecondKey"
		foreignKey      = "sk_test_e2e_51AnotherAccount"
	)
	w := newWorld(t, unlimitedStripeOptions)
	tokens := writeTempFile(t, "tokens", "desk operate "+operateToken+"\n")
	secrets := writeTempFile(t, "secrets", signingSecret+"\n")
	key := writeTempFile(t, "key", apiKey+"\n")
	r := startReplica(t, "replica", binaryPath(t, buildRelease), "STRIPE_API_KEY_FILE="+key,
		"STRIPE_API_BASE=http://"+w.stripe.addr, "REDIS_URL="+w.redis.URL(),
		"STRIPE_WEBHOOK_SECRETS_FILE="+secrets, "HOLDD_TOKENS_FILE="+tokens)
	rewrite := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	status := func(token string) int {
		h := http.Header{"Authorization": {"Bearer " + token}}
		return sendRaw(t, r, http.MethodGet, "/v1/holds", h, nil, false).status
	}
	number := 0
	event := func(secret string) int {
		number++
		body := fmt.Appendf(nil, `{"id":"evt_%d","object":"event","type":"customer.created",`+
			`"created":1,"livemode":false,"data":{"object":{"object":"customer","id":"cus_1"}}}`,
			number)
		h := http.Header{"Stripe-Signature": {stripesim.Sign(body, time.Now(), secret)}}
		return sendRaw(t, r, http.MethodPost, api.WebhookPath, h, body, false).status
	}
	reload := func(line string) {
		t.Helper()
		before := r.log.countLines(line)
		r.sendSignal(syscall.SIGHUP)
		storetest.WaitUntil(t, processTimeout, "the log says "+line,
			func() bool { return r.log.countLines(line) > before })
	}

	rewrite(secrets, newSecret+"\n")
	rewrite(tokens, "desk operate "+newOperateToken+"\n")
	rewrite(key, newKey+"\n")
	storetest.WaitUntil(t, processTimeout, "the new token is accepted, without a signal",
		func() bool { return status(newOperateToken) == 200 })
	if got := status(operateToken); got != 401 {
		t.Errorf("a revoked token: %d", got)
	}
	storetest.WaitUntil(t, processTimeout, "the new secret is accepted",
		func() bool { return event(newSecret) == 200 })
	if got := event(signingSecret); got != 400 {
		t.Errorf("an event with the old secret: %d", got)
	}
	storetest.WaitUntil(t, processTimeout, "the new key is taken over",
		func() bool { return r.log.countLines(`"stripe_api_key"`) > 0 })
	w.sim.Keys.RevokeKey(apiKey) // from here on only the new key works
	pi := w.authorizeHold(stripesim.Hold{Amount: 10_000})
	h := http.Header{"Authorization": {"Bearer " + newOperateToken}}
	if a := sendRaw(t, r, http.MethodPost, "/v1/holds", h,
		[]byte(`{"payment_intent":"`+pi+`"}`), false); a.status != 201 ||
		!strings.Contains(a.text, `"verified":true`) {
		t.Errorf("a hold that is read with the new key: %d %s", a.status, a.text)
	}

	rewrite(tokens, "desk nonsense\n")
	reload("settings not reloaded")
	rewrite(tokens, "desk operate "+newOperateToken+"\n")
	if status(newOperateToken) != 200 || event(newSecret) != 200 {
		t.Error("an invalid file of tokens changed something")
	}
	other := stripesim.New(stripesim.Options{Seed: 2, EndpointRate: -1, OverallRate: -1})
	w.serveAccount(other)
	rewrite(key, foreignKey+"\n")
	reload("the Stripe key is of the account")
	w.serveAccount(w.sim)
	if event(newSecret) != 200 {
		t.Error("a key of another account changed something")
	}
	for _, secret := range []string{newOperateToken, newSecret, newKey, foreignKey} {
		if r.log.countLines(secret) > 0 {
			t.Errorf("the log has a secret: %s", secret)
		}
	}
	r.terminate(0)
}

// Addresses for alerts and the path of the tokens change while holdd runs. An
// invalid address changes nothing else.
func TestReload_AddressesAndTokensPath(t *testing.T) {
	t.Parallel()
	const secondToken = "e2e-second-0123456789abcdef01234567"
	var first, second atomic.Int64
	receiver := func(n *atomic.Int64) string {
		s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { n.Add(1) }))
		t.Cleanup(s.Close)
		return "generic+" + s.URL
	}
	firstURL, secondURL := receiver(&first), receiver(&second)
	w := newWorld(t, unlimitedStripeOptions)
	path := writeTempFile(t, "holdd.yaml", "")
	write := func(notify, token string) {
		t.Helper()
		text := fmt.Sprintf("notify_urls: [%q]\ntokens_file: %q\n", notify,
			writeTempFile(t, "tokens", "desk operate "+token+"\n"))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(firstURL, operateToken)
	r := w.startReplica(binaryPath(t, buildRelease), "HOLDD_CONFIG="+path)
	status := func(token string) int {
		h := http.Header{"Authorization": {"Bearer " + token}}
		return sendRaw(t, r, http.MethodGet, "/v1/holds", h, nil, false).status
	}
	alertOnce := func(n *atomic.Int64) {
		t.Helper()
		before := n.Load()
		w.mustDo(w.redis.Client(), "XADD", "holdd:inbox", "*", "hold", `{"payment_intent":""}`)
		storetest.WaitUntil(t, 2*processTimeout, "the alert arrives",
			func() bool { return n.Load() > before })
	}
	alertOnce(&first)

	write("nonsense://", secondToken)
	r.sendSignal(syscall.SIGHUP)
	storetest.WaitUntil(t, processTimeout, "the log says that nothing changed",
		func() bool { return r.log.countLines("settings not reloaded") > 0 })
	if status(operateToken) != 200 || status(secondToken) != 401 {
		t.Error("an invalid address changed the tokens")
	}
	write(secondURL, secondToken)
	r.sendSignal(syscall.SIGHUP)
	storetest.WaitUntil(t, processTimeout, "the new token is accepted",
		func() bool { return status(secondToken) == 200 })
	if got := status(operateToken); got != 401 {
		t.Errorf("a revoked token: %d", got)
	}
	sent := first.Load()
	alertOnce(&second)
	if first.Load() != sent {
		t.Error("the earlier address got an alert")
	}
	if !r.log.contains(`"notify_urls"`) {
		t.Error("the log does not name what changed")
	}
}
