package daemon

import (
	"net/http"
	"sync"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/reconcile"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are the metrics that Prometheus scrapes. Every label has a small,
// closed set of values: never an id or a reference, and an account only for a
// lowered rate.
type metrics struct {
	registry          *prometheus.Registry
	holdEvents        *prometheus.CounterVec
	capturedAmount    *prometheus.CounterVec
	lateness          *prometheus.HistogramVec
	overlaps          prometheus.Histogram
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
	capacityCheckedAt time.Time // zero: never
}

func newMetrics() *metrics {
	registry := prometheus.NewRegistry()
	f := metricFactory{promauto.With(registry)}
	m := &metrics{
		registry: registry,
		holdEvents: f.counter("holdd_events_total", "Events of holds by type and cause.", "type",
			"cause"),
		capturedAmount: f.counter("holdd_captured_minor_units_total",
			"Money captured, in minor units of its currency.", "currency"),
		lateness: f.histogram("holdd_lateness_seconds",
			"Time from a hold's due time to its capture or release.", "type",
			.05, .1, .25, .5, 1, 2.5, 5, 15, 60, 300, 1800, 7200, 43200),
		overlaps: f.NewHistogram(prometheus.HistogramOpts{Name: "holdd_double_held_seconds",
			Help:    "Time for which two authorizations of a hold held its amount.",
			Buckets: []float64{.1, .25, .5, 1, 2.5, 5, 15, 60, 300, 600, 3600, 43200}}),
		stripeRequests: f.counter("holdd_stripe_requests_total",
			"Requests to Stripe by operation and answer.", "op", "answer"),
		stripeDuration: f.histogram("holdd_stripe_request_duration_seconds",
			"Duration of requests to Stripe, by operation.", "op",
			.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10),
		holdsByState: f.NewGaugeVec(prometheus.GaugeOpts{Name: "holdd_holds",
			Help: "Holds by state."}, []string{"state"}),
		replicas: f.gauge("holdd_replicas", "Replicas with a current heartbeat."),
		nearestDeadline: f.gauge("holdd_nearest_deadline_timestamp_seconds",
			"The next deadline of an open hold, in Unix time; 0 if no hold is open."),
		lastReport: f.gauge("holdd_last_report_timestamp_seconds",
			"Time of this replica's last heartbeat and count of holds, in Unix time; 0 if never."),
		reconcileFindings: f.counter("holdd_reconcile_findings_total",
			"Findings of reconcile runs, by kind. A lasting difference counts in each run.",
			"kind"),
		lastReconcile: f.gauge("holdd_reconcile_last_success_timestamp_seconds",
			"Time of the last reconcile run that this replica finished, in Unix time; 0 if never."),
		rejectedRequests: f.counter("holdd_rejected_total",
			"Requests in the inbox, and terms in PaymentIntents' metadata, that were rejected: "+
				"they are in holdd:inbox:rejected.", "source", "code"),
		deliveries: f.counter("holdd_deliveries_total",
			"Delivery attempts by sink, kind (of an alert, or event) and result.",
			"sink", "kind", "result"),
		droppedEvents: f.counter("holdd_delivery_dropped_total",
			"Events that a sink did not get: dead letters, which can be replayed, and events "+
				"trimmed from the stream.", "sink", "reason"),
	}
	registry.MustRegister(collectorFunc(m.collectSinkBacklogs), collectorFunc(m.collectCapacityRisk),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.initAlertedCounters()
	return m
}

// metricFactory makes and registers metrics.
type metricFactory struct{ promauto.Factory }

func (f metricFactory) counter(name, help string, labels ...string) *prometheus.CounterVec {
	return f.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func (f metricFactory) gauge(name, help string) prometheus.Gauge {
	return f.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
}

func (f metricFactory) histogram(
	name, help, label string, buckets ...float64,
) *prometheus.HistogramVec {
	return f.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help,
		Buckets: buckets}, []string{label})
}

// initAlertedCounters creates the series that alerts watch. Prometheus sees no
// increase in a counter that first appears as 1, so the first expired hold
// would not alert.
func (m *metrics) initAlertedCounters() {
	for _, k := range reconcile.FindingKinds() {
		m.reconcileFindings.WithLabelValues(string(k))
	}
	for _, answer := range hold.AnswerKinds() {
		for _, op := range []hold.Op{hold.OpCapture, hold.OpCancel, hold.OpRead, hold.OpAuthorize,
			hold.OpUpdate, hold.OpCheck, hold.OpIncrement} {
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
			hold.CauseMismatch, hold.CauseReview, hold.CauseInsideMargin, hold.CauseNoOutcome,
			hold.CauseFeeTooLarge, hold.CauseContradiction, hold.CauseRecordUnreadable},
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

func (m *metrics) newHTTPHandler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4,
		Timeout: 10 * time.Second, EnableOpenMetrics: true}) // which has exemplars
}

