// Package worker sees holds to their end: it looks at the schedule, claims what is due, acts on it at Stripe, and settles what comes of it.
//
// # The way of a hold
//
// A wish comes to [Worker.Schedule], is checked, met with Stripe's truth where the budget allows, and committed. From then on:
//
//	cron ticks     the capture job opens the gate for what is scheduled, the expiry job looks after deadlines; both wake the drain loop
//	drain loop     Due promotes what has come due and takes back leases that ran out; then for each lane, nearest deadline first:
//	               draw from the shared budget, claim as many holds as it gave
//	handlers       ask the hold for its call, send it, let the hold decide on the answer; again under the same claim if it says so
//	settler        commits what was decided, many at a time, and logs each outcome once it is committed
//
// Nothing here decides what happens to a hold: that is package hold's, and pure. Nothing here knows Redis, Stripe or HTTP: [Store], [Stripe] and
// [Observer] are what it needs of them.
//
// # Why cron only opens the gate
//
// A tick a second alone would make every hold up to a second late. So a tick looks a second ahead and the drain loop acts on the moment; a wish that
// comes in between wakes the loop by itself. And because the loop doesn't run inside a cron job, a long drain doesn't make ticks skip. With a
// schedule that is a window (TZ=Europe/Paris */5 9-18 * * *) the gate is open only then, for what is scheduled; deadlines, wishes of
// people and holds whose outcome isn't known don't pass through it.
//
// # What can go wrong, and what then
//
//   - The process dies at any line: its claims' leases end, another replica claims them and knows that something may have been sent. It sends the same
//     request under the same key, or reads Stripe back, as package hold says. A lease is asked for two seconds shorter than the setting, so that
//     taking over happens within the setting.
//   - The process sleeps and wakes with an old lease: before each call it looks whether the lease outlives the call's time-out, by a clock that
//     began before the claim was sent. What it would commit later is refused by the version. Between that look and the wire it could still sleep: then
//     a request arrives late, under a key that already has its answer, or at an intent that is final already.
//   - Redis is away: nothing is claimed; results are kept and committed when it is back; wishes are answered with ErrUnavailable.
//   - Stripe is away: a breaker opens after five calls in a row without an answer; claimed holds are given back untouched; one call every few
//     seconds tries whether it is back. A schedule is then accepted unchecked.
//   - The key is rejected: nothing is claimed, one check every half minute asks whether it works again.
//   - A 429 for a rate: that account's requests of that kind pause for all replicas.
//   - Stopping: claims end, calls under way get the grace time, what was claimed and not sent goes straight back to the ready queue.
//
// Bounds: claims held at once are one and a half times the concurrency; a claim makes at most four calls; jobs take on 256 holds of a partition at a
// time; pages of lists look at 1,000 holds at the most.
package worker
