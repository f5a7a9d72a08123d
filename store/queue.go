package store

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdd/holdd/worker/hold"
)

// Queue promotes due holds, claims them for a worker, and lists the holds that
// a job must act on.
type Queue struct{ conn *redisConn }

var (
	promoteScript = newScript("promote")
	advanceScript = newScript("advance")
	readDueScript = newScript("read_due")
)

// promoteConstants bound the due holds that promote.lua leaves in their set
// because it cannot read them. Each promotion reads them again.
var promoteConstants = []luaConstant{{"MAX_UNREADABLE_DUE", 256}}

// maxLanes is the maximum number of lanes to list per partition.
const maxLanes = 1024

// PromoteDue makes holds ready whose lease has ended, and scheduled holds that
// are due if r asks for it. It lists lanes that have ready holds, nearest
// deadline first. With an error, it returns the result of the partitions that
// answered.
func (s *Queue) PromoteDue(
	ctx context.Context, r hold.PromoteRequest,
) (hold.PromoteResult, error) {
	lanes := r.Lanes
	if lanes <= 0 || lanes > maxLanes {
		lanes = maxLanes
	}
	calls := make([]scriptCall, len(s.conn.partitions))
	for p := range s.conn.partitions {
		k := &s.conn.partitions[p]
		calls[p] = scriptCall{
			keys: []string{k.scheduled, k.leased, k.holds, k.lanes, k.ready, k.changes},
			args: []any{clampBatchSize(r.Holds), boolArg(r.Scheduled), lanes},
		}
	}
	for i := range r.SkipLanes {
		l := &r.SkipLanes[i]
		c := &calls[l.Partition]
		c.args = append(c.args, laneNameOfOpAndAccount(l.Op, l.Account))
	}
	var result hold.PromoteResult
	var failed error
	for p, cmd := range s.conn.callScriptBatch(ctx, promoteScript, calls) {
		failed = errors.Join(failed, addPromoteReply(&result, p, newScriptReply(cmd)))
	}
	slices.SortStableFunc(result.Lanes, func(a, b hold.ReadyHoldLane) int {
		return a.NearestDeadline.Compare(b.NearestDeadline)
	})
	return result, failed
}

// addPromoteReply adds the reply of a partition to result.
func addPromoteReply(result *hold.PromoteResult, partition int, r *scriptReply) error {
	if now := r.nextTime(); !now.IsZero() {
		result.Now = now
	}
	result.PromotedHolds += int(r.nextInt())
	result.ExpiredLeases += int(r.nextInt())
	result.NextDueAt = earlierTime(result.NextDueAt, r.nextOptionalTime())
	result.NextLeaseEnd = earlierTime(result.NextLeaseEnd, r.nextOptionalTime())
	result.More = r.nextFlag() || result.More
	result.MoreLanes = r.nextFlag() || result.MoreLanes
	for r.hasMore() {
		op, account, ok := parseOpAndAccountOfLane(r.nextString())
		lane := hold.ReadyHoldLane{
			Partition:       partition,
			Account:         account,
			Op:              op,
			NearestDeadline: r.nextTime(),
			Ready:           int(r.nextInt()),
		}
		if ok && r.err == nil {
			result.Lanes = append(result.Lanes, lane)
		}
	}
	return r.err
}

