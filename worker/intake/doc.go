// Package intake accepts requests about holds from every source, and decides
// and commits each of them.
//
//	API, CLI       [Scheduler.Schedule], and the methods of [Changer]
//	Redis inbox    [Inbox], a job: decodes entries and hands them to the scheduler
//	webhooks       [Webhooks.ApplyStripeEvent]: settles or changes the hold, or queues its intent
//	metadata       [Refresher], a job: reads queued intents, makes holds of terms in their metadata
//
// What may happen to a hold is decided by package hold, which is pure. Every
// decision is written by package commit, on the version of the hold that it was
// made on. Intents are read through the shared budget and circuit breaker.
//
// # Scheduling
//
// The scheduler reads the holds, validates the requests, retrieves the intents
// from Stripe as far as the read budget allows, and commits all new holds of a
// batch together. Each request has a result of its own.
//
//   - The same request again is the same hold, also after its times have
//     passed. Other terms are hold_exists.
//   - Of requests for one intent in one batch, the first is decided and the
//     others are compared with it.
//   - A request that loses to another writer is decided again on what that
//     writer wrote. After its retries it is answered with
//     [health.ErrUnavailable].
//   - A hold whose intent could not be read is accepted unverified. The verify
//     job reads it later. A request that says amount, currency and expires_at
//     needs no read.
//
// # Changes
//
// A change names the revision that the caller has seen, or accepts any. If
// Redis' reply is lost, the committer writes the very same again, and the store
// recognizes it. Another writer may have gone on from the change in between,
// for instance a claim. Then the hold's history shows that the change was
// accepted, and the caller must not be refused because of what the change
// itself caused. If the terms differ by then, the history does not tell whose
// change won, and the answer is [health.ErrUnavailable].
//
// # Webhooks
//
// A signed event is a hint: it may be stale, come twice, or come before an
// earlier one. Only final facts are taken from the event itself: the statuses
// succeeded and canceled, and that a review was closed. They settle or change
// the hold at once, by the same kind of commit as everything else, so that a
// race with a claim has one winner. For everything else the intent is queued
// and read a moment later.
//
//   - The answer to Stripe is good only after the write. If Redis is
//     unavailable, Stripe sends the event again, for three days.
//   - The queue holds each intent once, however many events come. A refresh
//     that is requested while another one is under way stays queued.
//   - A claimed hold is left to its executor, and is read once the claim has
//     ended.
//   - An event of an intent that is not scheduled is remembered for three days.
//     The intent is read as soon as it is scheduled, even if the request says
//     everything that a read would.
//
// # Terms in metadata
//
// An intent that has terms in its metadata and holds money becomes a hold
// ([hold.Adopt]). The metadata at the time of the read counts, not the event's.
// No caller waits for the answer, so invalid terms are rejected. Package hold
// decides what a time means that has passed.
//
// # The inbox
//
// An entry is decoded by the API's rules and acknowledged after the commit. It
// may be read twice, and the repeated request finds its hold. An entry that
// can't be decided now stays in the stream and is read again after the lease,
// by any replica: Redis is unavailable, or Stripe has not known the intent for
// less than two minutes.
//
// # Rejections
//
// A request from the inbox or from metadata that is at fault goes to the
// [Rejector]. It is recorded in the stream holdd:inbox:rejected, published once
// over all replicas, logged and counted, in this order. The inbox acknowledges
// the entry after that.
//
// # What this package does not do
//
// It sends no captures and no cancels: a request for one makes the hold due,
// and the dispatcher claims it. It does not look for intents of which no event
// was received: package reconcile does. It does not verify signatures and does
// not serve HTTP: package api does.
package intake
