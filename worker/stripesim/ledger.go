package stripesim

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// EffectKind is what happened to money.
type EffectKind string

// The effects. For each intent, authorized + incremented + overcaptured = captured + released + canceled + expired + what is still held.
const (
	Authorized   EffectKind = "authorized"   // money is held
	Incremented  EffectKind = "incremented"  // more of it is held
	Overcaptured EffectKind = "overcaptured" // a capture went above what was held, by this much
	Captured     EffectKind = "captured"     // money is taken
	Released     EffectKind = "released"     // a final capture let the rest go
	Canceled     EffectKind = "canceled"     // all that was held is let go
	Expired      EffectKind = "expired"      // the network let it go
)

// Effect is one line of the ledger.
type Effect struct {
	Seq       int64      `json:"seq"` // from 1, over all accounts
	Time      time.Time  `json:"time"`
	Account   string     `json:"account"`
	Intent    string     `json:"payment_intent"`
	Kind      EffectKind `json:"kind"`
	Amount    int64      `json:"amount"` // minor units
	Currency  string     `json:"currency"`
	Final     bool       `json:"final"` // nothing can follow for this intent; true for one effect of each at most
	By        string     `json:"by"`    // api, dashboard or automatic
	Key       string     `json:"idempotency_key,omitempty"`
	RequestID string     `json:"request_id,omitempty"`
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
		case Authorized, Incremented, Overcaptured:
			t.Authorized += e.Amount
		case Captured:
			t.Captured += e.Amount
		case Released, Canceled:
			t.Released += e.Amount
		case Expired:
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

// Answer is how a call ended, for counting.
type Answer struct {
	Class  Class
	Status int    // 0 when the connection was dropped
	Code   string // the error's code, if it has one
}

// Stats counts calls.
type Stats struct {
	Calls           map[Answer]int64
	Replayed        int64         // answered from a stored idempotency key
	RateLimited     int64         // 429s for a rate
	LockTimeouts    int64         // 429s for a lock
	MaxPerSecond    map[Class]int // the most calls of one account that arrived in any one second
	MaxOverall      int           // the same over all classes
	WebhooksSent    int64         // tries answered with success
	WebhooksFailed  int64         // tries answered otherwise
	WebhooksDropped int64         // events given up after all tries
}

// window finds the most arrivals in any one second.
type window struct {
	at   []time.Time
	head int
	most int
}

func (w *window) arrive(t time.Time) {
	for w.head < len(w.at) && t.Sub(w.at[w.head]) >= time.Second {
		w.head++
	}
	if w.head > 64 && w.head*2 > len(w.at) {
		w.at = w.at[:copy(w.at, w.at[w.head:])]
		w.head = 0
	}
	w.at = append(w.at, t)
	w.most = max(w.most, len(w.at)-w.head)
}

// Stats is a copy of the counters so far.
func (s *Sim) Stats() Stats {
	st := Stats{Calls: map[Answer]int64{}, MaxPerSecond: map[Class]int{}}
	for _, a := range s.accountList() {
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
				st.MaxOverall = max(st.MaxOverall, w.most)
				continue
			}
			st.MaxPerSecond[c] = max(st.MaxPerSecond[c], w.most)
		}
		a.mu.Unlock()
	}
	st.WebhooksSent, st.WebhooksFailed, st.WebhooksDropped = s.hooks.sent.Load(), s.hooks.failed.Load(), s.hooks.dropped.Load()
	return st
}

type accountStats struct {
	calls    map[Answer]int64
	replayed int64
	windows  map[Class]*window // by class, and "" over all
}

func (st *accountStats) arrive(c Class, t time.Time) {
	for _, k := range [2]Class{c, ""} {
		w := st.windows[k]
		if w == nil {
			w = &window{}
			st.windows[k] = w
		}
		w.arrive(t)
	}
}
