package daemon

import "context"

// unreadableReader lists the holds whose records are unreadable. store.Store
// implements it.
type unreadableReader interface {
	RecheckUnreadableRecords(ctx context.Context) (ids []string, err error)
}

var unreadableDesc = newMetricDesc("holdd_unreadable_records",
	"Records of holds that this replica found and cannot read: damaged, or written by a newer "+
		"holdd. At most 1,000. Take the maximum of the replicas.")

// newUnreadableCollector counts the unreadable records for a scrape.
func newUnreadableCollector(records unreadableReader) collectorFunc {
	return func(send gaugeSender) {
		ctx, cancel := context.WithTimeout(context.Background(), forecastTimeout)
		defer cancel()
		ids, err := records.RecheckUnreadableRecords(ctx)
		if err != nil {
			return // the worker logs that Redis is unavailable
		}
		send(unreadableDesc, float64(len(ids)))
	}
}
