package store

import (
	"strconv"
	"strings"

	"github.com/holdd/holdd/worker/hold"
)

// Every name of a Redis key is made in this file. All begin with holdd:, so
// that a Redis user needs the pattern ~holdd:* and no other.
const (
	keyPartitions = "holdd:partitions" // the number of partitions; "1>64" while Repartition works
	keyMode       = "holdd:mode"       // test or live
	keyReplicas   = "holdd:replicas"   // zset: replica, by the end of its heartbeat
	keyPing       = "holdd:ping"
	keyLock       = "holdd:lock:" // and the name of the lock

	keyInbox    = "holdd:inbox"          // stream of requests
	keyRejected = "holdd:inbox:rejected" // stream of rejected requests

	// zset: subjects of system events, by when they were published
	keyPublishedSubjects = "holdd:{0}:published"
	keyEpisodes          = "holdd:{0}:episodes"  // hash: condition -> open episode
	keyCondition         = "holdd:{0}:condition" // zset of replicas, with a colon and the condition's name

	keyReconcileRun      = "holdd:{reconcile}:run"
	keyReconcileFindings = "holdd:{reconcile}:findings"
	keyReconcileAccounts = "holdd:{reconcile}:accounts"

	// Attempts share one hash tag whatever the number of partitions: they
	// arrive at the pace of cardholders.
	keyAttempt      = "holdd:{authorizations}:attempt:" // and the attempt's id
	keyOpenAttempts = "holdd:{authorizations}:open"     // zset, by the time of the next check
)

// partitionKeys are the names of one partition's keys. They share a hash tag,
// so that a Cluster keeps them on one server and a script can use all of them.
type partitionKeys struct {
	holds, scheduled, leased, expiring, settled, attention, unverified string
	references, lanes, ready, events, mirror, refresh, unmatched       string
}

func newPartitionKeys(partition int) partitionKeys {
	prefix := partitionPrefix(partition)
	return partitionKeys{
		holds: prefix + "holds", scheduled: prefix + "scheduled", leased: prefix + "leased",
		expiring: prefix + "expiring", settled: prefix + "settled", attention: prefix + "attention",
		unverified: prefix + "unverified", references: prefix + "references",
		lanes: prefix + "lanes",
		ready: prefix + "ready", events: prefix + "events", mirror: prefix + "mirror",
		refresh: prefix + "refresh", unmatched: prefix + "unmatched",
	}
}

func partitionPrefix(partition int) string { return "holdd:{" + strconv.Itoa(partition) + "}:" }

// lane is the key of a ready lane.
func (k *partitionKeys) lane(name string) string { return k.ready + ":" + name }

// sortedSet is the key of a sorted set that can be paged. Ready holds are in lanes,
// see [conn.laneKeys].
func (k *partitionKeys) sortedSet(s hold.SortedSet) string {
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
	default:
		return k.references
	}
}

// sortedSetsByHoldID are the sorted sets whose members are hold ids alone, in the order
// of the move scripts.
func (k *partitionKeys) sortedSetsByHoldID() []string {
	return []string{k.scheduled, k.leased, k.expiring, k.settled, k.attention, k.unverified,
		k.mirror}
}

// sinkKeys are the names of one sink's keys in one partition.
type sinkKeys struct {
	sink        string // hash: who delivers until when, and how far
	parked      string // hash: deliveries held back behind a failed one
	deadLetters string // stream
	requeued    string // stream: dead letters to deliver again
}

func newSinkKeys(sink string, partition int) sinkKeys {
	k := partitionPrefix(partition) + "sink:" + sink
	return sinkKeys{sink: k, parked: k + ":parked", deadLetters: k + ":dead",
		requeued: k + ":requeued"}
}

// budgetKeys are the names of one account's budget keys for one kind of
// request. They share a hash tag.
type budgetKeys struct {
	pause string // exists while requests of this kind are paused
	kind  string // bucket of this kind
	all   string // bucket of all kinds
}

func newBudgetKeys(account string, op hold.Op) budgetKeys {
	if account == "" {
		account = "own" // an empty hash tag is none
	}
	k := "holdd:budget:{" + account + "}:"
	return budgetKeys{pause: k + "pause:" + op.String(), kind: k + op.String(), all: k + "all"}
}

// laneName names a lane among the ready lanes of a partition.
func laneName(op hold.Op, account string) string {
	return strconv.Itoa(int(op)) + ":" + account
}

func parseLane(name string) (op hold.Op, account string, ok bool) {
	number, account, ok := strings.Cut(name, ":")
	n, err := strconv.Atoi(number)
	return hold.Op(n), account, ok && err == nil && n > 0 && n < 256
}

// referenceMember is a hold's member of the set references.
func referenceMember(reference, id string) string { return reference + "\x00" + id }

// holdIDOfMember is the hold id in a member of any sorted set.
func holdIDOfMember(member string) string { return member[strings.IndexByte(member, 0)+1:] }

// unknownIntentMember is the member of the set refresh for an intent that has
// no hold.
func unknownIntentMember(id, account string) string { return id + "\x00" + account }

// parseRefreshMember splits a member of the set refresh. known is false for an
// intent that has no hold.
func parseRefreshMember(member string) (id, account string, known bool) {
	id, account, unknown := strings.Cut(member, "\x00")
	return id, account, !unknown
}
