package simtest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
	"github.com/holdd/holdd/worker/reconcile"
	"github.com/holdd/holdd/worker/stripesim"
)

// addIntakeRequests adds the wishes that nobody got an answer to: terms that
// stand in metadata, entries of the inbox, clicks. What holdd tells to have
// scheduled is granted from then on. With a Redis that was emptied a second
// life begins, of the terms that stood at Stripe.
func (j *judge) addIntakeRequests(c *judgedHold) {
	if !j.plan.intake.enabled {
		return
	}
	req := c.scheduleRequest(j.world, c.intentID)
	addIndeterminate := func(kind string, at time.Time) *apiRequest {
		k := &apiRequest{holdNumber: c.number, intentID: c.intentID, kind: kind, schedule: req, sentAt: at, answeredAt: at}
		c.termsHistory.indeterminate = append(c.termsHistory.indeterminate, k)
		return k
	}
	switch c.intake {
	case "metadata":
		if !c.invalidMetadata {
			j.acceptIfReported(c, addIndeterminate("metadata", j.timeAt(c.placedAt)), time.Time{}, "stripe", "reconcile")
		}
	case "inbox":
		for _, p := range j.intakeObserved.inboxPosts {
			if p.holdNumber == c.number {
				j.acceptIfReported(c, addIndeterminate("inbox", p.at), time.Time{}, "inbox")
			}
		}
	case "card":
		k := addIndeterminate("click", j.timeAt(c.placedAt))
		for _, x := range j.intakeObserved.authorizations {
			if x.holdNumber == c.number && x.isAccepted() && x.result.Hold != nil && !j.lostRedisWrites(x.sentAt, x.answeredAt) {
				// Whoever hears of it first, the hold may be there since the
				// first click.
				k := &apiRequest{holdNumber: c.number, intentID: c.intentID, kind: "click", schedule: req, sentAt: j.timeAt(c.placedAt), answeredAt: x.answeredAt, replyReceived: true, result: *x.result.Hold}
				k.result.Revision = 1 // however far it had come by then
				c.termsHistory.accepted = append(c.termsHistory.accepted, k)
				break
			}
		}
		if !slices.ContainsFunc(c.termsHistory.accepted, func(k *apiRequest) bool { return k.kind == "click" }) {
			j.acceptIfReported(c, k, time.Time{}, "people", "stripe", "reconcile")
		} else {
			c.termsHistory.indeterminate = slices.DeleteFunc(c.termsHistory.indeterminate, func(u *apiRequest) bool { return u == k })
		}
	}
	j.sortRequests(c)
	t := j.intakeObserved.redisEmptiedAt
	if t.IsZero() || t.Before(c.intent.Created) {
		return
	}
	all, before := c.termsHistory.accepted, termsHistory{indeterminate: c.termsHistory.indeterminate}
	c.termsHistory = termsHistory{redisEmptiedAt: t, beforeEmptied: &before}
	for _, k := range all {
		// the revisions of the second life begin at 1 again: those of the first
		// say nothing of their order
		switch {
		case !k.sentAt.Before(t):
			c.termsHistory.accepted = append(c.termsHistory.accepted, k)
			continue
		case k.answeredAt.After(t.Add(-2 * time.Second)):
			c.termsHistory.indeterminate = append(c.termsHistory.indeterminate, k)
		}
		before.accepted = append(before.accepted, k)
	}
	for _, k := range before.indeterminate {
		if k.sentAt.After(t.Add(-time.Minute)) {
			c.termsHistory.indeterminate = append(c.termsHistory.indeterminate, k)
		}
	}
	if st := j.intakeObserved.intentsWhenEmptied[c.number]; st.hasTerms() {
		k := st.asAPIRequest(c, t)
		c.termsHistory.indeterminate = append(c.termsHistory.indeterminate, k)
		j.acceptIfReported(c, k, t, "stripe", "reconcile")
	}
	j.sortRequests(c)
}

func (j *judge) sortRequests(c *judgedHold) {
	slices.SortStableFunc(c.termsHistory.accepted, func(a, b *apiRequest) int {
		return cmp.Or(cmp.Compare(a.result.Revision, b.result.Revision), a.answeredAt.Compare(b.answeredAt))
	})
	slices.SortStableFunc(c.termsHistory.indeterminate, func(a, b *apiRequest) int { return a.sentAt.Compare(b.sentAt) })
}

