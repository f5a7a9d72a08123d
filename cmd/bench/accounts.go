package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// fairnessRate is the limit of each account in the fairness run, a second.
const fairnessRate = 25

// accountsWorkload is the size of the measurement over many accounts.
type accountsWorkload struct {
	holds    int
	accounts []int
	// Fairness: other accounts beside a busy one, and the holds of each.
	fairnessRounds                 int
	others, othersHolds, busyHolds int
}

// accountsEngine is holdd with its holds spread over connected accounts.
type accountsEngine struct {
	holddEngine
	accounts int
}

func (e accountsEngine) name() string { return fmt.Sprintf("%d accounts", e.accounts) }

func (e accountsEngine) seed(
	ctx context.Context, s *redisServer, all []task,
) (time.Duration, error) {
	for i := range all {
		all[i].account = connectedAccount(i % e.accounts)
	}
	return e.holddEngine.seed(ctx, s, all)
}

// connectedAccount returns an account id as long as Stripe's.
func connectedAccount(i int) string { return fmt.Sprintf("acct_1PxYzA2eZv%06d", i) }

// accountSampleNames are the names of samples for sizes of the workload.
var accountSampleNames = []string{"1 account", "1,000", "6,000"}

func accountSampleName(accounts int) string {
	switch accounts {
	case 1:
		return accountSampleNames[0]
	case 1_000:
		return accountSampleNames[1]
	default:
		return accountSampleNames[2]
	}
}

// accountsBench measures what many accounts cost, and whether one of them keeps
// the others waiting.
type accountsBench struct {
	lab
	size accountsWorkload
}

func newAccountsBench(b lab) *accountsBench { return &accountsBench{b, b.workload.accounts} }

// measureAccounts drains the same number of holds over more and more accounts.
// The sizes take turns, so that other load on the machine falls on all of them.
func (b *accountsBench) measureAccounts(ctx context.Context) ([]table, error) {
	b.logf("accounts")
	drains := newDrainBench(b.lab)
	drains.samples = newSampleSet(b.progressLog)
	engines := make([]accountsEngine, len(b.size.accounts))
	for i, n := range b.size.accounts {
		engines[i] = accountsEngine{holddEngine{launcher: b.launcher}, n}
	}
	for round := range b.workload.rounds {
		for i := range engines {
			e := engines[(i+round)%len(engines)]
			if err := drains.measureDrain(ctx, e, b.size.holds, 0); err != nil {
				return nil, err
			}
		}
	}
	fairness, err := b.measureFairness(ctx)
	fairness.inDocs = true
	return []table{b.drainTable(drains.samples, engines), fairness}, err
}

func (b *accountsBench) drainTable(samples *sampleSet, engines []accountsEngine) table {
	t := table{title: "Many accounts", inDocs: true, header: tableRow{"due at one instant", "took", "ratio",
		"round trips", "commands", "Redis CPU", "worker CPU"}}
	one := 0.0
	for _, e := range engines {
		rate, _ := samples.median(drainRate, e.name())
		took := float64(b.size.holds-1) / rate
		if one == 0 {
			one = took
		}
		b.samples.addOf(accountsTime, accountSampleName(e.accounts), took)
		row := tableRow{fmt.Sprintf("%d holds, %s", b.size.holds, e.name()),
			fmt.Sprintf("%.2f s", took), fmt.Sprintf("%.2f", took/one)}
		for _, f := range []figure{redisRoundTrips, redisCommands, redisCPU, workerCPU} {
			v, _ := samples.median(f, e.name())
			row = append(row, f.format(v))
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// measureFairness measures when the other accounts are done, without and with
// one account that has far more due holds than its limit allows.
func (b *accountsBench) measureFairness(ctx context.Context) (t table, err error) {
	b.logf("fairness")
	var alone, beside []float64
	for range b.size.fairnessRounds {
		for _, busy := range []int{0, b.size.busyHolds} {
			took, err := b.measureOthers(ctx, busy)
			if err != nil {
				return t, err
			}
			b.logf("  %d accounts with %d holds each beside one with %d: %.2f s",
				b.size.others, b.size.othersHolds, busy, took.Seconds())
			if busy == 0 {
				alone = append(alone, took.Seconds())
			} else {
				beside = append(beside, took.Seconds())
			}
		}
	}
	without, with := medianOf(alone), medianOf(beside)
	return table{title: fmt.Sprintf("A busy account beside others, %d/s allowed for each",
		fairnessRate), header: tableRow{"the others are done", "alone",
		fmt.Sprintf("beside one with %d holds", b.size.busyHolds), "ratio"},
		rows: []tableRow{{fmt.Sprintf("%d accounts, %d holds each", b.size.others,
			b.size.othersHolds), fmt.Sprintf("%.2f s", without), fmt.Sprintf("%.2f s", with),
			fmt.Sprintf("%.2f", with/without)}}}, nil
}

func medianOf(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// measureOthers returns how long after the due time the last hold of the
// other accounts is captured. The busy account's holds come first in every
// order: of ids, of scheduling and of deadlines.
func (b *accountsBench) measureOthers(
	ctx context.Context, busy int,
) (time.Duration, error) {
	s, err := b.startRedis(ctx)
	if err != nil {
		return 0, err
	}
	defer s.stop()
	others := b.size.others * b.size.othersHolds
	at := time.Now().Add(3*time.Second + time.Duration(busy+others)*time.Second/3000).
		Truncate(time.Second)
	all := newTasks(busy+others, at, false)
	for i := range all {
		all[i].account = connectedAccount(0)
		if i < busy {
			all[i].expiresAt = at.Add(24 * time.Hour)
		} else {
			all[i].account = connectedAccount(1 + (i-busy)%b.size.others)
		}
	}
	if err := b.stripe.reset(len(all), 0); err != nil {
		return 0, err
	}
	e := holddEngine{launcher: b.launcher, rate: fairnessRate}
	if _, err := e.seed(ctx, s, all); err != nil {
		return 0, err
	}
	p, err := e.start(ctx, s, b.stripe.url)
	if err != nil {
		return 0, err
	}
	defer p.stop()
	if time.Until(at) < seedLead {
		return 0, errTooBusy
	}
	return b.waitForOthers(ctx, busy, at, p)
}

func (b *accountsBench) waitForOthers(
	ctx context.Context, busy int, at time.Time, p *process,
) (time.Duration, error) {
	for until := at.Add(3 * time.Minute); time.Now().Before(until); {
		if err := sleepContext(ctx, 100*time.Millisecond); err != nil {
			return 0, err
		}
		if err := p.errIfEnded(); err != nil {
			return 0, err
		}
		arrivals, err := b.stripe.fetchArrivals()
		if err != nil {
			return 0, err
		}
		last := at
		for _, t := range arrivals[busy:] {
			if t.IsZero() {
				last = time.Time{}
				break
			}
			if t.After(last) {
				last = t
			}
		}
		if !last.IsZero() {
			return last.Sub(at), nil
		}
	}
	return 0, p.withLog(errors.New("the other accounts are not done after three minutes"))
}
