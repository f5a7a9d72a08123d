package stripesim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// FaultKind is a way in which a call goes wrong.
type FaultKind string

// The faults. Those "after the effect" let the call take effect first. The
// others have no effect.
const (
	// the connection closes before anything happens
	FaultDropRequest FaultKind = "drop_request"
	// after the effect: the connection closes without an answer
	FaultDropReply FaultKind = "drop_reply"
	// after the effect: the true status, the JSON cut in half
	FaultBrokenBody FaultKind = "broken_body"
	// after the effect: the connection closes in the middle of the body
	FaultCutBody FaultKind = "cut_body"
	// 500 (or Status): execution began and failed; stored for the key, nothing
	// happened
	FaultErrorBefore FaultKind = "error_before"
	// after the effect: 500 (or Status and Code), stored for the key: a false
	// error
	FaultErrorAfter FaultKind = "error_after"
	// 503 (or Status): execution never began, nothing stored
	FaultUnavailable FaultKind = "unavailable"
	// a proxy's HTML 502 (or Status) before anything happens
	FaultHTML FaultKind = "html"
	// after the effect: a proxy's HTML 502 (or Status); the true answer is
	// stored for the key
	FaultHTMLAfter        FaultKind = "html_after"
	FaultRateLimited      FaultKind = "rate_limited" // 429 with Stripe-Rate-Limited-Reason
	FaultLockTimeout      FaultKind = "lock_timeout" // 429 without
	FaultKeyInUse         FaultKind = "conflict"     // 409 idempotency_key_in_use
	FaultFailedDependency FaultKind = "dependency"   // 424, nothing stored
	FaultUnauthorized     FaultKind = "unauthorized" // 401, as if the key were revoked
	FaultForbidden        FaultKind = "forbidden"    // 403, as if the key lacked a permission
	// the bank declines a confirm or an increment, with Code as decline_code
	// (default generic_decline)
	FaultDecline FaultKind = "decline"
	// 404 resource_missing although the object exists, nothing stored
	FaultNotFound FaultKind = "not_found"
)

// Fault is what goes wrong with one call. The zero value is no fault. Times are
// by the machine's clock, which is virtual inside a synctest bubble.
type Fault struct {
	Kind   FaultKind `json:"kind,omitempty"`
	Status int       `json:"status,omitempty"` // for the kinds that name it
	Code   string    `json:"code,omitempty"`

	// delay before the call arrives; the call of a caller that gives up
	// meanwhile has no effect
	RequestDelay time.Duration `json:"-"`
	// how long the call holds the intent's lock and its key, after the effect
	ServiceTime time.Duration `json:"-"`
	ReplyDelay  time.Duration `json:"-"` // delay of the answer alone

	// ShouldRetry, if not empty, is sent as Stripe-Should-Retry.
	ShouldRetry string `json:"should_retry,omitempty"`
}

func (k FaultKind) isValid() bool {
	switch k {
	case "", FaultDropRequest, FaultDropReply, FaultBrokenBody, FaultCutBody, FaultErrorBefore,
		FaultErrorAfter, FaultUnavailable, FaultHTML, FaultHTMLAfter, FaultRateLimited,
		FaultLockTimeout, FaultKeyInUse, FaultFailedDependency, FaultUnauthorized, FaultForbidden,
		FaultDecline, FaultNotFound:
		return true
	}
	return false
}

// Call is one request as it arrives.
type Call struct {
	Number         int64 // over all calls, from 1
	NumberInClass  int64 // of this class, from 1
	Class          EndpointClass
	Account        string
	Intent         string // the PaymentIntent named in the path, if any
	IdempotencyKey string // Idempotency-Key
	Time           time.Time
}

// FaultRule selects calls for a fault. Empty fields match everything.
type FaultRule struct {
	Class       EndpointClass
	Account     string
	Intent      string
	Nth         int     // only the nth call that the rule matches, from 1; 0 means each
	Times       int     // at most so many times; 0 means without end
	Probability float64 // 0 and 1 mean always
	Fault       Fault
}

// maxFaultRules bounds the rules that the control endpoints can add.
const maxFaultRules = 1000

// Faults decides the fault of each call. It locks nothing while there are
// no rules.
type Faults struct {
	decide   atomic.Pointer[func(Call) Fault]
	hasRules atomic.Bool

	mu     sync.Mutex
	lastID int
	rules  []*activeFaultRule
	rng    *rand.Rand
}

type activeFaultRule struct {
	id      int
	matched int
	hits    int
	FaultRule
}

// declinableClasses are the calls that ask a bank.
var declinableClasses = []EndpointClass{ClassCreate, ClassConfirm, ClassIncrement}

func newFaults(o Options) *Faults {
	f := &Faults{rng: rand.New(rand.NewPCG(o.Seed, 0x5717e51))}
	f.SetFaultFunc(o.FaultFunc)
	return f
}

// SetFaultFunc sets the function that decides the fault of each call, before
// the rules do. Nil removes it.
func (f *Faults) SetFaultFunc(decide func(Call) Fault) {
	if decide == nil {
		f.decide.Store(nil)
		return
	}
	f.decide.Store(&decide)
}

// AddFaultRule adds a rule and returns its id. The first matching rule decides.
func (f *Faults) AddFaultRule(r FaultRule) (int, error) {
	if err := r.check(); err != nil {
		return 0, fmt.Errorf("stripesim: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.rules) >= maxFaultRules {
		return 0, fmt.Errorf("stripesim: too many fault rules: want at most %d", maxFaultRules)
	}
	f.lastID++
	f.rules = append(f.rules, &activeFaultRule{id: f.lastID, FaultRule: r})
	f.hasRules.Store(true)
	return f.lastID, nil
}

// RemoveFaultRule removes one rule.
func (f *Faults) RemoveFaultRule(id int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = slices.DeleteFunc(f.rules, func(r *activeFaultRule) bool { return r.id == id })
	f.hasRules.Store(len(f.rules) > 0)
}

// ClearFaultRules removes every rule.
func (f *Faults) ClearFaultRules() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = nil
	f.hasRules.Store(false)
}

// choose returns the fault of a call.
func (f *Faults) choose(c Call) Fault {
	if decide := f.decide.Load(); decide != nil {
		if fault := (*decide)(c); fault != (Fault{}) {
			return fault
		}
	}
	if !f.hasRules.Load() {
		return Fault{}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.rules {
		if !r.selects(c) {
			continue
		}
		r.matched++
		if r.Nth > 0 && r.matched != r.Nth || r.Times > 0 && r.hits >= r.Times {
			continue
		}
		if r.Probability > 0 && r.Probability < 1 && f.rng.Float64() >= r.Probability {
			continue
		}
		r.hits++
		return r.Fault
	}
	return Fault{}
}

func (r *FaultRule) selects(c Call) bool {
	return (r.Class == "" || r.Class == c.Class) && (r.Account == "" || r.Account == c.Account) &&
		(r.Intent == "" || r.Intent == c.Intent)
}

// list returns copies of the rules.
func (f *Faults) list() []activeFaultRule {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]activeFaultRule, 0, len(f.rules))
	for _, r := range f.rules {
		out = append(out, *r)
	}
	return out
}
