package daemon

import "github.com/prometheus/client_golang/prometheus"

// gaugeSender sends one gauge of a scrape.
type gaugeSender func(desc *prometheus.Desc, v float64, labels ...string)

// collectorFunc is a collector that computes its gauges at each scrape.
type collectorFunc func(send gaugeSender)

// Describe implements [prometheus.Collector]. It describes nothing, because the
// gauges of a scrape vary.
func (collectorFunc) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (f collectorFunc) Collect(ch chan<- prometheus.Metric) {
	f(func(desc *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, labels...)
	})
}

func newMetricDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}
