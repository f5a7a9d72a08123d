package worker

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/query"
	"go.uber.org/zap"
)

const (
	// doubleHeldWarnAfter is for how long two intents of a hold may hold money
	// until the operator is told.
	doubleHeldWarnAfter = time.Minute
	// doubleHeldCriticalAfter makes the warning critical.
	doubleHeldCriticalAfter = 10 * time.Minute
)

// appendDoubleHeldCondition appends the condition that two intents of a hold
// hold money for too long. Its severity is that of the longest overlap.
func (j *StatusJob) appendDoubleHeldCondition(
	ctx context.Context, list []hold.DaemonConditionReport,
) []hold.DaemonConditionReport {
	var d query.DoubleHeldTotals
	if j.doubleHeldGate.IsOpen(ctx) {
		poll := j.doubleHeldGate.BeginPoll()
		var err error
		if d, err = j.doubleHeld.ReadTotals(ctx); err != nil {
			j.o.Health.ReportError(ctx, "read the holds that are held twice", err)
			return list
		}
		if d.Holds == 0 {
			poll.CloseForLongestWait()
		}
	}
	raised, severity := event.DoubleHeld, 0
	if d.Longest >= doubleHeldCriticalAfter {
		raised, severity = event.DoubleHeldLong, 1
	}
	c := j.newConditionWithDetail(conditionDoubleHeld, d.Longest >= doubleHeldWarnAfter,
		describeDoubleHeld(&d), raised, event.DoubleHeldReleased)
	c.Severity = severity
	return append(list, c)
}

func describeDoubleHeld(d *query.DoubleHeldTotals) string {
	var sums []string
	for _, s := range d.Sums[:min(len(d.Sums), maxSumsNamed)] {
		sums = append(sums, hold.FormatAmount(s.Amount, s.Currency))
	}
	text := strings.Join(sums, " + ") + " of " + strconv.Itoa(d.Holds) + " holds"
	if d.AtLeast {
		text = "at least " + text
	}
	return text + ", longest " + d.LongestHold + ", for " + d.Longest.Round(time.Second).String()
}

// maxSumsNamed bounds the currencies that an event names.
const maxSumsNamed = 5

func (j *StatusJob) logDoubleHeldConditionChange(change hold.DaemonConditionChange) {
	const text = "two authorizations of a hold hold its amount, and the old one is not released"
	if change == hold.ConditionWorsened {
		j.o.Logger.Error(text, zap.String("event", string(event.DoubleHeldLong)),
			zap.Duration("longer_than", doubleHeldCriticalAfter))
		return
	}
	j.o.Logger.Warn(text, zap.String("event", string(event.DoubleHeld)),
		zap.Duration("longer_than", doubleHeldWarnAfter))
}
