package simtest

import (
	"time"

	"github.com/holdd/holdd/worker"
)

// schedules let the jobs look as often as the world's pace asks for, and those seldom that have nothing to do in it.
func (p *plan) schedules() worker.Schedules {
	every := func(d time.Duration) string {
		if d == 0 {
			d = 2160 * time.Hour
		}
		return "@every " + d.String()
	}
	s := worker.Schedules{Capture: every(p.tick), Expiry: every(p.tick), Report: every(p.tick * 12), Purge: every(0), Verify: every(p.tick * 4),
		Look: every(0), Inbox: every(0), Mirror: every(0), Abandon: every(0), Reconcile: every(0)}
	return s
}
