// Package reconcile keeps the schedule and Stripe in agreement.
//
//   - [Reconciler] compares them both ways: every quarter of an hour, on
//     request, and after Redis lost its data.
//   - [Verifier] reads the intents of holds that were accepted unverified.
//   - [Mirror] writes holds' terms to their intents' metadata, from which a
//     lost schedule is rebuilt.
//
// Webhooks get lost, an operator clicks in the Dashboard, Redis loses data. A
// comparison finds all of it.
//
// # A comparison
//
//	Stripe to schedule   Each account's intents of the last 35 days, newest first, 100 a page.
//	                     An intent that holds money, has terms in its metadata and has no hold
//	                     becomes one, by the rules of a request. A known hold is brought to what
//	                     Stripe says. An intent that holds money and has no terms is an orphan: it
//	                     is reported and never touched. Invalid terms are reported with the reason.
//	schedule to Stripe   Open holds that no list contained are read one by one. A hold needs
//	                     attention if Stripe, asked twice, does not know its intent.
//
// Terms that are found late were valid once, so a time that has passed is no
// reason to drop them. A capture up to 24 hours late is made now. A later one,
// and one whose time is not before the deadline, needs attention. A release is
// made however late. (A caller of the API is told in_the_past or after_deadline
// instead.)
//
// # Invariants
//
//   - A change is committed only on the version it was decided on.
//   - A list never takes a hold back: what it says of an intent that still
//     holds money is ignored if the hold was written after the list was
//     requested. A final status stays, however old the list.
//   - One replica at a time compares, under a lease in Redis with a fencing
//     token. A run whose token is outdated stops at its next save.
//   - A dry run lives in its replica's memory and writes nothing to Redis but
//     the budget.
//   - Each page and each read takes one from the budget of reads, every other
//     one at most.
//   - An orphan or invalid terms are published once over all replicas, and
//     logged once a day.
//
// # Interruptions
//
// A run saves its position, counts and findings after each page. If its replica
// dies, the next one that calls [Reconciler.StartIfNeeded] continues it. It skips the
// second half, because it does not know what the first replica's lists
// contained; the next run does it. A page that is compared twice changes
// nothing. A run that Stripe or Redis does not answer releases its lock and is
// continued once they do. After an hour it is started again.
//
// # After data loss
//
// Redis holds facts about itself. If they are gone while a replica runs, Redis
// was emptied, and a comparison starts at once. So it does on a Redis that has
// never seen one. An empty Redis names no connected accounts. The replicas
// share the accounts that they have met ([KnownAccounts]) with every report; an
// operator names others (holdd reconcile --account). Lost for good are history,
// acknowledgements, and requests that were neither mirrored nor carried out.
//
// # The mirror
//
// Terms that did not come from an intent's metadata are written there in the
// background. Updates have a budget of half the rate. None is sent while due
// holds wait for the budget, nor for a hold that is about to be acted on.
// Mostly one update is enough: its answer shows the metadata as it is then, and
// a second update removes what earlier terms left in it. An update whose
// outcome is unknown may arrive after a later one and restore earlier terms.
// Nothing here notices that.
//
// # Bounds
//
// A comparison covers 1,000 connected accounts, keeps 1,000 findings (500 of a
// kind; the counts are exact), remembers a million intents as seen, and logs a
// hundred findings. A tick of the verifier takes 100 holds. A tick of the
// mirror lasts ten seconds.
package reconcile
