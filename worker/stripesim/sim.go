package stripesim

import (
	"cmp"
	"context"
	"net/http"
	"sync"
	"time"
)

// Sim is a simulator of Stripe: accounts, their objects, and the calls that
// change them. Its methods may be called from many goroutines.
//
// Sim itself has the time, the payments, the ledger and the handlers. Its fields
// are what a test changes besides, each with methods of one purpose.
type Sim struct {
	*clock
	*ledger
	*payments

	Cards    *Cards    // saved cards and what their banks answer
	Faults   *Faults   // which calls go wrong, and how
	Keys     *APIKeys  // revoked and restricted keys
	Settings *Settings // limits and answers that may change at any time
	Webhooks *Webhooks // the account's webhook endpoints

	env      *environment
	accounts *accountRegistry
	api      *apiServer
}

// environment is what every account shares.
type environment struct {
	options         Options
	platformAccount string
	clock           *clock
	settings        *Settings
	ledger          *ledger
	webhooks        *Webhooks
}

// New returns a simulator. It starts no goroutine: see [Sim.Run]. A simulator
// that is used inside a testing/synctest bubble must be made there.
func New(o Options) *Sim {
	o = o.withDefaults()
	platform := cmp.Or(o.Account, "acct_1"+seededToken(o.Seed, 15, "platform"))
	env := &environment{options: o, platformAccount: platform, clock: newClock(o),
		settings: newSettings(o), ledger: &ledger{}, webhooks: newWebhooks(o)}
	accounts := newAccountRegistry(env)
	faults, keys := newFaults(o), &APIKeys{}
	return &Sim{
		clock: env.clock, ledger: env.ledger, payments: &payments{accounts},
		Cards: &Cards{accounts}, Faults: faults, Keys: keys, Settings: env.settings,
		Webhooks: env.webhooks, env: env, accounts: accounts,
		api: &apiServer{env: env, accounts: accounts, faults: faults, keys: keys},
	}
}

// Account returns the id of the platform's own account.
func (s *Sim) Account() string { return s.env.platformAccount }

// Handler serves Stripe's API over HTTP. A dropped connection is a real one.
func (s *Sim) Handler() http.Handler { return httpHandler{s.api} }

// Transport serves Stripe's API as an http.RoundTripper: no listener, no
// goroutine, any host. A dropped request gives ECONNRESET and a dropped reply
// io.ErrUnexpectedEOF. A context that ends gives its error, and the effect may
// have happened.
func (s *Sim) Transport() http.RoundTripper { return transport{s.api} }

// ControlHandler serves the control endpoints under /_sim/ (see [ControlHelp]).
// They are for the tests beside the simulator: keep them on loopback.
func (s *Sim) ControlHandler() http.Handler { return newControlHandler(s) }

// Dashboard returns Stripe's Dashboard, where an operator acts by hand.
func (s *Sim) Dashboard() Dashboard { return Dashboard{s} }

// Advance moves the simulator's clock forward and processes what falls due.
func (s *Sim) Advance(d time.Duration) {
	if d > 0 {
		s.clock.offset.Add(int64(d))
	}
	s.ProcessDue()
}

// ProcessDue expires the authorizations and the confirmations that are due.
// Every call to an account does the same for that account first, so ProcessDue
// is only needed to get the events at their time.
func (s *Sim) ProcessDue() {
	for _, a := range s.accounts.sorted() {
		a.change(actorAutomatic, func(*operation) {})
	}
}

// Run expires authorizations at their time and delivers webhooks with their
// retries, until ctx ends and no delivery is in flight. Without Run,
// [Sim.ProcessDue] and [Sim.DeliverDueWebhooks] do the same on demand.
func (s *Sim) Run(ctx context.Context) {
	var deliveries sync.WaitGroup
	defer deliveries.Wait()
	slots := make(chan struct{}, webhookWorkers)
	for {
		s.ProcessDue()
		due, next := s.Webhooks.popDue(time.Now())
		for i, p := range due {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				for _, q := range due[i:] {
					s.Webhooks.requeue(q)
				}
				return
			}
			deliveries.Go(func() {
				defer func() { <-slots }()
				s.attemptDelivery(ctx, p)
			})
		}
		if !s.waitForDue(ctx, next) {
			return
		}
	}
}

// waitForDue waits until a delivery or an expiry is due, and reports whether
// ctx still runs. nextDelivery is zero if no delivery waits.
func (s *Sim) waitForDue(ctx context.Context, nextDelivery time.Time) bool {
	wait := time.Hour
	if !nextDelivery.IsZero() {
		wait = min(wait, time.Until(nextDelivery))
	}
	if at, ok := s.accounts.nextDue(); ok {
		wait = min(wait, s.clock.wallDuration(at)+time.Millisecond)
	}
	t := time.NewTimer(max(wait, time.Millisecond))
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.Webhooks.wakeup:
	case <-ctx.Done():
		return false
	}
	return true
}

// DeliverDueWebhooks tries every webhook delivery that is due once, and returns
// how many there were.
func (s *Sim) DeliverDueWebhooks(ctx context.Context) int {
	due, _ := s.Webhooks.popDue(time.Now())
	for _, p := range due {
		s.attemptDelivery(ctx, p)
	}
	return len(due)
}

func (s *Sim) attemptDelivery(ctx context.Context, p pendingDelivery) {
	if s.Webhooks.attempt(ctx, p) {
		s.accounts.getOrCreate(p.event.Account).confirmDelivery(p.event.ID)
	}
}

// PruneIdempotencyKeys removes one idempotency key, or all of them if key is
// empty.
func (s *Sim) PruneIdempotencyKeys(key string) {
	for _, a := range s.accounts.sorted() {
		a.mu.Lock()
		a.idempotency.remove(key)
		a.mu.Unlock()
	}
}

// Stats returns a copy of the counters.
func (s *Sim) Stats() Stats {
	st := Stats{Calls: map[CallOutcome]int64{}, MaxPerSecond: map[EndpointClass]int{}}
	for _, a := range s.accounts.sorted() {
		a.mu.Lock()
		a.stats.addTo(&st)
		a.mu.Unlock()
	}
	s.Webhooks.addTo(&st)
	return st
}
