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

// TestFaults tells for each kind what the caller sees, whether the effect happened, and what the same key answers next.
func TestFaults(t *testing.T) {
	for _, row := range []struct {
		fault    stripesim.Fault
		status   int // 0: no answer
		code     string
		err      error
		effect   bool
		next     int
		replayed bool
	}{
		{fault: stripesim.Fault{Kind: stripesim.DropRequest}, err: syscall.ECONNRESET, next: 200},
		{fault: stripesim.Fault{Kind: stripesim.DropReply}, err: io.ErrUnexpectedEOF, effect: true, next: 200, replayed: true},
		{fault: stripesim.Fault{Kind: stripesim.CutBody}, err: io.ErrUnexpectedEOF, effect: true, next: 200, replayed: true},
		{fault: stripesim.Fault{Kind: stripesim.BrokenBody}, status: 200, effect: true, next: 200, replayed: true},
		{fault: stripesim.Fault{Kind: stripesim.ErrorBefore}, status: 500, next: 500, replayed: true},
		{fault: stripesim.Fault{Kind: stripesim.ErrorAfter}, status: 500, effect: true, next: 500, replayed: true},
		{fault: stripesim.Fault{Kind: stripesim.ErrorAfter, Status: 400, Code: "payment_intent_unexpected_state"}, status: 400, code: "payment_intent_unexpected_state", effect: true, next: 400, replayed: true},
		{fault: stripesim.Fault{Kind: stripesim.Unavailable}, status: 503, next: 200},
		{fault: stripesim.Fault{Kind: stripesim.Unavailable, Status: 504}, status: 504, next: 200},
		{fault: stripesim.Fault{Kind: stripesim.HTML}, status: 502, next: 200},
		{fault: stripesim.Fault{Kind: stripesim.HTMLAfter, Status: 504}, status: 504, effect: true, next: 200, replayed: true},
		{fault: stripesim.Fault{Kind: stripesim.RateLimited}, status: 429, code: "rate_limit", next: 200},
		{fault: stripesim.Fault{Kind: stripesim.LockTimeout}, status: 429, code: "lock_timeout", next: 200},
		{fault: stripesim.Fault{Kind: stripesim.Conflict}, status: 409, code: "idempotency_key_in_use", next: 200},
		{fault: stripesim.Fault{Kind: stripesim.Dependency}, status: 424, next: 200},
		{fault: stripesim.Fault{Kind: stripesim.Unauthorized}, status: 401, next: 200},
		{fault: stripesim.Fault{Kind: stripesim.Forbidden}, status: 403, next: 200},
		{fault: stripesim.Fault{Kind: stripesim.NotFound}, status: 404, code: "resource_missing", next: 200},
	} {
		for _, over := range []string{"transport", "handler"} {
			t.Run(fmt.Sprint(row.fault.Kind, " ", row.fault.Status, " ", over), func(t *testing.T) {
				c := newClient(t, free(1))
				if over == "handler" {
					c.rt = overHTTP(t, c.sim.Handler())
				}
				id := c.hold(stripesim.Hold{})
				if _, err := c.sim.AddFault(stripesim.Rule{Class: stripesim.ClassCapture, Times: 1, Fault: row.fault}); err != nil {
					t.Fatal(err)
				}
				a, err := c.try("POST", path(id, "capture"), "", "Idempotency-Key", "k")
				switch {
				case row.err != nil && over == "transport":
					equal(t, "error", errors.Is(err, row.err), true)
				case row.err != nil:
					equal(t, "error", err != nil, true)
				default:
					equal(t, "status", a.status, row.status)
					equal(t, "code", a.str("error.code"), row.code)
				}
				want := "authorized 1000"
				if row.effect {
					want += ", captured 1000!"
				}
				equal(t, "effects", c.effects(id), want)
				a = c.do("POST", path(id, "capture"), "", "Idempotency-Key", "k")
				equal(t, "next", a.status, row.next)
				equal(t, "replayed", a.header.Get("Idempotent-Replayed") == "true", row.replayed)
				if row.fault.Kind == stripesim.ErrorAfter { // the false error lasts until the key is pruned
					c.sim.PruneKeys("k")
					c.refused(400, "payment_intent_unexpected_state", "POST", path(id, "capture"), "", "Idempotency-Key", "k")
				}
			})
		}
	}
}