// acceptIfReported makes a perhaps granted wish a granted one, if holdd says
// that it was this one and when.
func (j *judge) acceptIfReported(c *judgedHold, k *apiRequest, since time.Time, by ...string) {
	if c.finalHold == nil || c.finalHold.HistoryDropped > 0 || len(c.finalHold.History) == 0 || !slices.Contains(by, c.finalHold.History[0].By) {
		return
	}
	for _, e := range c.events {
		if e.Type != hold.EventScheduled || e.Timestamp.Before(since) || e.Timestamp.Before(k.sentAt.Truncate(time.Millisecond)) || j.lostRedisWrites(e.Timestamp, e.Timestamp) {
			continue
		}
		k.answeredAt, k.replyReceived, k.result.Revision = e.Timestamp, true, 1
		for _, a := range c.events {
			if a.Type == hold.EventAttention && !a.Timestamp.After(e.Timestamp.Add(time.Second)) {
				k.result.State = hold.Attention
			}
		}
		c.termsHistory.indeterminate = slices.DeleteFunc(c.termsHistory.indeterminate, func(u *apiRequest) bool { return u == k })
		c.termsHistory.accepted = append(c.termsHistory.accepted, k)
		return
	}
}

// hasTerms tells whether the metadata speaks to holdd of money that is held.
func (s intentSnapshot) hasTerms() bool {
	if s.status != "requires_capture" || s.metadata["holdd_on_expiry"] == "perhaps" {
		return false
	}
	for k := range s.metadata {
		if strings.HasPrefix(k, "holdd_") && k != "holdd_authorization" && k != "holdd_metadata" {
			return true
		}
	}
	return false
}

func (s intentSnapshot) asAPIRequest(c *judgedHold, at time.Time) *apiRequest {
	m := s.metadata
	part, _ := strconv.ParseInt(m["holdd_capture_amount"], 10, 64)
	return &apiRequest{holdNumber: c.number, intentID: c.intentID, kind: "stood", sentAt: at, answeredAt: at, pausedAtStripe: m["holdd_paused"] == "true",
		schedule: hold.ScheduleRequest{CaptureAt: m["holdd_capture_at"], CancelAt: m["holdd_cancel_at"], CaptureAmount: part, OnExpiry: m["holdd_on_expiry"]}}
}

// schedulingKinds are the wishes that a hold begins with.
var schedulingKinds = map[string]bool{"schedule": true, "other": true, "metadata": true, "inbox": true, "click": true, "stood": true}

// checkIntake judges what only concerns the ways in, of one hold.
func (j *judge) checkIntake(c *judgedHold) {
	if !j.plan.intake.enabled || c.hasWrongAccount() {
		return
	}
	j.checkForeignMetadata(c)
	j.checkAdopted(c)
	j.checkSettledElsewhere(c)
	j.checkMirror(c)
	j.checkReview(c)
}

// reviewApprovalSeenAt is when holdd was told that the last review was closed
// and the payment may go on; zero if it was not, or only when a person had been
// called.
func (j *judge) reviewApprovalSeenAt(c *judgedHold) time.Time {
	all := j.intakeObserved.reviews[c.number]
	last := all[len(all)-1]
	if last.kind != "dashboard approve" {
		return time.Time{}
	}
	for _, d := range j.intakeObserved.webhookDeliveries {
		if d.intentID == c.intentID && d.eventType == "review.closed" && !d.at.Before(last.at) && d.at.Before(last.at.Add(30*time.Minute)) {
			return d.at.Add(2 * j.plan.pollInterval())
		}
	}
	return time.Time{}
}

