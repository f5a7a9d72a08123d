package store

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/holdd/holdd/worker/hold"
)

// maxLoweredAccounts bounds the accounts whose lowered rates are listed.
const maxLoweredAccounts = 100

// ListLoweredRates returns the rates that a 429 lowered, by account and kind.
// It returns those of the 100 accounts that were lowered last.
func (s *Budget) ListLoweredRates(ctx context.Context) ([]hold.LoweredRate, error) {
	return readLoweredRates(ctx, s.conn.client)
}

func readLoweredRates(
	ctx context.Context, client redis.UniversalClient,
) (rates []hold.LoweredRate, err error) {
	accounts, err := client.ZRevRange(ctx, keyLoweredAccounts, 0, maxLoweredAccounts-1).Result()
	if err != nil || len(accounts) == 0 {
		return nil, err
	}
	slices.Sort(accounts)
	fields := make([]*redis.MapStringStringCmd, len(accounts))
	if _, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, account := range accounts {
			fields[i] = p.HGetAll(ctx, newBudgetKeys(account, 0).lowered)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	for i, account := range accounts {
		lowered := fields[i].Val()
		for _, kind := range slices.Sorted(maps.Keys(lowered)) {
			now, _, _ := strings.Cut(lowered[kind], " ")
			rate, err := strconv.ParseFloat(now, 64)
			if err != nil {
				continue // written by another release
			}
			rates = append(rates,
				hold.LoweredRate{Account: account, Kind: kind, PerSecond: rate})
		}
	}
	return rates, nil
}

// recordLoweredAccount lists an account for [Budget.ListLoweredRates].
func (s *Budget) recordLoweredAccount(ctx context.Context, account string) error {
	now, err := s.conn.client.Time(ctx).Result()
	if err != nil {
		return err
	}
	err = s.conn.writeEvenIfFull(ctx, "ZREM", "ZADD", keyLoweredAccounts, now.Unix(), account)
	if err != nil {
		return err
	}
	_, err = s.conn.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.ZRemRangeByRank(ctx, keyLoweredAccounts, 0, -maxLoweredAccounts-1)
		p.Expire(ctx, keyLoweredAccounts, loweredRateTTL)
		return nil
	})
	return err
}
