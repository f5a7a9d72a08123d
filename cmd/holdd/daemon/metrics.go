package daemon

import (
	"net/http"
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

func (m *metrics) Reported([]worker.Check) {}

func (m *metrics) AtRisk(worker.Capacity) {}

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
