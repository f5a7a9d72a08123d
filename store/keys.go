package store

import (
	"strconv"
	"strings"

	"github.com/holdd/holdd/worker/hold"
)

// This file builds every Redis key. All keys begin with holdd:, so a Redis user
// needs only the key pattern ~holdd:*.
const (
	keyPartitions = "holdd:partitions" // the number of partitions; "1>64" while Repartition works
	keyMode       = "holdd:mode"       // test or live
	keyAccount    = "holdd:account"    // id of the Stripe account, if the key may read it
	keyReplicas   = "holdd:replicas"   // zset: replicas, by the end of their heartbeat
	keyPing       = "holdd:ping"
	keyLock       = "holdd:lock:" // followed by the name of the lock
	// keyLoweredAccounts is a zset: accounts with a lowered rate, by the time of
	// the last 429; the empty one is the own account.
	keyLoweredAccounts = "holdd:lowered"

	keyInbox    = "holdd:inbox"          // stream of requests
	keyRejected = "holdd:inbox:rejected" // stream of rejected requests
	keyAudit    = "holdd:audit"          // stream of who changed which hold, see audit.go

	keyQuarantine = "holdd:quarantine" // stream of unreadable records that were replaced

	keyPublishedSubjects = "holdd:{0}:published" // zset: subjects of events, by time
	keyEpisodes          = "holdd:{0}:episodes"  // hash: condition -> open episode
	keyCondition         = "holdd:{0}:condition" // followed by :NAME, zset of its observers

	keyReconcileRun      = "holdd:{reconcile}:run"
	keyReconcileFindings = "holdd:{reconcile}:findings"
	keyReconcileAccounts = "holdd:{reconcile}:accounts"

	// Authorization attempts share one hash tag. They are too few to need
	// partitions.
	keyAttempt      = "holdd:{authorizations}:attempt:" // followed by the attempt's id
	keyOpenAttempts = "holdd:{authorizations}:open"     // zset, by the time of the next check

	// Requests with an idempotency key, see request_begin.lua.
	keyRequests     = "holdd:{requests}:all"   // hash: id -> request and response
	keyRequestTimes = "holdd:{requests}:times" // zset: ids, by time
	keyRequestBytes = "holdd:{requests}:bytes"
)

// partitionKeys are the keys of one partition. They share a hash tag, so a
// Cluster keeps them on one server and a script can use all of them.
type partitionKeys struct {
	holds, scheduled, leased, expiring, settled, attention, unverified string
	references, lanes, ready, events, mirror, refresh, unmatched       string
	doubleHeld, changes, erased                                        string
}

func newPartitionKeys(partition int) partitionKeys {
	prefix := partitionPrefix(partition)
	return partitionKeys{
		holds:      prefix + "holds",
		scheduled:  prefix + "scheduled",
		leased:     prefix + "leased",
		expiring:   prefix + "expiring",
		settled:    prefix + "settled",
		attention:  prefix + "attention",
		unverified: prefix + "unverified",
		references: prefix + "references",
		lanes:      prefix + "lanes",
		ready:      prefix + "ready",
		events:     prefix + "events",
		mirror:     prefix + "mirror",
		refresh:    prefix + "refresh",
		unmatched:  prefix + "unmatched",
		doubleHeld: prefix + "double_held",
		changes:    prefix + "changes",
		erased:     prefix + "events:erased",
	}
}

func partitionPrefix(partition int) string { return "holdd:{" + strconv.Itoa(partition) + "}:" }

// laneKey returns the key of a ready lane.
func (k *partitionKeys) laneKey(name string) string { return k.ready + ":" + name }

// sortedSetKey returns the key of a set. [hold.SetReady] has several, see
// [redisConn.readLaneKeys].
func (k *partitionKeys) sortedSetKey(s hold.SortedSet) string {
	switch s {
	case hold.SetScheduled:
		return k.scheduled
	case hold.SetExpiring:
		return k.expiring
	case hold.SetWorking:
		return k.leased
	case hold.SetAttention:
		return k.attention
	case hold.SetSettled:
		return k.settled
	case hold.SetDoubleHeld:
		return k.doubleHeld
	default:
		return k.references
	}
}

// holdSetKeys returns the sorted sets whose members are the ids of open
// holds, in the order that the move scripts expect.
func (k *partitionKeys) holdSetKeys() []string {
	return []string{
		k.scheduled, k.leased, k.expiring, k.attention, k.unverified, k.mirror,
		k.doubleHeld,
	}
}

// sinkKeys are the keys of one sink in one partition.
type sinkKeys struct {
	sink        string // hash: the lease of a replica, and the progress
	parked      string // hash: deliveries held back behind a failed one
	deadLetters string // stream
	requeued    string // stream: dead letters to deliver again
}

func newSinkKeys(sink string, partition int) sinkKeys {
	k := partitionPrefix(partition) + "sink:" + sink
	return sinkKeys{
		sink:        k,
		parked:      k + ":parked",
		deadLetters: k + ":dead",
		requeued:    k + ":requeued",
	}
}

// budgetKeys are the keys of an account's budget for one kind of request. They
// share a hash tag.
type budgetKeys struct {
	pause   string // exists while requests of this kind are paused
	kind    string // bucket of this kind
	all     string // bucket of all kinds
	lowered string // hash of the rates that a 429 lowered, by kind or "all"
	share   string // bucket of a priority's guaranteed share; followed by the priority
}

func newBudgetKeys(account string, op hold.Op) budgetKeys {
	if account == "" {
		account = "own" // a hash tag must not be empty
	}
	k := "holdd:budget:{" + account + "}:"
	return budgetKeys{
		pause:   k + "pause:" + op.String(),
		kind:    k + "bucket:" + op.String(),
		all:     k + "bucket:" + hold.AllKinds,
		lowered: k + "lowered",
		share:   k + "share:",
	}
}

// laneNameOfOpAndAccount returns the name of a lane within its partition.
func laneNameOfOpAndAccount(op hold.Op, account string) string {
	return strconv.Itoa(int(op)) + ":" + account
}

func parseOpAndAccountOfLane(name string) (op hold.Op, account string, ok bool) {
	number, account, ok := strings.Cut(name, ":")
	n, err := strconv.Atoi(number)
	return hold.Op(n), account, ok && err == nil && n > 0 && n < 256
}

// referenceMember returns a hold's member of the set references.
func referenceMember(reference, id string) string { return reference + "\x00" + id }

// holdIDOfMember returns the hold id in a member of any sorted set.
func holdIDOfMember(member string) string { return member[strings.IndexByte(member, 0)+1:] }

// unknownIntentMember returns the member of the set refresh for an intent that
// has no hold.
func unknownIntentMember(id, account string) string { return id + "\x00" + account }

// parseRefreshMember splits a member of the set refresh. known is false for an
// intent that has no hold.
func parseRefreshMember(member string) (id, account string, known bool) {
	id, account, unknown := strings.Cut(member, "\x00")
	return id, account, !unknown
}
