package worker

import (
	"context"
	"strconv"
	"strings"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
)

// maxUnreadableNamed bounds the holds that an event about unreadable records
// names.
const maxUnreadableNamed = 3

// appendUnreadableCondition appends the condition that this replica cannot read
// the records of some holds.
func (j *StatusJob) appendUnreadableCondition(
	ctx context.Context, list []hold.DaemonConditionReport,
) []hold.DaemonConditionReport {
	ids, err := j.store.RecheckUnreadableRecords(ctx)
	if err != nil {
		j.o.Health.ReportError(ctx, "read unreadable records again", err)
		return list
	}
	return append(list, j.newConditionWithDetail(conditionUnreadable, len(ids) > 0,
		describeUnreadableHolds(ids), event.RecordsUnreadable, event.RecordsReadable))
}

// describeUnreadableHolds counts holds and names the first.
func describeUnreadableHolds(ids []string) string {
	names := strings.Join(ids[:min(len(ids), maxUnreadableNamed)], ", ")
	switch {
	case len(ids) <= maxUnreadableNamed:
		return names
	default:
		return strconv.Itoa(len(ids)) + " holds, such as " + names
	}
}