// registerAPICounters registers the counters that the API keeps.
func (m *metrics) registerAPICounters(a *api.API) {
	for _, c := range []struct {
		name, help string
		count      func() uint64
	}{
		{"holdd_webhooks_invalid_signature_total", "Webhooks rejected for their signature.",
			a.InvalidSignatures},
		{"holdd_api_unauthorized_total", "API requests rejected for their token.",
			a.UnauthorizedRequests},
	} {
		m.registry.MustRegister(prometheus.NewCounterFunc(
			prometheus.CounterOpts{Name: c.name, Help: c.help},
			func() float64 { return float64(c.count()) }))
	}
}

// registerScrapeTimeGauges registers the gauges that are computed at each scrape.
func (m *metrics) registerScrapeTimeGauges(
	w *worker.Engine, st *store.Store, redis *health.Reporter,
) {
	m.registry.MustRegister(
		collectorFunc((&readinessAndRiskCollector{readiness: w.Readiness, planner: w.Planner, queue: st,
			doubled: w.DoubleHeld}).collect),
		collectorFunc((&stageLastSuccessCollector{redis}).collect), newLoweredRatesCollector(st),
		newUnreadableCollector(st))
}

// registerClosedConnectionsCounter registers the counter of all listeners.
func (m *metrics) registerClosedConnectionsCounter(servers []*listeningServer) {
	m.registry.MustRegister(prometheus.NewCounterFunc(
		prometheus.CounterOpts{Name: "holdd_api_connections_closed_total",
			Help: "Connections closed because too many were open."},
		func() float64 {
			n := uint64(0)
			for _, s := range servers {
				n += s.listener.ClosedConnections()
			}
			return float64(n)
		}))
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
		m.observeLateness(h, n.Type, lateness)
	case hold.EventCanceled:
		m.observeLateness(h, n.Type, lateness)
	}
}

// observeLateness records a lateness, with the hold's trace as exemplar.
func (m *metrics) observeLateness(h *hold.Hold, t hold.EventType, lateness time.Duration) {
	histogram := m.lateness.WithLabelValues(string(t))
	if !h.Trace.IsSampled() {
		histogram.Observe(lateness.Seconds())
		return
	}
	histogram.(prometheus.ExemplarObserver).ObserveWithExemplar(lateness.Seconds(),
		prometheus.Labels{"trace_id": h.Trace.TraceIDText()})
}

func (m *metrics) OverlapEnded(length time.Duration) { m.overlaps.Observe(length.Seconds()) }

func (m *metrics) InboxOrMetadataRequestRejected(source string, code hold.ProblemCode) {
	m.rejectedRequests.WithLabelValues(source, string(code)).Inc()
}

func (m *metrics) ReconcileFinished(r reconcile.Reconciliation) {
	for k, n := range r.Counts {
		m.reconcileFindings.WithLabelValues(string(k)).Add(float64(n))
	}
	m.lastReconcile.Set(float64(r.FinishedAt.Unix()))
}

func (m *metrics) HoldCountsReported(c hold.HoldCounts, alive int, nearest time.Time) {
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
