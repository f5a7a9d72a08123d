package simtest

import (
	"slices"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/holdd/holdd/worker/intake"
	"github.com/holdd/holdd/worker/reconcile"
	"github.com/holdd/holdd/worker/stripesim"
)

// judgesIntake reports whether the run has sources of holds other than the API
// and the hold is not one that names a wrong account.
func (j *judge) judgesIntake(c *judgedHold) bool {
	return j.plan.intake.enabled && !c.hasWrongAccount()
}

// reviewApprovalSeenAt is the time at which the webhook of the last review's
// approval had its effect, zero if there was none or the review only required
// attention.
func (j *judge) reviewApprovalSeenAt(c *judgedHold) time.Time {
	all := j.intakeObserved.reviews[c.number]
	last := all[len(all)-1]
	if last.kind != "dashboard approve" {
		return time.Time{}
	}
	for _, d := range j.intakeObserved.webhookDeliveries {
		if d.intentID == c.intentID && d.eventType == "review.closed" && !d.at.Before(last.at) &&
			d.at.Before(last.at.Add(30*time.Minute)) {
			return d.at.Add(2 * j.plan.pollInterval())
		}
	}
	return time.Time{}
}

// checkReview ignores a review if a request changed the hold meanwhile: its
// sender knows the consequences.
func (j *judge) checkReview(c *judgedHold) {
	if !j.judgesIntake(c) || len(c.termsHistory.accepted) == 0 || c.finalHold == nil ||
		c.termsHistory.beforeEmptied != nil {
		return
	}
	all := j.intakeObserved.reviews[c.number]
	for i, o := range all {
		if o.kind != "dashboard review" {
			continue
		}
		closed := j.timeAt(j.elapsed())
		if i+1 < len(all) {
			closed = all[i+1].at
		}
		if slices.ContainsFunc(c.apiRequests, func(k *apiRequest) bool {
			return !schedulingKinds[k.kind] && !k.answeredAt.Before(o.at.Add(-time.Minute))
		}) {
			continue
		}
		for _, d := range j.intakeObserved.webhookDeliveries {
			if d.intentID != c.intentID || d.eventType != "review.opened" || d.at.Before(o.at) ||
				d.at.Before(c.termsHistory.accepted[0].answeredAt) {
				continue
			}
			from := d.at.Add(2*j.plan.pollInterval() + j.actionTimeLimit())
			for _, e := range c.effects {
				if e.Kind == stripesim.EffectCaptured && e.Actor == "api" && e.Time.After(from) &&
					e.Time.Before(closed) && j.isFaultFree(o.at, e.Time) {
					j.failHold(c, "captured at +%s, a review is open since +%s, which Stripe reported at +%s", j.since(e.Time), j.since(o.at), j.since(d.at))
				}
			}
		}
	}
}

func (j *judge) checkForeignMetadata(c *judgedHold) {
	if !j.judgesIntake(c) {
		return
	}
	for k, v := range c.foreignMetadata() {
		if c.intent.Metadata[k] != v {
			j.failHold(c, "%s is %q, and was %q", k, c.intent.Metadata[k], v)
		}
	}
}

func (j *judge) checkInvalidTermsUntouched(c *judgedHold) {
	if !j.judgesIntake(c) || !c.invalidMetadata || !slices.ContainsFunc(c.effects, isByHoldd) {
		return
	}
	if !slices.ContainsFunc(c.apiRequests, func(k *apiRequest) bool {
		return schedulingKinds[k.kind] && (k.isAccepted() || k.isOutcomeUnknown())
	}) {
		j.failHold(c, "acted on, though its terms are invalid")
	}
}

func (j *judge) checkCardBecomesHold(c *judgedHold) {
	if !j.judgesIntake(c) || c.intake != "card" || c.finalHold != nil || len(j.lostSpans) > 0 {
		return
	}
	by := j.afterLastFault(c.authorizedAt.Add(2 * time.Minute)).Add(3*j.plan.pollInterval() +
		3*time.Minute + j.actionTimeLimit())
	if c.moneyHeldUntil().After(by) && by.Before(j.timeAt(j.elapsed())) {
		j.failHold(c, "its card was authorized at +%s, and no hold is known",
			j.since(c.authorizedAt))
	}
}

