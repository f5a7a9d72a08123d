// Package hold is what a hold is and what may happen to it next. It is pure: no
// I/O, no clock; every decision takes now.
//
// The states, and what leads from one to the next. ready is never stored: it is
// a scheduled hold whose time has come.
//
//	waiting   -> scheduled  a time is set, or somebody asks for capture or cancel, or the deadline's policy is due
//	waiting   -> paused     somebody pauses it
//	waiting   -> working    its deadline has passed: Stripe is read
//	scheduled -> ready      its time comes
//	scheduled -> waiting    its time is cleared, or the deadline's policy is changed, or its deadline turns out to be later, before it could act
//	scheduled -> paused     somebody pauses it, or the same of a paused hold's policy
//	ready     -> working    a worker claims it
//	working   -> scheduled  nothing happened at Stripe: again later
//	working   -> working    the outcome isn't known: again later, closed to changes
//	working   -> captured   Stripe says so
//	working   -> canceled   Stripe says so
//	working   -> expired    Stripe says that the network let it go
//	working   -> attention  nothing that holdd may do alone is left
//	working   -> waiting    looked up at the deadline and still held, or the deadline turns out to be later than its policy took it for
//	working   -> paused     the same
//	paused    -> scheduled  resumed, or the deadline's policy is due
//	paused    -> waiting    resumed with no time set
//	paused    -> working    its deadline has passed: Stripe is read
//	attention -> scheduled  a person sets a time or asks for capture or cancel, or the deadline's policy is due
//	attention -> waiting    a person clears its time
//	attention -> working    its deadline has passed: Stripe is read
//	waiting   -> attention  a check in the background found that the caller was wrong
//	scheduled -> attention  the same, or the policy of a hold whose own time is behind its deadline is changed, or early, before it could act
//	paused    -> attention  a check in the background found that the caller was wrong
//	waiting   -> captured   seen in passing: somebody else did it
//	waiting   -> canceled   the same
//	waiting   -> expired    the same
//	paused    -> captured   the same
//	paused    -> canceled   the same
//	paused    -> expired    the same
//	scheduled -> captured   the same
//	scheduled -> canceled   the same
//	scheduled -> expired    the same
//	attention -> captured   the same
//	attention -> canceled   the same
//	attention -> expired    the same
//
// The rules that keep money safe, and where they live:
//
//   - One effect has one idempotency key ([Hold.NextCall]): hold, operation,
//     digest of the parameters, generation. It can be derived from the record
//     alone, so a claim that is in the store is also the note of the key that
//     is about to be used.
//   - The generation moves only in told, after a read that shows the money
//     still held. Every request is final, so a late twin of an earlier
//     generation meets an unexpected state and changes nothing.
//   - An answer that is missing, broken or 5xx is [AnswerUnknown]. Until Stripe
//     has told, the hold is Working and closed to wishes: were a cancel
//     accepted meanwhile, the lost request could still turn out to have
//     captured.
//   - Stripe not finding the intent is no proof of anything. With an outcome
//     unknown the hold stays closed and is looked at again for a day, while a
//     person is told; then it is handed over. A hold of which nothing unknown
//     was sent goes to a person after the second look.
//   - Hold.CaptureAmount is the total wanted, whoever takes it. What another
//     system has captured counts (Hold.CapturedElsewhere): a capture sends what
//     is missing, or releases the rest where nothing is. An amount is sent
//     without a read under the same claim only where Stripe has said that the
//     charge can be captured once. What is captured between that read and the
//     capture can't be known in time.
//   - A key is used again only while Stripe surely remembers it (23 h). After
//     that, and when Stripe keeps replaying an error, the intent is read first.
//   - No answer is met for ever in silence. A request that Stripe refuses for
//     the state twice, while a read shows the money held, goes to attention.
//     Whatever else leads to no outcome is told at [MaxCallsBeforeAlert] calls
//     and goes on; an outage has alerts of its own.
//   - What follows from several answers under one claim is written once
//     ([Decision.FollowedBy]): a deadline that the first told has its
//     milestones, even where the next call comes to nothing.
//   - An accepted cancel is for good (Hold.CancelWanted): nothing captures that
//     hold any more, whatever comes.
//   - The deadline's policy speaks for holds that would otherwise just sit
//     there. A wish that is due and late, because Stripe is away or there is a
//     queue, is never turned into its opposite. A policy that is changed before
//     it could act, because Stripe was away, is the new one, and one whose
//     deadline turns out to be later waits for it: a deadline that is assumed
//     is checked before its policy acts.
//
// An open hold is warned of at each threshold before its deadline, once, unless
// it is acknowledged. One that arrives inside a threshold, or whose deadline
// moves to inside one, is warned of at once by the nearest that has passed:
// [Decision.Placement] sets its milestone back to there, and the expiry job
// tells.
//
// The policy acts at once on a hold that arrives, or is changed, within its
// margin, and only where the caller has confirmed that ([Decision.Confirm]).
// Where a deadline is learned that late and no caller can be asked, the hold
// requires attention and the policy does not act ([Decision.HandOver]): a
// warning comes first, and letting the authorization lapse is less harm than
// money moved unseen. A person captures, cancels or sets a time until the
// deadline.
//
// Terms that are found in an intent's metadata ([RequestFromMetadata],
// [ScheduleRequest.ValidateRecovered]) become a hold by the same [New]. Only
// what a caller would be told is told to a person instead: such a hold begins
// in attention where its time is not before its deadline, or where its capture
// is more than a day late, or where its policy would act at once.
//
// What a caller wishes comes in as a [ScheduleRequest] or [Patch], whichever
// way it came, and is checked here and nowhere else.
package hold