// checkReview: nothing is taken by itself while a review is open of which
// Stripe has told.
func (j *judge) checkReview(c *judgedHold) {
	all := j.intakeObserved.reviews[c.number]
	for i, o := range all {
		if o.kind != "dashboard review" {
			continue
		}
		closed := j.timeAt(j.elapsed())
		if i+1 < len(all) {
			closed = all[i+1].at
		}
		wanted := slices.ContainsFunc(c.apiRequests, func(k *apiRequest) bool {
			// whoever changes a hold under review knows what it means
			return !schedulingKinds[k.kind] && !k.answeredAt.Before(o.at.Add(-time.Minute))
		})
		if wanted || len(c.termsHistory.accepted) == 0 || c.finalHold == nil || c.termsHistory.beforeEmptied != nil {
			continue
		}
		for _, d := range j.intakeObserved.webhookDeliveries {
			if d.intentID != c.intentID || d.eventType != "review.opened" || d.at.Before(o.at) || d.at.Before(c.termsHistory.accepted[0].answeredAt) {
				continue
			}
			from := d.at.Add(2*j.plan.pollInterval() + j.actionTimeLimit())
			for _, e := range c.effects {
				if e.Kind == stripesim.EffectCaptured && e.Actor == "api" && e.Time.After(from) && e.Time.Before(closed) && j.isFaultFree(o.at, e.Time) {
					j.reportBreach(c, "under review", "captured at +%s, a review is open since +%s, of which Stripe told at +%s", e.Time.Sub(j.startedAt), o.at.Sub(j.startedAt), d.at.Sub(j.startedAt))
				}
			}
		}
	}
}

// checkForeignMetadata: nothing that isn't holdd's is touched in anybody's
// metadata.
func (j *judge) checkForeignMetadata(c *judgedHold) {
	for k, v := range c.foreignMetadata() {
		if c.intent.Metadata[k] != v {
			j.reportBreach(c, "foreign metadata", "%s is %q, and was %q", k, c.intent.Metadata[k], v)
		}
	}
	if c.invalidMetadata && slices.ContainsFunc(c.effects, func(e stripesim.Effect) bool { return e.Actor == "api" }) &&
		!slices.ContainsFunc(c.apiRequests, func(k *apiRequest) bool { return schedulingKinds[k.kind] && (k.isAccepted() || k.isOutcomeUnknown()) }) {
		j.reportBreach(c, "spoiled terms", "acted on, though nobody can read its terms")
	}
}

// moneyHeldUntil is when the money of a hold was gone.
func (c *judgedHold) moneyHeldUntil() time.Time {
	for _, e := range c.effects {
		if e.Final {
			return e.Time
		}
	}
	return c.deadline
}

// checkAdopted: a comparison that was finished knows each hold whose terms
// stood at Stripe when it began, and tells of what it may not touch.
func (j *judge) checkAdopted(c *judgedHold) {
	if by := j.afterLastFault(c.authorizedAt.Add(2 * time.Minute)).Add(3*j.plan.pollInterval() + 3*time.Minute + j.actionTimeLimit()); c.intake == "card" && c.finalHold == nil && len(j.lostSpans) == 0 && c.moneyHeldUntil().After(by) &&
		by.Before(j.timeAt(j.elapsed())) {
		j.reportBreach(c, "found again", "its card was authorized at +%s, and no hold is known", c.authorizedAt.Sub(j.startedAt))
	}
	for _, d := range j.intakeObserved.webhookDeliveries {
		by := d.at.Add(2*j.plan.pollInterval() + j.actionTimeLimit())
		if d.intentID != c.intentID || d.eventType != "payment_intent.amount_capturable_updated" || c.intake != "card" && c.intake != "metadata" || !j.isFaultFree(d.at, by) || len(j.lostSpans) > 0 || !c.moneyHeldUntil().After(by) || by.After(j.timeAt(j.elapsed())) {
			continue
		}
		if reported := !j.intakeObserved.firstLoggedAt["metadata.rejected "+c.intentID].IsZero(); c.finalHold == nil && (!c.invalidMetadata || !reported) {
			j.reportBreach(c, "found again", "Stripe told of it at +%s, and nothing came of it", d.at.Sub(j.startedAt))
		}
	}
	for _, r := range j.intakeObserved.reconciliations {
		heldUntil := c.moneyHeldUntil()
		if !c.authorizedAt.Before(r.StartedAt.Add(-2*time.Second)) || !heldUntil.After(r.FinishedAt.Add(time.Second)) || r.Counts[reconcile.FoundUnreadable] > 0 ||
			j.lostRedisWrites(r.StartedAt.Add(-time.Minute), j.timeAt(j.elapsed())) || c.account != "" && !j.isAccountKnown(c.account) {
			continue
		}
		t := j.intakeObserved.redisEmptiedAt
		again := !t.IsZero() && t.Before(r.StartedAt)
		hadTerms := (c.intake == "metadata" || c.intake == "card") && !c.invalidMetadata
		if again && c.intent.Created.Before(t) {
			hadTerms = j.intakeObserved.intentsWhenEmptied[c.number].hasTerms()
		}
		switch {
		case hadTerms && c.finalHold == nil:
			j.reportBreach(c, "found again", "its terms stood at Stripe when a comparison began at +%s, which ended at +%s, and no hold is known", r.StartedAt.Sub(j.startedAt), r.FinishedAt.Sub(j.startedAt))
		case c.invalidMetadata && c.finalHold == nil && j.intakeObserved.firstLoggedAt["metadata.rejected "+c.intentID].IsZero():
			j.reportBreach(c, "reported", "its terms can't be read, and nobody was told")
		case again && !hadTerms && !c.invalidMetadata && c.finalHold == nil && j.redisTimeAt(r.StartedAt).Sub(c.intent.Created) > 10*time.Minute+2*time.Second && j.intakeObserved.firstLoggedAt["reconcile.orphan "+c.intentID].IsZero():
			j.reportBreach(c, "reported", "it was lost with Redis, and the comparison at +%s told nobody of money without terms", r.StartedAt.Sub(j.startedAt))
		}
	}
}

