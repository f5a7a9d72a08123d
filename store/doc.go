// Package store keeps holds, and all other state of holdd, in Redis.
//
// [Open] returns a [Store]. Its parts share one connection:
//
//   - [Holds] reads, lists and commits holds.
//   - [Queue] promotes due holds and claims them for a worker.
//   - [Budget] shares the request rates of an account between all replicas.
//   - [RequestInbox] reads the stream to which booking systems add requests.
//   - [RefreshQueue] keeps the intents that a worker must refresh.
//   - [Outbox] keeps the streams of events and the progress of each sink.
//   - [Changes] tells whether a partition has changed since it was polled.
//   - [Locks] and [Replicas] divide jobs and detect dead replicas.
//   - [ReconcileRuns] and [AuthorizationAttempts] keep work that another
//     replica can take over.
//
// [Inspect] examines a Redis without writing to it. [Repartition] changes the
// number of partitions while no replica runs.
//
// # Model
//
// A hash of its id assigns each hold to a partition. A partition has a hash of
// records, and sorted sets with the times at which a worker must act on a hold.
// Settled holds are in chunks, which are small sorted sets, to save memory.
// The keys of a partition share a hash tag, so one script can use all of them
// on a Cluster. keys.go builds every key, record.go describes the record, and
// deploy/docs/redis.md lists the keys and what Redis can lose.
//
// Every change of several keys is one Lua script. lua/ has one file per script,
// with its KEYS, ARGV and reply at the top. definitions.go gives the scripts
// the layout of the record and the positions of their arguments, so each is
// declared once.
//
// # Invariants
//
// One script commits all changes of holds. Package hold decides in Go what may
// happen to a hold. commit.lua writes the decision if the hold still has the
// version on which the decision was made, and moves the hold between the sets
// in the same step. If a cancel, a capture, a change and an expiry race, one
// commits and the others read the hold again.
//
// The version is the fencing token. A claim raises it, so the worker of an
// earlier claim cannot commit. The new version is at least the time in
// milliseconds plus a part for the microseconds. A claim that a failover lost
// and a later claim therefore differ in version, even if the clock was set
// back.
//
// A commit can be repeated: the script finds its record, changes nothing, and
// reports that the record was there.
//
// A claim is recorded before the call to Stripe. The idempotency key follows
// from the record, which does not change while it is claimed. A worker that
// takes a claim over knows that a request may have been sent, and since when.
//
// advance.lua moves a milestone without rewriting the record, so a worker that
// has claimed the hold can still commit. It checks the version as commit does.
//
// A hold is in at most one of scheduled, leased and the ready lanes. A script
// adds the hold to its next set before it writes the record, and removes it
// from the previous set last. After a crash, Redis can come back with only the
// first commands of a script. The worker acts once on a hold that is in two
// sets, but never on a hold that is in none.
//
// A webhook's refresh is not lost between two scripts. request_refresh.lua
// makes the refresh due or remembers the intent, and commit.lua makes it due
// when it creates the hold. Only [RefreshQueue.FinishOrPostponeRefresh] removes
// a refresh, and only if it was not requested again.
//
// The time of Redis decides what is due, not the clocks of the replicas. On a
// Cluster each partition uses the clock of its server.
//
// The lock of a reconcile run and the lease of a sink have fencing tokens, and
// only the holder of the token can save their state.
//
// # What it does not do
//
// The store decides nothing about a hold and does not retry: its callers do. It
// cannot keep Redis from losing data. [Open] refuses a Redis that evicts keys
// or does not persist them, and [Store.DetectDataLossAndRestoreProperties] detects a Redis that was
// emptied while in use.
package store
