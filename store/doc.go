// Package store keeps holds in Redis.
//
// # What is where
//
// Each partition P has, under holdd:{P}:…, a hash of all its holds and sorted sets that say what is to happen when:
//
//	holds       hash   id -> record (encode.go says how a record is laid out)
//	scheduled   zset   by the time to act: not due yet
//	ready:LANE  zset   by deadline: due; a lane is one operation of one account, since these share one of Stripe's limits
//	lanes       zset   the lanes that have work, by their nearest deadline
//	leased      zset   by the end of the lease: claimed; or to be tried again whatever window the schedule has (nobody's lease)
//	expiring    zset   all open holds, by the next milestone of their deadline
//	attention   zset   by deadline: a person must look
//	settled     zset   by their end: kept for the retention
//	unverified  zset   accepted on the caller's word, by the time that it matters
//	refs        zset   "reference NUL id", by name: found by prefix
//	events      stream what happened, trimmed
//
// Of scheduled, ready and leased a hold is in at most one. Beside the partitions there are holdd:partitions and holdd:mode, which say what kind of
// Redis this is; holdd:budget:{ACCOUNT}:…, the buckets of the shared budget and the pause after Stripe found requests too many; holdd:replicas,
// who lives; holdd:ping. A Redis user needs the pattern ~holdd:* and no other.
//
// The budget is a script of our own and not go-redis/redis_rate, which was tried first: its AllowAtMost charges fractions of a
// request that it doesn't grant, which loses up to half of a rate such as Stripe's to replicas that ask often, and two buckets and the pause cost three
// round trips instead of one.
//
// # One script for all changes
//
// What may happen to a hold is decided once, in Go, by package hold. commit.lua writes the decision if the hold still has the version that
// the decision was made on, and moves it between the sets in the same breath. So of cancel, capture, change and expiry that race, one wins and the
// others read again and are told that they came too late. The version is the fencing token as well: a claim raises it, so whoever
// held an earlier lease commits nothing. A commit that is repeated because its reply was lost finds its own record and reports success.
//
// claim.lua is the note that is written down before a call leaves: the idempotency key is a function of the record, the record can't change while it
// is claimed, and the script stamps when the claim began. A claim that was not reported leaves the stamp and the state behind, so whoever takes over
// knows that something may have been sent, and when.
//
// # Clock
//
// Due is decided by Redis' TIME inside the scripts, so replicas' clocks don't matter. In a Cluster each partition follows the clock of its
// own server.
//
// # What Redis may lose
//
// With appendfsync everysec a crash loses up to a second of writes; a failover loses what the replica had not got. What can come back
// is an older record of a hold: a claim forgotten (acted on again under the same key, which Stripe answers with the same answer), an outcome
// forgotten (likewise, or read back), a wish forgotten (found again only from Stripe). And half a script: Redis 7.0 that lost power in the
// middle of a transaction leaves its beginning in the append-only file, and runs it when it starts the next time. So each script puts a hold into its next set
// before it takes it out of the last one: what is in two sets is met twice and acted on once, what is in none would be forgotten. [Open] refuses a Redis that may evict or that writes
// nothing to disk.
package store