func (j *judge) checkAdoptedByWebhook(c *judgedHold) {
	if !j.judgesIntake(c) || c.intake != "card" && c.intake != "metadata" ||
		len(j.lostSpans) > 0 || c.finalHold != nil {
		return
	}
	reported := !j.intakeObserved.firstLoggedAt["metadata.rejected "+c.intentID].IsZero()
	if c.invalidMetadata && reported {
		return
	}
	queue := time.Duration(0)
	if j.plan.strictRate > 0 { // the read may wait behind some calls of each other hold
		queue = time.Duration(4 * float64(len(j.plan.holds)*int(time.Second)) / j.plan.slowestRate())
	}
	for _, d := range j.intakeObserved.webhookDeliveries {
		by := d.at.Add(2*j.plan.pollInterval() + j.actionTimeLimit() + queue)
		if d.intentID == c.intentID && d.eventType == "payment_intent.amount_capturable_updated" &&
			j.isFaultFree(d.at, by) && c.moneyHeldUntil().After(by) &&
			!by.After(j.timeAt(j.elapsed())) {
			j.failHold(c, "Stripe reported it at +%s, and it did not become a hold", j.since(d.at))
		}
	}
}

// reconcileRunsOver are the finished reconcile runs that must have seen the
// intent of a hold.
func (j *judge) reconcileRunsOver(c *judgedHold) (runs []reconcile.Reconciliation) {
	for _, r := range j.intakeObserved.reconciliations {
		if c.authorizedAt.Before(r.StartedAt.Add(-2*time.Second)) && c.moneyHeldUntil().After(
			r.FinishedAt.Add(time.Second)) &&
			r.Counts[reconcile.FoundUnreadable] == 0 &&
			!j.lostRedisWrites(r.StartedAt.Add(-time.Minute), j.timeAt(j.elapsed())) &&
			(c.account == "" || j.isAccountKnown(c.account)) {
			runs = append(runs, r)
		}
	}
	return runs
}

// hadTermsAt reports whether the metadata had valid terms when a run began, and
// whether Redis had been emptied before it.
func (j *judge) hadTermsAt(
	c *judgedHold, r *reconcile.Reconciliation,
) (hadTerms, afterDataLoss bool) {
	t := j.intakeObserved.redisEmptiedAt
	afterDataLoss = !t.IsZero() && t.Before(r.StartedAt)
	if afterDataLoss && c.intent.Created.Before(t) {
		return j.intakeObserved.intentsWhenEmptied[c.number].hasTerms(), true
	}
	return (c.intake == "metadata" || c.intake == "card") && !c.invalidMetadata, afterDataLoss
}

func (j *judge) checkAdoptedByReconcile(c *judgedHold) {
	if !j.judgesIntake(c) || c.finalHold != nil {
		return
	}
	for _, r := range j.reconcileRunsOver(c) {
		if hadTerms, _ := j.hadTermsAt(c, &r); hadTerms {
			j.failHold(c, "its terms were at Stripe when a run began at +%s, which ended at +%s, and no hold is known", j.since(r.StartedAt), j.since(r.FinishedAt))
		}
	}
}

func (j *judge) checkReportedByReconcile(c *judgedHold) {
	if !j.judgesIntake(c) || c.finalHold != nil {
		return
	}
	for _, r := range j.reconcileRunsOver(c) {
		hadTerms, afterDataLoss := j.hadTermsAt(c, &r)
		switch {
		case hadTerms: // checkAdoptedByReconcile judges that
		case c.invalidMetadata:
			if j.intakeObserved.firstLoggedAt["metadata.rejected "+c.intentID].IsZero() {
				j.failHold(c, "its terms are invalid, and no log says so")
			}
		case afterDataLoss && j.redisTimeAt(r.StartedAt).Sub(c.intent.Created) > 10*time.Minute+
			2*time.Second &&
			j.intakeObserved.firstLoggedAt["reconcile.orphan "+c.intentID].IsZero():
			j.failHold(c, "it was lost with Redis, and the run at +%s did not report money without terms", j.since(r.StartedAt))
		}
	}
}

func (j *judge) checkReconcileRuns() {
	if len(j.lostSpans) > 0 || !j.intakeObserved.redisEmptiedAt.IsZero() {
		return
	}
	for i, a := range j.intakeObserved.reconciliations {
		for _, b := range j.intakeObserved.reconciliations[:i] {
			if a.ID == b.ID {
				j.fail("that of +%s was finished at +%s and again at +%s", j.since(a.StartedAt),
					j.since(b.FinishedAt), j.since(a.FinishedAt))
			}
		}
	}
}

func (j *judge) checkReconcileAfterDataLoss() {
	t := j.intakeObserved.redisEmptiedAt
	by := t.Add(9*j.plan.jobInterval + 2*time.Minute)
	if t.IsZero() || !j.isFaultFree(t, by, "redis:emptied") || by.After(j.timeAt(j.elapsed())) {
		return
	}
	if !slices.ContainsFunc(j.intakeObserved.reconciliations,
		func(r reconcile.Reconciliation) bool {
			return r.StartedAt.After(t) &&
				r.FinishedAt.Before(by)
		}) {
		j.fail("Redis was emptied at +%s, and no run has finished by +%s", j.since(t), j.since(by))
	}
}

