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

// Sim is the simulator: accounts, their objects, and what is done to them. Its
// methods may be called from many goroutines.
type Sim struct {
	options         Options
	platformAccount string
	clockStart      time.Time
	clockOffset     atomic.Int64

	mu              sync.Mutex
	accounts        map[string]*account
	accountsByIDTag map[string]*account // the ten characters that an account's ids share
	settings        atomic.Pointer[liveSettings]

	callCount        atomic.Int64
	classCallCounts  sync.Map // Class to *atomic.Int64
	requestIDCount   atomic.Uint64
	hasFaultRules    atomic.Bool
	faultFunc        atomic.Pointer[func(Call) Fault]
	faultRules       faultRuleSet
	apiKeys          apiKeyRegistry
	webhookEndpoints atomic.Pointer[[]WebhookEndpoint]
	ledger           ledger
	webhooks         webhookQueue
}

// liveSettings is what can be changed while calls are under way.
type liveSettings struct {
	endpointRate, overallRate, searchRate float64
	authorizationWindow                   func(Card) time.Duration
	serviceTime, searchLag                time.Duration
	alreadyCapturedCode, expiredCode      string
}

// New makes a simulator. It starts nothing; see Run for what is to happen by
// itself. Inside a testing/synctest bubble it must be made there too.
func New(o Options) *Sim {
	o = o.withDefaults()
	s := &Sim{options: o, clockStart: time.Now(), accounts: map[string]*account{},
		accountsByIDTag: map[string]*account{}}
	s.clockOffset.Store(int64(o.ClockOffset))
	s.platformAccount = o.Account
	if s.platformAccount == "" {
		s.platformAccount = "acct_1" + seededToken(o.Seed, 15, "platform")
	}
	s.settings.Store(&liveSettings{
		endpointRate: o.EndpointRate, overallRate: o.OverallRate, searchRate: o.SearchRate,
		authorizationWindow: o.AuthorizationWindow,
		serviceTime:         o.ServiceTime, searchLag: o.SearchLag,
		alreadyCapturedCode: o.AlreadyCapturedCode, expiredCode: o.ExpiredCode,
	})
	s.faultRules.rng = rand.New(rand.NewPCG(o.Seed, 0x5717e51))
	if o.FaultFunc != nil {
		s.faultFunc.Store(&o.FaultFunc)
	}
	s.webhooks.init()
	return s
}

// Account is the platform's own account id.
func (s *Sim) Account() string { return s.platformAccount }

// Now is the simulator's time.
func (s *Sim) Now() time.Time {
	t := time.Now()
	if s.options.Speed != 1 {
		t = s.clockStart.Add(time.Duration(float64(t.Sub(s.clockStart)) * s.options.Speed))
	}
	return t.Add(time.Duration(s.clockOffset.Load()))
}

// Advance moves the simulator's clock forward and lets happen what falls due.
func (s *Sim) Advance(d time.Duration) {
	if d > 0 {
		s.clockOffset.Add(int64(d))
	}
	s.ProcessDue()
}

// ProcessDue lets happen what is due by now: expiry of authorizations, and
// intents that wait for a confirmation falling back. Every call to an account
// does the same for that account first, so Tick is only needed to see events at
// their time.
func (s *Sim) ProcessDue() {
	for _, a := range s.sortedAccounts() {
		op := &operation{sim: s, actor: "automatic"}
		a.mu.Lock()
		a.processDue(op)
		a.mu.Unlock()
		s.publishEvents(op)
	}
}

func (s *Sim) updateSettings(update func(*liveSettings)) {
	for {
		old := s.settings.Load()
		t := *old
		update(&t)
		if s.settings.CompareAndSwap(old, &t) {
			return
		}
	}
}

// SetRateLimits changes the limits: calls a second for each endpoint class and
// over all; negative means no limit.
func (s *Sim) SetRateLimits(endpoint, overall float64) {
	s.updateSettings(func(t *liveSettings) { t.endpointRate, t.overallRate = endpoint, overall })
}

// SetAuthorizationWindow changes how long authorizations made from now on last;
// nil means DefaultDeadline.
func (s *Sim) SetAuthorizationWindow(f func(Card) time.Duration) {
	if f == nil {
		f = DefaultAuthorizationWindow
	}
	s.updateSettings(func(t *liveSettings) { t.authorizationWindow = f })
}

// SetServiceTime changes how long changes hold an intent's lock.
func (s *Sim) SetServiceTime(d time.Duration) {
	s.updateSettings(func(t *liveSettings) { t.serviceTime = d })
}

// SetSearchLag changes how late search sees a change.
func (s *Sim) SetSearchLag(d time.Duration) {
	s.updateSettings(func(t *liveSettings) { t.searchLag = d })
}

