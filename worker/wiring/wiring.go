// Package wiring builds a worker from a store and a Stripe client. The daemon,
// the simulation, the tests and the benchmarks use it, so that the tests cover
// the wiring of the daemon.
//
// It alone passes the store and the gateway to the parts of the worker.
package wiring

import (
	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker"
	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/reconcile"
)

// NewEngine returns an engine that keeps its holds in s and calls Stripe through
// client.
func NewEngine(s *store.Store, client gateway.Client, o worker.Options) (*worker.Engine, error) {
	return NewEngineWithStores(NewStores(s), s, client, o)
}

// NewEngineWithStores is [NewEngine] for callers that replace some of the
// stores. budget limits the requests to client.
func NewEngineWithStores(
	s worker.Stores, budget gateway.Budget, client gateway.Client, o worker.Options,
) (*worker.Engine, error) {
	o, err := o.WithDefaults()
	if err != nil {
		return nil, err
	}
	callerOptions := gateway.CallerOptions{Timeout: o.CallTimeout, Health: o.Health,
		Logger: o.Logger, AccountKnown: o.AccountKnown}
	if o.Observer != nil {
		callerOptions.Observer = o.Observer
	}
	if o.Tracer != nil {
		callerOptions.Tracer = o.Tracer
	}
	caller := gateway.NewCaller(client, budget, callerOptions)
	return worker.New(s, worker.StripeClient{StripeCaller: caller, StripeMonitor: caller}, o)
}

// NewStores returns s as each of the interfaces that a worker needs.
func NewStores(s *store.Store) worker.Stores {
	return worker.Stores{
		Queue:      s,
		Changes:    s,
		Deadlines:  s,
		Purge:      s,
		Status:     s,
		Ping:       s,
		Commit:     s,
		Events:     s,
		Holds:      s,
		Capacity:   s,
		Inbox:      s,
		Rejections: s,
		Refresh:    s,
		Attempts:   s,
		Reconcile:  reconcile.Stores{Runs: s, Holds: s, Accounts: s, Budget: s},
		Unverified: s,
		Locks:      s,
		Unmirrored: s,
		Repair:     s,
		Erasure:    s,
	}
}
