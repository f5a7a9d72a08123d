// Package intake accepts requests about holds from every source, decides each
// of them, and commits the decision.
//
//	API, CLI       [Scheduler.Schedule] and the methods of [Changer]
//	Redis inbox    [RequestInboxConsumer], a job: decodes entries and passes them to the scheduler
//	webhooks       [WebhookProcessor.ApplyStripeEvent]: queues the intents to be read
//	metadata       [IntentRefresher], a job: reads queued intents, schedules those with terms
//
// Package hold decides what may happen to a hold. Package commit writes each
// decision on the version of the hold on which it was made.
//
// # Scheduling
//
// The scheduler reads the holds, validates the requests, retrieves the intents
// as the read budget allows, and commits all new holds of a batch together.
//
//   - A repeated request returns the existing hold, also after its times have
//     passed. A request with other terms fails with hold_exists.
//   - If a batch has several requests for one intent, the first is decided and
//     the others are compared with its hold.
//   - A request that conflicts with another writer is decided again.
//   - A hold whose intent was not read is accepted unverified, and the verify
//     job reads the intent later. A request with amount, currency and
//     expires_at needs no read.
//
// # Changes
//
// A change names the revision that the caller has read, or accepts any. If
// Redis' reply is lost, the committer writes the same change again, and the
// store recognizes it. In between, another writer may have built on the change;
// a claim does. The hold's history then shows that the change was accepted. If
// the terms differ by then, the history does not show which change won, and the
// request fails with [health.ErrUnavailable].
//
// # Webhooks
//
// A signed event is a hint to read the intent, because events arrive late,
// twice and out of order, and anyone who has the signing secret can forge one.
// No event changes what holdd does with the money, whatever it says: the intent
// is queued, read a moment later within the read budget, and the hold applies
// the answer. Only a snapshot that agrees with a verified hold needs no read.
//
// How a review was closed is only in its event. The hold's history records it,
// and the next read that shows no open review applies it.
//
//   - Stripe receives a 2xx answer only after the write. If Redis is
//     unavailable, Stripe sends the event again, for three days.
//   - The queue has each intent once. A refresh that is requested while another
//     is under way stays queued.
//   - A claimed hold is left to the executor, and its intent is read once the
//     claim has ended.
//   - An event about an unscheduled intent is remembered for three days. The
//     intent is read when it is scheduled, even if the request needs no read.
//
// # Terms in metadata
//
// An intent that holds money and has terms in its metadata becomes a hold
// ([hold.NewFromMetadata]). The refresher uses the metadata at the time of the
// read.
//
// # The inbox
//
// The inbox decodes an entry by the API's rules and acknowledges it after the
// commit. An entry may be read twice; the repeated request returns its hold. If
// Redis is unavailable, or Stripe does not find the intent, the entry stays in
// the stream and any replica reads it again after the lease. An intent that
// Stripe has not found for two minutes is rejected.
//
// # Rejections
//
// The [Rejector] rejects invalid requests from the inbox and from metadata. It
// records them in the stream holdd:inbox:rejected, publishes them once over all
// replicas, logs and counts them.
//
// # What this package does not do
//
// It sends no captures and no cancels: such a request makes the hold due, and
// the dispatcher claims it. Package reconcile finds intents without an event.
// Package api verifies signatures and serves HTTP.
package intake
