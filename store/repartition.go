package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// MaxPartitions is the most that a Redis is divided into: a look at the schedule asks each of them.
const MaxPartitions = 1024

// repartitionSeparator parts the numbers while holdd:partitions says that a Redis is being divided anew: "1>64".
const repartitionSeparator = ">"

var (
	moveOutScript  = script("move_out")
	moveInScript   = script("move_in")
	moveAwayScript = script("move_away")
)

// idSets are the sorted sets that name holds by their id alone, in the order of the move scripts.
func (k *keys) idSets() []string {
	return []string{k.scheduled, k.leased, k.expiring, k.settled, k.attention, k.unverified, k.mirror}
}

func (k *keys) movedKeys() []string {
	return append([]string{k.holds, k.ready, k.lanes, k.references}, k.idSets()...)
}

// Repartition divides the holds of a Redis anew, into to partitions, and tells progress (which may be nil) how many of how many holds it has looked at.
// It returns how many it moved. Nobody may work on this Redis meanwhile: it refuses while a replica's heartbeat is there, and from its first write to its last
// [Open] refuses as well. Interrupted at any point it has lost nothing, and called again with the same number it goes on.
//
// Events stay in the streams that they are in. Of partitions that are no more nobody delivers what still waits there: before a number is made smaller, all
// should have been delivered.
func Repartition(ctx context.Context, o Options, to int, progress func(done, total int64)) (moved int64, err error) {
	if to < 1 || to > MaxPartitions {
		return 0, settingErrorf("a Redis is divided into 1 to %d partitions, not %d", MaxPartitions, to)
	}
	rdb, err := newClient(o)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, rdb.Close()) }()
	s := &Store{rdb: rdb}
	from, err := s.beginRepartition(ctx, o, to)
	if err != nil || from == to {
		return 0, err
	}
	for p := range max(from, to) {
		s.parts = append(s.parts, partitionKeys(p))
	}
	m := mover{s: s, from: from, to: to, progress: progress}
	for p := range from {
		n, err := rdb.HLen(ctx, s.parts[p].holds).Result()
		if err != nil {
			return 0, fmt.Errorf("holds can't be counted: %w", err)
		}
		m.total += n
	}
	for p := range from {
		if err := m.emptyPartition(ctx, p); err != nil {
			return m.moved, fmt.Errorf("%w; nothing is lost: run the same command again", err)
		}
	}
	if err := s.replacePartitions(ctx, strconv.Itoa(from)+repartitionSeparator+strconv.Itoa(to), strconv.Itoa(to)); err != nil {
		return m.moved, err
	}
	return m.moved, nil
}

// beginRepartition closes the Redis to everybody else, or finds it closed by a move that did not end.
func (s *Store) beginRepartition(ctx context.Context, o Options, to int) (from int, err error) {
	is, err := s.rdb.Get(ctx, keyPartitions).Result()
	switch {
	case errors.Is(err, redis.Nil):
		return 0, settingErrorf("there is nothing of holdd's in this Redis: set partitions to %d and start", to)
	case err != nil:
		return 0, fmt.Errorf("the Redis at %s can't be read: %w", redactURL(o.URL), err)
	}
	begun, target, going := strings.Cut(is, repartitionSeparator)
	if from, err = strconv.Atoi(begun); err != nil || from < 1 || from > MaxPartitions {
		return 0, settingErrorf("%s is %q, which is no number of partitions: is another program using holdd's keys?", keyPartitions, is)
	}
	if going && target != strconv.Itoa(to) {
		return 0, settingErrorf("this Redis is in the middle of being divided from %s into %s partitions: finish that first", begun, target)
	}
	if !going && from == to {
		return from, nil
	}
	if err := s.checkNoReplicas(ctx); err != nil {
		return 0, err
	}
	if !going {
		if err := s.replacePartitions(ctx, is, begun+repartitionSeparator+strconv.Itoa(to)); err != nil {
			return 0, err
		}
	}
	// One that passed Open before the door closed shows its first heartbeat now.
	t := time.NewTimer(heartbeatGrace)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-t.C:
	}
	if err := s.checkNoReplicas(ctx); err != nil {
		if !going {
			err = errors.Join(err, s.replacePartitions(ctx, begun+repartitionSeparator+strconv.Itoa(to), begun))
		}
		return 0, err
	}
	return from, nil
}

// heartbeatGrace is how long a replica takes at the most from [Open] to its first heartbeat.
const heartbeatGrace = 2 * time.Second

// checkNoReplicas makes sure that no replica lives.
func (s *Store) checkNoReplicas(ctx context.Context) error {
	now, err := s.rdb.Time(ctx).Result()
	if err != nil {
		return err
	}
	alive, err := s.rdb.ZRangeByScore(ctx, keyReplicas, &redis.ZRangeBy{Min: strconv.FormatInt(now.UnixMilli(), 10), Max: "+inf", Count: 10}).Result()
	if err != nil {
		return err
	}
	if len(alive) > 0 {
		return settingErrorf("replicas still run on this Redis: stop %s first (one that was killed counts until its heartbeat has run out, within a minute)", strings.Join(alive, ", "))
	}
	return nil
}

