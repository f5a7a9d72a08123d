package simtest

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// laterWrite is a write of a later release that shares this Redis. It adds a
// field that this release does not know. With stateUntil it also puts the hold
// into a state that this release does not know, until then.
type laterWrite struct {
	hold       int // its number
	at         time.Duration
	stateUntil time.Duration
}

const (
	laterField = "of a later release"
	// laterState is the byte of a state that only a later release has, and
	// workingState that of a claimed hold.
	laterState   = 10
	workingState = 5
)

// drawLaterWrites lets a replica of a later release write holds, in a third of
// the worlds, by a rng of its own.
func (p *plan) drawLaterWrites() {
	if !newRNG(p.seed, "later release").chance(0.33) {
		return
	}
	for i := range p.holds {
		h, d := &p.holds[i], newRNG(p.seed, "later release", fmt.Sprint(p.holds[i].number))
		if h.card == nil && d.chance(0.5) {
			p.laterWrites = append(p.laterWrites, laterWrite{hold: h.number,
				at: d.durationBetween(h.scheduledAt, h.placedAt+h.authorizationWindow)})
		}
	}
}

// writeAsLaterRelease carries out a write. A claimed hold is not written, as by
// any release.
func (w *world) writeAsLaterRelease(l laterWrite) {
	w.sleep(w.durationUntil(l.at) + time.Duration(l.hold)*617*time.Nanosecond)
	key, id, record := w.recordOf(l.hold)
	if w.isClosing() || len(record) < 23 || record[1] == workingState {
		return
	}
	written := laterRecord(record, l.stateUntil > 0)
	w.redis.HSet(key, id, written)
	w.countFaultHit("redis: later release")
	w.trace.add(false, "a later release writes %s", id)
	w.mu.Lock()
	w.laterWritten = append(w.laterWritten, l.hold)
	w.mu.Unlock()
	if l.stateUntil == 0 {
		return
	}
	w.sleep(w.durationUntil(l.stateUntil))
	if now := w.redis.HGet(key, id); now != written {
		w.breach("later release: a hold in an unknown state was written: %x, was %x", now, written)
	}
	back := laterRecord(written, false)
	w.redis.HSet(key, id, back[:1]+record[1:2]+back[2:])
}

// recordOf returns the record of a hold and where it is.
func (w *world) recordOf(number int) (key, id, record string) {
	w.mu.Lock()
	id = w.intentIDs[number]
	w.mu.Unlock()
	for part := range w.plan.partitions {
		key = fmt.Sprintf("holdd:{%d}:holds", part)
		if record = w.redis.HGet(key, id); record != "" {
			return key, id, record
		}
	}
	return key, id, ""
}

// laterRecord returns a record as a later release writes it: with the next
// version, a field behind the known ones, and maybe another state.
func laterRecord(record string, changeState bool) string {
	b := []byte(record)
	version := make([]byte, 8)
	copy(version[2:], b[4:10])
	binary.BigEndian.PutUint64(version, binary.BigEndian.Uint64(version)+1)
	copy(b[4:10], version[2:])
	if changeState {
		b[1] = laterState
	}
	if !strings.Contains(record, laterField) {
		b = protowire.AppendString(protowire.AppendTag(b, 1000, protowire.BytesType), laterField)
	}
	return string(b)
}

// checkLaterFields expects the field of the later release in each hold that it
// wrote, whatever this release wrote since.
func (j *judge) checkLaterFields(c *judgedHold) {
	for _, f := range j.plan.faults {
		if f.kind == "redis:emptied" || f.kind == "redis:lose tail" {
			return // the write may be lost with the record
		}
	}
	if slices.Contains(j.laterWritten, c.number) && c.finalHold != nil &&
		!strings.Contains(c.finalHold.Unknown.Fields, laterField) {
		j.failHold(c, "the field of the later release is gone")
	}
}

// laterReleasePlan is a world in which a later release writes each hold, and
// puts half of them into a state that this release does not know, while
// comparisons and milestones meet them.
func laterReleasePlan() plan {
	var all []plannedHold
	var writes []laterWrite
	for n := range 6 {
		all = append(all, plannedHold{number: n + 1, placedAt: 5 * time.Second,
			scheduledAt: 6 * time.Second, authorizationWindow: 30 * time.Minute, amount: 5000,
			currency: "eur", action: "capture", dueAt: 20 * time.Minute})
		l := laterWrite{hold: n + 1, at: 3 * time.Minute}
		if n%2 == 0 {
			l.stateUntil = 10 * time.Minute
		}
		writes = append(writes, l)
	}
	p := quietPlan(5*time.Second, intakePlan{enabled: true,
		reconcileRequests: []reconcileRequest{{at: 5 * time.Minute}}}, all...)
	p.laterWrites = writes
	return p
}
