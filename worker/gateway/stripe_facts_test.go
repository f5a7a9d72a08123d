package gateway_test

import (
	"testing"
	"time"

	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// Facts of Stripe, each with a test of its name. deploy/docs/stripe.md lists
// them with those that other files test.

func TestDo_ShouldRetryOverridesStatus(t *testing.T) {
	for _, c := range []struct {
		status       int
		code, header string
		write, read  hold.AnswerKind
	}{
		{400, "something_new", "true", hold.AnswerUnknown, hold.AnswerUnknown},
		{400, "amount_too_large", "true", hold.AnswerUnknown, hold.AnswerUnknown},
		{400, "something_new", "false", hold.AnswerInvalid, hold.AnswerInvalid},
		{409, "", "false", hold.AnswerReplayedError, hold.AnswerUnknown},
		{429, "lock_timeout", "false", hold.AnswerReplayedError, hold.AnswerLockTimeout},
		{429, "lock_timeout", "true", hold.AnswerLockTimeout, hold.AnswerLockTimeout},
		{503, "", "false", hold.AnswerReplayedError, hold.AnswerUnknown},
	} {
		g := gatewayOn(t, invalidRequest(c.status, c.code, "Stripe-Should-Retry: "+c.header))
		for op, want := range map[hold.Op]hold.AnswerKind{hold.OpCapture: c.write,
			hold.OpCancel: c.write, hold.OpRead: c.read} {
			if a := g.Do(t.Context(), callsByOp[op]); a.Kind != want {
				t.Errorf("%s, %d %s, header %s: %s, want %s", op, c.status, c.code, c.header,
					a.Kind, want)
			}
		}
	}
}

// The same key would only repeat the stored answer.
func TestDo_ReplayedUnknownIsReplayedError(t *testing.T) {
	for _, headers := range [][]string{{}, {"Stripe-Should-Retry: true"}} {
		g := gatewayOn(t, invalidRequest(409, "", append(headers, "Idempotent-Replayed: true")...))
		if a := g.Do(t.Context(), callsByOp[hold.OpCapture]); a.Kind != hold.AnswerReplayedError {
			t.Errorf("409 replayed, %q: %s", headers, a.Kind)
		}
	}
}

func TestDo_LockTimeoutIsNoRateLimit(t *testing.T) {
	for code, want := range map[string]hold.AnswerKind{"lock_timeout": hold.AnswerLockTimeout,
		"rate_limit": hold.AnswerRateLimited, "": hold.AnswerRateLimited} {
		a := gatewayOn(t, invalidRequest(429, code)).Do(t.Context(), callsByOp[hold.OpCapture])
		if a.Kind != want || a.RateLimited != (want == hold.AnswerRateLimited) {
			t.Errorf("429 %q: %s, rate limited %t", code, a.Kind, a.RateLimited)
		}
	}
}

// While a secret rotates, Stripe signs with both secrets.
func TestParseEvent_SeveralV1Signatures(t *testing.T) {
	body := []byte(eventBody("payment_intent.succeeded",
		`{"id":"pi_12345678","object":"payment_intent","currency":"eur","created":1,"status":"succeeded"}`))
	signature := stripesim.Sign(body, time.Now(), "whsec_old", "whsec_new")
	for _, secret := range []string{"whsec_old", "whsec_new"} {
		if _, err := gateway.ParseEvent(body, signature,
			gateway.ParseEventOptions{Secrets: []string{secret}}); err != nil {
			t.Errorf("%s: %v", secret, err)
		}
	}
	if _, err := gateway.ParseEvent(body, signature,
		gateway.ParseEventOptions{Secrets: []string{"whsec_other"}}); err == nil {
		t.Error("a foreign secret is accepted")
	}
}

func TestParseEvent_AnyAPIVersion(t *testing.T) {
	for _, version := range []string{`null`, `"2015-10-16"`, `"2023-10-16"`, `"2026-09-30.endive"`} {
		e, err := parseSignedEvent(`{"id":"evt_1","object":"event","created":1,"api_version":` +
			version + `,"type":"payment_intent.succeeded","data":{"object":{"id":"pi_12345678",` +
			`"object":"payment_intent","currency":"eur","created":1,"status":"succeeded"}}}`)
		if err != nil || e.Intent == nil || e.Intent.Status != hold.StatusSucceeded {
			t.Errorf("version %s: %+v, %v", version, e, err)
		}
	}
}
