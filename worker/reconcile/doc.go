// Package reconcile keeps the schedule and Stripe in agreement.
//
//   - [Reconciler] compares them both ways: every quarter of an hour, on
//     request, and after Redis has lost its data.
//   - [Verifier] reads the intents of holds that were accepted unverified.
//   - [MetadataMirror] writes the terms of holds to their intents' metadata,
//     from which a lost schedule is rebuilt.
//
// # A comparison
//
//	Stripe to schedule   List each account's intents of the last 35 days, newest first, 100 a page.
//	                     Schedule an intent that holds money, has terms in its metadata and has no
//	                     hold. Update a known hold to the state at Stripe. Report an intent that
//	                     holds money and has no terms as an orphan, and never touch it. Report
//	                     invalid terms with the reason. If a list shows another state than a
//	                     settled hold, read the intent; a contradiction requires attention.
//	                     After ten pages, the rest of a long list is divided by the time of
//	                     creation, and eight pages are requested at once.
//	schedule to Stripe   Read the intents of open holds that no list contained, one by one. A hold
//	                     requires attention if Stripe does not find its intent twice; the
//	                     second read is after all first ones, so that many 404s show a wrong key.
//
// Terms in metadata may be found after their time. A capture up to 24 hours
// late is made now. A later capture, and one at or after the deadline, requires
// attention. A release is made however late it is. The API refuses such
// requests with in_the_past or after_deadline.
//
// A comparison has one part for each step. accountCollector names the accounts.
// listComparer and rangeComparer read their lists, and pageComparer compares a
// page. unlistedComparer reads the other holds. changeProposer decides,
// changeWriter writes, and findingRecorder keeps what the operator is told.
//
// # Invariants
//
//   - A change is committed only on the version on which it was decided.
//   - A listed intent that still holds money is ignored if its hold changed
//     after the list was requested. A final status is always applied.
//   - A list alone reopens no settled hold: a read confirms it. A contradiction
//     never leads to a capture or a release by itself.
//   - One replica at a time compares, under a lease in Redis with a fencing
//     token. A run with an outdated token stops at its next save.
//   - A dry run lives in its replica's memory. It writes only budget
//     reservations to Redis.
//   - Each page and each read takes one request of the read budget. A run uses
//     at most half of the budget.
//   - An orphan and invalid terms are published once over all replicas, and
//     logged once a day.
//
// # Interruptions
//
// A run saves its position, counts and findings after each page. If its replica
// dies, [Reconciler.StartRunAfterDataLossOrResume] of another replica continues the run. That
// replica skips the second half, because it does not know the lists of the
// first. The next run performs it. Comparing a page twice changes nothing. If
// Stripe or Redis does not answer, a run releases its lock and is continued
// later. A run that is older than an hour is started again.
//
// # After data loss
//
// The store keeps its settings in Redis. If they disappear while a replica
// runs, Redis has lost its data, and a comparison starts at once. A comparison
// also starts at once on a Redis that has never seen one. The replicas share
// the connected accounts that they have seen ([KnownAccounts]), because an
// empty Redis names none. An operator adds others with holdd reconcile
// --account. Lost for good are history, acknowledgements, and requests that
// were neither mirrored nor carried out.
//
// # The mirror
//
// One replica at a time writes the terms of a hold, under a lock in Redis that
// ends after 30 seconds. Updates use at most half the rate. The mirror sends
// none while due holds wait for the budget, and none for a hold that is due
// soon. The answer to an update shows the whole metadata; a second update
// removes pairs of earlier terms. An update whose outcome is unknown may arrive
// after a later one and restore earlier terms. The mirror does not detect that.
//
// # Bounds
//
// A comparison covers 1,000 connected accounts, keeps 1,000 findings (500 of a
// kind; the counts are exact), remembers a million intents as seen, and logs a
// hundred findings. A tick of the verifier takes about 10,000 holds and reads
// for two seconds. A tick of the mirror lasts ten seconds.
package reconcile
