package store

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// RateLimitOptions limit the requests per second of one account; 0 is no limit.
type RateLimitOptions struct {
	Write int // of captures, and of cancels; updates have half of it
	Read  int
	Total int // of all kinds together
}

// Budget shares the [RateLimitOptions] of each account between all replicas.
//
// The rates are maximums. After a 429 the replicas share a lower rate, which
// rises again with its use.
type Budget struct {
	conn  *redisConn
	rates RateLimitOptions
}

var (
	reserveScript   = newScript("reserve")
	lowerRateScript = newScript("lower_rate")
	pauseScript     = newScript("pause")
)

// The burst of a bucket is its rate divided by one of these. In any second, the
// replicas send at most the rate plus the burst. Captures and cancels reach
// Stripe's limit every day, so their burst is small. Reads have a larger one,
// because a booking system may schedule several holds at once and wait for the
// answers.
const (
	writeBurstDivisor = 100
	otherBurstDivisor = 10
)

func maxBurst(rate, divisor int) int { return max(1, rate/divisor) }

// What a lowered rate does; lua/lower_rate.lua and rate_after in
// lua/shared/functions.lua explain it.
const (
	// A cut outweighs the rise of a plateau. So under a limiter that rejects a
	// few requests at each rate, the rate stays where it rejects about 1 %.
	ratePlateauSeconds = 4
	rateRisePermille   = 7
	rateCutPermille    = 10
	// Requests vary by some tenths of a second on their way.
	rateCutRequestPercent = 20
	// A second episode so soon after a cut shows that the cut was too small.
	rateAgainSeconds = 2
	// A bucket without a burst rejects up to a third at its own rate.
	rateDeepPercent  = 40
	rateLeastPercent = 5
	rateEpisode      = 400 * time.Millisecond // above the longest reserve-ahead time
	loweredRateTTL   = 24 * time.Hour         // after its last use
)

const (
	// sharePercent is the part of a rate that each priority below the highest
	// gets even if the higher ones use all of it.
	sharePercent = 1
	// shareFill is for how long a bucket may be filled beyond its burst if a
	// guaranteed share still uses it.
	shareFill = time.Second
	fillLimit = 2 * time.Second
)

var budgetConstants = []luaConstant{
	{"RATE_PLATEAU", ratePlateauSeconds},
	{"RATE_RISE_PERMILLE", rateRisePermille},
	{"RATE_CUT_PERMILLE", rateCutPermille},
	{"RATE_CUT_REQUEST_PERCENT", rateCutRequestPercent},
	{"RATE_AGAIN", rateAgainSeconds},
	{"RATE_DEEP_PERCENT", rateDeepPercent},
	{"RATE_LEAST_PERCENT", rateLeastPercent},
	{"RATE_EPISODE_MS", int(rateEpisode.Milliseconds())},
	{"LOWERED_RATE_TTL", int(loweredRateTTL.Milliseconds())},
	{"SHARE_PERCENT", sharePercent},
	{"SHARE_FILL_MS", int(shareFill.Milliseconds())},
	{"FILL_LIMIT_MS", int(fillLimit.Milliseconds())},
}

// bucketShareOfPriority returns the part of a bucket that a priority may use.
func bucketShareOfPriority(p hold.RateLimitPriority) float64 {
	if p >= hold.PriorityDue {
		return 1
	}
	return 0.3 + 0.1*float64(p)
}

// rateAndBurst returns the configured rate and burst of a kind of request.
func (s *Budget) rateAndBurst(op hold.Op) (rate, burst int) {
	switch {
	case op == hold.OpRead:
		return s.rates.Read, maxBurst(s.rates.Read, otherBurstDivisor)
	case op == hold.OpUpdate && s.rates.Write > 0:
		// Updates leave room in the total for the other kinds: no caller waits
		// for an update.
		rate = max(1, s.rates.Write/2)
		return rate, maxBurst(rate, otherBurstDivisor)
	}
	return s.rates.Write, maxBurst(s.rates.Write, writeBurstDivisor)
}

// ReserveRequests reserves requests for every want, each request at its own
// time, in one round trip to each server. A reservation of none has the time
// until the next try. With an error, it returns the reservations that
// succeeded.
func (s *Budget) ReserveRequests(
	ctx context.Context, wants ...hold.BudgetRequest,
) ([]hold.BudgetReservation, error) {
	calls := make([]scriptCall, len(wants))
	for i := range wants {
		calls[i] = s.reserveScriptCall(&wants[i])
	}
	reserved := make([]hold.BudgetReservation, len(wants))
	var failed error
	began := time.Now()
	cmds := s.conn.callScriptBatch(ctx, reserveScript, calls)
	// The times count from when Redis ran the script, about half a round trip
	// ago. A late reply must not move its requests towards those of other
	// replicas.
	ranAgo := time.Since(began) / 2
	for i, cmd := range cmds {
		r := newScriptReply(cmd)
		got := hold.BudgetReservation{
			Requests: int(r.nextInt()), Wait: r.nextMicrosDuration(),
			First: max(0, r.nextMicrosDuration()-ranAgo), Step: r.nextMicrosDuration(),
		}
		if failed = errors.Join(failed, r.err); r.err == nil {
			reserved[i] = got
		}
	}
	return reserved, failed
}

func (s *Budget) reserveScriptCall(w *hold.BudgetRequest) scriptCall {
	rate, burst := s.rateAndBurst(w.Op)
	guaranteed := 0
	if w.Priority < hold.PriorityDue {
		guaranteed = 1
	}
	k := newBudgetKeys(w.Account, w.Op)
	return scriptCall{
		keys: []string{k.pause, k.kind, k.all, k.lowered, k.share + strconv.Itoa(int(w.Priority))},
		args: []any{
			max(0, w.Requests), rate, burst,
			s.rates.Total, maxBurst(s.rates.Total, otherBurstDivisor),
			w.Ahead.Microseconds(), w.Op.String(), bucketShareOfPriority(w.Priority), guaranteed,
		},
	}
}

// LowerRate lowers the rate that a request exceeded, for all replicas, after
// Stripe rejected the request. sentAgo is how long ago it was sent. The rate
// rises again with its use.
func (s *Budget) LowerRate(
	ctx context.Context, account string, op hold.Op, scope hold.ExceededRateLimit,
	sentAgo time.Duration,
) error {
	k := newBudgetKeys(account, op)
	rate, _ := s.rateAndBurst(op)
	bucket, kind := k.kind, op.String()
	if scope == hold.LimitOfAccount && s.rates.Total > 0 {
		rate, bucket, kind = s.rates.Total, k.all, hold.AllKinds
	}
	if rate <= 0 {
		return s.PauseOpOfAccount(ctx, account, op, unlimitedRatePause)
	}
	err := s.conn.callScript(ctx, lowerRateScript, []string{bucket, k.lowered},
		kind, rate, sentAgo.Microseconds()).Err()
	if err != nil {
		return err
	}
	return s.recordLoweredAccount(ctx, account)
}

// unlimitedRatePause is the pause after a 429 if no rate is configured that
// could be lowered.
const unlimitedRatePause = 2 * time.Second

// PauseOpOfAccount pauses an account's requests of the kind of op on all
// replicas for d, after Stripe rejected one for its permission.
func (s *Budget) PauseOpOfAccount(
	ctx context.Context, account string, op hold.Op, d time.Duration,
) error {
	if d < time.Millisecond {
		return nil
	}
	keys := []string{newBudgetKeys(account, op).pause}
	return s.conn.callScript(ctx, pauseScript, keys, d.Milliseconds()).Err()
}