// afterLastFault is a moment, or the end of the last fault if that comes later.
func (j *judge) afterLastFault(at time.Time) time.Time {
	for _, f := range j.plan.faults {
		if end := j.timeAt(f.to + f.restartAfter); end.After(at) {
			at = end
		}
	}
	return at
}

// checkReconcileRuns: a Redis that was emptied is noticed, and compared. One
// comparison is finished once, whoever goes on with it.
func (j *judge) checkReconcileRuns() {
	for i, a := range j.intakeObserved.reconciliations {
		for _, b := range j.intakeObserved.reconciliations[:i] {
			if a.ID == b.ID && len(j.lostSpans) == 0 && j.intakeObserved.redisEmptiedAt.IsZero() {
				j.breach("one comparison: that of +%s was finished at +%s and again at +%s", a.StartedAt.Sub(j.startedAt), b.FinishedAt.Sub(j.startedAt), a.FinishedAt.Sub(j.startedAt))
			}
		}
	}
	t := j.intakeObserved.redisEmptiedAt
	by := t.Add(9*j.plan.jobInterval + 2*time.Minute)
	if t.IsZero() || !j.isFaultFree(t, by, "redis:emptied") || by.After(j.timeAt(j.elapsed())) {
		return
	}
	if !slices.ContainsFunc(j.intakeObserved.reconciliations, func(r reconcile.Reconciliation) bool { return r.StartedAt.After(t) && r.FinishedAt.Before(by) }) {
		j.breach("found again: Redis was emptied at +%s, and nobody has compared by +%s", t.Sub(j.startedAt), by.Sub(j.startedAt))
	}
}

// isAccountKnown: a connected account is known to all replicas once one has had
// to do with it for two reports, and still is when Redis is emptied.
func (j *judge) isAccountKnown(account string) bool {
	t := j.intakeObserved.redisEmptiedAt
	if t.IsZero() || j.hadReplicaDeath() {
		return false
	}
	return slices.ContainsFunc(j.world.apiRequests, func(c *apiRequest) bool {
		return c.kind == "schedule" && c.isAccepted() && c.result.Account == account && c.answeredAt.Before(t.Add(-8*j.plan.jobInterval-5*time.Second))
	})
}

// hadReplicaDeath: a replica that dies forgets which accounts it has met.
func (j *judge) hadReplicaDeath() bool {
	return slices.ContainsFunc(j.plan.faults, func(f fault) bool { return strings.HasPrefix(f.kind, "kill") || f.kind == "stop" })
}

// endReportedAt is when holdd told of the end of a hold.
func (c *judgedHold) endReportedAt() time.Time {
	for _, e := range c.events {
		if e.Type == hold.EventCaptured || e.Type == hold.EventCanceled || e.Type == hold.EventExpired {
			return e.Timestamp
		}
	}
	return time.Time{}
}

