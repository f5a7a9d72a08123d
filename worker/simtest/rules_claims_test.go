package simtest

import (
	"bufio"
	"bytes"
	"slices"
	"strconv"
	"strings"
	"time"
)

// checkClaimOrder checks the rule "nearest first" right after a claim: no hold
// left in a lane has a nearer deadline than those claimed from it.
func (w *world) checkClaimOrder(label string, cmds [][]byte, reply []byte) {
	if label != "claim" {
		return
	}
	replies := bufio.NewReader(bytes.NewReader(reply))
	for _, cmd := range cmds {
		value, err := readRESPValue(replies)
		if err != nil {
			return
		}
		for lane, ids := range claimedByLane(commandArgs(cmd), respItems(value)) {
			left, _ := w.redis.ZMembers(lane)
			w.checkNearerThan(ids, left)
		}
	}
}

// checkNearerThan checks that no hold of left has a nearer deadline than one of
// claimed.
func (w *world) checkNearerThan(claimed, left []string) {
	for _, c := range claimed {
		deadline, ok := w.knownDeadline(c)
		if !ok {
			continue
		}
		for _, id := range left {
			if d, ok := w.knownDeadline(id); ok && d.Before(deadline) {
				w.breach("nearest first: %s was claimed while %s waits, "+
					"whose deadline is nearer by %s", c, id, deadline.Sub(d))
			}
		}
	}
}

// claimedByLane returns the ids of the claimed holds by the key of their lane,
// from the arguments of claim.lua and its reply.
func claimedByLane(args, reply []string) map[string][]string {
	const firstShare, shareSize, holdSize = 8, 3, 3 // as claim.lua documents them
	claimed := map[string][]string{}
	at := 1 // after the time
	for n := firstShare; n+shareSize <= len(args) && at+2 <= len(reply); n += shareSize {
		lane := args[firstShare-2] + ":" + args[n]
		count, _ := strconv.Atoi(reply[at])
		at += 2 // the number and the nearest deadline left
		for ; count > 0 && at+holdSize <= len(reply); count-- {
			claimed[lane] = append(claimed[lane], reply[at])
			at += holdSize
		}
	}
	return claimed
}

// recordClaims records which replica has claimed a hold.
func (w *world) recordClaims(r *replica, label string, reply []byte) {
	if label != "claim" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range strings.Split(string(reply), "\r\n") {
		if strings.HasPrefix(id, "pi_") {
			w.claimOwner[id] = r.name
		}
	}
}

// checkClaimOwner checks the rule "one claim" when a replica sends a request
// for an effect.
func (w *world) checkClaimOwner(r *replica, rec *stripeRequest) {
	id := w.ownerOf(rec)
	w.mu.Lock()
	owner, lostWrites := w.claimOwner[id], len(w.lostSpans) > 0
	w.mu.Unlock()
	changes := rec.op == "capture" || rec.op == "cancel" || rec.op == "increment" ||
		strings.Contains(rec.idempotencyKey, "-renew-") &&
			!strings.Contains(rec.idempotencyKey, "-setup-") // a form, which moves no money
	if changes && !strings.HasPrefix(rec.idempotencyKey, "holdd-abandon-") && owner != r.name && !lostWrites {
		w.breach("one claim: %s sends %s of %s, which %s has claimed since", r.name,
			rec.op, id, owner)
	}
}

// knownDeadline is the deadline of a hold, and whether holdd must know it: its
// caller declared it correctly, or holdd has read it at Stripe.
func (w *world) knownDeadline(id string) (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.plan.holds {
		h := &w.plan.holds[i]
		if w.intentIDs[h.number] != id {
			continue
		}
		in, _ := w.sim.Intent(id)
		if len(w.intakeObserved.earlierDeadlines[h.number]) > 0 {
			return in.CaptureBefore, false
		}
		if h.renewal.until > 0 {
			return in.CaptureBefore, false // the deadline is that of the last renewal
		}
		if h.declaresExpiry() {
			return in.CaptureBefore, h.expiryError == 0
		}
		read := slices.ContainsFunc(w.apiRequests, func(c *apiRequest) bool {
			return c.intentID == id && c.isAccepted() && c.result.Verified
		})
		return in.CaptureBefore, read && !w.lostRedisWrites(w.startedAt, time.Now())
	}
	return time.Time{}, false
}
