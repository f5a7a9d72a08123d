package daemon

import (
	"time"

	"github.com/holdd/holdd/worker/event"
	"github.com/prometheus/client_golang/prometheus"
)

// DeliveryAttempted implements alert.Observer, as do the methods below. The
// names of sinks come from the settings.
func (m *metrics) DeliveryAttempted(sink, kind, result string) {
	m.deliveries.WithLabelValues(sink, kind, result).Inc()
}

// initSinkSeries creates the series that alerts watch, so that a first loss is
// an increase.
func (m *metrics) initSinkSeries(names []string) {
	for _, sink := range names {
		m.EventsDropped(sink, 0, 0)
	}
}

// sinkBacklog is the backlog of a sink in a partition.
type sinkBacklog struct {
	oldestPending time.Time
	parkedHolds   int
}

func (m *metrics) BacklogChanged(sink string, partition int, oldest time.Time, parked int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sinkBacklogs == nil {
		m.sinkBacklogs = map[string]map[int]sinkBacklog{}
	}
	if m.sinkBacklogs[sink] == nil {
		m.sinkBacklogs[sink] = map[int]sinkBacklog{}
	}
	m.sinkBacklogs[sink][partition] = sinkBacklog{oldest, parked}
}

func (m *metrics) EventsDropped(sink string, dead, lost int64) {
	m.droppedEvents.WithLabelValues(sink, "dead").Add(float64(dead))
	m.droppedEvents.WithLabelValues(sink, "lost").Add(float64(lost))
}

var (
	backlogSecondsDesc = prometheus.NewDesc("holdd_delivery_backlog_seconds",
		"Age of the oldest event that this replica has yet to deliver to a sink; 0 if none waits.",
		[]string{"sink"}, nil)
	parkedHoldsDesc = prometheus.NewDesc("holdd_delivery_parked_holds",
		"Holds whose events a sink rejects while it accepts those of others.", []string{"sink"},
		nil)
)

// backlogCollector computes the age of backlogs at each scrape.
type backlogCollector struct{ metrics *metrics }

// Describe implements [prometheus.Collector].
func (b backlogCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- backlogSecondsDesc
	ch <- parkedHoldsDesc
}

// Collect implements [prometheus.Collector].
func (b backlogCollector) Collect(ch chan<- prometheus.Metric) {
	b.metrics.mu.Lock()
	defer b.metrics.mu.Unlock()
	for sink, parts := range b.metrics.sinkBacklogs {
		age, parked := time.Duration(0), 0
		for _, p := range parts {
			parked += p.parkedHolds
			if !p.oldestPending.IsZero() {
				age = max(age, time.Since(p.oldestPending))
			}
		}
		ch <- prometheus.MustNewConstMetric(backlogSecondsDesc,
			prometheus.GaugeValue, age.Seconds(), sink)
		ch <- prometheus.MustNewConstMetric(parkedHoldsDesc, prometheus.GaugeValue, float64(parked),
			sink)
	}
}

// capacityMaxAge is how long a forecast of capacity is reported. One of all
// replicas makes it every 50 seconds; an older one of another replica is stale.
const capacityMaxAge = 3 * time.Minute

var (
	capacityAtRiskHoldsDesc = prometheus.NewDesc("holdd_capacity_at_risk_holds",
		"Holds that will expire before they are captured because more is due within "+
			"a day than the budget allows, as this replica last computed: take the maximum.", nil, nil)
	capacityAtRiskAmountDesc = prometheus.NewDesc("holdd_capacity_at_risk_minor_units",
		"Amount of the holds of holdd_capacity_at_risk_holds, in minor units of its currency.",
		[]string{"currency"}, nil)
)

// CapacityChecked implements [worker.Observer].
func (m *metrics) CapacityChecked(c event.CapacityRisk) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity, m.capacityCheckedAt = c, time.Now()
}

// capacityAtRiskCollector reports the capacity at risk while it is current.
type capacityAtRiskCollector struct{ metrics *metrics }

// Describe implements [prometheus.Collector].
func (s capacityAtRiskCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- capacityAtRiskHoldsDesc
	ch <- capacityAtRiskAmountDesc
}

// Collect implements [prometheus.Collector].
func (s capacityAtRiskCollector) Collect(ch chan<- prometheus.Metric) {
	s.metrics.mu.Lock()
	defer s.metrics.mu.Unlock()
	if s.metrics.capacityCheckedAt.IsZero() ||
		time.Since(s.metrics.capacityCheckedAt) > capacityMaxAge {
		return
	}
	ch <- prometheus.MustNewConstMetric(capacityAtRiskHoldsDesc, prometheus.GaugeValue,
		float64(s.metrics.capacity.Holds))
	for _, sum := range s.metrics.capacity.Sums {
		ch <- prometheus.MustNewConstMetric(capacityAtRiskAmountDesc, prometheus.GaugeValue,
			float64(sum.Amount), sum.Currency)
	}
}