// checkSettledElsewhere: what others did is known once Stripe's word of it was
// taken in, or a comparison has looked.
func (j *judge) checkSettledElsewhere(c *judgedHold) {
	end := c.moneyHeldUntil()
	if c.finalHold == nil || len(j.lostSpans) > 0 || len(c.termsHistory.accepted) == 0 || slices.ContainsFunc(c.effects, func(e stripesim.Effect) bool { return e.Actor == "api" }) {
		return
	}
	known := c.termsHistory.accepted[0].answeredAt
	for _, d := range j.intakeObserved.webhookDeliveries {
		if d.intentID == c.intentID && (d.eventType == "payment_intent.succeeded" || d.eventType == "payment_intent.canceled") && d.result != intake.EventQueued && d.at.After(known) {
			if at := c.endReportedAt(); at.IsZero() || at.After(d.at.Add(time.Second)) {
				j.reportBreach(c, "told by Stripe", "%s was taken in at +%s as %s, and the hold was open", d.eventType, d.at.Sub(j.startedAt), d.result)
			}
		}
	}
	check := func(how string, from, by time.Time) {
		if !j.isFaultFree(earlierTime(from, end), by) || by.After(j.timeAt(j.elapsed())) {
			return
		}
		if at := c.endReportedAt(); at.IsZero() || at.After(by) {
			j.reportBreach(c, "told by Stripe", "ended at +%s, %s at +%s, and not settled by +%s", end.Sub(j.startedAt), how, from.Sub(j.startedAt), by.Sub(j.startedAt))
		}
	}
	for _, d := range j.intakeObserved.webhookDeliveries {
		if d.intentID == c.intentID && (d.eventType == "payment_intent.succeeded" || d.eventType == "payment_intent.canceled") && d.at.After(known) && !d.at.Before(end) {
			check(d.eventType+" was taken in", d.at, d.at.Add(2*j.plan.pollInterval()+j.actionTimeLimit()))
		}
	}
	for _, r := range j.intakeObserved.reconciliations {
		if r.StartedAt.After(end.Add(time.Second)) && r.StartedAt.After(known) && r.Counts[reconcile.FoundUnreadable] == 0 {
			check("a comparison began", r.StartedAt, r.FinishedAt.Add(j.actionTimeLimit()))
			if at := c.endReportedAt(); j.isReconcileAlone(c, r.StartedAt, r.FinishedAt) && (at.IsZero() || at.After(r.FinishedAt.Add(time.Second))) {
				j.reportBreach(c, "told by Stripe", "ended at +%s, and a comparison from +%s to +%s left it open", end.Sub(j.startedAt), r.StartedAt.Sub(j.startedAt), r.FinishedAt.Sub(j.startedAt))
			}
		}
	}
}

// isReconcileAlone: nobody but a comparison can have had to do with a hold
// within a span.
func (j *judge) isReconcileAlone(c *judgedHold, from, to time.Time) bool {
	if to.Sub(from) > 5*time.Second || !j.redisTimeAt(to).Before(c.earliestDeadline.Add(-j.plan.expiryMargin-5*time.Second)) {
		return false
	}
	for _, k := range c.apiRequests {
		if k.sentAt.Before(to.Add(5*time.Second)) && (k.answeredAt.IsZero() || k.answeredAt.After(from.Add(-5*time.Second))) {
			return false
		}
	}
	clock := j.redisTimeAt(to)
	later := func(t time.Time) bool {
		return t.IsZero() || t.After(clock.Add(5*time.Second)) && t.After(to.Add(5*time.Second))
	}
	return !slices.ContainsFunc(c.termsHistory.possibleTermsAt(to), func(t terms) bool {
		return !later(t.captureAt) || !later(t.cancelAt) || !later(t.captureRequestedAt) || !later(t.cancelRequestedAt)
	})
}

