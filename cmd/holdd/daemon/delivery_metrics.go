package daemon

import (
	"time"

	"github.com/holdd/holdd/worker/event"
)

// DeliveryAttempted implements alert.DeliveryObserver, as do the methods below.
// The names of sinks come from the settings.
func (m *metrics) DeliveryAttempted(sink, kind, result string) {
	m.deliveries.WithLabelValues(sink, kind, result).Inc()
}

// initDroppedEventCounters creates the series that alerts watch, so that a first
// loss is an increase.
func (m *metrics) initDroppedEventCounters(names []string) {
	for _, sink := range names {
		m.EventsDropped(sink, 0, 0)
	}
}

// sinkBacklog is the backlog of a sink in a partition.
type sinkBacklog struct {
	oldestPending time.Time
	parkedHolds   int
}

func (m *metrics) SinkBacklogChanged(sink string, partition int, oldest time.Time, parked int) {
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
	backlogSecondsDesc = newMetricDesc("holdd_delivery_backlog_seconds",
		"Age of the oldest event that this replica has yet to deliver to a sink; 0 if none waits.",
		"sink")
	parkedHoldsDesc = newMetricDesc("holdd_delivery_parked_holds",
		"Holds whose events a sink rejects while it accepts those of others.", "sink")
	capacityAtRiskHoldsDesc = newMetricDesc("holdd_capacity_at_risk_holds",
		"Holds that will expire before they are captured because more is due within a day than "+
			"the budget allows, as this replica last computed: take the maximum.")
	capacityAtRiskAmountDesc = newMetricDesc("holdd_capacity_at_risk_minor_units",
		"Amount of the holds of holdd_capacity_at_risk_holds, in minor units of its currency.",
		"currency")
)

// collectSinkBacklogs computes the age of backlogs.
func (m *metrics) collectSinkBacklogs(send gaugeSender) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for sink, parts := range m.sinkBacklogs {
		age, parked := time.Duration(0), 0
		for _, p := range parts {
			parked += p.parkedHolds
			if !p.oldestPending.IsZero() {
				age = max(age, time.Since(p.oldestPending))
			}
		}
		send(backlogSecondsDesc, age.Seconds(), sink)
		send(parkedHoldsDesc, float64(parked), sink)
	}
}

// CapacityRiskComputed implements [worker.Observer].
func (m *metrics) CapacityRiskComputed(c event.CapacityRisk) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity, m.capacityCheckedAt = c, time.Now()
}

// capacityMaxAge is how long a forecast of capacity is reported. One of all
// replicas makes it every 50 seconds; an older one of another replica is stale.
const capacityMaxAge = 3 * time.Minute

// collectCapacityRisk reports the capacity at risk while it is current.
func (m *metrics) collectCapacityRisk(send gaugeSender) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.capacityCheckedAt.IsZero() || time.Since(m.capacityCheckedAt) > capacityMaxAge {
		return
	}
	send(capacityAtRiskHoldsDesc, float64(m.capacity.Holds))
	for _, sum := range m.capacity.Sums {
		send(capacityAtRiskAmountDesc, float64(sum.Amount), sum.Currency)
	}
}
