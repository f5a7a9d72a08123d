package stripesim

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Sim is the simulator: accounts, their objects, and what is done to them. Its methods may be called from many goroutines.
type Sim struct {
	opt      Options
	platform string
	base     time.Time
	offset   atomic.Int64

	mu       sync.Mutex
	accounts map[string]*account
	byTail   map[string]*account // the ten characters that an account's ids share
	tuning   atomic.Pointer[tuning]

	calls     atomic.Int64
	nths      sync.Map // Class to *atomic.Int64
	requests  atomic.Uint64
	haveRules atomic.Bool
	faultFunc atomic.Pointer[func(Call) Fault]
	faults    faults
	keys      keyring
	endpoints atomic.Pointer[[]Endpoint]
	ledger    ledger
	hooks     hooks
}

// tuning is what can be changed while calls are under way.
type tuning struct {
	endpointRate, overallRate, searchRate float64
	deadline                              func(Card) time.Duration
	serviceTime, searchLag                time.Duration
	alreadyCaptured, expired              string
}

// New makes a simulator. It starts nothing; see Run for what is to happen by itself.
// Inside a testing/synctest bubble it must be made there too.
func New(o Options) *Sim {
	o = o.withDefaults()
	s := &Sim{opt: o, base: time.Now(), accounts: map[string]*account{}, byTail: map[string]*account{}}
	s.offset.Store(int64(o.ClockOffset))
	s.platform = o.Account
	if s.platform == "" {
		s.platform = "acct_1" + digest(o.Seed, 15, "platform")
	}
	s.tuning.Store(&tuning{
		endpointRate: o.EndpointRate, overallRate: o.OverallRate, searchRate: o.SearchRate, deadline: o.Deadline,
		serviceTime: o.ServiceTime, searchLag: o.SearchLag, alreadyCaptured: o.AlreadyCapturedCode, expired: o.ExpiredCode,
	})
	s.faults.rand = rand.New(rand.NewPCG(o.Seed, 0x5717e51))
	if o.Faults != nil {
		s.faultFunc.Store(&o.Faults)
	}
	s.hooks.init()
	return s
}

// Account is the platform's own account id.
func (s *Sim) Account() string { return s.platform }

// Now is the simulator's time.
func (s *Sim) Now() time.Time {
	t := time.Now()
	if s.opt.Speed != 1 {
		t = s.base.Add(time.Duration(float64(t.Sub(s.base)) * s.opt.Speed))
	}
	return t.Add(time.Duration(s.offset.Load()))
}

// Advance moves the simulator's clock forward and lets happen what falls due.
func (s *Sim) Advance(d time.Duration) {
	if d > 0 {
		s.offset.Add(int64(d))
	}
	s.Tick()
}

// Tick lets happen what is due by now: expiry of authorizations, and intents that wait for a confirmation falling back.
// Every call to an account does the same for that account first, so Tick is only needed to see events at their time.
func (s *Sim) Tick() {
	for _, a := range s.accountList() {
		op := &operation{sim: s, by: "automatic"}
		a.mu.Lock()
		a.settleDue(op)
		a.mu.Unlock()
		s.announce(op)
	}
}

func (s *Sim) retune(f func(*tuning)) {
	for {
		old := s.tuning.Load()
		t := *old
		f(&t)
		if s.tuning.CompareAndSwap(old, &t) {
			return
		}
	}
}

// SetRates changes the limits: calls a second for each endpoint class and over all; negative means no limit.
func (s *Sim) SetRates(endpoint, overall float64) {
	s.retune(func(t *tuning) { t.endpointRate, t.overallRate = endpoint, overall })
}

// SetDeadline changes how long authorizations made from now on last; nil means DefaultDeadline.
func (s *Sim) SetDeadline(f func(Card) time.Duration) {
	if f == nil {
		f = DefaultDeadline
	}
	s.retune(func(t *tuning) { t.deadline = f })
}

// SetServiceTime changes how long changes hold an intent's lock.
func (s *Sim) SetServiceTime(d time.Duration) { s.retune(func(t *tuning) { t.serviceTime = d }) }

// SetSearchLag changes how late search sees a change.
func (s *Sim) SetSearchLag(d time.Duration) { s.retune(func(t *tuning) { t.searchLag = d }) }