// earlierTime returns the earlier of two times; a zero one does not count.
func earlierTime(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// ReadNextMilestone returns the earliest deadline milestone, zero if no hold is
// open.
func (s *Queue) ReadNextMilestone(ctx context.Context) (next time.Time, err error) {
	pipe := s.conn.client.Pipeline()
	heads := make([]*redis.ZSliceCmd, len(s.conn.partitions))
	for p := range s.conn.partitions {
		heads[p] = pipe.ZRangeWithScores(ctx, s.conn.partitions[p].expiring, 0, 0)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return time.Time{}, err
	}
	for _, head := range heads {
		for _, z := range head.Val() {
			next = earlierTime(next, time.UnixMilli(int64(z.Score)).UTC())
		}
	}
	return next, nil
}

// ListDueMilestones returns up to n holds per partition whose next deadline
// milestone is due.
func (s *Queue) ListDueMilestones(ctx context.Context, n int) ([]hold.HoldWithDueMilestone, time.Time, error) {
	return s.conn.readHoldsByScore(ctx, func(k *partitionKeys) string { return k.expiring },
		clampBatchSize(n), "")
}

// ListUnverifiedHolds returns about n holds that must be checked against
// Stripe, evenly of all partitions, most urgent first. Without any, the time is
// zero.
func (s *Queue) ListUnverifiedHolds(ctx context.Context, n int) ([]hold.HoldWithDueMilestone, time.Time, error) {
	unverified := func(k *partitionKeys) string { return k.unverified }
	if found, err := s.conn.hasAnyMembers(ctx, unverified); err != nil || !found {
		return nil, time.Time{}, err
	}
	perPartition := s.conn.limitPerPartition(n)
	found, now, err := s.conn.readHoldsByScore(ctx, unverified, perPartition, "+inf")
	sortByDueTime(found)
	return found, now, err
}

// ListHoldsDueForMetadataMirror returns up to n holds per partition whose terms must be
// written to their intents. Without any, due or not, the time is zero.
func (s *Queue) ListHoldsDueForMetadataMirror(ctx context.Context, n int) ([]hold.HoldWithDueMilestone, time.Time, error) {
	mirror := func(k *partitionKeys) string { return k.mirror }
	if found, err := s.conn.hasAnyMembers(ctx, mirror); err != nil || !found {
		return nil, time.Time{}, err
	}
	found, now, err := s.conn.readHoldsByScore(ctx, mirror, clampBatchSize(n), "")
	sortByDueTime(found)
	return found, now, err
}

func sortByDueTime(found []hold.HoldWithDueMilestone) {
	slices.SortStableFunc(found, func(a, b hold.HoldWithDueMilestone) int { return a.DueAt.Compare(b.DueAt) })
}

// Arguments of one milestone, in the order in which advance.lua gets them.
const (
	advanceID = iota
	advanceVersion
	advanceFrom
	advanceTo
	advanceEventCount
	advanceSize
)

var advanceArgs = scriptArgNames{"ADVANCE", []string{
	advanceID:         "ID",
	advanceVersion:    "VERSION",
	advanceFrom:       "FROM",
	advanceTo:         "TO",
	advanceEventCount: "EVENT_COUNT",
}}

// anyVersion makes advance.lua ignore the version of the record.
const anyVersion = "="

func appendAdvanceMilestoneArgs(
	args []any, id, version string, from, to time.Time, events [][]byte,
) []any {
	var a [advanceSize]string
	a[advanceID], a[advanceVersion] = id, version
	a[advanceFrom], a[advanceTo] = scoreArg(from), scoreArg(to)
	a[advanceEventCount] = strconv.Itoa(len(events))
	for _, v := range a {
		args = append(args, v)
	}
	for _, e := range events {
		args = append(args, e)
	}
	return args
}

// AdvanceMilestones moves milestones and publishes their events. It moves a
// milestone only if the milestone and the version of its hold are the ones that
// the caller read; otherwise moved[i] is false.
func (s *Queue) AdvanceMilestones(
	ctx context.Context, advances []hold.MilestoneWrite,
) (moved []bool, err error) {
	batches := s.conn.splitByPartition(len(advances), func(i int) string { return advances[i].ID })
	calls := make([]scriptCall, len(batches))
	for n, b := range batches {
		k := &s.conn.partitions[b.partition]
		args := []any{s.conn.maxEventBytes}
		for _, i := range b.indexes {
			a := &advances[i]
			args = appendAdvanceMilestoneArgs(args, a.ID, versionBytesArg(a.Version), a.From, a.To,
				a.Events)
		}
		calls[n] = scriptCall{keys: []string{k.expiring, k.events, k.holds, k.changes}, args: args}
	}
	moved = make([]bool, len(advances))
	for n, cmd := range s.conn.callScriptBatch(ctx, advanceScript, calls) {
		r := newScriptReply(cmd)
		for _, i := range batches[n].indexes {
			moved[i] = r.nextInt() == 1
		}
		if r.err != nil {
			return moved, r.err
		}
	}
	return moved, nil
}

// CountDueByWindow counts the scheduled holds that become due in each of n
// consecutive windows of length step. The first window includes overdue holds.
func (s *Queue) CountDueByWindow(
	ctx context.Context, from time.Time, step time.Duration, n int,
) ([]int64, error) {
	pipe := s.conn.client.Pipeline()
	var cmds []*redis.IntCmd
	for p := range s.conn.partitions {
		for i := range n {
			low := "-inf"
			if i > 0 {
				low = "(" + strconv.FormatInt(from.Add(time.Duration(i)*step).UnixMilli(), 10)
			}
			high := strconv.FormatInt(from.Add(time.Duration(i+1)*step).UnixMilli(), 10)
			cmds = append(cmds, pipe.ZCount(ctx, s.conn.partitions[p].scheduled, low, high))
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	counts := make([]int64, n)
	for i, cmd := range cmds {
		counts[i%n] += cmd.Val()
	}
	return counts, nil
}

// CountHolds counts the holds in each set. Its cost does not depend on their
// number. It does not count ready holds: [Queue.PromoteDue] lists their lanes
// with the number of holds.
func (s *Queue) CountHolds(ctx context.Context) (hold.HoldCounts, error) {
	var counts hold.HoldCounts
	var sums []func()
	pipe := s.conn.client.Pipeline()
	add := func(to *int64, key string) {
		cmd := pipe.ZCard(ctx, key)
		sums = append(sums, func() { *to += cmd.Val() })
	}
	for p := range s.conn.partitions {
		k := &s.conn.partitions[p]
		add(&counts.Open, k.expiring)
		add(&counts.Scheduled, k.scheduled)
		add(&counts.Working, k.leased)
		add(&counts.Attention, k.attention)
		sums = append(sums, pipelineSettledCount(ctx, pipe, k, &counts.Settled))
		add(&counts.Unverified, k.unverified)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return counts, err
	}
	for _, sum := range sums {
		sum()
	}
	var err error
	counts.Ready, err = s.countReady(ctx)
	return counts, err
}

// maxCountedLanes bounds the lanes that a count of the ready holds reads.
const maxCountedLanes = 10_000

var countReadyScript = newScript("count_ready")

// countReady returns how many holds are ready. Paused holds and those without a
// time are open and not ready.
func (s *Queue) countReady(ctx context.Context) (n int64, err error) {
	calls := make([]scriptCall, len(s.conn.partitions))
	for p := range calls {
		k := &s.conn.partitions[p]
		calls[p] = scriptCall{keys: []string{k.lanes, k.ready}, args: []any{maxCountedLanes}}
	}
	for _, cmd := range s.conn.callScriptBatch(ctx, countReadyScript, calls) {
		count, err := cmd.Int64()
		if err != nil {
			return 0, err
		}
		n += count
	}
	return n, nil
}
