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

// tell registers what doesn't change while the process runs: what it is, and how much it may ask of Stripe.
func (m *metrics) tell(version string, livemode bool, b store.Rates) {
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "holdd_build_info", Help: "Always 1: the version that runs, and whether it moves real money."},
		[]string{"version", "livemode"})
	info.WithLabelValues(version, strconv.FormatBool(livemode)).Set(1)
	limit := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "holdd_budget_requests_per_second",
		Help: "What all replicas together may send to Stripe for one account: captures (cancels as many), reads, and all together; 0 means no limit."}, []string{"class"})
	limit.WithLabelValues("write").Set(float64(b.Write))
	limit.WithLabelValues("read").Set(float64(b.Read))
	limit.WithLabelValues("total").Set(float64(b.Total))
	m.registry.MustRegister(info, limit)
}

const (
	// outlookTime bounds what a scrape waits for Redis, so that it still answers within Prometheus' usual ten seconds when Redis doesn't.
	outlookTime = 3 * time.Second
	// outlookAge is how old the plan may be that a scrape tells of: it reads many holds, and deadlines don't come closer by surprise.
	outlookAge = time.Minute
)

// horizons are the times ahead for which holds at risk are counted, longest first. The longest is the plan's span.
var horizons = []struct {
	label string
	span  time.Duration
}{{"24h", 24 * time.Hour}, {"1h", time.Hour}}

// readinessChecker tells what keeps this replica from working.
type readinessChecker interface {
	Check(ctx context.Context) []health.Check
}

// planner tells which holds are at risk.
type planner interface {
	Plan(ctx context.Context, next time.Duration) (query.Plan, error)
}

// outlook is asked when somebody scrapes, and costs nothing otherwise. What can't be told for the moment is left out: an old figure would look like good news.
type outlook struct {
	readiness            readinessChecker
	planner              planner
	ready, atRisk, money *prometheus.Desc

	mu   sync.Mutex
	plan query.Plan
	at   time.Time // when the plan was made; zero: there is none
}

func newOutlook(r readinessChecker, p planner) *outlook {
	return &outlook{
		readiness: r,
		planner:   p,
		ready:     prometheus.NewDesc("holdd_ready", "Whether this replica has what it needs to work, as /readyz tells: 1 or 0 for each check.", []string{"check"}, nil),
		atRisk: prometheus.NewDesc("holdd_at_risk_holds",
			"Open holds that may lapse for what they are (paused, refused, without a time), by how soon their deadline comes; those of an hour are among those of a day. At most 100, nearest deadline first. Those that only come too late in the queue are in holdd_capacity_at_risk_holds.", []string{"within"}, nil),
		money: prometheus.NewDesc("holdd_at_risk_minor_units", "What the holds of holdd_at_risk_holds within a day hold, in minor units of its currency.", []string{"currency"}, nil),
	}
}

// Describe implements [prometheus.Collector].
func (o *outlook) Describe(ch chan<- *prometheus.Desc) {
	ch <- o.ready
	ch <- o.atRisk
	ch <- o.money
}

// Collect implements [prometheus.Collector].
func (o *outlook) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), outlookTime)
	defer cancel()
	redis := true
	for _, c := range o.readiness.Check(ctx) {
		v := 0.0
		if c.OK {
			v = 1
		}
		redis = redis && (c.OK || c.Name != "redis")
		ch <- prometheus.MustNewConstMetric(o.ready, prometheus.GaugeValue, v, c.Name)
	}
	if !redis {
		return
	}
	p, ok := o.look(ctx)
	if !ok {
		return
	}
	sums := map[string]int64{}
	for _, h := range horizons {
		n := 0
		for i := range p.AtRisk {
			if !p.AtRisk[i].Hold.ExpiresAt.After(p.From.Add(h.span)) {
				n++
			}
		}
		ch <- prometheus.MustNewConstMetric(o.atRisk, prometheus.GaugeValue, float64(n), h.label)
	}
	for i := range p.AtRisk {
		if h := &p.AtRisk[i].Hold; h.Currency != "" {
			sums[h.Currency] += h.Amount
		}
	}
	for currency, sum := range sums {
		ch <- prometheus.MustNewConstMetric(o.money, prometheus.GaugeValue, float64(sum), currency)
	}
}

// look makes a plan, or gives the one that is recent enough. One at a time: several that scrape at once share it.
func (o *outlook) look(ctx context.Context) (query.Plan, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.at.IsZero() && time.Since(o.at) < outlookAge {
		return o.plan, true
	}
	p, err := o.planner.Plan(ctx, horizons[0].span)
	if err != nil {
		return query.Plan{}, false // the worker has said that Redis is away
	}
	o.plan, o.at = p, time.Now()
	return p, true
}
