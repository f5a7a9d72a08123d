// Package store keeps holds, and everything else that holdd keeps, in Redis.
//
// [Open] returns a [Store]. Its parts share one connection, and each is one
// concern:
//
//   - [Holds] reads, lists and writes holds.
//   - [Queue] finds the holds that a job must act on, and claims due holds for
//     a worker.
//   - [Budget] shares the request rates of an account between all replicas.
//   - [Inbox] reads the stream to which booking systems add requests.
//   - [Webhooks] remembers which intents webhooks named and a worker must read.
//   - [Outbox] keeps the streams of events, and how far each sink has delivered
//     them.
//   - [Locks] and [Replicas] let replicas share work and notice dead ones.
//   - [ReconcileRuns] and [AuthorizationAttempts] keep work that a replica may
//     have to take over.
//
// [Inspect] examines a Redis without writing to it. [Repartition] changes the
// number of partitions while no replica runs.
//
// # Model
//
// Holds are spread over partitions by a hash of their id. A partition has a
// hash of records, and sorted sets that say when a worker must act on a hold.
// Its keys share a hash tag, so a script can use all of them on a Cluster.
// keys.go makes every key; record.go describes the record; deploy/docs/redis.md
// lists the keys with their meaning, what Redis can lose, and what holdd costs
// it.
//
// Every change of several keys is one Lua script. The scripts are in lua/, one
// to a file, with KEYS,
// ARGV and reply at the top. definitions.go gives them the layout of the record and the names of their
// arguments, so that neither is written down twice.
//
// # Invariants
//
// One script commits all changes. Package hold decides in Go what may happen to
// a hold. commit.lua writes the decision if the hold still has the version that
// the decision was made on, and moves the hold between the sets in the same
// step. Of a cancel, a capture, a change and an expiry that race, one wins. The
// others read the hold again.
//
// The version is also the fencing token. A claim raises it, so the worker of an
// earlier claim cannot commit. A claim raises it at least to the time in
// milliseconds, plus the microseconds: a claim that a failover forgot and a
// claim after it never have the same version, even if the clock was set back.
//
// A commit can be sent again. It finds its own record and reports success.
//
// A claim is written down before the call to Stripe. The idempotency key
// follows from the record, which cannot change while it is claimed, and the
// claim records when it began. A worker that takes a claim over knows that a
// request may have been sent, and since when.
//
// A milestone is advanced without rewriting the record, so a worker that has
// claimed the hold can still commit. advance.lua checks the version: the
// decision at a milestone holds only for the record that it was made on.
//
// A hold is in at most one of scheduled, leased and the ready lanes. A script
// adds it to the next set before it writes the record, and removes it from the
// last set at the end, because Redis can come back from a crash with only the
// first commands of a script. A hold in two sets is met twice and acted on
// once. A hold in none would be forgotten.
//
// A webhook is not lost between two scripts. request_refresh.lua either makes
// the hold's refresh due or remembers the intent; commit.lua makes it due when
// it creates the hold. Only [Webhooks.FinishRefresh] removes a refresh, and
// only if it was not requested anew.
//
// The time of Redis decides what is due. The clocks of replicas do not matter.
// On a Cluster each partition follows the clock of its server.
//
// The lock of a reconcile run and the lease of a sink are leases with a fencing
// token: their state is saved only by the holder of the token. The lock avoids
// double work; the versions of the holds keep two replicas from setting a hold
// back.
//
// # What it does not do
//
// The store decides nothing about a hold, and does not retry: each caller
// retries by itself, knowing what is at stake. It does not keep a Redis from
// losing data. [Open] refuses a Redis that evicts keys or writes nothing to
// disk, and [Store.DetectDataLoss] notices one that was emptied while in use.
package store
