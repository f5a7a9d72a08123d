package stripesim_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdd/holdd/worker/stripesim"
)

// TestFault_Kinds checks for each kind the caller's answer, whether the effect
// happened, and the next answer for the same key.
func TestFault_Kinds(t *testing.T) {
	for _, row := range []struct {
		fault    stripesim.Fault
		status   int // 0: no answer
		code     string
		err      error
		effect   bool
		next     int
		replayed bool
	}{
		{fault: stripesim.Fault{Kind: stripesim.FaultDropRequest},
			err: syscall.ECONNRESET, next: 200},
		{fault: stripesim.Fault{Kind: stripesim.FaultDropReply}, err: io.ErrUnexpectedEOF,
			effect: true, next: 200, replayed: true},
		{fault: stripesim.Fault{Kind: stripesim.FaultCutBody}, err: io.ErrUnexpectedEOF,
			effect: true, next: 200, replayed: true},
		{fault: stripesim.Fault{Kind: stripesim.FaultBrokenBody}, status: 200, effect: true,
			next: 200, replayed: true},
		{fault: stripesim.Fault{Kind: stripesim.FaultErrorBefore}, status: 500,
			next: 500, replayed: true},
		{fault: stripesim.Fault{Kind: stripesim.FaultErrorAfter}, status: 500, effect: true,
			next: 500, replayed: true},
		{fault: stripesim.Fault{Kind: stripesim.FaultErrorAfter, Status: 400,
			Code: "payment_intent_unexpected_state"}, status: 400,
			code: "payment_intent_unexpected_state", effect: true, next: 400, replayed: true},
		{fault: stripesim.Fault{Kind: stripesim.FaultUnavailable}, status: 503, next: 200},
		{fault: stripesim.Fault{Kind: stripesim.FaultUnavailable, Status: 504},
			status: 504, next: 200},
		{fault: stripesim.Fault{Kind: stripesim.FaultHTML}, status: 502, next: 200},
		{fault: stripesim.Fault{Kind: stripesim.FaultHTMLAfter, Status: 504}, status: 504,
			effect: true, next: 200, replayed: true},
		{fault: stripesim.Fault{Kind: stripesim.FaultRateLimited}, status: 429,
			code: "rate_limit", next: 200},
		{fault: stripesim.Fault{Kind: stripesim.FaultLockTimeout}, status: 429,
			code: "lock_timeout", next: 200},
		{fault: stripesim.Fault{Kind: stripesim.FaultKeyInUse}, status: 409,
			code: "idempotency_key_in_use", next: 200},
		{fault: stripesim.Fault{Kind: stripesim.FaultFailedDependency}, status: 424, next: 200},
		{fault: stripesim.Fault{Kind: stripesim.FaultUnauthorized}, status: 401, next: 200},
		{fault: stripesim.Fault{Kind: stripesim.FaultForbidden}, status: 403, next: 200},
		{fault: stripesim.Fault{Kind: stripesim.FaultNotFound}, status: 404,
			code: "resource_missing", next: 200},
	} {
		for _, over := range []string{"transport", "handler"} {
			t.Run(fmt.Sprint(row.fault.Kind, " ", row.fault.Status, " ", over), func(t *testing.T) {
				c := newTestClient(t, unlimitedOptions(1))
				if over == "handler" {
					c.transport = newHTTPTransport(t, c.sim.Handler())
				}
				id := c.authorize(stripesim.Hold{})
				if _, err := c.sim.Faults.AddFaultRule(stripesim.FaultRule{Class: stripesim.ClassCapture,
					Times: 1, Fault: row.fault}); err != nil {
					t.Fatal(err)
				}
				a, err := c.tryCall("POST", intentPath(id, "capture"), "", "Idempotency-Key", "k")
				switch {
				case row.err != nil && over == "transport":
					assertEqual(t, "error", errors.Is(err, row.err), true)
				case row.err != nil:
					assertEqual(t, "error", err != nil, true)
				default:
					assertEqual(t, "status", a.status, row.status)
					assertEqual(t, "code", a.stringAt("error.code"), row.code)
				}
				want := "authorized 1000"
				if row.effect {
					want += ", captured 1000!"
				}
				assertEqual(t, "effects", c.formatEffects(id), want)
				a = c.call("POST", intentPath(id, "capture"), "", "Idempotency-Key", "k")
				assertEqual(t, "next", a.status, row.next)
				assertEqual(t, "replayed", a.header.Get("Idempotent-Replayed") == "true",
					row.replayed)
				if row.fault.Kind == stripesim.FaultErrorAfter {
					// the false error lasts until the key is pruned
					c.sim.PruneIdempotencyKeys("k")
					c.mustFail(400, "payment_intent_unexpected_state", "POST",
						intentPath(id, "capture"), "", "Idempotency-Key", "k")
				}
			})
		}
	}
}

