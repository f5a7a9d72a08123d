package daemon

import (
	"time"

	"github.com/holdd/holdd/worker/event"
	"github.com/prometheus/client_golang/prometheus"
)

// Sent implements alert.Observer, as do the methods below. A sink's name comes from the settings.
func (m *metrics) Sent(sink, kind, result string) { m.sent.WithLabelValues(sink, kind, result).Inc() }

// sinks makes the series that alerts watch: a first loss is an increase then, not a new series.
func (m *metrics) sinks(names []string) {
	for _, sink := range names {
		m.Dropped(sink, 0, 0)
	}
}

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

// Describe implements [prometheus.Collector].
func (b backlogs) Describe(ch chan<- *prometheus.Desc) { ch <- backlogDesc; ch <- parkedDesc }

// Collect implements [prometheus.Collector].
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

// lookLasts is how long a look at the capacity counts. Of all replicas one looks, every 50 seconds; the others' last looks must not outlive it.
const lookLasts = 3 * time.Minute

var (
	shortDesc = prometheus.NewDesc("holdd_capacity_at_risk_holds",
		"Holds that will lapse before their turn because more is due within a day than the budget lets through, by the replica that looked last: take the maximum.", nil, nil)
	shortMoneyDesc = prometheus.NewDesc("holdd_capacity_at_risk_minor_units", "What the holds of holdd_capacity_at_risk_holds hold, in minor units of its currency.", []string{"currency"}, nil)
)

// CapacityChecked implements [worker.Observer].
func (m *metrics) CapacityChecked(c event.CapacityRisk) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity, m.lookedAt = c, time.Now()
}

// shortage is told while it is fresh.
type shortage struct{ m *metrics }

// Describe implements [prometheus.Collector].
func (s shortage) Describe(ch chan<- *prometheus.Desc) { ch <- shortDesc; ch <- shortMoneyDesc }

// Collect implements [prometheus.Collector].
func (s shortage) Collect(ch chan<- prometheus.Metric) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.m.lookedAt.IsZero() || time.Since(s.m.lookedAt) > lookLasts {
		return
	}
	ch <- prometheus.MustNewConstMetric(shortDesc, prometheus.GaugeValue, float64(s.m.capacity.Holds))
	for _, sum := range s.m.capacity.Sums {
		ch <- prometheus.MustNewConstMetric(shortMoneyDesc, prometheus.GaugeValue, float64(sum.Amount), sum.Currency)
	}
}
