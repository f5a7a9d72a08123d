package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/redis/go-redis/v9"
)

func (k *keys) set(s hold.SortedSet) string {
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

// Page returns up to n holds of a set that come after a place in it, in the set's order over all partitions, and Redis' time. Fewer than n
// means that the end was reached. A hold whose record is gone or can't be read is listed without a state. For [hold.SetReferences] a mark's name is a reference: the page begins with the first one not before it.
func (s *Store) Page(ctx context.Context, set hold.SortedSet, after hold.Position, n int) ([]hold.ListedHold, time.Time, error) {
	n = min(max(n, 1), scriptBatch)
	rev := "0"
	if set == hold.SetSettled {
		rev = "1"
	}
	runs := make([]scriptCall, 0, len(s.parts))
	add := func(k *keys, key string) {
		runs = append(runs, scriptCall{keys: []string{key, k.holds}, args: []any{after.Score, after.Member, n, rev}})
	}
	if set == hold.SetReady {
		if err := s.eachLane(ctx, add); err != nil {
			return nil, time.Time{}, err
		}
	}
	for p := range s.parts {
		if k := &s.parts[p]; set != hold.SetReady {
			add(k, k.set(set))
		} else if len(runs) == 0 {
			add(k, k.ready) // no lane: nothing is there either, but the time
		}
	}
	return s.page(ctx, runs, n, rev == "1")
}

// PageLane is [Store.Page] for the holds of one lane, nearest deadline first.
func (s *Store) PageLane(ctx context.Context, lane hold.Lane, after hold.Position, n int) ([]hold.ListedHold, error) {
	n = min(max(n, 1), scriptBatch)
	k := &s.parts[lane.Partition]
	all, _, err := s.page(ctx, []scriptCall{{keys: []string{k.ready + ":" + laneName(byte(lane.Op), lane.Account), k.holds}, args: []any{after.Score, after.Member, n, "0"}}}, n, false)
	return all, err
}

// DueHistogram counts the scheduled holds that fall due in each of n windows from a time on. What is overdue counts in the first.
func (s *Store) DueHistogram(ctx context.Context, from time.Time, step time.Duration, n int) ([]int64, error) {
	pipe := s.rdb.Pipeline()
	counts := make([]int64, n)
	var cmds []*redis.IntCmd
	for p := range s.parts {
		for i := range n {
			low := "(" + strconv.FormatInt(from.Add(time.Duration(i)*step).UnixMilli(), 10)
			if i == 0 {
				low = "-inf"
			}
			cmds = append(cmds, pipe.ZCount(ctx, s.parts[p].scheduled, low, strconv.FormatInt(from.Add(time.Duration(i+1)*step).UnixMilli(), 10)))
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	for i, c := range cmds {
		counts[i%n] += c.Val()
	}
	return counts, nil
}

func (s *Store) page(ctx context.Context, runs []scriptCall, n int, rev bool) ([]hold.ListedHold, time.Time, error) {
	var all []hold.ListedHold
	now := time.Time{}
	for _, cmd := range s.runScript(ctx, pageScript, runs) {
		r := newReply(cmd)
		now = r.time()
		for r.more() {
			member, score, rec := r.str(), r.int(), r.str()
			if r.err != nil {
				continue
			}
			id := member[strings.IndexByte(member, 0)+1:]
			l := hold.ListedHold{Hold: hold.Hold{ID: id}, Position: hold.Position{Score: score, Member: member}}
			if rec != "" {
				if h, _, err := decodeRecord(id, rec); err == nil {
					l.Hold = h
				}
			}
			all = append(all, l)
		}
		if r.err != nil {
			return nil, now, r.err
		}
	}
	slices.SortFunc(all, func(a, b hold.ListedHold) int {
		c := cmp.Or(cmp.Compare(a.Position.Score, b.Position.Score), cmp.Compare(a.Position.Member, b.Position.Member))
		if rev {
			return -c
		}
		return c
	})
	if len(all) > n {
		all = all[:n]
	}
	return all, now, nil
}

// Counts tells how many holds there are. Its cost doesn't depend on how many. Ready is left to [Store.Due], which knows the lanes.
func (s *Store) Counts(ctx context.Context) (hold.Counts, error) {
	var c hold.Counts
	var sums []func()
	pipe := s.rdb.Pipeline()
	add := func(to *int64, key string) {
		cmd := pipe.ZCard(ctx, key)
		sums = append(sums, func() { *to += cmd.Val() })
	}
	for p := range s.parts {
		k := &s.parts[p]
		add(&c.Open, k.expiring)
		add(&c.Scheduled, k.scheduled)
		add(&c.Working, k.leased)
		add(&c.Attention, k.attention)
		add(&c.Settled, k.settled)
		add(&c.Unverified, k.unverified)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return c, err
	}
	for _, sum := range sums {
		sum()
	}
	return c, nil
}

// Heartbeat says that a replica lives, for at most ttl. It returns the replicas that live.
func (s *Store) Heartbeat(ctx context.Context, replica string, ttl time.Duration) ([]string, error) {
	now, err := s.rdb.Time(ctx).Result()
	if err != nil {
		return nil, err
	}
	pipe := s.rdb.Pipeline()
	// Seconds are enough, and a Cluster's servers may disagree by a little: ttl is far above that.
	pipe.ZAdd(ctx, keyReplicas, redis.Z{Score: float64(now.Add(ttl).UnixMilli()), Member: replica})
	alive := pipe.ZRangeByScore(ctx, keyReplicas, &redis.ZRangeBy{Min: strconv.FormatInt(now.UnixMilli(), 10), Max: "+inf", Count: 1000})
	pipe.ZRemRangeByScore(ctx, keyReplicas, "-inf", strconv.FormatInt(now.Add(-24*time.Hour).UnixMilli(), 10))
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	return alive.Val(), nil
}

// Deregister takes a replica off the list of those that live: it has stopped as it should.
func (s *Store) Deregister(ctx context.Context, replica string) error {
	return s.rdb.ZRem(ctx, keyReplicas, replica).Err()
}

// Ping says whether Redis answers and can be written: one that is full, read-only or can't reach its disk is of no use.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.rdb.Set(ctx, keyPing, 1, time.Minute).Err(); err != nil {
		return fmt.Errorf("this Redis can't be written: %w", err)
	}
	return nil
}

// eachLane names the queues of what is ready: up to maxLanes in each partition.
func (s *Store) eachLane(ctx context.Context, add func(k *keys, key string)) error {
	pipe := s.rdb.Pipeline()
	lanes := make([]*redis.StringSliceCmd, len(s.parts))
	for p := range s.parts {
		lanes[p] = pipe.ZRange(ctx, s.parts[p].lanes, 0, maxLanes-1)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	for p := range s.parts {
		for _, lane := range lanes[p].Val() {
			add(&s.parts[p], s.parts[p].ready+":"+lane)
		}
	}
	return nil
}