// isAccountKnown reports whether all replicas know a connected account when
// Redis is emptied: one replica had a hold of it for two reports before.
func (j *judge) isAccountKnown(account string) bool {
	t := j.intakeObserved.redisEmptiedAt
	if t.IsZero() || j.hadReplicaDeath() {
		return false
	}
	return slices.ContainsFunc(j.world.apiRequests, func(c *apiRequest) bool {
		return c.kind == "schedule" && c.isAccepted() && c.result.Account == account &&
			c.answeredAt.Before(t.Add(-8*j.plan.jobInterval-5*time.Second))
	})
}

// settledByOthers reports whether the judge can expect that holdd learns of the
// end of a hold that it did not end itself. known is the time from which on
// holdd knew the hold.
func (j *judge) settledByOthers(c *judgedHold) (known time.Time, ok bool) {
	if !j.judgesIntake(c) || c.finalHold == nil || len(j.lostSpans) > 0 ||
		len(c.termsHistory.accepted) == 0 ||
		slices.ContainsFunc(c.effects, isByHoldd) {
		return known, false
	}
	return c.termsHistory.accepted[0].answeredAt, true
}

// checkSettledBy expects that the end is recorded by a time, if nothing went
// wrong until then.
func (j *judge) checkSettledBy(c *judgedHold, how string, from, by time.Time) {
	end := c.moneyHeldUntil()
	if !j.isFaultFree(earlierTime(from, end), by) || by.After(j.timeAt(j.elapsed())) {
		return
	}
	if at := c.endReportedAt(); at.IsZero() || at.After(by) {
		j.failHold(c, "ended at +%s, %s at +%s, and not settled by +%s", j.since(end), how,
			j.since(from), j.since(by))
	}
}

func (j *judge) checkSettledByWebhook(c *judgedHold) {
	known, ok := j.settledByOthers(c)
	if !ok {
		return
	}
	for _, d := range j.intakeObserved.webhookDeliveries {
		if d.intentID != c.intentID || !isFinalPaymentEvent(&d) || !d.at.After(known) {
			continue
		}
		if at := c.endReportedAt(); d.result != intake.EventQueued &&
			(at.IsZero() || at.After(d.at.Add(time.Second))) {
			j.failHold(c, "%s was received at +%s as %s, and the hold was open", d.eventType,
				j.since(d.at), d.result)
		}
		if !d.at.Before(c.moneyHeldUntil()) {
			j.checkSettledBy(c, d.eventType+" was received", d.at,
				d.at.Add(2*j.plan.pollInterval()+j.actionTimeLimit()))
		}
	}
}

func (j *judge) checkSettledByReconcile(c *judgedHold) {
	known, ok := j.settledByOthers(c)
	if !ok {
		return
	}
	end := c.moneyHeldUntil()
	for _, r := range j.intakeObserved.reconciliations {
		if !r.StartedAt.After(end.Add(time.Second)) || !r.StartedAt.After(known) ||
			r.Counts[reconcile.FoundUnreadable] > 0 {
			continue
		}
		j.checkSettledBy(c, "a run began", r.StartedAt, r.FinishedAt.Add(j.actionTimeLimit()))
		if at := c.endReportedAt(); j.isReconcileAlone(c, r.StartedAt, r.FinishedAt) &&
			(at.IsZero() || at.After(r.FinishedAt.Add(time.Second))) {
			j.failHold(c, "ended at +%s, and a run from +%s to +%s left it open", j.since(end),
				j.since(r.StartedAt), j.since(r.FinishedAt))
		}
	}
}

// isReconcileAlone reports whether nothing but a reconcile run can have changed
// a hold within a span.
func (j *judge) isReconcileAlone(c *judgedHold, from, to time.Time) bool {
	if to.Sub(from) > 5*time.Second || !j.redisTimeAt(to).Before(
		c.earliestDeadline.Add(-j.plan.expiryMargin-5*time.Second)) {
		return false
	}
	for _, k := range c.apiRequests {
		if k.sentAt.Before(to.Add(5*time.Second)) &&
			(k.answeredAt.IsZero() || k.answeredAt.After(from.Add(-5*time.Second))) {
			return false
		}
	}
	clock := j.redisTimeAt(to)
	later := func(t time.Time) bool {
		return t.IsZero() || t.After(clock.Add(5*time.Second)) && t.After(to.Add(5*time.Second))
	}
	return !slices.ContainsFunc(c.termsHistory.possibleTermsAt(to), func(t terms) bool {
		return !later(t.captureAt) || !later(t.cancelAt) || !later(t.captureRequestedAt) ||
			!later(t.cancelRequestedAt)
	})
}

