package stripesim

import (
	"cmp"
	"container/heap"
	"slices"
	"strings"
	"sync"
	"time"
)

// accountRegistry holds the accounts.
type accountRegistry struct {
	env *environment

	mu      sync.Mutex
	byID    map[string]*account
	byIDTag map[string]*account // by the ten characters that an account's ids share
}

func newAccountRegistry(env *environment) *accountRegistry {
	return &accountRegistry{env: env, byID: map[string]*account{}, byIDTag: map[string]*account{}}
}

// getOrCreate returns the account id. An empty id is the platform's own.
func (r *accountRegistry) getOrCreate(id string) *account {
	id = cmp.Or(id, r.env.platformAccount)
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.byID[id]; a != nil {
		return a
	}
	a := newAccount(r.env, id)
	for salt := ""; a.idTag == "" || r.byIDTag[a.idTag] != nil; salt += "+" {
		a.idTag = seededToken(r.env.options.Seed, 10, "tail", id, salt)
	}
	r.byID[id], r.byIDTag[a.idTag] = a, a
	return a
}

// sorted returns the accounts by id, so that a run can be repeated.
func (r *accountRegistry) sorted() []*account {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*account, 0, len(r.byID))
	for _, a := range r.byID {
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b *account) int { return strings.Compare(a.id, b.id) })
	return out
}

// byObjectID returns the account that made an object's id, or nil. The id
// itself names the account.
func (r *accountRegistry) byObjectID(id string) *account {
	_, body, ok := strings.Cut(id, "_")
	if !ok || len(body) != 24 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byIDTag[body[6:16]]
}

// maxAccounts bounds the accounts that Stripe-Account headers can create.
const maxAccounts = 10_000

// isKnown reports whether a Stripe-Account header may name the account.
func (r *accountRegistry) isKnown(id string) bool {
	if id == r.env.platformAccount {
		return true
	}
	if connected := r.env.options.ConnectedAccounts; connected != nil {
		return slices.Contains(connected, id)
	}
	if len(id) < 6 || len(id) > 64 || !strings.HasPrefix(id, "acct_") {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byID[id] != nil || len(r.byID) < maxAccounts
}

// nextDue returns the time of the next expiry in any account.
func (r *accountRegistry) nextDue() (at time.Time, ok bool) {
	for _, a := range r.sorted() {
		a.mu.Lock()
		if len(a.dueQueue) > 0 && (!ok || a.dueQueue[0].at.Before(at)) {
			at, ok = a.dueQueue[0].at, true
		}
		a.mu.Unlock()
	}
	return at, ok
}

// account is one Stripe account. Its mutex is never held during a wait.
type account struct {
	env   *environment
	id    string
	idTag string

	mu                 sync.Mutex
	idCount            uint64 // ids made
	intents            map[string]*intent
	intentOrder        []*intent
	charges            map[string]*charge
	chargeOrder        []*charge
	refunds            map[string]*refund
	refundOrder        []*refund
	customers          map[string]*customer
	customerOrder      []*customer
	deletedCustomers   map[string]bool
	paymentMethods     map[string]*paymentMethod
	methodOrder        []*paymentMethod
	setupIntents       map[string]*setupIntent
	setupOrder         []*setupIntent
	checkoutSessions   map[string]*checkoutSession
	tokens             map[string]*token
	confirmationTokens map[string]*confirmationToken
	usedTokens         map[string]bool // of security codes
	features           CardFeatures
	events             eventLog
	idempotency        idempotencyStore
	buckets            rateBuckets
	dueQueue           dueHeap
	lastOperationAt    time.Time
	stats              accountStats
}

func newAccount(env *environment, id string) *account {
	return &account{
		env: env, id: id, features: allCardFeatures, intents: map[string]*intent{},
		charges:        map[string]*charge{},
		refunds:        map[string]*refund{},
		customers:      map[string]*customer{},
		paymentMethods: map[string]*paymentMethod{}, usedTokens: map[string]bool{},
		checkoutSessions: map[string]*checkoutSession{}, tokens: map[string]*token{},
		confirmationTokens: map[string]*confirmationToken{},
		setupIntents:       map[string]*setupIntent{}, deletedCustomers: map[string]bool{},
		events: eventLog{byID: map[string]*storedEvent{}},
		idempotency: idempotencyStore{retention: env.options.IdempotencyKeyRetention,
			byKey: map[string]*idempotencyEntry{}},
		buckets: rateBuckets{},
		stats: accountStats{calls: map[CallOutcome]int64{},
			windows: map[EndpointClass]*arrivalWindow{}},
	}
}

// newID makes an id that looks like Stripe's: 24 characters, ten of which name
// the account. A number is used once over all prefixes.
func (a *account) newID(prefix string) string {
	a.idCount++
	seed := a.env.options.Seed
	return prefix + "3" + base62(scramble(seed*31+7, a.idCount), 8)[3:] + a.idTag +
		base62(scramble(seed, a.idCount), 8)
}

// dueItem is a time at which an intent changes by itself.
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
		a.env.webhooks.signalWakeup()
	}
}

// processDue expires what is due, each intent at its own time and in order.
func (a *account) processDue(op *operation) {
	now := a.env.clock.Now()
	for len(a.dueQueue) > 0 && !a.dueQueue[0].at.After(now) {
		item := heap.Pop(&a.dueQueue).(dueItem)
		expiry := &operation{actor: actorAutomatic, now: item.at}
		if expiry.now.Before(a.lastOperationAt) {
			// A deadline was moved into the past: events stay in order.
			expiry.now = a.lastOperationAt
		}
		in := item.intent
		switch {
		case in.status == statusRequiresCapture && item.at.Equal(in.captureBefore):
			expireIntent(in, expiry)
		case !in.confirmDeadline.IsZero() && item.at.Equal(in.confirmDeadline):
			expireConfirmation(in, expiry)
		}
		op.events = append(op.events, expiry.events...)
		op.deliveries = append(op.deliveries, expiry.deliveries...)
	}
	op.now, a.lastOperationAt = now, now
}

// change locks the account, processes what is due there, calls do, and
// publishes the events once the account is unlocked.
func (a *account) change(actor string, do func(*operation)) {
	op := &operation{actor: actor}
	a.mu.Lock()
	a.processDue(op)
	do(op)
	a.mu.Unlock()
	a.env.webhooks.publish(op)
}

// withIntent calls do for an intent with its account locked.
func (r *accountRegistry) withIntent(id string, do func(*operation, *intent) *apiError) error {
	a := r.byObjectID(id)
	if a == nil {
		return notFoundError("payment_intent", "intent", id)
	}
	var err *apiError
	a.change(actorDashboard, func(op *operation) {
		var in *intent
		if in, err = findIntent(a, id); err == nil {
			err = do(op, in)
		}
	})
	if err != nil {
		return err
	}
	return nil
}

// withSetupIntent calls do for a SetupIntent with its account locked.
func (r *accountRegistry) withSetupIntent(
	id string, do func(*operation, *setupIntent) *apiError,
) error {
	a := r.byObjectID(id)
	if a == nil {
		return notFoundError("setupintent", "intent", id)
	}
	var err *apiError
	a.change(actorDashboard, func(op *operation) {
		var si *setupIntent
		if si, err = findSetupIntent(a, id); err == nil {
			err = do(op, si)
		}
	})
	if err != nil {
		return err
	}
	return nil
}