// checkMirror: while all is well terms stand at Stripe soon after they were
// agreed on, and what was heard to stand there is not written for ever.
func (j *judge) checkMirror(c *judgedHold) {
	written, before := map[string]int{}, map[string]time.Time{}
	for _, r := range c.stripeRequests {
		if r.op == "update" && r.status == 200 && r.replyReceived {
			same := r.idempotencyKey[:strings.LastIndex(r.idempotencyKey, "-")]
			replicaAndTerms := r.replica + " " + same // each replica has its turns
			laterInterval := r.sentAt.Sub(before[replicaAndTerms]) > j.plan.intake.mirrorInterval/2
			before[replicaAndTerms] = r.sentAt
			if laterInterval && j.hadFault("redis:", r.answeredAt, r.answeredAt.Add(5*time.Second)) {
				continue // Redis may not have taken it down
			}
			if written[same]++; written[same] == 10 {
				j.reportBreach(c, "mirrored", "the same terms are written again and again")
			}
		}
	}
	t := j.intakeObserved.redisEmptiedAt
	snapshot, found := j.intakeObserved.intentsWhenEmptied[c.number]
	if t.IsZero() || !found || j.plan.intake.mirrorInterval == 0 || len(j.intakeObserved.reviews[c.number]) > 0 || snapshot.status != "requires_capture" || c.termsHistory.beforeEmptied == nil || len(c.termsHistory.beforeEmptied.indeterminate) > 0 || len(c.termsHistory.beforeEmptied.accepted) == 0 {
		return
	}
	last := c.termsHistory.beforeEmptied.accepted[0].answeredAt
	for _, k := range c.termsHistory.beforeEmptied.accepted {
		if k.sentAt.Before(t) && k.answeredAt.After(last) {
			last = k.answeredAt
		}
	}
	if t.Sub(last) < 2*j.plan.intake.mirrorInterval+2*time.Minute || !j.isFaultFree(last, t, "redis:emptied") || slices.ContainsFunc(c.events, func(e event.Envelope) bool { return e.Type == hold.EventAttention }) {
		return
	}
	all := c.termsHistory.beforeEmptied.possibleTermsAt(t)
	if len(all) != 1 || !all[0].captureRequestedAt.IsZero() || !all[0].cancelRequestedAt.IsZero() {
		return
	}
	want := all[0]
	due := want.captureAt
	if due.IsZero() {
		due = want.cancelAt
	}
	if !due.IsZero() && due.Before(j.redisTimeAt(t).Add(time.Minute)) && !want.paused {
		return
	}
	got := terms{}.apply(snapshot.asAPIRequest(c, t))
	if got != want || !snapshot.hasTerms() {
		j.reportBreach(c, "mirrored", "agreed on at +%s: %s; at Stripe stood %s when Redis was emptied at +%s", last.Sub(j.startedAt), want, got, t.Sub(j.startedAt))
	}
}

// checkAuthorizationLock: whoever authorizes is alone at it, so that a guest
// who clicks twice is not told of a conflict.
func (j *judge) checkAuthorizationLock() {
	for i, a := range j.world.stripeRequests {
		for _, b := range j.world.stripeRequests[:i] {
			alike := a.idempotencyKey == b.idempotencyKey && (a.op == "create" || a.op == "confirm") && a.replyReceived && b.replyReceived
			if alike && a.sentAt.Before(b.answeredAt) && b.sentAt.Before(a.answeredAt) && len(j.lostSpans) == 0 && j.intakeObserved.redisEmptiedAt.IsZero() {
				j.breach("one at a time: %s of %s with key %s at +%s, while %s does so since +%s", a.op, a.replica, shortenKey(a.idempotencyKey), a.sentAt.Sub(j.startedAt), b.replica, b.sentAt.Sub(j.startedAt))
			}
		}
	}
}

