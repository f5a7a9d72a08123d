// Package simtest runs the whole system in virtual time under faults drawn from
// a seed, and judges each run. It contains only tests.
//
// # A world
//
// The replicas are real: the worker with its cron jobs, the store with its
// scripts and go-redis, the gateway with stripe-go. Redis is miniredis, Stripe
// is the simulator, and the clock is that of testing/synctest. One seed
// determines everything that comes from outside before the run begins: the
// holds and their terms, the requests of callers, changes in the Dashboard, and
// the faults. A plan consists of lists, so that a failing plan can be shrunk.
//
// Faults happen at the edges only:
//
//   - The connection to Redis (redisConn): commands and replies are cut, slow
//     or late; Redis is down, frozen, emptied, or comes back without its last
//     seconds and with another server's clock.
//   - The connection to Stripe (stripeTransport): what the simulator can do
//     wrong, no connection, requests that arrive up to 25 s late, a revoked
//     key.
//   - The process: killed at a time or at a call, stopped, or paused.
//   - A later release, which writes a field that this release does not know, and
//     in one kept world a state (later_release_test.go).
//   - Actors: requests about the time of a claim, lost replies, repetitions at
//     other replicas, wrong accounts, amounts and deadlines, changes in the
//     Dashboard, captures of parts by another system, and signed events that
//     Stripe never sent.
//
// In three worlds of ten, holds also come from metadata, the inbox and cards
// that holdd authorizes (plan_intake_test.go). Stripe's webhooks are delivered
// late, twice, out of order or never. Reconcile and the mirror run in a part of
// these worlds.
//
// In worlds of days, some holds are paid with Klarna, PayPal, Affirm, Afterpay
// or Cash App, which have no capture_before (plan_method_test.go).
//
// In three worlds of ten, some holds have renewal terms (renewals_test.go): their
// cards are saved, some banks decline, and faults and requests come about the
// time at which the first renewal begins. Their money moves from one intent to
// the next, so that rules of their own judge them (rules_renewals_test.go).
//
// # The same seed gives the same run
//
// Goroutines have no fixed order, so every request has a delay of its own, to
// the nanosecond, drawn from the seed and the text of the request. No two
// requests act at once, and time passes only when all goroutines wait: virtual
// time alone orders the run. [TestRunPlan_Deterministic] compares every line of
// two runs. A change of plan_draw_test.go or of a request's text gives other
// worlds for the same seeds. Worlds that found a bug are therefore kept as
// plans, in regression_test.go.
//
// # The judge
//
// The judge knows the plan, the simulator's ledger, the traffic with Redis and
// Stripe, the requests and answers of the actors, and what holdd reports at the
// end. rules_test.go lists its rules, each with the promise that it checks. A
// request without an answer may or may not have been accepted; an effect must
// be allowed by one of the terms that are then possible (terms_test.go). After
// Redis was emptied, the terms are those that were in the metadata.
//
// testdata/mutants has a file for each guard of the system. [TestMutants]
// checks that each guard is still in the code. With -mutants it removes one
// after the other and expects that a regression plan, a seed, or the unit test
// that the mutant names fails.
//
// # Limits
//
//   - All replicas share one clock. Only its distance from Redis' clock varies.
//   - A request that its sender gave up arrives within 25 s. The system takes
//     one that is later than 30 s for lost.
//   - Requests that were accepted within the writes that Redis lost count as
//     unanswered.
//   - Connected accounts after a loss of data are judged only if no replica
//     died.
//   - miniredis differs from Redis; other tests use a real one.
package simtest
