package daemon

import (
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/holdd/holdd/worker"
	"github.com/holdd/holdd/worker/hold"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are what Prometheus reads. No label carries an id, an account or a reference: all are of small, closed sets.
type metrics struct {
	registry *prometheus.Registry
	outcomes *prometheus.CounterVec
	money    *prometheus.CounterVec
	lateness *prometheus.HistogramVec
	calls    *prometheus.HistogramVec
	holds    *prometheus.GaugeVec
	replicas prometheus.Gauge
	nearest  prometheus.Gauge
	findings *prometheus.CounterVec
	compared prometheus.Gauge
	rejected *prometheus.CounterVec

	ready       *prometheus.GaugeVec
	heartbeat   prometheus.Gauge
	atRisk      prometheus.Gauge
	moneyAtRisk *prometheus.GaugeVec
	sent        *prometheus.CounterVec
	dropped     *prometheus.CounterVec

	mu     sync.Mutex
	behind map[string]map[int]backlog // by sink and partition
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "holdd_events_total", Help: "Events of holds by type and cause."}, []string{"type", "cause"}),
		money: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "holdd_captured_minor_units_total",
			Help: "Money captured, in minor units of its currency."}, []string{"currency"}),
		lateness: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "holdd_lateness_seconds",
			Help:    "Time from when a hold fell due to when it was captured or canceled.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 15, 60, 300, 1800, 7200, 43200}}, []string{"type"}),
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "holdd_stripe_request_duration_seconds",
			Help: "Requests to Stripe by operation and answer.", Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}}, []string{"op", "answer"}),
		holds:    prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "holdd_holds", Help: "Holds by where they stand."}, []string{"state"}),
		replicas: prometheus.NewGauge(prometheus.GaugeOpts{Name: "holdd_replicas", Help: "Replicas that have reported lately."}),
		nearest: prometheus.NewGauge(prometheus.GaugeOpts{Name: "holdd_nearest_deadline_timestamp_seconds",
			Help: "Deadline of the open hold whose deadline brings something next, in Unix time; 0 if no hold is open."}),
	}
	m.findings = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "holdd_reconcile_findings_total",
		Help: "What comparisons with Stripe found, by kind; what stays as it is counts in each."}, []string{"kind"})
	for _, k := range worker.FindingKinds() {
		m.findings.WithLabelValues(string(k)) // a first one is an increase, not a new series
	}
	m.compared = prometheus.NewGauge(prometheus.GaugeOpts{Name: "holdd_reconcile_last_success_timestamp_seconds",
		Help: "When this replica last finished a comparison with Stripe, in Unix time; 0 if never."})
	m.rejected = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "holdd_rejected_total",
		Help: "Wishes of the inbox, and terms in PaymentIntents' metadata, that were not taken: they are in holdd:inbox:rejected."}, []string{"source", "code"})
	m.ready = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "holdd_ready", Help: "1 for each line of the readiness report that is well, 0 for one that is not; stripe is the state of the circuit."}, []string{"check"})
	m.heartbeat = prometheus.NewGauge(prometheus.GaugeOpts{Name: "holdd_heartbeat_timestamp_seconds", Help: "When this replica last reported, in Unix time."})
	m.atRisk = prometheus.NewGauge(prometheus.GaugeOpts{Name: "holdd_capacity_at_risk_holds",
		Help: "Holds that will lapse before their turn, when this replica last looked: more is due than the budget lets through. Take the maximum over replicas."})
	m.moneyAtRisk = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "holdd_capacity_at_risk_minor_units", Help: "Money of these holds, in minor units of its currency."}, []string{"currency"})
	m.sent = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "holdd_deliveries_total",
		Help: "Tries to tell a sink, by what it is about (an alert's kind, or event) and what came of it."}, []string{"sink", "kind", "result"})
	m.dropped = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "holdd_delivery_dropped_total",
		Help: "Events that a sink was never told of: dead letters, which can be replayed, and such that were trimmed from the stream."}, []string{"sink", "reason"})
	m.registry.MustRegister(m.ready, m.heartbeat, m.atRisk, m.moneyAtRisk, m.sent, m.dropped, backlogs{m})
	m.registry.MustRegister(m.rejected, m.findings, m.compared, m.outcomes, m.money, m.lateness, m.calls, m.holds, m.replicas, m.nearest,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

func (m *metrics) countForged(count func() uint64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "holdd_webhooks_forged_total",
		Help: "Webhooks refused for their signature."}, func() float64 { return float64(count()) }))
}

func (m *metrics) countUnauthorized(count func() uint64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "holdd_api_unauthorized_total",
		Help: "API requests refused for their token."}, func() float64 { return float64(count()) }))
}