// checkAuthorizations: one key is one authorization at the most; who was told
// something was told the truth; what was authorized is not forgotten.
func (j *judge) checkAuthorizations() {
	if !j.plan.intake.enabled {
		return
	}
	j.checkAuthorizationLock()
	// others: intents that people ended
	placed, others := map[int][]stripesim.Effect{}, map[string]bool{}
	for _, e := range j.sim.Ledger() {
		others[e.Intent] = others[e.Intent] || e.Actor == "dashboard" && e.Kind != stripesim.EffectAuthorized
		if e.Kind != stripesim.EffectAuthorized {
			continue
		}
		in, _ := j.sim.Intent(e.Intent)
		n, _ := strconv.Atoi(in.Metadata["n"])
		placed[n] = append(placed[n], e)
	}
	for i := range j.plan.holds {
		h := &j.plan.holds[i]
		if h.intake != "card" {
			continue
		}
		if len(placed[h.number]) > 1 {
			j.breach("one authorization: H%d: %d authorizations: %+v", h.number, len(placed[h.number]), placed[h.number])
		}
		for _, k := range j.intakeObserved.authorizations {
			if k.holdNumber != h.number || !k.replyReceived {
				continue
			}
			var p *hold.Problem
			switch {
			case k.err == nil && k.result.Status == hold.AuthorizationDone:
				if len(placed[h.number]) == 0 || placed[h.number][0].Intent != k.result.PaymentIntent || placed[h.number][0].Time.After(k.answeredAt) {
					j.breach("card: H%d: told authorized by %s, and it was not", h.number, k.result.PaymentIntent)
				}
			case errors.As(k.err, &p):
				switch p.Code {
				case hold.CardDeclined:
					if p.Detail == "" || p.DeclineCode == "" {
						j.breach("card: H%d: refused without a word to show: %v", h.number, k.err)
					}
				case hold.AuthorizationAbandoned:
					in, _ := j.sim.Intent(j.intentIDs[h.number])
					if len(placed[h.number]) == 0 && j.redisTimeAt(k.answeredAt).Before(in.Created.Add(time.Hour)) && !others[in.ID] {
						j.breach("card: H%d: told at +%s that it was not finished in time, and the guest's hour was not over", h.number, k.answeredAt.Sub(j.startedAt))
					}
				case hold.OutcomeUnknown, hold.InProgress, hold.AuthorizationRefused, hold.AlreadyCaptured, hold.AlreadyCanceled, hold.AlreadyExpired,
					hold.InThePast, hold.AuthorizationNotFound:
				default:
					j.breach("card: H%d: answered %s: %v", h.number, p.Code, k.err)
				}
			}
		}
		if id := j.intentIDs[h.number]; id != "" && len(placed[h.number]) == 0 && j.plan.jobInterval >= 30*time.Second && len(j.lostSpans) == 0 {
			in, _ := j.sim.Intent(id)
			by := j.afterLastFault(j.fromRedisTime(in.Created.Add(62 * time.Minute))).Add(3*j.plan.pollInterval() + 2*time.Minute)
			if in.Status != "canceled" && by.Before(j.timeAt(j.elapsed())) {
				j.breach("card: H%d: nobody finished it, and it is still %s", h.number, in.Status)
			}
		}
	}
}

// checkInbox: each entry of the inbox that was not lost with Redis became a
// hold, or is among the rejects with a reason and its own words.
func (j *judge) checkInbox() {
	if !j.plan.intake.enabled {
		return
	}
	rejects := j.inboxRejects()
	left, _ := j.redis.Stream("holdd:inbox")
	for _, p := range j.intakeObserved.inboxPosts {
		if j.lostRedisWrites(p.at, p.at.Add(2*j.plan.pollInterval()+time.Minute)) || j.intakeObserved.redisEmptiedAt.After(p.at) {
			continue
		}
		r, isRejected := rejects["inbox "+p.entryID]
		_, isHold := j.finalHolds[j.intentIDs[p.holdNumber]]
		switch {
		case slices.ContainsFunc(left, func(e miniredis.StreamEntry) bool { return e.ID == p.entryID }):
			j.breach("inbox: entry %s of +%s was never answered", p.entryID, p.at.Sub(j.startedAt))
		case isRejected && (r["code"] == "" || r["reason"] == "" || r["hold"] == ""):
			j.breach("inbox: entry %s was rejected without a reason: %v", p.entryID, r)
		case p.holdNumber == 0 && !isRejected:
			j.breach("inbox: entry %s is no wish, and was not rejected", p.entryID)
		case p.holdNumber > 0 && !isRejected && !isHold:
			j.breach("inbox: H%d: entry %s was taken, and there is neither a hold nor a reject", p.holdNumber, p.entryID)
		case p.holdNumber > 0 && isRejected && j.isFaultFree(p.at, p.at.Add(2*j.plan.pollInterval()+j.actionTimeLimit())) && !slices.Contains([]string{"hold_exists", "after_deadline", "in_the_past", "already_captured", "already_canceled",
			"already_expired", "not_capturable", "amount_mismatch", "amount_too_large", "payment_intent_not_found", "would_cancel_now", "would_capture_now"}, r["code"]):
			j.breach("inbox: H%d: a good entry was rejected as %s: %s", p.holdNumber, r["code"], r["reason"])
		}
	}
	for what := range rejects {
		if strings.HasPrefix(what, "inbox ") && len(j.lostSpans) == 0 && !slices.ContainsFunc(j.intakeObserved.inboxPosts, func(p inboxPost) bool { return "inbox "+p.entryID == what }) {
			j.breach("inbox: %s was rejected and never posted", what)
		}
	}
}

func (k *authorizationRequest) String() string {
	return fmt.Sprintf("%s %v", k.idempotencyKey, k.result.Status)
}
