package stripesim

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// EffectKind is what happened to money.
type EffectKind string

// The effects. For each intent, authorized + incremented + overcaptured =
// captured + released + canceled + expired + what is still held.
const (
	EffectAuthorized  EffectKind = "authorized"  // money is held
	EffectIncremented EffectKind = "incremented" // more of it is held
	// a capture went above what was held, by this much
	EffectOvercaptured EffectKind = "overcaptured"
	EffectCaptured     EffectKind = "captured" // money is taken
	EffectReleased     EffectKind = "released" // a final capture let the rest go
	EffectCanceled     EffectKind = "canceled" // all that was held is let go
	EffectExpired      EffectKind = "expired"  // the network let it go
)

// Effect is one line of the ledger.
type Effect struct {
	Seq      int64      `json:"seq"` // from 1, over all accounts
	Time     time.Time  `json:"time"`
	Account  string     `json:"account"`
	Intent   string     `json:"payment_intent"`
	Kind     EffectKind `json:"kind"`
	Amount   int64      `json:"amount"` // minor units
	Currency string     `json:"currency"`
	// nothing can follow for this intent; true for one effect of each at most
	Final          bool   `json:"final"`
	Actor          string `json:"by"` // api, dashboard or automatic
	IdempotencyKey string `json:"idempotency_key,omitempty"`
	RequestID      string `json:"request_id,omitempty"`
}

type ledger struct {
	mu      sync.Mutex
	effects []Effect
}

func (l *ledger) add(e Effect) {
	l.mu.Lock()
	e.Seq = int64(len(l.effects)) + 1
	l.effects = append(l.effects, e)
	l.mu.Unlock()
}

// Ledger is a copy of every effect so far, in order.
func (s *Sim) Ledger() []Effect {
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	return slices.Clone(s.ledger.effects)
}

// Total is the ledger's sum in one currency, in minor units.
type Total struct {
	Currency   string `json:"currency"`
	Authorized int64  `json:"authorized"` // with increments and over-captures
	Captured   int64  `json:"captured"`
	Released   int64  `json:"released"` // by final captures of less, and by cancels
	Expired    int64  `json:"expired"`
	Held       int64  `json:"held"` // what remains
}

// Totals sums the ledger up, by currency in alphabetical order.
func (s *Sim) Totals() []Total {
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	sums := map[string]*Total{}
	for _, e := range s.ledger.effects {
		t := sums[e.Currency]
		if t == nil {
			t = &Total{Currency: e.Currency}
			sums[e.Currency] = t
		}
		switch e.Kind {
		case EffectAuthorized, EffectIncremented, EffectOvercaptured:
			t.Authorized += e.Amount
		case EffectCaptured:
			t.Captured += e.Amount
		case EffectReleased, EffectCanceled:
			t.Released += e.Amount
		case EffectExpired:
			t.Expired += e.Amount
		}
	}
	out := make([]Total, 0, len(sums))
	for _, c := range slices.Sorted(maps.Keys(sums)) {
		t := *sums[c]
		t.Held = t.Authorized - t.Captured - t.Released - t.Expired
		out = append(out, t)
	}
	return out
}

// CallOutcome is how a call ended, for counting.
type CallOutcome struct {
	Class  EndpointClass
	Status int    // 0 when the connection was dropped
	Code   string // the error's code, if it has one
}

// Stats counts calls.
type Stats struct {
	Calls        map[CallOutcome]int64
	Replayed     int64 // answered from a stored idempotency key
	RateLimited  int64 // 429s for a rate
	LockTimeouts int64 // 429s for a lock
	// the most calls of one account that arrived in any one second
	MaxPerSecond    map[EndpointClass]int
	MaxOverall      int   // the same over all classes
	WebhooksSent    int64 // tries answered with success
	WebhooksFailed  int64 // tries answered otherwise
	WebhooksDropped int64 // events given up after all tries
}

// arrivalWindow finds the most arrivals in any one second.
type arrivalWindow struct {
	arrivals     []time.Time
	head         int
	maxPerSecond int
}

func (w *arrivalWindow) add(t time.Time) {
	for w.head < len(w.arrivals) && t.Sub(w.arrivals[w.head]) >= time.Second {
		w.head++
	}
	if w.head > 64 && w.head*2 > len(w.arrivals) {
		w.arrivals = w.arrivals[:copy(w.arrivals, w.arrivals[w.head:])]
		w.head = 0
	}
	w.arrivals = append(w.arrivals, t)
	w.maxPerSecond = max(w.maxPerSecond, len(w.arrivals)-w.head)
}

// Stats is a copy of the counters so far.
func (s *Sim) Stats() Stats {
	st := Stats{Calls: map[CallOutcome]int64{}, MaxPerSecond: map[EndpointClass]int{}}
	for _, a := range s.sortedAccounts() {
		a.mu.Lock()
		for k, n := range a.stats.calls {
			st.Calls[k] += n
			if k.Status == 429 && k.Code == "rate_limit" {
				st.RateLimited += n
			}
			if k.Status == 429 && k.Code == "lock_timeout" {
				st.LockTimeouts += n
			}
		}
		st.Replayed += a.stats.replayed
		for c, w := range a.stats.windows {
			if c == "" {
				st.MaxOverall = max(st.MaxOverall, w.maxPerSecond)
				continue
			}
			st.MaxPerSecond[c] = max(st.MaxPerSecond[c], w.maxPerSecond)
		}
		a.mu.Unlock()
	}
	st.WebhooksSent, st.WebhooksFailed, st.WebhooksDropped = s.webhooks.sent.Load(),
		s.webhooks.failed.Load(), s.webhooks.dropped.Load()
	return st
}

type accountStats struct {
	calls    map[CallOutcome]int64
	replayed int64
	windows  map[EndpointClass]*arrivalWindow // by class, and "" over all
}

func (st *accountStats) countArrival(c EndpointClass, t time.Time) {
	for _, k := range [2]EndpointClass{c, ""} {
		w := st.windows[k]
		if w == nil {
			w = &arrivalWindow{}
			st.windows[k] = w
		}
		w.add(t)
	}
}
