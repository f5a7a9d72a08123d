// Package alert delivers events to the booking system as signed callbacks, and
// alerts to chats, mail and pagers. It decides nothing about holds, and no hold
// waits for a delivery.
//
// # Model
//
// Each partition has a stream of events. An event about a hold is written by
// the script that commits the change; a system event is published once over all
// replicas, in the first partition. [FromEvent] turns an event into an alert.
// It is pure, so that every replica and every attempt sends the same alert.
//
// A sink is a receiver: the callback, or an address of notify_urls. Each sink
// and partition has a deliverer with its own goroutine. In each round it reads
// a batch from its cursor in the stream, groups the events by hold, sends the
// groups, and saves its progress.
//
//	streamReader ─▶ backlog ─▶ sinkSender ─▶ parkedHolds, unsavedDeadLetters, sinkHealth ─▶ sinkLease
//
// One replica at a time delivers, under a lease with a fencing token in Redis.
// If it dies, another continues within a minute and a half from the saved
// progress, and sends again what was delivered since.
//
// # Guarantees
//
//   - At least once, in order for each hold. The webhook-id of a callback is
//     the event's id, by which receivers ignore duplicates.
//   - No two events have the same id, because a receiver would ignore the
//     second one. The id of an event about a hold contains the time of the
//     decision, as versions start anew if Redis loses its data; the id of a
//     deadline warning contains the deadline and the threshold.
//   - Each attempt is signed with its own time. Standard Webhooks lets a
//     receiver reject signatures older than five minutes.
//   - Errors and logs never contain an address, because it may contain a token.
//   - Redirects are not followed. Private addresses are allowed, because a
//     receiver may run next to holdd and only the operator sets addresses.
//
// # Results of an attempt
//
//	delivered    any 2xx
//	retry_later  429, or 503 with Retry-After: the sink waits that long, an hour at most
//	gone         410: the sink is disabled until its address changes
//	rejected     400, 409, 413, 422: the hold is parked, other holds continue
//	failed       anything else, and no answer
//
// A failed attempt may be the fault of the event or of the sink. If the sink
// accepted another hold's event in the same round, the hold is parked.
// Otherwise the sink is failing: the cursor stays, and each attempt sends the
// events of three holds, in case only the first one cannot be accepted.
//
// Attempts back off from 5 s to 10 min for a sink, and from 10 s to an hour for
// a parked hold. An event that was not accepted within three days is a dead
// letter, which "holdd callbacks replay" sends again. A sink and partition
// parks at most 256 holds with 64 events each, and keeps 10,000 dead letters.
// Events that wait take space only in the stream, which is trimmed at
// events_max_size; trimmed events are counted (from Redis 7.0 on) and reported. A
// new sink gets events from then on.
//
// # Alerts
//
// Each address has a least severity. Alerts that arrive together are one
// message of up to 20 lines. Pagers get alerts that can be resolved one by one,
// and the resolution under the same key. Text from a request is cut and
// stripped of markup and mentions.
//
// # What it does not do
//
// Redis unavailable means that no event is read or delivered. Each replica then
// alerts directly, once an episode, so several may report the same. If all
// replicas stop, no alert is sent; ping_url is for that case.
package alert