// Called implements worker.Observer, as do the methods below.
func (m *metrics) Called(op hold.Op, kind hold.AnswerKind, took time.Duration) {
	m.calls.WithLabelValues(op.String(), kind.String()).Observe(took.Seconds())
}

func (m *metrics) Noticed(h *hold.Hold, n hold.Notice, lateness time.Duration) {
	cause := ""
	if n.Cause != 0 {
		cause = n.Cause.String()
	}
	m.outcomes.WithLabelValues(string(n.Type), cause).Inc()
	switch n.Type {
	case hold.NoticeCaptured:
		m.money.WithLabelValues(h.Currency).Add(float64(h.CapturedTotal))
		m.lateness.WithLabelValues(string(n.Type)).Observe(lateness.Seconds())
	case hold.NoticeCanceled:
		m.lateness.WithLabelValues(string(n.Type)).Observe(lateness.Seconds())
	}
}

func (m *metrics) Rejected(source string, code hold.Code) {
	m.rejected.WithLabelValues(source, string(code)).Inc()
}

// checkNames are the lines of the readiness report that are always there.
var checkNames = []string{"redis", "stripe", "scheduler"}

func (m *metrics) Reported(checks []worker.Check) {
	m.heartbeat.SetToCurrentTime()
	for _, c := range checks {
		if slices.Contains(checkNames, c.Name) {
			m.ready.WithLabelValues(c.Name).Set(map[bool]float64{true: 1}[c.OK])
		}
	}
}

func (m *metrics) AtRisk(c worker.Capacity) {
	m.atRisk.Set(float64(c.Holds))
	m.moneyAtRisk.Reset()
	for _, s := range c.Sums {
		m.moneyAtRisk.WithLabelValues(s.Currency).Set(float64(s.Amount))
	}
}

// Sent implements alert.Observer, as do the methods below. A sink's name comes from the settings.
func (m *metrics) Sent(sink, kind, result string) { m.sent.WithLabelValues(sink, kind, result).Inc() }

// backlog is how far behind a sink is in a partition.
type backlog struct {
	oldest time.Time
	parked int
}

func (m *metrics) Waiting(sink string, partition int, oldest time.Time, parked int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.behind == nil {
		m.behind = map[string]map[int]backlog{}
	}
	if m.behind[sink] == nil {
		m.behind[sink] = map[int]backlog{}
	}
	m.behind[sink][partition] = backlog{oldest, parked}
}

func (m *metrics) Dropped(sink string, dead, lost int64) {
	m.dropped.WithLabelValues(sink, "dead").Add(float64(dead))
	m.dropped.WithLabelValues(sink, "lost").Add(float64(lost))
}

var (
	backlogDesc = prometheus.NewDesc("holdd_delivery_backlog_seconds", "Age of the oldest event that a sink has not taken, by this replica if it delivers to it; 0 if none waits.", []string{"sink"}, nil)
	parkedDesc  = prometheus.NewDesc("holdd_delivery_parked_holds", "Holds whose events a sink refuses while it takes those of others.", []string{"sink"}, nil)
)

// backlogs are read when they are asked for: an age grows by itself.
type backlogs struct{ m *metrics }

func (b backlogs) Describe(ch chan<- *prometheus.Desc) { ch <- backlogDesc; ch <- parkedDesc }

func (b backlogs) Collect(ch chan<- prometheus.Metric) {
	b.m.mu.Lock()
	defer b.m.mu.Unlock()
	for sink, parts := range b.m.behind {
		age, parked := time.Duration(0), 0
		for _, p := range parts {
			parked += p.parked
			if !p.oldest.IsZero() {
				age = max(age, time.Since(p.oldest))
			}
		}
		ch <- prometheus.MustNewConstMetric(backlogDesc, prometheus.GaugeValue, age.Seconds(), sink)
		ch <- prometheus.MustNewConstMetric(parkedDesc, prometheus.GaugeValue, float64(parked), sink)
	}
}

func (m *metrics) Reconciled(r worker.Reconciliation) {
	for k, n := range r.Counts {
		m.findings.WithLabelValues(string(k)).Add(float64(n))
	}
	m.compared.Set(float64(r.FinishedAt.Unix()))
}

func (m *metrics) Counted(c hold.Counts, alive int, nearest time.Time) {
	for state, n := range map[string]int64{
		"scheduled": c.Scheduled, "ready": c.Ready, "working": c.Working, "attention": c.Attention, "settled": c.Settled, "unverified": c.Unverified,
	} {
		m.holds.WithLabelValues(state).Set(float64(n))
	}
	m.replicas.Set(float64(alive))
	if nearest.IsZero() {
		m.nearest.Set(0)
		return
	}
	m.nearest.Set(float64(nearest.Unix()))
}