// checkMirrorEnds counts the updates of the same terms that a replica has seen
// succeed.
func (j *judge) checkMirrorEnds(c *judgedHold) {
	if !j.judgesIntake(c) {
		return
	}
	// A job that fails runs again after half a minute.
	repeated := min(j.plan.intake.mirrorInterval, 30*time.Second) / 2
	written, before := map[string]int{}, map[string]time.Time{}
	for _, r := range c.stripeRequests {
		if r.op != "update" || r.status != 200 || !r.replyReceived {
			continue
		}
		same := r.idempotencyKey[:strings.LastIndex(r.idempotencyKey, "-")]
		replicaAndTerms := r.replica + " " + same // each replica runs the job on its own
		laterInterval := r.sentAt.Sub(before[replicaAndTerms]) > repeated
		before[replicaAndTerms] = r.sentAt
		if laterInterval && j.hadFault("redis:", r.answeredAt, r.answeredAt.Add(5*time.Second)) {
			continue // Redis may not have recorded the update
		}
		if written[same]++; written[same] == 10 {
			j.failHold(c, "the same terms are written again and again")
		}
	}
}

// checkMirrored compares the terms with the metadata at the time when Redis was
// emptied.
func (j *judge) checkMirrored(c *judgedHold) {
	t := j.intakeObserved.redisEmptiedAt
	snapshot, found := j.intakeObserved.intentsWhenEmptied[c.number]
	before := c.termsHistory.beforeEmptied
	if !j.judgesIntake(c) || t.IsZero() || !found || j.plan.intake.mirrorInterval == 0 ||
		len(j.intakeObserved.reviews[c.number]) > 0 || snapshot.status != "requires_capture" ||
		before == nil || len(before.indeterminate) > 0 || len(before.accepted) == 0 {
		return
	}
	last := before.accepted[0].answeredAt
	for _, k := range before.accepted {
		if k.sentAt.Before(t) && k.answeredAt.After(last) {
			last = k.answeredAt
		}
	}
	if t.Sub(last) < 2*j.plan.intake.mirrorInterval+2*time.Minute ||
		!j.isFaultFree(last, t, "redis:emptied") || hasAttentionEvent(c.events) {
		return
	}
	all := before.possibleTermsAt(t)
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
		j.failHold(c, "agreed on at +%s: %s; at Stripe were %s when Redis was emptied at +%s",
			j.since(last), want, got, j.since(t))
	}
}

// checkInboxEntries ignores entries that Redis may have lost.
func (j *judge) checkInboxEntries() {
	if !j.plan.intake.enabled {
		return
	}
	rejects := j.inboxRejects()
	left, _ := j.redis.Stream("holdd:inbox")
	for _, p := range j.intakeObserved.inboxPosts {
		if j.lostRedisWrites(p.at, p.at.Add(2*j.plan.pollInterval()+time.Minute)) ||
			j.intakeObserved.redisEmptiedAt.After(p.at) {
			continue
		}
		r, isRejected := rejects["inbox "+p.entryID]
		_, isHold := j.finalHolds[j.intentIDs[p.holdNumber]]
		switch {
		case slices.ContainsFunc(left, func(e miniredis.StreamEntry) bool {
			return e.ID == p.entryID
		}):
			j.fail("entry %s of +%s was never answered", p.entryID, j.since(p.at))
		case isRejected && (r["code"] == "" || r["reason"] == "" || r["hold"] == ""):
			j.fail("entry %s was rejected without a reason: %v", p.entryID, r)
		case p.holdNumber == 0 && !isRejected:
			j.fail("entry %s is no request, and was not rejected", p.entryID)
		case p.holdNumber > 0 && !isRejected && !isHold:
			j.fail("H%d: entry %s was read, and there is neither a hold nor a rejection",
				p.holdNumber, p.entryID)
		case p.holdNumber > 0 && isRejected && !slices.Contains(timelyRejections, r["code"]) &&
			j.isFaultFree(p.at, p.at.Add(2*j.plan.pollInterval()+j.actionTimeLimit())):
			j.fail("H%d: a valid entry was rejected as %s: %s",
				p.holdNumber, r["code"], r["reason"])
		}
	}
}

// timelyRejections are the codes with which a valid entry may be rejected,
// because of its time or of changes at Stripe.
var timelyRejections = []string{"hold_exists", "after_deadline", "in_the_past",
	"already_captured", "already_canceled",
	"already_expired", "not_capturable", "amount_mismatch", "amount_too_large",
	"payment_intent_not_found", "would_cancel_now", "would_capture_now"}

func (j *judge) checkInboxRejections() {
	if !j.plan.intake.enabled || len(j.lostSpans) > 0 {
		return
	}
	for what := range j.inboxRejects() {
		if strings.HasPrefix(what, "inbox ") && !slices.ContainsFunc(j.intakeObserved.inboxPosts,
			func(p inboxPost) bool { return "inbox "+p.entryID == what }) {
			j.fail("%s was rejected and never posted", what)
		}
	}
}
