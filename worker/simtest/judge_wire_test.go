package simtest

import (
	"slices"
	"strings"
	"time"
)

// watch looks at Redis right after a claim: nothing that is ready in the same lane may have a nearer deadline than what was claimed.
func (w *world) watch(label string, cmds [][]byte, reply []byte) {
	if label != "claim" {
		return
	}
	left, _ := w.redis.ZMembers(words(cmds[0])[3])
	if len(left) == 0 {
		return
	}
	for _, c := range strings.Split(string(reply), "\r\n") {
		if !strings.HasPrefix(c, "pi_") {
			continue
		}
		claimed, ok := w.known(c)
		if !ok {
			continue
		}
		for _, id := range left {
			if d, ok := w.known(id); ok && d.Before(claimed) {
				w.breach("nearest first: %s was claimed while %s waits, whose deadline is nearer by %s", c, id, claimed.Sub(d))
			}
		}
	}
}

// claimed notes whose a hold is.
func (w *world) claimed(r *replica, label string, reply []byte) {
	if label != "claim" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range strings.Split(string(reply), "\r\n") {
		if strings.HasPrefix(id, "pi_") {
			w.owner[id] = r.name
		}
	}
}

// mine: nobody asks for an effect once another has claimed the hold.
func (w *world) mine(r *replica, rec *request) {
	w.mu.Lock()
	owner, torn := w.owner[rec.intent], len(w.tails) > 0
	w.mu.Unlock()
	if (rec.op == "capture" || rec.op == "cancel") && !strings.HasPrefix(rec.key, "holdd-abandon-") && owner != r.name && !torn {
		w.breach("one claim: %s sends %s of %s, which %s has claimed since", r.name, rec.op, rec.intent, owner)
	}
}

// known is the deadline of a hold that holdd must know: its caller told it truly, or Stripe was read.
func (w *world) known(id string) (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.p.holds {
		h := &w.p.holds[i]
		if w.ids[h.n] != id {
			continue
		}
		in, _ := w.sim.Intent(id)
		if len(w.way.moved[h.n]) > 0 {
			return in.CaptureBefore, false
		}
		if h.dated() {
			return in.CaptureBefore, h.lieLife == 0
		}
		read := slices.ContainsFunc(w.calls, func(c *call) bool { return c.id == id && c.granted() && c.got.Verified })
		return in.CaptureBefore, read && !w.lost(w.began, time.Now())
	}
	return time.Time{}, false
}
