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
//	mirror      zset   holds whose terms are to be written to their intents, by the time from which on
//	looks       zset   intents that are to be read at Stripe, by when that was asked for: an id, or "id NUL account" of one that was no hold then
//	heard       zset   intents that Stripe told of and that are no holds, by when: three days and 100,000 of them
//	events      stream what happened, trimmed
//	sink:NAME   hash   one way out: who delivers to it until when, and how far it has come; :parked, :dead and :again are what it did not take
//
// Of scheduled, ready and leased a hold is in at most one. Beside the partitions there are holdd:inbox, a stream of wishes with the
// consumer group holdd, from which what was answered is removed, and holdd:inbox:rejected, the last thousand or so that were not granted; holdd:partitions and holdd:mode, which say what kind of
// Redis this is; holdd:budget:{ACCOUNT}:…, the buckets of the shared budget and the pause after Stripe found requests too many; holdd:replicas,
// who lives; holdd:{0}:told, what was published that is no hold's, :episodes and :condition:NAME, what replicas see and which of them; holdd:turn:NAME, whose turn it is; holdd:{reconcile}:run, :findings and :accounts, the comparison with Stripe that is under way or was last, and the connected accounts that were met; holdd:ping. A Redis user needs the pattern ~holdd:* and no other.
//
// The budget is a script of our own and not go-redis/redis_rate, which was tried first: its AllowAtMost charges fractions of a
// request that it doesn't grant, which loses up to half of a rate such as Stripe's to replicas that ask often, and two buckets and the pause cost three
// round trips instead of one. Claims take from it 200 ms ahead and send each request at its moment: with a burst of one, a replica that wakes up late by a
// part of the gap would lose that part for ever, which was a tenth of Stripe's 25 a second.
//
// Attempts to authorize a card stand under holdd:{authorizations}:… whatever the partitions: attempt:ID, a hash with the digest of what was asked,
// who is at it until when, and a record without any secret, kept for 72 h; and open, a zset of attempts by the time to look after them.
//
// # One script for all changes
//
// What may happen to a hold is decided once, in Go, by package hold. commit.lua writes the decision if the hold still has the version that the
// decision was made on, and moves it between the sets in the same breath. So of cancel, capture, change and expiry that race, one wins and the others
// read again and are told that they came too late. The version is the fencing token as well: a claim raises it, so whoever held an earlier lease
// commits nothing. By counting alone a claim that a failover forgot and one that came after it could have the same version, and the first claimant
// would write over what was granted since: so a claim raises it to the time, and beyond that by what the clock shows below the millisecond, since a
// clock that a failover set back has what is due at a moment claimed in the same millisecond again. A commit that is repeated because its reply was
// lost finds its own record and reports success.
//
// claim.lua is the note that is written down before a call leaves: the idempotency key is a function of the record, the record can't change while it
// is claimed, and the script stamps when the claim began. A claim that was not reported leaves the stamp and the state behind, so whoever takes over
// knows that something may have been sent, and when.
//
// touch.lua moves a milestone on where the record stays as it is, so that whoever holds a claim can commit. It insists on the version as well: what
// there is to do at a milestone was decided on the record that was read with it, and a policy that was changed in between would never have spoken.
//
// # Nothing told is lost between two scripts
//
// note.lua looks whether there is a hold and else remembers the intent; commit.lua, when it makes a hold, takes it out of what is remembered and into
// looks. Both are atomic, so whichever comes first the hold is looked at. No commit takes a hold out of looks: only whoever has looked does, by the
// time that it was asked for, which a second note moves on.
//
// # Clock
//
// Due is decided by Redis' TIME inside the scripts, so replicas' clocks don't matter. In a Cluster each partition follows the clock of its
// own server.
//
// # What Redis may lose
//
// With appendfsync everysec a machine that dies loses up to a second of writes, and two seconds where its disk is slow: while a flush is under
// way Redis keeps what comes next in its own memory for as long, and answers all the same, so that then even a process that dies alone
// takes acknowledged writes with it. With always neither does. A failover loses what the replica had not got. What can come back
// is an older record of a hold: a claim forgotten (acted on again under the same key, which Stripe answers with the same answer), an outcome
// forgotten (likewise, or read back), a wish forgotten (found again only from Stripe). And half a script: Redis 7.0 that died in the
// middle of writing a transaction leaves its beginning in the append-only file, and runs it when it starts the next time but one. So each script puts a hold into
// its next set (and a lane among the lanes) before it writes the record, and takes it out of the last one at the end: what is in two sets is met twice and acted on
// once, what is in none would be forgotten. [Open] refuses a Redis that may evict or that writes nothing to disk. A Redis that is emptied while it is in use has lost holdd:partitions and holdd:mode as well: [Store.Watch] notices it by them.
//
// # Beyond one machine
//
// Measured with `make bench`, `make bench-scale` and BenchmarkDrain on two cores, redis-server 7.0 with its append-only file. What counts is the order of
// magnitude.
//
//	one Redis       24 to 29 µs of its one core for a hold from the schedule to its end, 32 or more at a time over a Unix socket; 35 µs as daemons drive it over TCP, the
//	                event included: some 25,000 holds a second. Stripe lets through 25 to 100 a second for an account: that limits first, by far, for every booking
//	                system with fewer than some hundreds of connected accounts.
//	memory          370 B a pending hold (its record 130, and 120 in each of the two sorted sets), some 160 more with a reference, and up to 31 MB for the bounded stream of
//	                events: 417 B in all at a million (581 B with references), 5.9 GB for ten million with references. A settled hold stays for the retention; its
//	                record has grown by the history.
//	size            claim, settle, look and sweep at a million pending cost 0.98 to 1.01 times what they cost at 10,000 (p50), schedule and list by reference 1.44 and 1.47;
//	                at ten million 1.00 to 1.38, and schedule 1.64: skip lists grow deeper, and nothing walks over all.
//	M replicas      a worker spends 104 µs of CPU on a capture, some 70 % of it in stripe-go and net/http: some 9,000 a second for each core. They share the budget,
//	                so more of them make it safer and not faster. Each replica's looks cost Redis a few commands a second for each partition.
//	Cluster of N    partitions lie on the masters by their hash tag. Three masters with 64 partitions: 21 µs a hold on the busiest one, against 52 µs on a single master
//	                with as many. A look asks each partition in one round trip for each master: an idle daemon with 64 partitions sends about 1,000 commands a second in 4
//	                (on one server) to 11 (on three) round trips. So a few partitions for each master are right, and one for a single Redis.
//
// Where Redis' time goes, by instructions (callgrind): scheduling costs 115,000 a hold, from there to the end 198,000 (in batches of 32). Of the former 57 % are spent in Lua, a third of that by
// the scripts themselves and the rest on their arguments and the commands that they call; 15 % on the append-only file, 13 % on sorted sets, 7 % on the stream of events, 6 % on reading the
// request. Fewer and cheaper lines of Lua bought 7 % of scheduling and 1 % of the drain: not worth less plain ones.
//
// What doesn't spread: the buckets of one account's budget, the inbox, the comparison with Stripe and the attempts to authorize lie on one master each.
//
// # Dividing anew
//
// A hold's partition is a hash of its id modulo their number, so another number means that holds move. [Repartition] does that while nobody works: replicas
// are refused from holdd:partitions = "1>64" until it says "64", and one that runs already is seen by its heartbeat. Each hold is told to its new partition
// first and taken out of the old one after, by scripts that can be repeated; so whatever interrupts it, a hold is in at least one of them, and the
// next run goes on. Partitions of a Cluster lie on different servers: no script could do both at once.
//
// # Comparing with Stripe
//
// One replica at a time compares, under a lock that is a lease with a fencing token. The run's state, opaque to this package, is
// written together with the findings since the last time and only by the holder of the token, so that whoever takes over goes on where
// the dead holder's last word was. The lock keeps work from being done twice; that nothing is set back by two who compare at once is up to the
// holds' versions, not to it.
package store
