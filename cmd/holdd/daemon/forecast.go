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

// registerBuildInfo registers the metrics that are constant: the build, and the
// budget of requests to Stripe.
func (m *metrics) registerBuildInfo(version string, livemode bool, b store.Rates) {
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
	Check(ctx context.Context) []health.Check
}

// planner lists the holds at risk.
type planner interface {
	Plan(ctx context.Context, next time.Duration) (query.Plan, error)
}

// forecastCollector is asked when somebody scrapes, and costs nothing
// otherwise. What can't be told for the moment is left out: an old figure would
// look like good news.
type forecastCollector struct {
	readiness                                    readinessChecker
	planner                                      planner
	readyDesc, atRiskHoldsDesc, atRiskAmountDesc *prometheus.Desc

	mu        sync.Mutex
	plan      query.Plan
	plannedAt time.Time // zero: there is no plan
}

func newForecastCollector(r readinessChecker, p planner) *forecastCollector {
	return &forecastCollector{
		readiness: r,
		planner:   p,
		readyDesc: prometheus.NewDesc("holdd_ready",
			"Readiness of this replica, 1 or 0 for each check of /readyz.", []string{"check"}, nil),
		atRiskHoldsDesc: prometheus.NewDesc("holdd_at_risk_holds",
			"Open holds that may expire for their own state (paused, refused, without a time), by the "+
				"time until their deadline; 24h includes 1h. At most 100, nearest deadline first. "+
				"holdd_capacity_at_risk_holds has the holds that are only too late in the queue.",
			[]string{"within"}, nil),
		atRiskAmountDesc: prometheus.NewDesc("holdd_at_risk_minor_units",
			"Amount of the holds of holdd_at_risk_holds within a day, in minor units of its "+
				"currency.", []string{"currency"}, nil),
	}
}

// Describe implements [prometheus.Collector].
func (o *forecastCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- o.readyDesc
	ch <- o.atRiskHoldsDesc
	ch <- o.atRiskAmountDesc
}

// Collect implements [prometheus.Collector].
func (o *forecastCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), forecastTimeout)
	defer cancel()
	redis := true
	for _, c := range o.readiness.Check(ctx) {
		v := 0.0
		if c.OK {
			v = 1
		}
		redis = redis && (c.OK || c.Name != "redis")
		ch <- prometheus.MustNewConstMetric(o.readyDesc, prometheus.GaugeValue, v, c.Name)
	}
	if !redis {
		return
	}
	p, ok := o.cachedPlan(ctx)
	if !ok {
		return
	}
	sums := map[string]int64{}
	for _, h := range atRiskHorizons {
		n := 0
		for i := range p.AtRisk {
			if !p.AtRisk[i].Hold.ExpiresAt.After(p.From.Add(h.span)) {
				n++
			}
		}
		ch <- prometheus.MustNewConstMetric(o.atRiskHoldsDesc, prometheus.GaugeValue, float64(n),
			h.label)
	}
	for i := range p.AtRisk {
		if h := &p.AtRisk[i].Hold; h.Currency != "" {
			sums[h.Currency] += h.Amount
		}
	}
	for currency, sum := range sums {
		ch <- prometheus.MustNewConstMetric(o.atRiskAmountDesc, prometheus.GaugeValue, float64(sum),
			currency)
	}
}

// cachedPlan returns a plan that is at most forecastMaxAge old. Simultaneous
// scrapes share it.
func (o *forecastCollector) cachedPlan(ctx context.Context) (query.Plan, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.plannedAt.IsZero() && time.Since(o.plannedAt) < forecastMaxAge {
		return o.plan, true
	}
	p, err := o.planner.Plan(ctx, atRiskHorizons[0].span)
	if err != nil {
		return query.Plan{}, false // the worker logs that Redis is unavailable
	}
	o.plan, o.plannedAt = p, time.Now()
	return p, true
}
