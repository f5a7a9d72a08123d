// Package simtest lets the whole system live through small worlds full of
// faults, in virtual time, and judges what came of it. It has nothing but
// tests.
//
// # A world
//
// The replicas are real: package worker with its cron, package store with its
// scripts and go-redis, the gateway with stripe-go. Redis is miniredis, Stripe
// is the simulator, time is testing/synctest's: weeks pass in a second.
// Everything from outside is drawn from one seed before the world begins
// (draw): the holds and what people want of them, when they change their minds,
// what they do at the Dashboard, and what goes wrong. A plan is plain lists, so
// that shrink can take items away while the same promise still breaks.
//
// Faults are at the edges, never inside the logic:
//
//   - the connection to Redis (wire): cut before a command, after it, in the
//     middle of a pipeline or of a reply; slow; taking effect after its sender
//     gave up; down; frozen; scripts forgotten; Redis coming back as it was
//     seconds ago, with another server's clock; its clock apart from everybody
//     else's by up to two minutes.
//   - the way to Stripe (lifeline): what the simulator can do wrong, no
//     connection, requests that arrive up to 25 s late whether their sender
//     still waits or is dead, a revoked key; locks that Stripe holds for
//     seconds; keys that Stripe forgets after a day.
//   - the process: killed at a moment, or before or after a given call; stopped
//     as by SIGTERM; paused for up to two leases, and going on where it was.
//   - people: wishes around the very moment of the claim, some for one revision
//     only, answers that are lost, the same wish again at another replica,
//     wrong accounts, untrue amounts and deadlines, the Dashboard (where more
//     may be authorized, too), another system that captures parts and leaves
//     the rest held, somebody who settles what needs attention.
//
// # Ways in
//
// In three worlds of ten holds come by other ways than the API as well
// (ways_plan_test.go draws them):
//
//   - by metadata alone, some of it unreadable; the simulator's own events are
//     signed and delivered to a random replica, late, twice, in another order,
//     or never, and again for as long as they are refused, as Stripe does;
//     reconcile runs in a part of these worlds, over pages of one or three
//     intents in some, and when people ask for it.
//   - by the inbox, also while no replica lives, the same entry twice, entries
//     that are no wish, a replica that dies between taking and answering.
//   - by cards that holdd authorizes: at once, after 3-D Secure, refused and
//     then with another card, left alone; the same Idempotency-Key clicked
//     several times at several replicas, which die before and after writing the
//     attempt down and before and after Stripe; callers who repeat for as long
//     as they don't know.
//   - reviews that Stripe opens, and closes in one way or another, or never;
//     deadlines that it moves.
//   - Redis emptied entirely while in use, with and without the mirror.
//
// Where Redis was emptied a hold has two lives. In the second it has the terms
// that stood at Stripe at that moment, and none if none stood there: then the
// next comparison must have told of it.
//
// # Same seed, same run
//
// Goroutines are scheduled as the machine likes, so the order of what happens
// must not depend on them. Every request gets a delay of its own, to the
// nanosecond, drawn from the seed and from what the request says (not from a
// shared source of chance, whose order would be the goroutines'). No two
// requests act at once, time passes only when all goroutines wait, and so
// virtual time alone orders what happens. Whoever wakes together with others (a
// pause that ends, a deadline that several requests share) is spread in the
// same way. [TestRunPlan_Deterministic] compares every line of what happened:
// each command and reply of Redis, each request and answer of Stripe, each
// wish. Lines of one and the same nanosecond are compared in the order of their
// text. This holds for any GOMAXPROCS and under the race detector, whose
// scheduler is random on purpose. A seed's world changes when plan_test.go
// draws otherwise; worlds that taught something are therefore kept as plans, in
// regression_test.go.
//
// # The judge
//
// It knows the plan, the simulator's ledger, what was seen on the wires
// (judge_wire_test.go), what people asked and heard (judge_told_test.go), and
// what holdd says in the end. It is written from the promises: at most one
// effect; never early; never after an accepted cancel; the amount agreed on;
// nearest deadline first; no wish turned into its opposite; never more taken in
// all than the total wanted, as far as the last read before a capture told;
// what is due done in time while all is well; each threshold told, also to a
// hold that arrives inside it, and once; a policy acts at once only where that
// was confirmed; each end told once, no event's id ever another's; nothing
// acknowledged lost; each hold ends as Stripe says; history tells of requests
// that were sent, and of all that were answered; what was done stands in a log;
// what callers were told was so, and stays so; the rate kept. Of the ways in
// (judge_ways_test.go): one key authorizes once at the most, and what a guest
// was told is so; what nobody finished is let go; a finished comparison knows
// each hold whose terms stood at Stripe, and has told of terms that it can't
// read and of money without terms; what others did is settled once Stripe's
// word of it was taken in, or a comparison has looked; an entry of the inbox is
// a hold, or a reject with its reason; nothing is taken under a review that
// Stripe told of, and an approved one lets the hold go on; a comparison is
// finished once, and whoever authorizes is alone at it; terms stand at Stripe
// soon after they were agreed on; nobody else's metadata is touched. A wish
// whose answer nobody heard may or may not have been granted: what happens must
// be allowed by one of the possibilities (model_test.go).
//
// # Does it bite
//
// testdata/mutants has a file for each guard of the system: where it is, and
// the code without it. [TestMutants] makes sure that each is still there, and
// with -mutants builds the system without it and looks for a world that
// notices: first among those that are kept, then among the seeds. A guard that
// nothing notices is a failure: either a world is missing, or the guard is.
//
// # What it can't show
//
//   - Replicas' clocks are one clock here: a bubble has no other. What a
//     replica writes and compares is by Redis' clock, so its own counts only by
//     how far it is from Redis', which is drawn; that two replicas are unlike
//     far from it is not.
//   - A request that lies longer than 30 s between its sender's decision and
//     Stripe, after its sender gave up, is taken for lost by the system. A
//     process that is frozen in the microseconds between its last look at the
//     clock and the kernel's write, and for longer than that, can send such a
//     request. Here what has left arrives within 25 s, and what is frozen
//     before it leaves meets its own time-out.
//   - Wishes that were granted within the tail that Redis lost are taken for
//     unanswered. They are gone until Stripe is asked for them. Of an emptied
//     Redis what stood at Stripe is known to the nanosecond; that it was all
//     that should have stood there is judged only where nothing else was wrong
//     for two minutes.
//   - Connected accounts after an emptied Redis: known to replicas that have
//     met them, so judged only where none died.
//   - miniredis is no Redis: what it does otherwise is for the tests on real
//     ones.
package simtest