// SetCaptureErrorCodes changes the error codes for capturing what is captured
// and what is expired; empty leaves one as it is.
func (s *Sim) SetCaptureErrorCodes(alreadyCapturedCode, expiredCode string) {
	s.updateSettings(func(t *liveSettings) {
		if alreadyCapturedCode != "" {
			t.alreadyCapturedCode = alreadyCapturedCode
		}
		if expiredCode != "" {
			t.expiredCode = expiredCode
		}
	})
}

// SetFaultFunc changes the function that is asked before every call; nil asks
// none.
func (s *Sim) SetFaultFunc(f func(Call) Fault) {
	if f == nil {
		s.faultFunc.Store(nil)
		return
	}
	s.faultFunc.Store(&f)
}

// countClassCall counts the calls of a class.
func (s *Sim) countClassCall(c EndpointClass) int64 {
	n, ok := s.classCallCounts.Load(c)
	if !ok {
		n, _ = s.classCallCounts.LoadOrStore(c, new(atomic.Int64))
	}
	return n.(*atomic.Int64).Add(1)
}

// account is one Stripe account. Its mutex is never held while something waits.
type account struct {
	sim   *Sim
	id    string
	idTag string

	mu                  sync.Mutex
	idCount             uint64 // ids so far
	intents             map[string]*intent
	intentOrder         []*intent
	charges             map[string]*charge
	customers           map[string]*customer
	customerOrder       []*customer
	paymentMethods      map[string]*paymentMethod
	usedTokens          map[string]bool // used up
	events              eventLog
	idempotencyKeys     map[string]*idempotencyEntry
	idempotencyKeyQueue []*idempotencyEntry
	buckets             map[EndpointClass]*bucket
	dueQueue            dueHeap
	lastOperationAt     time.Time // of the last operation
	stats               accountStats
}

// getOrCreateAccount finds or makes an account.
func (s *Sim) getOrCreateAccount(id string) *account {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.accounts[id]; a != nil {
		return a
	}
	a := &account{
		sim: s, id: id, intents: map[string]*intent{}, charges: map[string]*charge{},
		customers:      map[string]*customer{},
		paymentMethods: map[string]*paymentMethod{}, usedTokens: map[string]bool{},
		idempotencyKeys: map[string]*idempotencyEntry{}, buckets: map[EndpointClass]*bucket{},
		stats: accountStats{calls: map[CallOutcome]int64{},
			windows: map[EndpointClass]*arrivalWindow{}},
	}
	a.events.byID = map[string]*storedEvent{}
	for salt := ""; a.idTag == "" || s.accountsByIDTag[a.idTag] != nil; salt += "+" {
		a.idTag = seededToken(s.options.Seed, 10, "tail", id, salt)
	}
	s.accounts[id], s.accountsByIDTag[a.idTag] = a, a
	return a
}

func (s *Sim) sortedAccounts() []*account {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*account, 0, len(s.accounts))
	for _, a := range s.accounts {
		out = append(out, a)
	}
	// the same run twice goes the same way
	slices.SortFunc(out, func(a, b *account) int { return strings.Compare(a.id, b.id) })
	return out
}

// accountByObjectID finds the account that made an id, which the id itself
// tells.
func (s *Sim) accountByObjectID(id string) *account {
	_, body, ok := strings.Cut(id, "_")
	if !ok || len(body) != 24 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accountsByIDTag[body[6:16]]
}

// newID makes an id of Stripe's look: 24 characters of which ten tell the
// account. The same number is never used twice, whatever the prefix.
func (a *account) newID(prefix string) string {
	a.idCount++
	seed := a.sim.options.Seed
	return prefix + "3" + base62(scramble(seed*31+7, a.idCount), 8)[3:] + a.idTag +
		base62(scramble(seed, a.idCount), 8)
}

// dueItem is something that happens by itself at a time.
type dueItem struct {
	at     time.Time
	intent *intent
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

func (a *account) scheduleDue(at time.Time, in *intent) {
	heap.Push(&a.dueQueue, dueItem{at, in})
	if a.dueQueue[0].at.Equal(at) {
		a.sim.webhooks.signalWakeup()
	}
}

// processDue lets everything due by now happen, at its own time and in order.
func (a *account) processDue(op *operation) {
	now := a.sim.Now()
	for len(a.dueQueue) > 0 && !a.dueQueue[0].at.After(now) {
		item := heap.Pop(&a.dueQueue).(dueItem)
		autoOp := &operation{sim: a.sim, actor: "automatic", now: item.at}
		if autoOp.now.Before(a.lastOperationAt) {
			// a deadline that was moved into the past: events stay in order
			autoOp.now = a.lastOperationAt
		}
		in := item.intent
		switch {
		case in.status == statusRequiresCapture && item.at.Equal(in.captureBefore):
			in.expire(autoOp)
		case !in.confirmDeadline.IsZero() && item.at.Equal(in.confirmDeadline):
			in.expireConfirmation(autoOp)
		}
		op.events = append(op.events, autoOp.events...)
	}
	op.now, a.lastOperationAt = now, now
}
