package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// renewalsWorkload is the size of the measurement of renewals. The renewals of an
// hour begin within span.
type renewalsWorkload struct {
	holds, captures int
	span            time.Duration
	prepare         time.Duration // before the first renewal
}

const (
	// renewalAge is how old an authorization of seven days is when its renewal
	// begins: a fifth of the window before its end.
	renewalAge = 7 * 24 * time.Hour * 4 / 5
	// renewalBatch is how many authorizations have the same age.
	renewalBatch = 100
)

// renewalsBench measures how holdd renews many authorizations.
type renewalsBench struct{ lab }

// renewalsRun is a simulator whose authorizations reach their renewal one after
// the other, and holds that fall due meanwhile.
type renewalsRun struct {
	sim      *stripesim.Sim
	requests []hold.ScheduleRequest
	due      map[string]time.Time // of the captures, by intent
}

// measureRenewals renews the holds of a compressed hour beside normal captures.
func (b *renewalsBench) measureRenewals(ctx context.Context) ([]table, error) {
	w := b.workload.renewals
	r, err := newRenewalsRun(w)
	if err != nil {
		return nil, err
	}
	url, stop, err := serveSimulator(ctx, r.sim)
	if err != nil {
		return nil, err
	}
	defer stop()
	s, err := b.startRedis(ctx)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	e := holddEngine{launcher: b.launcher, env: []string{"HOLDD_RATE_READ=100000"}}
	if err := r.schedule(ctx, e, s); err != nil {
		return nil, err
	}
	p, err := e.start(ctx, s, url)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	b.logf("  %d renewals begin within %s, %d captures beside them", w.holds, w.span, w.captures)
	for {
		ledger := newRenewalsLedger(r.sim.Ledger(), r.due)
		if len(ledger.overlaps) == w.holds && len(ledger.lateness) == w.captures {
			return []table{ledger.table(w, r.sim.Stats())}, nil
		}
		err := p.errIfEnded()
		if err == nil {
			err = sleepContext(ctx, time.Second)
		}
		if err != nil {
			return nil, fmt.Errorf("%d of %d renewed, %d of %d captured: %w", len(ledger.overlaps),
				w.holds, len(ledger.lateness), w.captures, err)
		}
	}
}

// newRenewalsRun authorizes the holds. The clock of the simulator starts in the
// past and ends at this machine's time.
func newRenewalsRun(w renewalsWorkload) (*renewalsRun, error) {
	began := time.Now()
	offset := w.prepare - renewalAge
	r := &renewalsRun{due: map[string]time.Time{}, sim: stripesim.New(stripesim.Options{Seed: 1,
		EndpointRate: -1, OverallRate: -1, ClockOffset: offset})}
	for i := range w.holds {
		if i%renewalBatch == 0 {
			created := began.Add(w.prepare - renewalAge + time.Duration(i)*w.span/
				time.Duration(w.holds))
			if ahead := created.Sub(time.Now().Add(offset)); ahead > 0 {
				r.sim.Advance(ahead)
				offset += ahead
			}
		}
		customer, card, err := r.sim.Cards.SaveCard("", "")
		if err != nil {
			return nil, err
		}
		id, err := r.sim.Authorize(stripesim.Hold{Amount: 12_000, Currency: "eur",
			Customer: customer, PaymentMethod: card, FutureUsage: "off_session"})
		if err != nil {
			return nil, err
		}
		expires := time.Now().Add(offset + 7*24*time.Hour)
		r.requests = append(r.requests, hold.ScheduleRequest{PaymentIntent: id, Amount: 12_000,
			Currency: "eur", ExpiresAt: expires.UTC().Format(time.RFC3339), OnExpiry: "alert",
			Renewal: &hold.RenewalRequest{
				Until: expires.Add(72 * time.Hour).UTC().Format(time.RFC3339)}})
	}
	r.sim.Advance(-offset)
	for i := range w.captures {
		id, err := r.sim.Authorize(stripesim.Hold{Amount: 12_000, Currency: "eur"})
		if err != nil {
			return nil, err
		}
		at := began.Add(w.prepare + time.Duration(i)*w.span/time.Duration(w.captures)).
			Truncate(time.Millisecond)
		t := task{id: id, captureAt: at, expiresAt: at.Add(6 * 24 * time.Hour)}
		r.due[id] = at
		r.requests = append(r.requests, t.scheduleRequest())
	}
	return r, nil
}

func (r *renewalsRun) schedule(ctx context.Context, e holddEngine, s *redisServer) error {
	w, st, err := e.scheduler(ctx, s)
	if err != nil {
		return err
	}
	defer st.Close()
	return runInParallel(len(r.requests), scheduleBatch, scheduleCallers, func(from, to int) error {
		for _, result := range w.Scheduler.Schedule(ctx, r.requests[from:to], "api") {
			if result.Err != nil {
				return fmt.Errorf("holdd: schedule: %w", result.Err)
			}
		}
		return ctx.Err()
	})
}

// renewalsLedger is what the simulator recorded of a run.
type renewalsLedger struct {
	first, last time.Time       // the first new authorization, the last release
	overlaps    []time.Duration // for how long both authorizations held money
	lateness    []time.Duration // of the captures
}

func newRenewalsLedger(effects []stripesim.Effect, due map[string]time.Time) *renewalsLedger {
	l := &renewalsLedger{}
	renewed := map[string]time.Time{} // by customer
	for i := range effects {
		switch e := &effects[i]; {
		case e.Kind == stripesim.EffectAuthorized && e.Customer != "" && e.IdempotencyKey != "":
			renewed[e.Customer] = e.Time
			if l.first.IsZero() {
				l.first = e.Time
			}
		case e.Kind == stripesim.EffectCanceled && e.Customer != "":
			l.overlaps, l.last = append(l.overlaps, e.Time.Sub(renewed[e.Customer])), e.Time
		case e.Kind == stripesim.EffectCaptured && !due[e.Intent].IsZero():
			l.lateness = append(l.lateness, e.Time.Sub(due[e.Intent]))
		}
	}
	return l
}

func (l *renewalsLedger) table(w renewalsWorkload, stats stripesim.Stats) table {
	calls := int64(0)
	for c, n := range stats.Calls {
		if c.Class != stripesim.ClassCapture {
			calls += n
		}
	}
	ms := func(all []time.Duration, percent int) string {
		slices.Sort(all)
		d := all[min(len(all)-1, len(all)*percent/100)]
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	}
	return table{title: fmt.Sprintf("%d renewals of an hour, compressed to %s, beside %d captures",
		w.holds, w.span, w.captures), header: tableRow{"", "holdd"}, rows: []tableRow{
		{"renewals, from the first new authorization to the last release",
			fmt.Sprintf("%.0f/s", float64(len(l.overlaps))/l.last.Sub(l.first).Seconds())},
		{"both authorizations held, p50", ms(l.overlaps, 50)},
		{"the same, p99", ms(l.overlaps, 99)},
		{"calls to Stripe a renewal, with the read that prepares it",
			fmt.Sprintf("%.2f", float64(calls)/float64(len(l.overlaps)))},
		{"lateness of the captures meanwhile, p50", ms(l.lateness, 50)},
		{"the same, p99", ms(l.lateness, 99)},
	}}
}
