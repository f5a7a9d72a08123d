package daemon

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/query"
	"github.com/prometheus/client_golang/prometheus"
)

// registerConstMetrics registers the metrics that are constant: the build, and
// the budget of requests to Stripe.
func (m *metrics) registerConstMetrics(version string, livemode bool, b store.RateLimitOptions) {
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "holdd_build_info",
		Help: "Always 1, with the version and the mode."},
		[]string{"version", "livemode"})
	info.WithLabelValues(version, strconv.FormatBool(livemode)).Set(1)
	limit := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "holdd_budget_requests_per_second",
		Help: "Requests that all replicas together may send to Stripe for one account: " +
			"captures (and as many cancels), reads, and the total; 0 means no limit."},
		[]string{"class"})
	limit.WithLabelValues("write").Set(float64(b.Write))
	limit.WithLabelValues("read").Set(float64(b.Read))
	limit.WithLabelValues("total").Set(float64(b.Total))
	m.registry.MustRegister(info, limit)
}

const (
	// forecastTimeout bounds a scrape's wait for Redis. Prometheus allows ten
	// seconds by default.
	forecastTimeout = 3 * time.Second
	// forecastMaxAge is how long scrapes use a plan, which reads many holds.
	forecastMaxAge = time.Minute
)

// atRiskHorizons are the times within which holds at risk expire, longest
// first. The longest is the plan's.
var atRiskHorizons = []struct {
	label string
	span  time.Duration
}{{"24h", 24 * time.Hour}, {"1h", time.Hour}}

// readinessChecker checks whether this replica can work.
type readinessChecker interface {
	Check(ctx context.Context) []health.ReadinessCheckResult
}

// planner lists the holds at risk.
type planner interface {
	ForecastPlan(ctx context.Context, next time.Duration) (query.Plan, error)
}

// oldestDueReader finds the hold that has been due for longest. store.Store
// implements it.
type oldestDueReader interface {
	ReadOldestDueAge(ctx context.Context) (age time.Duration, err error)
}

// doubleHeldReader sums the holds of which two intents hold money.
type doubleHeldReader interface {
	ReadTotals(ctx context.Context) (query.DoubleHeldTotals, error)
}

var (
	doubleHeldAmountDesc = newMetricDesc("holdd_double_held_amount",
		"What two authorizations of a hold hold at the same time, in minor units of its "+
			"currency, counted once: of the 2,000 longest such overlaps at most. "+
			"Take the maximum of the replicas.", "currency")
	doubleHeldLongestDesc = newMetricDesc("holdd_double_held_longest_seconds",
		"For how long the longest overlap of two authorizations of a hold has lasted; 0 if there "+
			"is none. Take the maximum of the replicas.")
	unprotectedAmountDesc = newMetricDesc("holdd_unprotected_amount",
		"What nothing holds, because a renewal has released the old authorization (release_first) "+
			"and the new one is not confirmed, in minor units of its currency. Take the maximum of "+
			"the replicas.", "currency")
	oldestDueDesc = newMetricDesc("holdd_oldest_due_seconds",
		"For how long the oldest hold has been due that no replica has claimed, over all "+
			"partitions; 0 if none is due. Take the maximum of the replicas.")
	stageSuccessDesc = newMetricDesc("holdd_stage_last_success_timestamp_seconds",
		"When each stage of this replica last succeeded, in Unix time. The stages claim, "+
			"execute and commit have no success while they have no work.", "stage")
	readyDesc = newMetricDesc("holdd_ready",
		"Readiness of this replica, 1 or 0 for each check of /readyz.", "check")
	atRiskHoldsDesc = newMetricDesc("holdd_at_risk_holds",
		"Open holds that may expire for their own state (paused, refused, without a time), by the "+
			"time until their deadline; 24h includes 1h. At most 100, nearest deadline first. "+
			"holdd_capacity_at_risk_holds has the holds that are only too late in the queue.",
		"within")
	atRiskAmountDesc = newMetricDesc("holdd_at_risk_minor_units",
		"Amount of the holds of holdd_at_risk_holds within a day, in minor units of its currency.",
		"currency")
)

// readinessAndRiskCollector reports readiness and holds at risk. It leaves out what it
// cannot read, because an old number would look like good news.
type readinessAndRiskCollector struct {
	readiness readinessChecker
	planner   planner
	queue     oldestDueReader
	doubled   doubleHeldReader

	mu        sync.Mutex
	plan      query.Plan
	plannedAt time.Time // zero: there is no plan
}

func (f *readinessAndRiskCollector) collect(send gaugeSender) {
	ctx, cancel := context.WithTimeout(context.Background(), forecastTimeout)
	defer cancel()
	redis := true
	for _, c := range f.readiness.Check(ctx) {
		v := 0.0
		if c.OK {
			v = 1
		}
		redis = redis && (c.OK || c.Name != "redis")
		send(readyDesc, v, c.Name)
	}
	if !redis {
		return
	}
	if age, err := f.queue.ReadOldestDueAge(ctx); err == nil {
		send(oldestDueDesc, age.Seconds())
	}
	if d, err := f.doubled.ReadTotals(ctx); err == nil {
		send(doubleHeldLongestDesc, d.Longest.Seconds())
		for _, s := range d.Sums {
			send(doubleHeldAmountDesc, float64(s.Amount), s.Currency)
		}
	}
	p, ok := f.forecastPlanCached(ctx)
	if !ok {
		return
	}
	for _, s := range p.Unprotected {
		send(unprotectedAmountDesc, float64(s.Amount), s.Currency)
	}
	for _, h := range atRiskHorizons {
		n := 0
		for i := range p.AtRisk {
			if !p.AtRisk[i].Hold.ExpiresAt.After(p.From.Add(h.span)) {
				n++
			}
		}
		send(atRiskHoldsDesc, float64(n), h.label)
	}
	sums := map[string]int64{}
	for i := range p.AtRisk {
		if h := &p.AtRisk[i].Hold; h.Currency != "" {
			sums[h.Currency] += h.Amount
		}
	}
	for currency, sum := range sums {
		send(atRiskAmountDesc, float64(sum), currency)
	}
}

// forecastPlanCached returns a plan that is at most forecastMaxAge old.
// Simultaneous scrapes share it.
func (f *readinessAndRiskCollector) forecastPlanCached(ctx context.Context) (query.Plan, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.plannedAt.IsZero() && time.Since(f.plannedAt) < forecastMaxAge {
		return f.plan, true
	}
	p, err := f.planner.ForecastPlan(ctx, atRiskHorizons[0].span)
	if err != nil {
		return query.Plan{}, false // the worker logs that Redis is unavailable
	}
	f.plan, f.plannedAt = p, time.Now()
	return p, true
}

// stageLastSuccessCollector reports when the stages last succeeded.
type stageLastSuccessCollector struct{ stages *health.Reporter }

func (s *stageLastSuccessCollector) collect(send gaugeSender) {
	for name, at := range s.stages.LastSuccesses() {
		send(stageSuccessDesc, float64(at.UnixMilli())/1000, name)
	}
}