// overHTTP is a transport to a real server, which doesn't repeat requests by itself.
func overHTTP(t *testing.T, h http.Handler) http.RoundTripper {
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	tr := &http.Transport{DisableKeepAlives: true}
	t.Cleanup(tr.CloseIdleConnections)
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		r.URL.Scheme, r.URL.Host = "http", strings.TrimPrefix(server.URL, "http://")
		return tr.RoundTrip(r)
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestFaultHeaders(t *testing.T) {
	c := newClient(t, free(1))
	id := c.hold(stripesim.Hold{})
	see := func(f stripesim.Fault) http.Header {
		c.sim.SetFaults(func(stripesim.Call) stripesim.Fault { return f })
		a, _ := c.try("POST", path(id, "capture"), "", "Idempotency-Key", "k")
		return a.header
	}
	equal(t, "rate", see(stripesim.Fault{Kind: stripesim.RateLimited}).Get("Stripe-Rate-Limited-Reason"), "endpoint-rate")
	equal(t, "lock", see(stripesim.Fault{Kind: stripesim.LockTimeout}).Get("Stripe-Rate-Limited-Reason"), "")
	equal(t, "retry", see(stripesim.Fault{Kind: stripesim.Unavailable, ShouldRetry: "false"}).Get("Stripe-Should-Retry"), "false")
	equal(t, "html", see(stripesim.Fault{Kind: stripesim.HTML}).Get("Content-Type"), "text/html")
	c.sim.SetFaults(nil)
	equal(t, "version", c.ok("GET", path(id), "", "Stripe-Version", "2024-06-20").header.Get("Stripe-Version"), "2024-06-20")
}

func TestRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, free(7))
		a, b := c.hold(stripesim.Hold{}), c.hold(stripesim.Hold{})
		add := func(r stripesim.Rule) int {
			id, err := c.sim.AddFault(r)
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		down := stripesim.Fault{Kind: stripesim.Unavailable}
		add(stripesim.Rule{Intent: a, Nth: 2, Fault: down})
		var got []int
		for range 3 {
			got = append(got, c.get(path(a), "").status, c.get(path(b), "").status)
		}
		equal(t, "the second of one intent", fmt.Sprint(got), "[200 200 503 200 200 200]")
		c.sim.ClearFaults()
		add(stripesim.Rule{Account: "acct_other", Fault: down})
		equal(t, "mine", c.get(path(a), "").status, 200)
		equal(t, "theirs", c.do("GET", path(a), "", "Stripe-Account", "acct_other").status, 503)
		c.sim.ClearFaults()
		id := add(stripesim.Rule{Class: stripesim.ClassRetrieve, Probability: 0.25, Fault: down})
		count := func(c *client) (n int) {
			for range 400 {
				if c.get(path(a), "").status == 503 {
					n++
				}
			}
			return n
		}
		n := count(c)
		if n < 60 || n > 140 {
			t.Errorf("%d of 400 calls went wrong, want about 100", n)
		}
		c.sim.RemoveFault(id)
		equal(t, "removed", count(c), 0)
		add(stripesim.Rule{Fault: stripesim.Fault{Before: time.Second, After: 2 * time.Second}})
		start := time.Now()
		c.ok("GET", path(a), "")
		equal(t, "delay", time.Since(start), 3*time.Second)
		if _, err := c.sim.AddFault(stripesim.Rule{Fault: stripesim.Fault{Kind: "gremlins"}}); err == nil {
			t.Error("an unknown kind was taken")
		}
	})
}

// TestSeed has two runs of the same calls with the same seed, which go the same way to the last byte.
func TestSeed(t *testing.T) {
	run := func(seed uint64) string {
		var out strings.Builder
		synctest.Test(t, func(t *testing.T) {
			c := newClient(t, free(seed))
			if _, err := c.sim.AddFault(stripesim.Rule{Probability: 0.3, Fault: stripesim.Fault{Kind: stripesim.Unavailable}}); err != nil {
				t.Fatal(err)
			}
			for range 20 {
				a, _ := c.try("POST", "/v1/payment_intents", manual+"pm_card_visa")
				out.Write(a.raw)
			}
		})
		return out.String()
	}
	one, again, other := run(1), run(1), run(2)
	equal(t, "same seed", again, one)
	equal(t, "another seed is another run", one != other, true)
}

func TestIDsNeverCollide(t *testing.T) {
	c := newClient(t, free(1))
	seen := map[string]bool{}
	for i := range 30 {
		account := fmt.Sprintf("acct_%04d", i)
		for range 100 {
			id := c.hold(stripesim.Hold{Account: account})
			if len(id) != 27 || seen[id] {
				t.Fatalf("id %s", id)
			}
			seen[id] = true
			equal(t, "account", c.state(id).Account, account)
		}
	}
}
