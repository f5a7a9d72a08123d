// Package hold is the domain: what a hold is and what may happen to it next. It
// is pure. It does no I/O and reads no clock; every decision takes now.
//
// # States
//
// Ready is never stored: it is a scheduled hold whose time has come.
//
//	waiting   -> scheduled                    a time is set, a capture or cancel is requested, or on_expiry is due
//	waiting   -> paused                       a pause is requested
//	waiting   -> working                      the deadline has passed: Stripe is read
//	scheduled -> ready                        its time comes
//	scheduled -> waiting                      its time is cleared, or on_expiry no longer applies
//	scheduled -> paused                       a pause is requested, or on_expiry no longer applies
//	ready     -> working                      a worker claims it
//	working   -> scheduled                    nothing happened at Stripe: retry later; or a part is captured
//	working   -> working                      the outcome is unknown: retry later, closed to changes
//	working   -> captured, canceled, expired  Stripe says so
//	working   -> attention                    holdd may do nothing more by itself
//	working   -> waiting, paused              read at the deadline and still held, the deadline is later than assumed, or a part is captured
//	paused    -> scheduled                    resumed, or on_expiry is due
//	paused    -> waiting                      resumed with no time set
//	paused    -> working                      the deadline has passed: Stripe is read
//	attention -> scheduled                    a time is set, a capture or cancel is requested, or on_expiry is due
//	attention -> waiting                      its time is cleared
//	attention -> working                      the deadline has passed: Stripe is read
//	waiting   -> attention                    a check against Stripe found a difference
//	scheduled -> attention                    the same, or on_expiry no longer applies and the own time is after the deadline
//	paused    -> attention                    a check against Stripe found a difference
//	waiting   -> captured, canceled, expired  settled by another system
//	paused    -> captured, canceled, expired  settled by another system
//	scheduled -> captured, canceled, expired  settled by another system
//	attention -> captured, canceled, expired  settled by another system
//
// A final state is left only for attention, if a comparison finds that Stripe
// shows another state ([Hold.ReopenContradictedHold]).
//
// # Rules that keep money safe
//
//   - One effect has one idempotency key ([Hold.NextCall]): hold, operation,
//     digest of the parameters, generation. The record alone determines it.
//   - The generation changes only after a read that shows the money still held.
//     Every request but a capture in parts is final, so a late duplicate of an
//     earlier generation meets an unexpected state and changes nothing.
//   - A missing, broken or 5xx answer is [AnswerUnknown]. The hold then stays
//     Working and closed to changes until Stripe has been read.
//   - A 404 proves nothing about a request that was sent. The hold stays closed
//     and is read again for a day; an alert goes out at the second 404.
//   - Hold.CaptureAmount is the total wanted, whoever captures it. A capture
//     sends what is missing, or releases the rest where nothing is missing.
//   - A key is used for 23 h. After that, or when Stripe replays an error, the
//     intent is read before anything else is sent.
//   - Two refusals while a read shows the money held lead to attention. Any
//     other run of calls without an outcome, whatever the answers are, is
//     alerted at [MaxCallsBeforeAlert] calls and continues at the longest
//     back-off.
//   - An increment names the new total, so a duplicate changes nothing. It is
//     tried for ten minutes, but never beyond the hold's own time or that of
//     on_expiry. Whatever becomes of it, the hold returns to its own terms.
//   - A capture that keeps the rest (PartialCaptures) has a total to reach as well. Before
//     it, and after a lost reply, Stripe is read: what it has received says what
//     is missing. Its key stays until Stripe may have forgotten it, or has stored
//     an answer without effect, because a late duplicate under a new key would
//     take the part twice.
//   - An accepted cancel is final (Hold.CancelWanted): nothing captures that
//     hold.
//   - on_expiry acts only on holds that nothing else will act on in time. It
//     never replaces a request that is due and late. A deadline that was
//     assumed is checked at Stripe first.
//
// # Warnings and confirmation
//
// An open hold is warned of once at each threshold before its deadline, unless
// it is acknowledged. One that arrives inside a threshold is warned of at once
// ([Decision.SortedSetPlacement]). A request that makes on_expiry act at once
// needs the caller's confirmation ([Decision.RefuseUnlessPolicyActionConfirmed]);
// where no caller can be asked, the hold requires attention instead
// ([Decision.RequireAttentionIfPolicyDue]).
//
// Requests from all sources are validated here and nowhere else
// ([ScheduleRequest.Validate], [Patch], [RequestFromMetadata]).
package hold