// newHTTPTransport returns a transport to a real server that does not repeat
// requests.
func newHTTPTransport(t *testing.T, h http.Handler) http.RoundTripper {
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	tr := &http.Transport{DisableKeepAlives: true}
	t.Cleanup(tr.CloseIdleConnections)
	return roundTripFunc(func(r *http.Request) (*http.Response, error) {
		r.URL.Scheme, r.URL.Host = "http", strings.TrimPrefix(server.URL, "http://")
		return tr.RoundTrip(r)
	})
}

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestFault_ResponseHeaders(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	id := c.authorize(stripesim.Hold{})
	headersWith := func(f stripesim.Fault) http.Header {
		c.sim.Faults.SetFaultFunc(func(stripesim.Call) stripesim.Fault { return f })
		a, _ := c.tryCall("POST", intentPath(id, "capture"), "", "Idempotency-Key", "k")
		return a.header
	}
	assertEqual(t, "rate", headersWith(stripesim.Fault{Kind: stripesim.FaultRateLimited}).Get(
		"Stripe-Rate-Limited-Reason"), "endpoint-rate")
	assertEqual(t, "lock", headersWith(stripesim.Fault{Kind: stripesim.FaultLockTimeout}).Get(
		"Stripe-Rate-Limited-Reason"), "")
	assertEqual(t, "retry", headersWith(stripesim.Fault{Kind: stripesim.FaultUnavailable,
		ShouldRetry: "false"}).Get("Stripe-Should-Retry"), "false")
	assertEqual(t, "html", headersWith(stripesim.Fault{Kind: stripesim.FaultHTML}).Get(
		"Content-Type"), "text/html")
	c.sim.Faults.SetFaultFunc(nil)
	assertEqual(t, "version", c.mustSucceed("GET", intentPath(id), "", "Stripe-Version",
		"2024-06-20").header.Get("Stripe-Version"), "2024-06-20")
}

// A rule that can never act is refused.
func TestFaultRule_Invalid(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(7))
	for want, r := range map[string]stripesim.FaultRule{
		`unknown fault kind "dwon"`: {Fault: stripesim.Fault{Kind: "dwon"}},
		`unknown class "payment_intents.captrue"`: {Class: "payment_intents.captrue",
			Fault: stripesim.Fault{Kind: stripesim.FaultDropReply}},
		"no bank is asked by payment_intents.capture": {Class: stripesim.ClassCapture,
			Fault: stripesim.Fault{Kind: stripesim.FaultDecline}},
		"invalid probability 2": {Probability: 2,
			Fault: stripesim.Fault{Kind: stripesim.FaultDropReply}},
	} {
		if _, err := c.sim.Faults.AddFaultRule(r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestFaultRule_Matching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestClient(t, unlimitedOptions(7))
		a, b := c.authorize(stripesim.Hold{}), c.authorize(stripesim.Hold{})
		add := func(r stripesim.FaultRule) int {
			id, err := c.sim.Faults.AddFaultRule(r)
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		down := stripesim.Fault{Kind: stripesim.FaultUnavailable}
		add(stripesim.FaultRule{Intent: a, Nth: 2, Fault: down})
		var got []int
		for range 3 {
			got = append(got, c.get(intentPath(a), "").status, c.get(intentPath(b), "").status)
		}
		assertEqual(t, "the second of one intent", fmt.Sprint(got), "[200 200 503 200 200 200]")
		c.sim.Faults.ClearFaultRules()
		add(stripesim.FaultRule{Account: "acct_other", Fault: down})
		assertEqual(t, "mine", c.get(intentPath(a), "").status, 200)
		assertEqual(t, "theirs", c.call("GET", intentPath(a), "", "Stripe-Account",
			"acct_other").status, 503)
		c.sim.Faults.ClearFaultRules()
		id := add(stripesim.FaultRule{Class: stripesim.ClassRetrieve,
			Probability: 0.25, Fault: down})
		count := func(c *testClient) (n int) {
			for range 400 {
				if c.get(intentPath(a), "").status == 503 {
					n++
				}
			}
			return n
		}
		n := count(c)
		if n < 60 || n > 140 {
			t.Errorf("%d of 400 calls went wrong, want about 100", n)
		}
		c.sim.Faults.RemoveFaultRule(id)
		assertEqual(t, "removed", count(c), 0)
		add(stripesim.FaultRule{Fault: stripesim.Fault{RequestDelay: time.Second,
			ReplyDelay: 2 * time.Second}})
		start := time.Now()
		c.mustSucceed("GET", intentPath(a), "")
		assertEqual(t, "delay", time.Since(start), 3*time.Second)
	})
}

// TestSeed_ReproducesRun checks that two runs of the same calls with the same
// seed give the same bytes.
func TestSeed_ReproducesRun(t *testing.T) {
	run := func(seed uint64) string {
		var out strings.Builder
		synctest.Test(t, func(t *testing.T) {
			c := newTestClient(t, unlimitedOptions(seed))
			if _, err := c.sim.Faults.AddFaultRule(stripesim.FaultRule{Probability: 0.3,
				Fault: stripesim.Fault{Kind: stripesim.FaultUnavailable}}); err != nil {
				t.Fatal(err)
			}
			for range 20 {
				a, _ := c.tryCall("POST", "/v1/payment_intents", manualCaptureForm+"pm_card_visa")
				out.Write(a.raw)
			}
		})
		return out.String()
	}
	one, again, other := run(1), run(1), run(2)
	assertEqual(t, "same seed", again, one)
	assertEqual(t, "another seed is another run", one != other, true)
}

func TestNewID_UniqueAcrossAccounts(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	seen := map[string]bool{}
	for i := range 30 {
		account := fmt.Sprintf("acct_%04d", i)
		for range 100 {
			id := c.authorize(stripesim.Hold{Account: account})
			if len(id) != 27 || seen[id] {
				t.Fatalf("id %s", id)
			}
			seen[id] = true
			assertEqual(t, "account", c.intentState(id).Account, account)
		}
	}
}
