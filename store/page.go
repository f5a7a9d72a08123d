package store

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdd/holdd/worker/hold"
)

var pageScript = newScript("page")

// ReadSortedSetPage returns up to n holds of a set after a position, in the order of the
// set over all partitions, and the time of Redis. Fewer than n holds mean the
// end of the set. A hold whose record is missing or unreadable has no state in
// the list. For [hold.SetReferences], the member of a position may be the
// prefix of a reference: the page then begins with the first reference that is
// not before the prefix.
func (s *Holds) ReadSortedSetPage(
	ctx context.Context, set hold.SortedSet, after hold.SortedSetPosition, n int,
) ([]hold.HoldAtPosition, time.Time, error) {
	q := pageQuery{script: pageScript, after: after, n: clampBatchSize(n)}
	if set == hold.SetSettled {
		q.script, q.descending = pageSettledScript, true
	}
	var calls []scriptCall
	if set == hold.SetReady {
		lanes, err := s.conn.readLaneKeys(ctx)
		if err != nil {
			return nil, time.Time{}, err
		}
		for p := range lanes {
			for _, key := range lanes[p] {
				calls = append(calls, q.pageScriptCall(key, &s.conn.partitions[p]))
			}
		}
		if len(calls) == 0 { // read a key that never exists, for the time
			calls = append(calls, q.pageScriptCall(s.conn.partitions[0].ready,
				&s.conn.partitions[0]))
		}
		return s.conn.readMergedPage(ctx, q, calls)
	}
	for p := range s.conn.partitions {
		k := &s.conn.partitions[p]
		calls = append(calls, q.pageScriptCall(k.sortedSetKey(set), k))
	}
	return s.conn.readMergedPage(ctx, q, calls)
}

// ReadLanePage is [Holds.ReadSortedSetPage] for one lane, nearest deadline first.
func (s *Queue) ReadLanePage(
	ctx context.Context, lane hold.ReadyHoldLane, after hold.SortedSetPosition, n int,
) ([]hold.HoldAtPosition, error) {
	q := pageQuery{script: pageScript, after: after, n: clampBatchSize(n)}
	k := &s.conn.partitions[lane.Partition]
	call := q.pageScriptCall(k.laneKey(laneNameOfOpAndAccount(lane.Op, lane.Account)), k)
	holds, _, err := s.conn.readMergedPage(ctx, q, []scriptCall{call})
	return holds, err
}

type pageQuery struct {
	script     *redis.Script
	after      hold.SortedSetPosition
	n          int
	descending bool
}

func (q pageQuery) pageScriptCall(set string, k *partitionKeys) scriptCall {
	return scriptCall{
		keys: []string{set, k.holds},
		args: []any{q.after.Score, q.after.Member, q.n, boolArg(q.descending)},
	}
}

// readMergedPage merges the pages of several sets into one.
func (c *redisConn) readMergedPage(
	ctx context.Context, q pageQuery, calls []scriptCall,
) ([]hold.HoldAtPosition, time.Time, error) {
	var all []hold.HoldAtPosition
	now := time.Time{}
	for _, cmd := range c.callScriptBatch(ctx, q.script, calls) {
		r := newScriptReply(cmd)
		now = r.nextTime()
		for r.hasMore() {
			member, score := r.nextString(), r.nextInt()
			rec, exists := r.nextOptionalString()
			if r.err != nil {
				continue
			}
			id := holdIDOfMember(member)
			l := hold.HoldAtPosition{
				Hold:     hold.Hold{ID: id},
				Position: hold.SortedSetPosition{Score: score, Member: member},
			}
			if exists {
				if h, _, err := c.decodeAndTrackUnreadable(id, rec); err == nil {
					l.Hold = h
				}
			}
			all = append(all, l)
		}
		if r.err != nil {
			return nil, now, r.err
		}
	}
	slices.SortFunc(all, func(a, b hold.HoldAtPosition) int {
		order := cmp.Or(
			cmp.Compare(a.Position.Score, b.Position.Score),
			cmp.Compare(a.Position.Member, b.Position.Member))
		if q.descending {
			return -order
		}
		return order
	})
	return all[:min(len(all), q.n)], now, nil
}

// readLaneKeys returns the keys of the ready lanes of each partition, at most
// maxLanes of each.
func (c *redisConn) readLaneKeys(ctx context.Context) ([][]string, error) {
	pipe := c.client.Pipeline()
	cmds := make([]*redis.StringSliceCmd, len(c.partitions))
	for p := range c.partitions {
		cmds[p] = pipe.ZRange(ctx, c.partitions[p].lanes, 0, maxLanes-1)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	keys := make([][]string, len(cmds))
	for p, cmd := range cmds {
		for _, lane := range cmd.Val() {
			keys[p] = append(keys[p], c.partitions[p].laneKey(lane))
		}
	}
	return keys, nil
}
