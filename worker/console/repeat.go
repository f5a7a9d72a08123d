package console

import (
	"slices"
	"strconv"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// repeatWindow is how long after a change the same form counts as its second
// click.
const repeatWindow = time.Minute

// actEntries are the entries of the history that acts leave. A part has none:
// its request key shows whether it was accepted.
var actEntries = map[string]hold.HistoryEntry{
	"capture":     {Kind: hold.HistoryTriggered, Op: hold.OpCapture},
	"cancel":      {Kind: hold.HistoryTriggered, Op: hold.OpCancel},
	"pause":       {Kind: hold.HistoryPaused},
	"resume":      {Kind: hold.HistoryResumed},
	"acknowledge": {Kind: hold.HistoryAcknowledged},
	"reschedule":  {Kind: hold.HistoryChanged},
	"increment":   {Kind: hold.HistoryTriggered, Op: hold.OpIncrement},
	"forget":      {Kind: hold.HistoryChanged},
}

// isRepeatedSubmit reports whether the form was accepted before: the second
// click of a double click arrives after the first has acted. Then the change
// after the revision that the visitor saw is this act of this visitor, with the
// same amount, time or reason.
func isRepeatedSubmit(q *request, x act, h *hold.Hold, revision uint64, now time.Time) bool {
	if x.name == partAct.name {
		return isRepeatedPartSubmit(q, h, revision)
	}
	want, ok := actEntries[x.name]
	if !ok || h.Revision != revision+1 || x.isRequested != nil && !x.isRequested(q, h, now) {
		return false
	}
	return slices.ContainsFunc(historyEntriesSinceFormShown(q, h), func(e hold.HistoryEntry) bool {
		return e.Kind == want.Kind && (want.Op == 0 || e.Op == want.Op) &&
			e.By == q.visitor.name && now.Sub(e.At) < repeatWindow
	})
}

// countHistoryEntries returns how many entries the history of h has had.
func countHistoryEntries(h *hold.Hold) int { return len(h.History) + int(h.HistoryDropped) }

// historyEntriesSinceFormShown returns the entries of the history that were added after the
// visitor's form was shown. An entry of the kind of an act comes with a
// revision, so that only the act that made the next revision is among them.
func historyEntriesSinceFormShown(q *request, h *hold.Hold) []hold.HistoryEntry {
	seen, err := strconv.ParseUint(q.r.PostFormValue("entries"), 10, 32)
	if err != nil {
		return nil
	}
	added := countHistoryEntries(h) - int(seen)
	return h.History[len(h.History)-min(max(0, added), len(h.History)):]
}
