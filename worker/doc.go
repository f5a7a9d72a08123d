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
// # Comparing with Stripe
//
// Webhooks get lost, people click in the Dashboard, Redis can forget. So a job compares both ways (reconcile.go is the run, compare.go what it does):
//
//	Stripe to schedule   each account's intents of the last 35 days, newest first, a hundred a page. What holds money, has terms in its metadata and is
//	                     no hold yet becomes one, by the same rules as a wish. A known hold is brought to what Stripe says of it. What holds money and has
//	                     no terms is told of and never touched; wrong terms are told of with the reason.
//	schedule to Stripe   open holds that no list told of are read one by one; what Stripe doesn't know, asked twice, is a person's.
//
// Terms that are found late were told to be good once, so a time that passed is no reason to drop them: a capture up to 24 h late is made now, a later
// one, one whose time is not before its deadline, and one whose on_expiry would act at once go to attention with an alert, a release is made however late. (Whoever schedules
// by API is there to be told in_the_past or after_deadline; here nobody is.)
//
// Nothing is set back: a change is committed only to the version that it was decided on, and what a list says of a hold that still holds money is
// left aside if the hold was written after the list was asked for. What has ended at Stripe stays ended, however old the list.
//
// One replica at a time compares, under a lease in Redis with a fencing token. After each page it notes the cursor, the counts and the findings there; when it dies, whoever
// reports next goes on from there (and leaves the second half to the next run, since what the dead one's lists told of isn't known). A page that
// is done twice changes nothing, but its findings are then not counted again. Each replica has the job; a run begun by another within nine tenths of the
// schedule's interval is enough. A run that Stripe or Redis leaves hanging gives the lock back and goes on once they answer; after an hour it is begun anew.
// Each page and each read takes one from the budget of reads, at the most every other one that there is.
//
// A dry run lives in its replica's memory alone and writes nothing but the budget.
//
// That Redis was emptied while in use shows by its facts about itself being gone; a Redis that has never seen a comparison is compared at once as well.
// An empty Redis doesn't tell which connected accounts there are: those that a replica has met since it runs are told to the others with
// each report and looked at, others when they are named (holdd reconcile --account). Lost for good are history, acknowledgements, and wishes that were not yet mirrored or carried out.
//
// # Authorizing cards
//
// [Worker.Authorize] writes an attempt down under the caller's Idempotency-Key before the request leaves, with a lease, so that of twenty clicks one is sent
// and the others hear its outcome. The key for Stripe is a function of the caller's: an attempt that Redis has lost meets its own answer there. What
// is not known is asked again under the same key. A new key is taken only after Stripe has replayed an error, or may have forgotten the key, and a list
// read to its end shows that no intent carries the attempt's mark. The terms go into the new intent's metadata, so whoever finds it can schedule it:
// the abandon job two minutes after a crash, a webhook, or reconcile. After an hour holdd confirms an intent no more, and two minutes
// later the job cancels it: a cancel at Stripe would take an authorization with it, so there must be none under way.
//
// Not covered: a Redis that has lost an attempt, whose caller repeats it after Stripe has forgotten the key (a day) as well.
//
// # What Stripe tells by itself
//
// A signed event is a hint and hardly ever the truth: it may be stale, come twice, or before one that happened earlier. Only what can't change any more
// is believed: succeeded and canceled, and that a review was closed. [Worker.ApplyStripeEvent] settles a hold by these on the spot, in the same kind of
// commit as everything else, so that a race with a claim has one winner. Of everything else it notes in the store that the intent is to be looked at; the look
// job reads it a moment later, once for however many events, within the read budget and with the versions that keep it from undoing what happened meanwhile. So
// an event is answered with as much as one write, and answered well only after it; when Redis is away Stripe is told to send it again, which it does
// for three days. A hold under work is left to its worker, and looked at once it is not. There is no queue of events of our own: the set of looks
// holds each intent once, however hard it pours.
//
// An intent that is no hold yet is remembered for three days, and looked at as soon as it becomes one, also if the caller told everything that a read
// would. One whose metadata has terms is read and made a hold of; what is wrong with its terms goes to the stream of rejects, with an
// error in the log. What is believed is what stands in the metadata at the read, not what stood there when the event was made.
//
// A review pauses its hold once, if the read shows it open; approved, it resumes it. Closed in another way while the money is still held, or gone
// without a word for an hour, it is a person's: attention, cause review. One whose hold a person resumed in spite of it does nothing more.
//
// # The inbox
//
// The inbox job takes entries of the stream in batches, reads them by the API's own rules (Options.Decode) and hands them to [Worker.Schedule]. It
// acknowledges after the commit: an entry may be taken twice, and the same wish again is the same hold. What may work later stays
// unanswered and comes again after the lease, to whichever replica; an intent that Stripe doesn't know is doubted for two minutes.
//
// # The mirror
//
// Terms that didn't come from an intent's metadata are written there by the mirror job, so that a lost Redis can be rebuilt. It never stands in anybody's
// way: a schedule only puts the hold into a set; updates have a bucket of half the rate; nothing is written while holds that are due wait for the budget,
// nor for a hold that is about to be acted on. One update does in most cases. Its answer shows what stands there then, and what earlier terms left
// is taken out by a second. An update that was given up as unknown and arrives after a later one puts earlier terms back; nothing here sees that, reconcile compares.
//
// # Telling people
//
// What happens to a hold is published with the change. What is no hold's is published by facts.go, once over all replicas: rejects, orphans and abandoned
// authorizations by what they are about; conditions such as Stripe being away as episodes, which begin with the first replica that sees one and end a
// minute after the last one saw it; a replica's end by whoever finds its heartbeat lapsed. Package alert takes it from there.
//
// Capacity (capacity.go): every minute one replica counts what is due and what falls due within a day. Where that makes no queue of half a minute nothing is read. Where
// it does, the holds in it, 20,000 at the most, are served on paper at the budget's rate, nearest deadline first; captures whose turn comes after their
// deadline are told of, with their sums. It reckons with the budget as it is set: that Stripe is away is another alert.
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
//   - Redis' reply to a wish is lost: it is written once more, which changes nothing where it stands already. Where a claim or another wish has gone on from
//     it meanwhile, the hold's history tells, and it was granted: it must not be refused for what it brought about itself. Where other terms have come
//     since, nobody can tell, and the answer is ErrUnavailable.
//   - Redis is slow: whoever waits for it holds no lock that others need. (Whoever asked for a comparison once did: the one under way stood still meanwhile.)
//   - Stripe is away: a breaker opens after five calls in a row without an answer; claimed holds are given back untouched; one call every few
//     seconds tries whether it is back. A schedule is then accepted unchecked.
//   - The key is rejected: nothing is claimed, one check every half minute asks whether it works again.
//   - A 429 for a rate: that account's requests of that kind pause for all replicas.
//   - Stopping: claims end, calls under way get the grace time, what was claimed and not sent goes straight back to the ready queue.
//
// Bounds: claims that wait for Stripe are twice the concurrency, those that are not settled four times; a claim makes at most four calls; jobs take on 256 holds of a partition at a
// time; pages of lists look at 1,000 holds at the most. A comparison looks at 1,000 accounts, keeps 1,000 findings (500 of a kind; the counts are
// exact), remembers a million intents as seen, and logs a hundred lines about findings, each once a day.
package worker
