package main

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// bareBench measures the least that the work takes: the physical limits beside
// which holdd's figures stand.
type bareBench struct{ lab }

// bareClaimSize is how many holds a bare script claims at once, as many as
// holdd has in flight.
const bareClaimSize = concurrency

// bareClaimScript moves due holds to the set of leased ones and returns their
// records. It checks neither version nor state.
var bareClaimScript = redis.NewScript(`
local ids = redis.call('ZRANGE', KEYS[1], 0, ARGV[1] - 1)
if #ids == 0 then return {{}, {}} end
redis.call('ZREM', KEYS[1], unpack(ids))
local leased = {}
for i, id in ipairs(ids) do
  leased[2 * i - 1], leased[2 * i] = ARGV[2], id
end
redis.call('ZADD', KEYS[2], unpack(leased))
return {ids, redis.call('HMGET', KEYS[3], unpack(ids))}
`)

// bareSettleScript writes the records of claimed holds and moves the holds to
// the set of settled ones.
var bareSettleScript = redis.NewScript(`
local ids, records, settled = {}, {}, {}
for i = 2, #ARGV do
  local id = ARGV[i]
  ids[#ids + 1] = id
  records[#records + 1], records[#records + 2] = id, ARGV[1]
  settled[#settled + 1], settled[#settled + 2] = i, id
end
redis.call('ZREM', KEYS[1], unpack(ids))
redis.call('HSET', KEYS[2], unpack(records))
redis.call('ZADD', KEYS[3], unpack(settled))
`)

// bareRecord is a record with amount, currency and two times, without history.
const bareRecord = `{"amount":12000,"currency":"eur","at":1790000000000,"ends":1790500000000}`

// fillBareRedis writes one hash field and two sorted-set entries for each task,
// in pipelines, and returns how long that took.
func fillBareRedis(ctx context.Context, s *redisServer, all []task) (time.Duration, error) {
	began := time.Now()
	err := runInParallel(len(all), scheduleBatch, scheduleCallers, func(from, to int) error {
		pipe := s.rdb.Pipeline()
		for i := from; i < to; i++ {
			id := all[i].intent()
			pipe.HSet(ctx, "records", id, bareRecord)
			pipe.ZAdd(ctx, "due", redis.Z{Score: float64(all[i].captureAt.UnixMilli()), Member: id})
			pipe.ZAdd(ctx, "ends", redis.Z{Score: float64(all[i].expiresAt.UnixMilli()), Member: id})
		}
		_, err := pipe.Exec(ctx)
		return err
	})
	return time.Since(began), err
}

// measureClaims measures what Redis does for each of n holds if a script claims
// and another settles them, and nothing else happens.
func (b *bareBench) measureClaims(ctx context.Context, n int) error {
	s, err := b.startRedis(ctx)
	if err != nil {
		return err
	}
	defer s.stop()
	if _, err := fillBareRedis(ctx, s, newTasks(n, time.Now(), false)); err != nil {
		return err
	}
	before, err := s.usage(ctx)
	if err != nil {
		return err
	}
	for left := n; left > 0; {
		settled, err := claimAndSettle(ctx, s)
		if err != nil {
			return err
		}
		left -= settled
	}
	after, err := s.usage(ctx)
	if err != nil {
		return err
	}
	each := func(v float64) float64 { return v / float64(n) }
	e := bareEngine{b.launcher}
	b.samples.add(redisCPU, e, each(float64((after.cpu - before.cpu).Microseconds())))
	b.samples.add(redisCommands, e, each(float64(after.commands-before.commands)))
	b.samples.add(redisRoundTrips, e, each(float64(after.reads-before.reads)))
	return nil
}

// claimAndSettle claims and settles one batch, and returns its size.
func claimAndSettle(ctx context.Context, s *redisServer) (int, error) {
	claimed, err := bareClaimScript.Run(ctx, s.rdb, []string{"due", "leased", "records"},
		bareClaimSize, time.Now().UnixMilli()).Slice()
	if err != nil {
		return 0, err
	}
	ids, _ := claimed[0].([]any)
	if len(ids) == 0 {
		return 0, errors.New("no hold is left to claim")
	}
	err = bareSettleScript.Run(ctx, s.rdb, []string{"leased", "records", "settled"},
		append([]any{bareRecord}, ids...)...).Err()
	if errors.Is(err, redis.Nil) {
		err = nil
	}
	return len(ids), err
}

// measureWrites measures how fast Redis takes holds in pipelines, without a
// check.
func (b *bareBench) measureWrites(ctx context.Context, n int) error {
	s, err := b.startRedis(ctx)
	if err != nil {
		return err
	}
	defer s.stop()
	took, err := fillBareRedis(ctx, s, newTasks(n, time.Now().Add(24*time.Hour), false))
	if err != nil {
		return err
	}
	b.samples.add(scheduleClientRate, bareEngine{b.launcher}, float64(n)/took.Seconds())
	return nil
}

// measurePending measures the memory of two sorted-set entries and a hash field
// for each hold.
func (b *bareBench) measurePending(ctx context.Context) error {
	e := bareMemoryEngine{bareEngine{b.launcher}}
	resources := &resourceBench{b.lab}
	if err := resources.measureMemory(ctx, e, b.workload.pending, pendingMemory,
		false); err != nil || !b.workload.withMillion {
		return err
	}
	return resources.measureMemory(ctx, e, 1_000_000, pendingMemoryMillion, false)
}

// bareMemoryEngine seeds two sorted-set entries and a hash field.
type bareMemoryEngine struct{ bareEngine }

func (bareMemoryEngine) seed(
	ctx context.Context, s *redisServer, all []task,
) (time.Duration, error) {
	return fillBareRedis(ctx, s, all)
}
