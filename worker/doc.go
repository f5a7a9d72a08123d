// Package worker is the engine: it captures and releases holds on time, each
// exactly once.
//
// # How a hold travels
//
//	capture job   opens promotion once a second; the expiry job passes deadline milestones
//	[Dispatcher]  promotes due holds, reserves budget, claims by nearest deadline
//	[Executor]    asks the hold for its next call, sends it, lets the hold decide on the answer
//	[Completer]   commits outcomes in batches and keeps them while Redis is unavailable
//
// Each stage is one struct with its own options and the few methods of the
// store that it needs. None has a pointer to the [Worker] or reaches back into
// an earlier stage; a channel or a Wake function connects them. The other parts
// are packages of their own: intake accepts requests, authorize places
// authorizations, reconcile compares with Stripe, query answers questions.
// [New] wires them all.
//
// What happens to a hold is decided in package hold, which is pure. Every
// decision is written by package commit, and every call to Stripe goes through
// one caller with budget, breaker, timeout and metrics. Nothing here knows
// Redis, stripe-go or HTTP.
//
// # Why cron only opens promotion
//
// Cron fires once a second, which alone would make a capture up to a second
// late. The capture job therefore opens promotion for everything due within the
// next second, and the dispatcher waits for each hold's exact time. A new
// request wakes the dispatcher directly. Since the dispatcher does not run
// inside a job, a long drain makes no tick skip. If the capture schedule is a
// window, such as TZ=Europe/Paris */5 9-18 * * *, scheduled holds are promoted
// only within it. Deadlines, requests and holds whose outcome is unknown do not
// wait for the window.
//
// # Jobs
//
//	capture     lets due holds be promoted
//	expiry      warns, applies on_expiry, rereads holds that are past their deadline
//	report      heartbeat, counts, conditions, dead replicas, capacity, loss of Redis' data
//	purge       deletes holds that were settled long ago
//	reconcile   compares both ways with Stripe; one replica at a time
//	verify      reads holds that were accepted unverified; probes an unavailable Stripe
//	resume      continues attempts to authorize that a crash or a cardholder left
//	refresh     reads intents that webhooks announced
//	inbox       schedules requests from the Redis inbox
//	mirror      writes terms to intents' metadata
//
// A tick is skipped while the job's last run goes on. A panic ends one run and
// is logged.
//
// # Failures
//
//   - The process dies at any line: its leases end, and another replica claims
//     the holds. It knows that something may have been sent, and sends the same
//     request under the same key or reads the intent, as package hold decides.
//     A lease is two seconds shorter than the setting, so that the takeover
//     comes within the setting.
//   - The process sleeps and wakes with an old lease: before each call it
//     checks that the lease outlasts the call's timeout, by a clock that began
//     before the claim was sent. A later commit is refused for its version.
//     Between that check and the wire the process could still sleep: then the
//     request arrives late, under a key that has its answer already, or at an
//     intent that is final.
//   - Redis is unavailable: nothing is claimed. Outcomes are kept and committed
//     when Redis is back. Requests are answered with health.ErrUnavailable.
//   - Stripe is unavailable: after five calls in a row without an answer the
//     breaker opens. Claimed holds are released as they were, and one call
//     every few seconds tries again.
//   - Stripe rejects the key: nothing is claimed. The verify job tries the key
//     every half minute.
//   - Stripe answers 429: that account's requests of that kind pause for all
//     replicas.
//   - The worker stops: claims end, calls under way get the grace time, and
//     claimed holds that were not sent go back to the ready queue.
//
// # Bounds
//
// Claims that await Stripe are at most twice the concurrency, uncommitted ones
// four times. A claim makes at most four calls. A job takes on 256 holds of a
// partition at a time.
//
// # What it does not do
//
// It stores nothing and decides nothing. It does not deliver events: package
// alert does.
package worker
