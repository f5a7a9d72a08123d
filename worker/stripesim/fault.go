package stripesim

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// FaultKind is a way in which a call goes wrong.
type FaultKind string

// The faults. Those "after the effect" let the call take effect first; the others leave nothing behind.
const (
	DropRequest  FaultKind = "drop_request" // the connection closes before anything happens
	DropReply    FaultKind = "drop_reply"   // after the effect: the connection closes without an answer
	BrokenBody   FaultKind = "broken_body"  // after the effect: the status as it should be, the JSON cut in half
	CutBody      FaultKind = "cut_body"     // after the effect: the connection closes in the middle of the body
	ErrorBefore  FaultKind = "error_before" // 500 (or Status): execution began and failed; stored for the key, nothing happened
	ErrorAfter   FaultKind = "error_after"  // after the effect: 500 (or Status and Code), stored for the key: a false error
	Unavailable  FaultKind = "unavailable"  // 503 (or Status): execution never began, nothing stored
	HTML         FaultKind = "html"         // a proxy's HTML 502 (or Status) before anything happens
	HTMLAfter    FaultKind = "html_after"   // after the effect: a proxy's HTML 502 (or Status); the true answer is stored for the key
	RateLimited  FaultKind = "rate_limited" // 429 with Stripe-Rate-Limited-Reason
	LockTimeout  FaultKind = "lock_timeout" // 429 without
	Conflict     FaultKind = "conflict"     // 409 idempotency_key_in_use
	Dependency   FaultKind = "dependency"   // 424, nothing stored
	Unauthorized FaultKind = "unauthorized" // 401, as if the key were revoked
	Forbidden    FaultKind = "forbidden"    // 403, as if the key lacked a permission
	Decline      FaultKind = "decline"      // the bank declines a confirm or an increment, with Code as decline_code (default generic_decline)
	NotFound     FaultKind = "not_found"    // 404 resource_missing though it is there, nothing stored
)

// Fault is what goes wrong with one call. The zero value is nothing. Times are of the machine's clock (virtual inside a synctest bubble).
type Fault struct {
	Kind   FaultKind `json:"kind,omitempty"`
	Status int       `json:"status,omitempty"` // for the kinds that name it
	Code   string    `json:"code,omitempty"`

	Before  time.Duration `json:"-"` // delay before the call arrives; a caller that gives up meanwhile leaves nothing behind
	Service time.Duration `json:"-"` // how long it holds the intent's lock and its key, after the effect
	After   time.Duration `json:"-"` // delay of the answer alone

	// ShouldRetry, if not empty, is sent as Stripe-Should-Retry.
	ShouldRetry string `json:"should_retry,omitempty"`
}

func (k FaultKind) valid() bool {
	switch k {
	case "", DropRequest, DropReply, BrokenBody, CutBody, ErrorBefore, ErrorAfter, Unavailable, HTML, HTMLAfter, RateLimited,
		LockTimeout, Conflict, Dependency, Unauthorized, Forbidden, Decline, NotFound:
		return true
	}
	return false
}

// Call is one request as it arrives.
type Call struct {
	N       int64 // over all calls, from 1
	Nth     int64 // of this class, from 1
	Class   Class
	Account string
	Intent  string // the PaymentIntent named in the path, if any
	Key     string // Idempotency-Key
	Time    time.Time
}

// Rule selects calls for a fault. Empty fields match everything.
type Rule struct {
	Class       Class
	Account     string
	Intent      string
	Nth         int     // only the nth call that the rule matches, from 1; 0 means each
	Times       int     // at most so many times; 0 means without end
	Probability float64 // 0 and 1 mean always
	Fault       Fault
}

// faults holds the rules. Nothing is locked while there are none.
type faults struct {
	mu    sync.Mutex
	next  int
	rules []*rule
	rand  *rand.Rand
}

type rule struct {
	id      int
	matched int
	hit     int
	Rule
}

// maxRules bounds what the control endpoints can pile up.
const maxRules = 1000

// AddFault adds a rule and returns its id. The first matching rule decides.
func (s *Sim) AddFault(r Rule) (int, error) {
	if !r.Fault.Kind.valid() {
		return 0, fmt.Errorf("stripesim: unknown fault kind %q", r.Fault.Kind)
	}
	if r.Probability < 0 || r.Probability > 1 {
		return 0, fmt.Errorf("stripesim: probability %v is not within 0 and 1", r.Probability)
	}
	f := &s.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.rules) >= maxRules {
		return 0, fmt.Errorf("stripesim: %d fault rules are the most; clear some", maxRules)
	}
	f.next++
	f.rules = append(f.rules, &rule{id: f.next, Rule: r})
	s.haveRules.Store(true)
	return f.next, nil
}

// RemoveFault removes one rule.
func (s *Sim) RemoveFault(id int) {
	f := &s.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, r := range f.rules {
		if r.id == id {
			f.rules = append(f.rules[:i:i], f.rules[i+1:]...)
			break
		}
	}
	s.haveRules.Store(len(f.rules) > 0)
}

// ClearFaults removes every rule.
func (s *Sim) ClearFaults() {
	s.faults.mu.Lock()
	s.faults.rules = nil
	s.haveRules.Store(false)
	s.faults.mu.Unlock()
}

func (s *Sim) decide(c Call) Fault {
	if f := s.faultFunc.Load(); f != nil {
		if d := (*f)(c); d != (Fault{}) {
			return d
		}
	}
	if !s.haveRules.Load() {
		return Fault{}
	}
	f := &s.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.rules {
		if r.Class != "" && r.Class != c.Class || r.Account != "" && r.Account != c.Account || r.Intent != "" && r.Intent != c.Intent {
			continue
		}
		r.matched++
		if r.Nth > 0 && r.matched != r.Nth || r.Times > 0 && r.hit >= r.Times {
			continue
		}
		if r.Probability > 0 && r.Probability < 1 && f.rand.Float64() >= r.Probability {
			continue
		}
		r.hit++
		return r.Fault
	}
	return Fault{}
}
