package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdd/holdd/worker/hold"
)

// MaxPartitions is the maximum number of partitions. Each promotion calls a
// script for every partition.
const MaxPartitions = 1024

// repartitionSeparator separates the old from the new number of partitions in
// holdd:partitions while [Repartition] runs.
const repartitionSeparator = ">"

// maxNamedReplicas bounds the replicas that an error names.
const maxNamedReplicas = 10

// firstHeartbeatWait is the maximum time between a replica's [Open] and its
// first heartbeat.
const firstHeartbeatWait = 2 * time.Second

// Repartition changes the number of partitions to to, moves holds to their new
// partitions, and returns how many it moved. It calls progress, which may be
// nil, with the number of holds that it has read and their total.
//
// No replica may run at the same time. Repartition fails while a replica has a
// heartbeat, and [Open] fails until Repartition has finished. An interruption
// loses no hold: another call with the same number continues.
//
// Events stay in their streams. No replica delivers the events of a partition
// that no longer exists, so all events must be delivered before the number of
// partitions is reduced.
func Repartition(
	ctx context.Context, o Options, to int, progress func(done, total int64),
) (moved int64, err error) {
	if to < 1 || to > MaxPartitions {
		return 0, invalidSettingErrorf("invalid number of partitions %d: want 1 to %d", to,
			MaxPartitions)
	}
	client, err := newClient(o)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	m := &repartitioner{conn: &redisConn{client: client}, to: to, progress: progress}
	if m.from, err = m.blockReplicaStarts(ctx, o.URL); err != nil || m.from == to {
		return 0, err
	}
	for p := range max(m.from, to) {
		m.conn.partitions = append(m.conn.partitions, newPartitionKeys(p))
	}
	for p := range m.from {
		n, err := client.HLen(ctx, m.conn.partitions[p].holds).Result()
		if err != nil {
			return 0, fmt.Errorf("cannot count the holds: %w", err)
		}
		m.total += n
	}
	for p := range m.from {
		if err := m.moveMisplacedFromPartition(ctx, p); err != nil {
			return m.moved, fmt.Errorf("%w; nothing is lost: run the same command again", err)
		}
	}
	if err := m.compareAndSetPartitions(ctx, m.progressMarker(), strconv.Itoa(to)); err != nil {
		return m.moved, err
	}
	audit := &AuditLog{conn: m.conn, keep: o.AuditEntries}
	_, err = audit.AppendAuditEntries(ctx, []hold.AuditLogEntry{{At: time.Now().UTC(), By: "cli",
		Act: hold.ActRepartitioned, Detail: fmt.Sprintf("from %d to %d", m.from, to)}})
	if err != nil {
		return m.moved, fmt.Errorf("the holds are moved; audit entry not written: %w", err)
	}
	return m.moved, nil
}

// repartitioner moves holds to their partitions under another number of
// partitions.
type repartitioner struct {
	conn               *redisConn
	from, to           int // numbers of partitions
	done, total, moved int64
	progress           func(done, total int64)
}

// progressMarker returns the value of holdd:partitions during the move.
func (m *repartitioner) progressMarker() string {
	return strconv.Itoa(m.from) + repartitionSeparator + strconv.Itoa(m.to)
}

// blockReplicaStarts keeps replicas from starting and returns the current
// number of partitions. It resumes an interrupted repartition.
func (m *repartitioner) blockReplicaStarts(
	ctx context.Context, rawURL string,
) (from int, err error) {
	recorded, err := m.conn.client.Get(ctx, keyPartitions).Result()
	switch {
	case errors.Is(err, redis.Nil):
		return 0, invalidSettingErrorf("this Redis has no data of holdd: "+
			"set partitions to %d and start holdd", m.to)
	case err != nil:
		return 0, fmt.Errorf("cannot read from the Redis at %s: %w", redactURL(rawURL), err)
	}
	current, target, continues := strings.Cut(recorded, repartitionSeparator)
	if m.from, err = strconv.Atoi(current); err != nil || m.from < 1 || m.from > MaxPartitions {
		return 0, invalidSettingErrorf("invalid %s %q: want a number; "+
			"check that no other program uses the keys holdd:*", keyPartitions, recorded)
	}
	if continues && target != strconv.Itoa(m.to) {
		return 0, invalidSettingErrorf("a change from %s to %s partitions is not finished: "+
			"run holdd repartition --to %s first", current, target, target)
	}
	if !continues && m.from == m.to {
		return m.from, nil
	}
	if err := m.checkNoReplicaRuns(ctx); err != nil {
		return 0, err
	}
	if !continues {
		if err := m.compareAndSetPartitions(ctx, recorded, m.progressMarker()); err != nil {
			return 0, err
		}
	}
	if err := m.awaitFirstHeartbeats(ctx); err != nil {
		return 0, err
	}
	if err := m.checkNoReplicaRuns(ctx); err != nil {
		if !continues {
			err = errors.Join(err, m.compareAndSetPartitions(ctx, m.progressMarker(), current))
		}
		return 0, err
	}
	return m.from, nil
}

// awaitFirstHeartbeats waits until each replica that has just passed [Open] has
// sent its first heartbeat.
func (m *repartitioner) awaitFirstHeartbeats(ctx context.Context) error {
	t := time.NewTimer(firstHeartbeatWait)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func (m *repartitioner) checkNoReplicaRuns(ctx context.Context) error {
	replicas := Replicas{conn: m.conn}
	alive, err := replicas.ListAliveReplicas(ctx)
	if err != nil {
		return err
	}
	alive = alive[:min(len(alive), maxNamedReplicas)]
	if len(alive) > 0 {
		return invalidSettingErrorf("replicas still run on this Redis: stop %s first "+
			"(a killed replica counts until its heartbeat ends, within a minute)",
			strings.Join(alive, ", "))
	}
	return nil
}

// compareAndSetPartitions sets holdd:partitions, if it has the expected value.
func (m *repartitioner) compareAndSetPartitions(ctx context.Context, expected, value string) error {
	err := m.conn.client.Watch(ctx, func(tx *redis.Tx) error {
		got, err := tx.Get(ctx, keyPartitions).Result()
		if err != nil {
			return err
		}
		if got != expected {
			return invalidSettingErrorf("%s changed to %q: check that no other holdd repartition runs",
				keyPartitions, got)
		}
		_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.Set(ctx, keyPartitions, value, 0)
			return nil
		})
		return err
	}, keyPartitions)
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", keyPartitions, err)
	}
	return nil
}
