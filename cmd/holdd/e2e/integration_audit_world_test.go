package e2e_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/stripesim"
)

const auditKey = "rk_test_e2e_51AuditsReadAndNothingElse"

// auditedStripe is a simulator with years of payments behind a server that
// records the methods and paths of its requests.
type auditedStripe struct {
	tb     testing.TB
	sim    *stripesim.Sim
	server *httptest.Server
	brands map[string]string // by intent
	// chargesAlone are those whose charge names no intent.
	chargesAlone map[string]bool

	mu       sync.Mutex
	requests map[string]int // by method and path
	onList   func(n int)    // called with the number of lists, before each
}

func (s *auditedStripe) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests[r.Method+" "+r.URL.Path]++
	n, onList := s.requests["GET /v1/payment_intents"], s.onList
	s.mu.Unlock()
	if onList != nil && r.URL.Path == "/v1/payment_intents" {
		onList(n)
	}
	s.sim.Handler().ServeHTTP(w, r)
}

func (s *auditedStripe) env(key string) []string {
	return []string{"STRIPE_API_KEY=" + key, "STRIPE_API_BASE=" + s.server.URL, "TZ=UTC"}
}

// takeRequests returns the requests since the last call.
func (s *auditedStripe) takeRequests() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.requests
	s.requests = map[string]int{}
	return taken
}

// plannedAct is what happens to one payment at a time.
type plannedAct struct {
	at time.Duration // since the beginning
	do func()
}

// newAuditedStripe fills a simulator with n payments over a span that ends now.
func newAuditedStripe(tb testing.TB, n int, span time.Duration) *auditedStripe {
	tb.Helper()
	began := time.Now()
	s := &auditedStripe{tb: tb, brands: map[string]string{}, requests: map[string]int{},
		chargesAlone: map[string]bool{},
		sim: stripesim.New(stripesim.Options{Seed: 17, EndpointRate: -1, OverallRate: -1,
			ClockOffset: -span})}
	s.server = httptest.NewServer(s)
	tb.Cleanup(s.server.Close)
	rng := rand.New(rand.NewPCG(17, 17))
	var customers []string
	for range n / 20 {
		customers = append(customers, s.post("customers", nil))
	}
	var acts []plannedAct
	for range n {
		at := time.Duration(rng.Int64N(int64(span)))
		acts = append(acts, plannedAct{at, nil})
	}
	slices.SortFunc(acts, func(a, b plannedAct) int { return cmp.Compare(a.at, b.at) })
	for passed := time.Duration(0); len(acts) > 0; {
		act := acts[0]
		acts = acts[1:]
		s.sim.Advance(act.at - passed)
		passed = act.at
		if act.do != nil {
			act.do()
			continue
		}
		if later := s.place(rng, customers); later.do != nil && later.at+passed < span {
			later.at += passed
			at, _ := slices.BinarySearchFunc(acts, later,
				func(a, b plannedAct) int { return cmp.Compare(a.at, b.at) })
			acts = slices.Insert(acts, at, later)
		}
	}
	s.sim.Advance(time.Since(began) + began.Sub(s.sim.Now()))
	s.takeRequests()
	return s
}

// post sends a request past the server and returns the id of the object.
func (s *auditedStripe) post(path string, form url.Values) string {
	s.tb.Helper()
	r, err := http.NewRequest(http.MethodPost, "http://stripe/v1/"+path,
		strings.NewReader(form.Encode()))
	if err != nil {
		s.tb.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+apiKey)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := s.sim.Transport().RoundTrip(r)
	if err != nil {
		s.tb.Fatal(err)
	}
	defer res.Body.Close()
	var object struct {
		ID string `json:"id"`
	}
	if err := json.NewDecoder(res.Body).Decode(&object); err != nil || res.StatusCode >= 500 {
		s.tb.Fatal(res.Status, err)
	}
	return object.ID
}

// place places one payment and returns what happens to it later.
func (s *auditedStripe) place(rng *rand.Rand, customers []string) (later plannedAct) {
	s.tb.Helper()
	method := []string{"visa", "visa", "mastercard", "amex", "discover"}[rng.IntN(5)]
	currency := []string{"eur", "eur", "usd", "jpy", "kwd"}[rng.IntN(5)]
	amount := int64(100 + 10*rng.IntN(10_000))
	if rng.IntN(3) == 0 {
		amount = 15_000 // the same for many
	}
	switch rng.IntN(20) {
	case 0: // captured at once: not the audit's business
		s.post("payment_intents", url.Values{"amount": {fmt.Sprint(amount)}, "currency": {currency},
			"confirm": {"true"}, "payment_method": {"pm_card_" + method},
			"payment_method_types[]": {"card"}})
		return later
	case 1: // declined
		s.post("payment_intents", url.Values{"amount": {fmt.Sprint(amount)}, "currency": {currency},
			"confirm": {"true"}, "payment_method": {"pm_card_visa_chargeDeclined"},
			"payment_method_types[]": {"card"}, "capture_method": {"manual"}})
		return later
	}
	h := stripesim.Hold{Amount: amount, Currency: currency, PaymentMethod: "pm_card_" + method,
		ManualByType: rng.IntN(8) == 0, Extended: rng.IntN(10) == 0}
	if rng.IntN(12) == 0 && !h.ManualByType {
		h.Channel, h.Extended = stripesim.ChannelTerminal, false
	}
	if rng.IntN(4) > 0 {
		h.Customer = customers[rng.IntN(len(customers))]
	}
	h.ChargesAPI = len(s.brands)%8 == 0
	id, err := s.sim.Authorize(h)
	if err != nil {
		s.tb.Fatal(err)
	}
	s.brands[id] = method
	if h.ChargesAPI {
		s.chargesAlone[id] = true
	}
	st, _ := s.sim.Intent(id)
	window := st.CaptureBefore.Sub(s.sim.Now())
	at := time.Duration(rng.Int64N(int64(window)))
	if rng.IntN(8) == 0 { // within the last hours
		at = window - time.Minute - time.Duration(rng.Int64N(int64(30*time.Hour)))
	}
	path := "payment_intents/" + id
	switch rng.IntN(10) {
	case 0, 1:
		return later // expires
	case 2:
		return plannedAct{at, func() { s.post(path+"/cancel", nil) }}
	case 3:
		part := url.Values{"amount_to_capture": {fmt.Sprint(amount / 20 * 10)}}
		return plannedAct{at, func() { s.post(path+"/capture", part) }}
	}
	return plannedAct{at, func() { s.post(path+"/capture", nil) }}
}
