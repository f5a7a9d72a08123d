package daemon

import (
	"net/http"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/reconcile"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are what Prometheus reads. No label carries an id, an account or a
// reference: all are of small, closed sets.
type metrics struct {
	registry          *prometheus.Registry
	holdEvents        *prometheus.CounterVec
	capturedAmount    *prometheus.CounterVec
	lateness          *prometheus.HistogramVec
	stripeRequests    *prometheus.CounterVec
	stripeDuration    *prometheus.HistogramVec
	holdsByState      *prometheus.GaugeVec
	replicas          prometheus.Gauge
	nearestDeadline   prometheus.Gauge
	lastReport        prometheus.Gauge
	reconcileFindings *prometheus.CounterVec
	lastReconcile     prometheus.Gauge
	rejectedRequests  *prometheus.CounterVec

	deliveries    *prometheus.CounterVec
	droppedEvents *prometheus.CounterVec

	mu                sync.Mutex
	sinkBacklogs      map[string]map[int]sinkBacklog // by sink and partition
	capacity          event.CapacityRisk
	capacityCheckedAt time.Time // when capacity was looked at; zero: never
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		holdEvents: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "holdd_events_total",
			Help: "Events of holds by type and cause."}, []string{"type", "cause"}),
		capturedAmount: prometheus.NewCounterVec(
			prometheus.CounterOpts{Name: "holdd_captured_minor_units_total",
				Help: "Money captured, in minor units of its currency."}, []string{"currency"}),
		lateness: prometheus.NewHistogramVec(
			prometheus.HistogramOpts{Name: "holdd_lateness_seconds",
				Help:    "Time from when a hold fell due to when it was captured or canceled.",
				Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 15, 60, 300, 1800, 7200, 43200}},
			[]string{"type"}),
		stripeRequests: prometheus.NewCounterVec(
			prometheus.CounterOpts{Name: "holdd_stripe_requests_total",
				Help: "Requests to Stripe by operation and what became of them."},
			[]string{"op", "answer"}),
		stripeDuration: prometheus.NewHistogramVec(
			prometheus.HistogramOpts{Name: "holdd_stripe_request_duration_seconds",
				Help: "How long requests to Stripe took, by operation.",
				Buckets: []float64{.01, .025,
					.05, .1, .25, .5, 1, 2.5, 5, 10}}, []string{"op"}),
		holdsByState: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "holdd_holds",
			Help: "Holds by where they stand."}, []string{"state"}),
		replicas: prometheus.NewGauge(prometheus.GaugeOpts{Name: "holdd_replicas",
			Help: "Replicas that have reported lately."}),
		nearestDeadline: prometheus.NewGauge(
			prometheus.GaugeOpts{Name: "holdd_nearest_deadline_timestamp_seconds",
				Help: "Deadline of the open hold whose deadline brings something next, in Unix time; 0 if no hold is open."}),
		lastReport: prometheus.NewGauge(
			prometheus.GaugeOpts{Name: "holdd_last_report_timestamp_seconds",
				Help: "When this replica last told Redis that it lives and counted the holds, in Unix time; 0 if never."}),
	}
	m.reconcileFindings = prometheus.NewCounterVec(
		prometheus.CounterOpts{Name: "holdd_reconcile_findings_total",
			Help: "What comparisons with Stripe found, by kind; what stays as it is counts in each."},
		[]string{"kind"})
	for _, k := range reconcile.FindingKinds() {
		// a first one is an increase, not a new series
		m.reconcileFindings.WithLabelValues(string(k))
	}
	m.lastReconcile = prometheus.NewGauge(
		prometheus.GaugeOpts{Name: "holdd_reconcile_last_success_timestamp_seconds",
			Help: "When this replica last finished a comparison with Stripe, in Unix time; 0 if never."})
	m.rejectedRequests = prometheus.NewCounterVec(
		prometheus.CounterOpts{Name: "holdd_rejected_total",
			Help: "Wishes of the inbox, and terms in PaymentIntents' metadata, that were not taken: they are in holdd:inbox:rejected."}, []string{"source", "code"})
	m.deliveries = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "holdd_deliveries_total",
		Help: "Tries to tell a sink, by what it is about (an alert's kind, or event) and what came of it."}, []string{"sink", "kind", "result"})
	m.droppedEvents = prometheus.NewCounterVec(
		prometheus.CounterOpts{Name: "holdd_delivery_dropped_total",
			Help: "Events that a sink was never told of: dead letters, which can be replayed, and such that were trimmed from the stream."}, []string{"sink", "reason"})
	m.registry.MustRegister(m.deliveries, m.droppedEvents, backlogCollector{m},
		capacityAtRiskCollector{m})
	m.initSeries()
	m.registry.MustRegister(m.stripeRequests, m.lastReport, m.rejectedRequests,
		m.reconcileFindings, m.lastReconcile)
	m.registry.MustRegister(m.holdEvents, m.capturedAmount, m.lateness, m.stripeDuration,
		m.holdsByState, m.replicas, m.nearestDeadline,
		collectors.NewGoCollector(), collectors.NewProcessCollector(
			collectors.ProcessCollectorOpts{}))
	return m
}