// replacePartitions changes what holdd:partitions says if it says what is expected.
func (s *Store) replacePartitions(ctx context.Context, was, is string) error {
	err := s.rdb.Watch(ctx, func(tx *redis.Tx) error {
		got, err := tx.Get(ctx, keyPartitions).Result()
		if err != nil {
			return err
		}
		if got != was {
			return settingErrorf("%s became %q meanwhile: does somebody else divide this Redis?", keyPartitions, got)
		}
		_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.Set(ctx, keyPartitions, is, 0)
			return nil
		})
		return err
	}, keyPartitions)
	if err != nil {
		return fmt.Errorf("%s can't be written: %w", keyPartitions, err)
	}
	return nil
}

// mover moves holds from the partitions that there were to those that there shall be.
type mover struct {
	s                  *Store
	from, to           int
	done, total, moved int64
	progress           func(done, total int64)
}

// maxPasses bounds how often a partition is looked through. The second finds nothing, unless somebody writes meanwhile.
const maxPasses = 5

// emptyPartition moves everything out of a partition that belongs elsewhere.
func (m *mover) emptyPartition(ctx context.Context, p int) error {
	k := &m.s.parts[p]
	for pass := range maxPasses {
		left, cursor := 0, uint64(0)
		for {
			found, next, err := m.s.rdb.HScan(ctx, k.holds, cursor, "", scriptBatch).Result()
			if err != nil {
				return fmt.Errorf("holds of partition %d can't be read: %w", p, err)
			}
			away := map[int][]string{}
			for i := 0; i < len(found); i += 2 { // id, record, id, record, …
				if to := partitionOf(found[i], m.to); to != p {
					away[to] = append(away[to], found[i])
				}
			}
			for to, ids := range away {
				left += len(ids)
				for _, piece := range splitBatches(ids) {
					if err := m.moveHolds(ctx, p, to, piece); err != nil {
						return err
					}
				}
			}
			if pass == 0 {
				m.done += int64(len(found) / 2)
				if m.progress != nil {
					m.progress(m.done, m.total)
				}
			}
			if cursor = next; cursor == 0 {
				break
			}
		}
		if left == 0 {
			return m.moveWebhookMarks(ctx, p)
		}
	}
	return fmt.Errorf("partition %d doesn't come to rest: stop all replicas, they still write to it", p)
}

// moveHolds takes some holds from one partition to another: told there first, taken out here after.
func (m *mover) moveHolds(ctx context.Context, from, to int, ids []string) error {
	here, there := &m.s.parts[from], &m.s.parts[to]
	args := make([]any, len(ids))
	for i, id := range ids {
		args[i] = id
	}
	r := newReply(m.s.runScript(ctx, moveOutScript, []scriptCall{{keys: append([]string{here.holds, here.ready}, here.idSets()...), args: args}})[0])
	var in, out []any
	for _, id := range ids {
		rec, lane, head := r.str(), r.str(), r.str()
		ref := ""
		// One that can't be read keeps its sets; its reference is not known, and nobody can find it by that anyway.
		if h, _, err := decodeRecord(id, rec); err == nil && h.Reference != "" {
			ref = h.Reference + "\x00" + id
		}
		in, out = append(in, id, ref, rec, lane, head), append(out, id, ref, rec)
		for range here.idSets() {
			in = append(in, r.str())
		}
	}
	if r.err != nil {
		return fmt.Errorf("holds can't be read: %w", r.err)
	}
	if err := m.s.runScript(ctx, moveInScript, []scriptCall{{keys: there.movedKeys(), args: in}})[0].Err(); err != nil {
		return fmt.Errorf("holds can't be written: %w", err)
	}
	n, err := m.s.runScript(ctx, moveAwayScript, []scriptCall{{keys: here.movedKeys(), args: out}})[0].Int64()
	if err != nil {
		return fmt.Errorf("holds that have moved can't be taken out of where they were: %w", err)
	}
	m.moved += n
	return nil
}

// moveWebhookMarks moves what Stripe told of intents, which may be no holds.
func (m *mover) moveWebhookMarks(ctx context.Context, p int) error {
	for _, set := range []func(*keys) string{func(k *keys) string { return k.refresh }, func(k *keys) string { return k.unmatched }} {
		key, cursor := set(&m.s.parts[p]), uint64(0)
		for {
			found, next, err := m.s.rdb.ZScan(ctx, key, cursor, "", scriptBatch).Result()
			if err != nil {
				return fmt.Errorf("what Stripe told of can't be read: %w", err)
			}
			for i := 0; i+1 < len(found); i += 2 {
				member := found[i]
				id, _, _ := strings.Cut(member, accountSeparator)
				to := partitionOf(id, m.to)
				if to == p {
					continue
				}
				score, err := strconv.ParseFloat(found[i+1], 64)
				if err != nil {
					return errReply
				}
				if err := m.s.rdb.ZAdd(ctx, set(&m.s.parts[to]), redis.Z{Score: score, Member: member}).Err(); err != nil {
					return fmt.Errorf("what Stripe told of can't be written: %w", err)
				}
				if err := m.s.rdb.ZRem(ctx, key, member).Err(); err != nil {
					return fmt.Errorf("what Stripe told of can't be written: %w", err)
				}
			}
			if cursor = next; cursor == 0 {
				break
			}
		}
	}
	return nil
}
