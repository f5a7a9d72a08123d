package daemon

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

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