// SetCodes changes the error codes for capturing what is captured and what is expired; empty leaves one as it is.
func (s *Sim) SetCodes(alreadyCaptured, expired string) {
	s.retune(func(t *tuning) {
		if alreadyCaptured != "" {
			t.alreadyCaptured = alreadyCaptured
		}
		if expired != "" {
			t.expired = expired
		}
	})
}

// SetFaults changes the function that is asked before every call; nil asks none.
func (s *Sim) SetFaults(f func(Call) Fault) {
	if f == nil {
		s.faultFunc.Store(nil)
		return
	}
	s.faultFunc.Store(&f)
}

// nth counts the calls of a class.
func (s *Sim) nth(c Class) int64 {
	n, ok := s.nths.Load(c)
	if !ok {
		n, _ = s.nths.LoadOrStore(c, new(atomic.Int64))
	}
	return n.(*atomic.Int64).Add(1)
}

// account is one Stripe account. Its mutex is never held while something waits.
type account struct {
	sim  *Sim
	id   string
	tail string

	mu        sync.Mutex
	made      uint64 // ids so far
	intents   map[string]*intent
	order     []*intent
	charges   map[string]*charge
	customers map[string]*customer
	custOrder []*customer
	methods   map[string]*method
	tokens    map[string]bool // used up
	events    eventLog
	keys      map[string]*keyEntry
	keyQueue  []*keyEntry
	buckets   map[Class]*bucket
	due       dueHeap
	last      time.Time // of the last operation
	stats     accountStats
}

// accountFor finds or makes an account.
func (s *Sim) accountFor(id string) *account {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.accounts[id]; a != nil {
		return a
	}
	a := &account{
		sim: s, id: id, intents: map[string]*intent{}, charges: map[string]*charge{}, customers: map[string]*customer{},
		methods: map[string]*method{}, tokens: map[string]bool{}, keys: map[string]*keyEntry{}, buckets: map[Class]*bucket{},
		stats: accountStats{calls: map[Answer]int64{}, windows: map[Class]*window{}},
	}
	a.events.byID = map[string]*event{}
	for salt := ""; a.tail == "" || s.byTail[a.tail] != nil; salt += "+" {
		a.tail = digest(s.opt.Seed, 10, "tail", id, salt)
	}
	s.accounts[id], s.byTail[a.tail] = a, a
	return a
}

func (s *Sim) accountList() []*account {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*account, 0, len(s.accounts))
	for _, a := range s.accounts {
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b *account) int { return strings.Compare(a.id, b.id) }) // the same run twice goes the same way
	return out
}

// owner finds the account that made an id, which the id itself tells.
func (s *Sim) owner(id string) *account {
	_, body, ok := strings.Cut(id, "_")
	if !ok || len(body) != 24 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byTail[body[6:16]]
}

// newID makes an id of Stripe's look: 24 characters of which ten tell the account. The same number is never used
// twice, whatever the prefix.
func (a *account) newID(prefix string) string {
	a.made++
	seed := a.sim.opt.Seed
	return prefix + "3" + base62(scramble(seed*31+7, a.made), 8)[3:] + a.tail + base62(scramble(seed, a.made), 8)
}

// dueItem is something that happens by itself at a time.
type dueItem struct {
	at time.Time
	in *intent
}

type dueHeap []dueItem

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)        { *h = append(*h, x.(dueItem)) }
func (h *dueHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	old[len(old)-1] = dueItem{}
	*h = old[:len(old)-1]
	return x
}

func (a *account) wake(at time.Time, in *intent) {
	heap.Push(&a.due, dueItem{at, in})
	if a.due[0].at.Equal(at) {
		a.sim.hooks.poke()
	}
}

// settleDue lets everything due by now happen, at its own time and in order.
func (a *account) settleDue(op *operation) {
	now := a.sim.Now()
	for len(a.due) > 0 && !a.due[0].at.After(now) {
		item := heap.Pop(&a.due).(dueItem)
		auto := &operation{sim: a.sim, by: "automatic", now: item.at}
		if auto.now.Before(a.last) { // a deadline that was moved into the past: events stay in order
			auto.now = a.last
		}
		in := item.in
		switch {
		case in.status == statusRequiresCapture && item.at.Equal(in.captureBefore):
			in.expire(auto)
		case !in.fallbackAt.IsZero() && item.at.Equal(in.fallbackAt):
			in.fallBack(auto)
		}
		op.events = append(op.events, auto.events...)
	}
	op.now, a.last = now, now
}