// initSeries makes the series that alerts watch. A counter that first appears
// as 1 has not increased, as Prometheus sees it, so the first hold that lapses
// would go unnoticed.
func (m *metrics) initSeries() {
	for _, answer := range hold.AnswerKinds() {
		for _, op := range []hold.Op{hold.OpCapture, hold.OpCancel, hold.OpRead, hold.OpAuthorize,
			hold.OpUpdate, hold.OpCheck} {
			m.stripeRequests.WithLabelValues(op.String(), answer.String())
		}
	}
	for event, causes := range map[hold.EventType][]hold.Cause{
		hold.EventCaptured: {hold.CauseSchedule, hold.CauseTrigger,
			hold.CauseOnExpiry, hold.CauseElsewhere},
		hold.EventCanceled: {hold.CauseSchedule, hold.CauseTrigger,
			hold.CauseOnExpiry, hold.CauseElsewhere},
		hold.EventExpired:  {hold.CauseExpired},
		hold.EventExpiring: {0, hold.CauseExpired, hold.CauseOnExpiry, hold.CauseAfterDeadline},
		hold.EventAttention: {hold.CauseAmountTooLarge, hold.CauseNotFound, hold.CauseRefused,
			hold.CauseKeyConflict, hold.CauseNotCapturable,
			hold.CauseMismatch, hold.CauseReview, hold.CauseInsideMargin, hold.CauseNoOutcome},
	} {
		for _, cause := range causes {
			m.holdEvents.WithLabelValues(string(event), causeLabel(cause))
		}
	}
}

func causeLabel(c hold.Cause) string {
	if c == 0 {
		return ""
	}
	return c.String()
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4,
		Timeout: 10 * time.Second})
}

func (m *metrics) registerInvalidSignatures(count func() uint64) {
	m.registry.MustRegister(
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "holdd_webhooks_invalid_signature_total",
			Help: "Webhooks refused for their signature."},
			func() float64 { return float64(count()) }))
}

func (m *metrics) registerUnauthorized(count func() uint64) {
	m.registry.MustRegister(
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "holdd_api_unauthorized_total",
			Help: "API requests refused for their token."},
			func() float64 { return float64(count()) }))
}

// CallFinished implements worker.Observer, as do the methods below.
func (m *metrics) CallFinished(op hold.Op, kind hold.AnswerKind, took time.Duration) {
	m.stripeRequests.WithLabelValues(op.String(), kind.String()).Inc()
	m.stripeDuration.WithLabelValues(op.String()).Observe(took.Seconds())
}

func (m *metrics) EventRecorded(h *hold.Hold, n hold.Event, lateness time.Duration) {
	m.holdEvents.WithLabelValues(string(n.Type), causeLabel(n.Cause)).Inc()
	switch n.Type {
	case hold.EventCaptured:
		m.capturedAmount.WithLabelValues(h.Currency).Add(float64(h.CapturedAmount))
		m.lateness.WithLabelValues(string(n.Type)).Observe(lateness.Seconds())
	case hold.EventCanceled:
		m.lateness.WithLabelValues(string(n.Type)).Observe(lateness.Seconds())
	}
}

func (m *metrics) RequestRejected(source string, code hold.Code) {
	m.rejectedRequests.WithLabelValues(source, string(code)).Inc()
}

func (m *metrics) ReconcileFinished(r reconcile.Reconciliation) {
	for k, n := range r.Counts {
		m.reconcileFindings.WithLabelValues(string(k)).Add(float64(n))
	}
	m.lastReconcile.Set(float64(r.FinishedAt.Unix()))
}

func (m *metrics) HoldsCounted(c hold.Counts, alive int, nearest time.Time) {
	for state, n := range map[string]int64{
		"scheduled": c.Scheduled, "ready": c.Ready, "working": c.Working, "attention": c.Attention,
		"settled": c.Settled, "unverified": c.Unverified,
	} {
		m.holdsByState.WithLabelValues(state).Set(float64(n))
	}
	m.replicas.Set(float64(alive))
	m.lastReport.SetToCurrentTime()
	if nearest.IsZero() {
		m.nearestDeadline.Set(0)
		return
	}
	m.nearestDeadline.Set(float64(nearest.Unix()))
}
