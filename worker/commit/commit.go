// Package commit is the one path by which a decision about a hold is written.
//
// The store writes a decision together with its events, and only if the record
// still has the version that the decision was based on. For each written
// decision the committer logs and counts every event, and wakes the dispatcher
// if the hold is due soon. If two writers make the same decision at the same
// time, the one that wrote it does so. A decision that is not written has no
// effect: another writer was first, and the caller reads the hold again.
package commit

import (
	"context"
	"slices"
	"time"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Store writes records, each whole or not at all. store.Holds implements Commit
// with store/lua/commit.lua, and store.Queue implements AdvanceMilestones.
type Store interface {
	// Commit reports what became of each record. After an error any record may
	// be written. Writing the same again is safe: it is reported as repeated.
	Commit(ctx context.Context, writes []hold.HoldWrite) ([]hold.CommitResult, error)
	// AdvanceMilestones moves milestones without rewriting their records.
	AdvanceMilestones(ctx context.Context, advances []hold.MilestoneWrite) ([]bool, error)
	// AppendAuditEntries records who changed which hold, and returns the hash
	// of the last entry; "" if the setting switches it off.
	AppendAuditEntries(ctx context.Context, entries []hold.AuditLogEntry) (hash string, err error)
}

// Observer records every committed event, for metrics. daemon.metrics
// implements it.
type Observer interface {
	EventRecorded(h *hold.Hold, e hold.Event, lateness time.Duration)
	// OverlapEnded records for how long two intents of a hold may have held
	// money.
	OverlapEnded(length time.Duration)
}

// Tracer begins the spans of commits. Each end gets zero if the result is not
// known. tracing.Tracer implements it.
type Tracer interface {
	// StartScheduling begins the span under which a new hold is written, and
	// keeps it with the hold.
	StartScheduling(ctx context.Context, h *hold.Hold) (end func(hold.CommitResult))
	// StartChange begins the span of a decision about a hold that has a trace,
	// such as a warning, and adds it to the decision. It returns nil if the
	// decision has a span, or no event.
	StartChange(ctx context.Context, d *hold.Decision) (end func(hold.CommitResult))
}

// Options configure a [Committer].
type Options struct {
	Rules    hold.DecisionRules
	Livemode bool
	// WakeAhead is how far ahead a hold's next action wakes the dispatcher.
	WakeAhead     time.Duration
	Now           func() time.Time     // Redis' time
	Wake          func()               // wakes the dispatcher; may be nil
	RecordAccount func(account string) // gets the account of each written hold; may be nil
	Observer      Observer             // may be nil
	Tracer        Tracer               // may be nil
	// CardholderLink returns the link for a hold whose renewal requires its
	// cardholder. May be nil: events then have none.
	CardholderLink func(h *hold.Hold) string
	Logger         *zap.Logger
}

// Change is a decision to commit.
type Change struct {
	Before   *hold.Hold // the record that the decision is based on; zero for a new hold
	Decision hold.Decision

	// The call that led to the decision, for the log line; zero for none.
	Call     hold.Call
	Answer   hold.Answer
	Lateness time.Duration
	// DespiteMaxmemory writes a new hold although Redis has reached maxmemory,
	// because holdd itself has placed its authorization.
	DespiteMaxmemory bool
	// At is when the decision was made, in Redis' time. Zero means now.
	At time.Time

	// unconfirmed says that an earlier commit of this change failed. That commit
	// may have written it, so a repeated record is this change's own.
	unconfirmed bool
}

// Committer writes decisions. It is safe for concurrent use.
type Committer struct {
	store Store
	o     Options
}

// New returns a committer that writes to store.
func New(store Store, o Options) *Committer { return &Committer{store: store, o: o} }

// Commit writes changes, each if its hold still has the version of its Before.
// It reports per change whether it was written. After an error any of them may
// be written.
func (c *Committer) Commit(ctx context.Context, changes []Change) ([]bool, error) {
	return c.commitAndNotify(ctx, changes, 1)
}

// CommitWithRetry is [Committer.Commit] for callers that answer a request. If
// the store's reply is lost, it writes the same again, which the store
// recognizes.
func (c *Committer) CommitWithRetry(ctx context.Context, changes []Change) ([]bool, error) {
	return c.commitAndNotify(ctx, changes, 2)
}

func (c *Committer) commitAndNotify(
	ctx context.Context, changes []Change, attempts int,
) (written []bool, err error) {
	writes := make([]hold.HoldWrite, len(changes))
	for i := range changes {
		c.applyCommonRulesToDecision(&changes[i])
	}
	endSpans := c.startSpans(ctx, changes)
	for i := range changes {
		writes[i] = c.encodeWrite(&changes[i])
	}
	var results []hold.CommitResult
	defer func() { endSpans(results) }()
	for range attempts {
		if results, err = c.store.Commit(ctx, writes); err == nil {
			break
		}
		for i := range changes {
			changes[i].unconfirmed = true
		}
		if ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		results = nil
		return nil, err
	}
	c.logAndCountCommitted(changes, results)
	c.appendAuditOfWrittenChanges(ctx, changes, results)
	written = make([]bool, len(results))
	for i, r := range results {
		written[i] = r.IsCommitted()
	}
	return written, nil
}

// startSpans begins the spans of changes. The function that it returns ends
// them; results is nil if they are not known.
func (c *Committer) startSpans(
	ctx context.Context, changes []Change,
) (end func(results []hold.CommitResult)) {
	if c.o.Tracer == nil {
		return func([]hold.CommitResult) {}
	}
	ends := map[int]func(hold.CommitResult){}
	for i := range changes {
		switch d := &changes[i].Decision; {
		case changes[i].unconfirmed:
			// What an earlier commit may have written must not get another span:
			// the store would take it for the change of another writer.
		case changes[i].Before.ID == "":
			ends[i] = c.o.Tracer.StartScheduling(ctx, &d.Hold)
		default:
			if end := c.o.Tracer.StartChange(ctx, d); end != nil {
				ends[i] = end
			}
		}
	}
	return func(results []hold.CommitResult) {
		for i, end := range ends {
			if results == nil {
				end(0)
			} else {
				end(results[i])
			}
		}
	}
}

// wasWrittenByCommitter reports whether a result says that this committer wrote
// the change.
func (ch *Change) wasWrittenByCommitter(r hold.CommitResult) bool {
	return r == hold.CommitWritten || r == hold.CommitRepeated && ch.unconfirmed
}

// logAndCountCommitted logs and counts the changes that this committer wrote,
// and returns how many the store has. A repeated change that no earlier commit
// of this committer can have written is the equal decision of another writer,
// which logs and counts it.
func (c *Committer) logAndCountCommitted(changes []Change, results []hold.CommitResult) (n int) {
	own := make([]bool, len(results))
	for i, r := range results {
		own[i] = changes[i].wasWrittenByCommitter(r)
		if r.IsCommitted() {
			n++
		}
	}
	c.logAndWakeForWritten(changes, own)
	return n
}

// CommitMilestones commits the decisions of due milestones, and reports how
// many were written. A decision that does not change the record only moves the
// milestone, so that a concurrent claim stays valid.
func (c *Committer) CommitMilestones(
	ctx context.Context, passed []PassedMilestoneChange,
) (advanced int, err error) {
	var advances []hold.MilestoneWrite
	var advancing, writing []Change
	var next []time.Time // of the holds in writing
	for i := range passed {
		m := &passed[i]
		if !m.Decision.Unchanged {
			writing, next = append(writing, m.Change), append(next, m.Next)
			continue
		}
		advances = append(advances, hold.MilestoneWrite{
			ID: m.Before.ID, Version: m.Before.Version, From: m.DueAt, To: m.Next})
		advancing = append(advancing, m.Change)
	}
	if len(advances) > 0 {
		advanced, err = c.advanceMilestones(ctx, advancing, advances)
	}
	if len(writing) > 0 {
		n, e := c.commitPassedMilestoneChanges(ctx, writing, next)
		if e != nil {
			return advanced, e
		}
		advanced += n
	}
	return advanced, err
}

// advanceMilestones moves milestones and publishes the warnings of changes, each
// under a span of its own. advances lack their events.
func (c *Committer) advanceMilestones(
	ctx context.Context, changes []Change, advances []hold.MilestoneWrite,
) (advanced int, err error) {
	endSpans := c.startSpans(ctx, changes)
	for i := range changes {
		d, now := &changes[i].Decision, c.at(&changes[i])
		c.addCardholderLink(d, now)
		advances[i].Events = event.EncodeMilestoneEvents(d, c.o.Livemode, now)
	}
	written, err := c.store.AdvanceMilestones(ctx, advances)
	if err != nil {
		endSpans(nil)
		return 0, err
	}
	if c.o.Tracer != nil {
		endSpans(toCommitResults(written))
	}
	return c.logAndWakeForWritten(changes, written), nil
}

// toCommitResults returns the results of writes, of which a milestone that was
// not moved is a conflict.
func toCommitResults(written []bool) []hold.CommitResult {
	out := make([]hold.CommitResult, len(written))
	for i, ok := range written {
		if out[i] = hold.CommitConflict; ok {
			out[i] = hold.CommitWritten
		}
	}
	return out
}

// commitPassedMilestoneChanges writes changes after a milestone. next is when the
// following milestone of each is due.
func (c *Committer) commitPassedMilestoneChanges(
	ctx context.Context, changes []Change, next []time.Time,
) (written int, err error) {
	for i := range changes {
		c.applyCommonRulesToDecision(&changes[i])
	}
	endSpans := c.startSpans(ctx, changes)
	writes := make([]hold.HoldWrite, len(changes))
	for i := range changes {
		w := c.encodeWrite(&changes[i])
		w.Placement.KeepMilestone, w.Placement.KeepOverdueMilestone = false, false
		w.Placement.NextMilestone = next[i]
		writes[i] = w
	}
	results, err := c.store.Commit(ctx, writes)
	if err != nil {
		endSpans(nil)
		return 0, err
	}
	endSpans(results)
	return c.logAndCountCommitted(changes, results), nil
}

// PassedMilestoneChange is a passed milestone and the decision that follows.
type PassedMilestoneChange struct {
	Change
	DueAt time.Time // when the passed milestone was due
	Next  time.Time // when the following one is due, zero for none
}

// DeleteHoldsIfUnmodified deletes holds, each if it still has its version. It publishes
// no events.
func (c *Committer) DeleteHoldsIfUnmodified(
	ctx context.Context,
	holds []hold.Hold,
) (deleted int, err error) {
	if len(holds) == 0 {
		return 0, nil
	}
	writes := make([]hold.HoldWrite, len(holds))
	for i := range holds {
		writes[i] = hold.HoldWrite{Version: holds[i].Version, Hold: holds[i],
			PreviousReference: holds[i].Reference, Drop: true}
	}
	results, err := c.store.Commit(ctx, writes)
	for _, r := range results {
		if r.IsCommitted() {
			deleted++
		}
	}
	return deleted, err
}

// RecordCommittedDespiteError logs and counts a change that was written
// although its commit returned an error.
func (c *Committer) RecordCommittedDespiteError(change Change) {
	c.logAndWakeForWritten([]Change{change}, []bool{true})
}

func (c *Committer) at(ch *Change) time.Time {
	if ch.At.IsZero() {
		ch.At = c.o.Now()
	}
	return ch.At
}

// applyCommonRulesToDecision adds to a decision what follows for every change, whoever
// decided it. It plans the renewal, alerts if a deadline that was just learned
// comes too early for the capture, hands the hold over to the operator if that
// deadline makes on_expiry act without a warning, and records the reason that a
// cancel will send.
func (c *Committer) applyCommonRulesToDecision(ch *Change) {
	now := c.at(ch)
	ch.Decision.SetNextRenewalOp(now)
	ch.Decision.RequireAttentionIfCaptureTooLate(ch.Before, now, c.o.Rules)
	ch.Decision.RequireAttentionIfPolicyDue(ch.Before, now, c.o.Rules)
	ch.Decision.SetNextRenewalOp(now) // attention leaves no operation of the hold's own
	ch.Decision.SetDefaultCancellationReason(ch.Before, c.o.Rules)
	c.addCardholderLink(&ch.Decision, now)
}

// encodeWrite returns the write of a change whose decision is complete.
func (c *Committer) encodeWrite(ch *Change) hold.HoldWrite {
	now := c.at(ch)
	return hold.HoldWrite{
		Version: ch.Before.Version, Hold: ch.Decision.Hold, PreviousReference: ch.Before.Reference,
		Placement: ch.Decision.SortedSetPlacement(ch.Before, now, c.o.Rules),
		Events:    event.EncodeDecisionEvents(&ch.Decision, ch.Before.Version+1, c.o.Livemode, now),

		DespiteMaxmemory: ch.DespiteMaxmemory,
	}
}

// addCardholderLink adds the link to the events that ask for the cardholder.
func (c *Committer) addCardholderLink(d *hold.Decision, now time.Time) {
	if c.o.CardholderLink == nil || hold.CheckHoldAwaitsCardholder(&d.Hold, now) != nil {
		return
	}
	d.Events = slices.Clone(d.Events)
	for i := range d.Events {
		switch d.Events[i].Type {
		case hold.EventRequiresAction, hold.EventExpiring:
			d.Events[i].CardholderLink = c.o.CardholderLink(&d.Hold)
		}
	}
}

// logAndWakeForWritten logs and counts the written changes, and wakes the
// dispatcher if a hold is due soon.
func (c *Committer) logAndWakeForWritten(changes []Change, written []bool) (n int) {
	wake := false
	for i := range changes {
		if !written[i] {
			continue
		}
		n++
		ch := &changes[i]
		h := &ch.Decision.Hold
		if c.o.RecordAccount != nil {
			c.o.RecordAccount(h.Account)
		}
		c.recordOverlapEnd(ch)
		for _, e := range ch.Decision.Events {
			c.logEvent(ch, e)
			if c.o.Observer != nil {
				c.o.Observer.EventRecorded(h, e, ch.Lateness)
			}
		}
		soon := h.NextOp != 0 && h.NextAt.Before(c.at(ch).Add(c.o.WakeAhead))
		wake = wake || !ch.Decision.Unchanged && (ch.Decision.NextStepNow || soon)
	}
	if wake && c.o.Wake != nil {
		c.o.Wake()
	}
	return n
}

// recordOverlapEnd records the end of the time in which two intents of a hold
// may have held money.
func (c *Committer) recordOverlapEnd(ch *Change) {
	since, before := ch.Before.Renewal.OverlapSince()
	if _, after := ch.Decision.Hold.Renewal.OverlapSince(); before && !after && c.o.Observer != nil {
		c.o.Observer.OverlapEnded(max(0, c.at(ch).Sub(since)))
	}
}

func (c *Committer) logEvent(ch *Change, e hold.Event) {
	ce := c.o.Logger.Check(eventLogLevel(&ch.Decision.Hold, e), string(e.Type))
	if ce == nil {
		return
	}
	h, a := &ch.Decision.Hold, &ch.Answer
	amount := h.Amount
	if e.Type == hold.EventCaptured {
		amount = h.CapturedAmount
	}
	if e.Type == hold.EventPartlyCaptured {
		amount = e.Amount
	}
	cause := ""
	if e.Cause != 0 {
		cause = e.Cause.String()
	}
	fields := make([]zap.Field, 0, 18)
	fields = append(fields,
		zap.String("event", string(e.Type)), zap.String("hold", h.ID),
		zap.String("payment_intent", h.PaymentIntent), zap.String("account", h.Account),
		zap.String("reference", h.Reference), zap.Int64("amount", amount),
		zap.String("currency", h.Currency), zap.Uint32("attempt", countHistoryAttempts(h)),
		zap.String("idempotency_key", ch.Call.Key), zap.String("request_id", a.RequestID),
		zap.Int64("lateness_ms", ch.Lateness.Milliseconds()), zap.String("cause", cause),
		zap.String("by", ch.Decision.By(ch.Before)))
	if a.Kind != 0 && a.Kind != hold.AnswerOK {
		fields = append(fields, zap.Stringer("answer", a.Kind), zap.String("code", a.Code),
			zap.String("message", a.Message))
	}
	if h.CapturedElsewhere > 0 {
		fields = append(fields, zap.Int64("captured_elsewhere", h.CapturedElsewhere),
			zap.Int64("capture_amount", h.CaptureAmount))
	}
	switch e.Type {
	case hold.EventExpiring:
		fields = append(fields, zap.Duration("threshold", e.Threshold),
			zap.Time("expires_at", h.ExpiresAt))
	case hold.EventIncrementFailed:
		fields = append(fields, zap.String("detail", e.Detail))
	case hold.EventRetrying:
		fields = append(fields, zap.Time("next_at", h.NextAt))
	}
	ce.Write(fields...)
}

func eventLogLevel(h *hold.Hold, e hold.Event) zapcore.Level {
	switch e.Type {
	case hold.EventCaptured:
		if h.CaptureAmount > 0 && h.CapturedAmount > h.CaptureAmount {
			return zapcore.WarnLevel // another system captured more than requested
		}
	case hold.EventExpired, hold.EventExpiring, hold.EventRetrying, hold.EventIncrementFailed,
		hold.EventRequiresAction:
		return zapcore.WarnLevel
	case hold.EventAttention:
		return zapcore.ErrorLevel
	case hold.EventChanged:
		if e.Cause == hold.CauseElsewhere {
			return zapcore.WarnLevel // another system captured a part
		}
		return zapcore.DebugLevel
	case hold.EventScheduled:
		return zapcore.DebugLevel
	}
	return zapcore.InfoLevel
}

// countHistoryAttempts counts the requests in a hold's history.
func countHistoryAttempts(h *hold.Hold) uint32 {
	n := h.HistoryDropped
	for i := range h.History {
		if h.History[i].Kind == hold.HistoryAttempt {
			n++
		}
	}
	return n
}
