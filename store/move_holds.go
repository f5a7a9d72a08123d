package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"
)

var (
	moveReadScript   = newScript("move_read")
	moveWriteScript  = newScript("move_write")
	moveDeleteScript = newScript("move_delete")
)

// repartitionScriptKeys returns the keys of move_write.lua and move_delete.lua.
func (k *partitionKeys) repartitionScriptKeys() []string {
	return append([]string{k.holds, k.ready, k.lanes, k.references, k.settled},
		k.holdSetKeys()...)
}

// maxScanPasses is the maximum number of scans of a partition. The second scan
// finds no hold to move, unless a replica still writes.
const maxScanPasses = 5

// moveMisplacedFromPartition moves the holds and refreshes that belong to
// another partition out of p.
func (m *repartitioner) moveMisplacedFromPartition(ctx context.Context, p int) error {
	for pass := range maxScanPasses {
		left, err := m.moveMisplacedHoldsFromPartition(ctx, p, pass == 0)
		if err != nil {
			return err
		}
		if left == 0 {
			return m.moveMisplacedRefreshesFromPartition(ctx, p)
		}
	}
	return fmt.Errorf("replicas still write to partition %d: stop all of them", p)
}

// moveMisplacedHoldsFromPartition reads all holds of a partition, and moves those that
// belong to another one. It returns their number.
func (m *repartitioner) moveMisplacedHoldsFromPartition(
	ctx context.Context, p int, first bool,
) (moved int, err error) {
	cursor := uint64(0)
	for {
		found, next, err := m.conn.client.HScan(ctx, m.conn.partitions[p].holds,
			cursor, "", maxBatchSize).Result()
		if err != nil {
			return moved, fmt.Errorf("cannot read the holds of partition %d: %w", p, err)
		}
		elsewhere := map[int][]string{}
		for i := 0; i < len(found); i += 2 { // id, record, id, record, …
			if to := hashToPartition(found[i], m.to); to != p {
				elsewhere[to] = append(elsewhere[to], found[i])
			}
		}
		for to, ids := range elsewhere {
			moved += len(ids)
			for chunk := range slices.Chunk(ids, maxBatchSize) {
				if err := m.moveHoldsToPartition(ctx, p, to, chunk); err != nil {
					return moved, err
				}
			}
		}
		if first {
			m.done += int64(len(found) / 2)
			if m.progress != nil {
				m.progress(m.done, m.total)
			}
		}
		if cursor = next; cursor == 0 {
			return moved, nil
		}
	}
}

// moveHoldsToPartition moves holds from one partition to another. A script cannot use both
// on a Cluster, so moveHoldsToPartition writes the holds to the new partition before it
// removes them from the old one.
func (m *repartitioner) moveHoldsToPartition(ctx context.Context, from, to int, ids []string) error {
	source, target := &m.conn.partitions[from], &m.conn.partitions[to]
	args := make([]any, len(ids))
	for i, id := range ids {
		args[i] = id
	}
	keys := append([]string{source.holds, source.ready}, source.holdSetKeys()...)
	r := newScriptReply(m.conn.callScript(ctx, moveReadScript, keys, args...))
	var toWrite, toDelete []any
	for _, id := range ids {
		rec, lane, score := r.nextString(), r.nextString(), r.nextString()
		reference := ""
		// The reference of an unreadable record is unknown, so only its other
		// sets move.
		if h, _, err := decodeRecord(id, rec); err == nil && h.Reference != "" {
			reference = referenceMember(h.Reference, id)
		}
		toWrite = append(toWrite, id, reference, rec, lane, score)
		toDelete = append(toDelete, id, reference, rec)
		for range source.holdSetKeys() {
			toWrite = append(toWrite, r.nextString())
		}
	}
	if r.err != nil {
		return fmt.Errorf("cannot read holds: %w", r.err)
	}
	err := m.conn.callScript(ctx, moveWriteScript, target.repartitionScriptKeys(), toWrite...).Err()
	if err != nil {
		return fmt.Errorf("cannot write holds: %w", err)
	}
	n, err := m.conn.callScript(ctx, moveDeleteScript, source.repartitionScriptKeys(),
		toDelete...).Int64()
	if err != nil {
		return fmt.Errorf("cannot remove holds from the partition that they moved from: %w", err)
	}
	m.moved += n
	return nil
}

// moveMisplacedRefreshesFromPartition moves the intents that webhooks named. They may have
// no hold.
func (m *repartitioner) moveMisplacedRefreshesFromPartition(ctx context.Context, p int) error {
	for _, set := range []func(*partitionKeys) string{
		func(k *partitionKeys) string { return k.refresh },
		func(k *partitionKeys) string { return k.unmatched },
	} {
		key, cursor := set(&m.conn.partitions[p]), uint64(0)
		for {
			found, next, err := m.conn.client.ZScan(ctx, key, cursor, "", maxBatchSize).Result()
			if err != nil {
				return fmt.Errorf("cannot read %s: %w", key, err)
			}
			for i := 0; i+1 < len(found); i += 2 { // member, score, member, score, …
				if err := m.moveRefreshIfMisplaced(ctx, p, set, found[i], found[i+1]); err != nil {
					return err
				}
			}
			if cursor = next; cursor == 0 {
				break
			}
		}
	}
	return nil
}

func (m *repartitioner) moveRefreshIfMisplaced(
	ctx context.Context, p int, set func(*partitionKeys) string, member, scoreText string,
) error {
	id, _, _ := parseRefreshMember(member)
	to := hashToPartition(id, m.to)
	if to == p {
		return nil
	}
	score, err := strconv.ParseFloat(scoreText, 64)
	if err != nil {
		return errUnexpectedReply
	}
	source, target := set(&m.conn.partitions[p]), set(&m.conn.partitions[to])
	added := redis.Z{Score: score, Member: member}
	if err := m.conn.client.ZAdd(ctx, target, added).Err(); err != nil {
		return fmt.Errorf("cannot write %s: %w", target, err)
	}
	if err := m.conn.client.ZRem(ctx, source, member).Err(); err != nil {
		return fmt.Errorf("cannot write %s: %w", source, err)
	}
	return nil
}
