package alert

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

const (
	// what must be left of it before a round begins: longer than a round can
	// last
	minLeaseLeft = 45 * time.Second
	roundTimeout = 20 * time.Second // after which a round begins nothing new
	sendTimeout  = 15 * time.Second // one try
	// a look for dead letters that are to be sent once more
	requeuedCheckInterval = 10 * time.Second
	eventBatchSize        = 64
	maxConcurrentSends    = 8 // holds of a batch that are told of at the same time
	maxProbeGroups        = 3 // of a sink that took nothing the last time

	sinkBackoffMin         = 5 * time.Second
	sinkBackoffMax         = 10 * time.Minute
	parkedBackoffMin       = 10 * time.Second
	parkedBackoffMax       = time.Hour
	deadLetterAfter        = 72 * time.Hour
	maxParkedHolds         = 256 // holds
	maxParkedEventsPerHold = 64  // events of one that wait
	reportFailingAfter     = 15 * time.Minute
)

// deliveryState is what a sink's deliverer knows of one partition, kept in the
// store.
type deliveryState struct {
	// everything up to it is delivered, parked or given up
	Cursor    string   `json:"cursor"`
	DoneAhead []string `json:"ahead,omitempty"` // entries after it of which the same is true
	// how many events the stream had up to there; -1: not known
	Position      int64     `json:"pos"`
	FailingSince  time.Time `json:"failing,omitzero"`
	Attempts      int       `json:"tries,omitempty"`
	NextAttemptAt time.Time `json:"next,omitzero"` // no try before
	// digest of the address that asked not to be told any more
	DisabledAddress string    `json:"gone,omitempty"`
	FailureReported bool      `json:"told,omitempty"` // people know that it takes nothing
	Reason          string    `json:"reason,omitempty"`
	OldestPending   time.Time `json:"oldest,omitzero"` // event that waits, in the stream or parked
	ParkedHolds     int       `json:"parked,omitempty"`
	DeadLetters     int64     `json:"dead,omitempty"` // ever
	EventsLost      int64     `json:"lost,omitempty"`
}

// parkedHold are events of one hold, in order, that the sink refuses while it
// takes those of others.
type parkedHold struct {
	Attempts      int               `json:"tries"`
	NextAttemptAt time.Time         `json:"next"`
	Events        []json.RawMessage `json:"events"`
}

// deliverer delivers one partition's events to one sink.
type deliverer struct {
	notifier  *Notifier
	sink      *sink
	partition int
	sendCtx   context.Context // of the requests themselves: it outlives the deliverer's by a moment
	log       *zap.Logger

	leaseToken int64
	// our clock: when the lease ends, reckoned from before it was asked for
	leaseUntil        time.Time
	state             deliveryState
	parkedHolds       map[string]*parkedHold
	doneEntries       map[string]bool // entries after the cursor that were delivered
	requeuedCheckedAt time.Time       // when dead letters were last looked for
	unsaved           bool
	progress          hold.SinkProgress
}

// orderedGroup are messages that must arrive in order.
type orderedGroup struct {
	orderKey    string
	messages    []message
	source      groupSource
	delivered   int
	lastOutcome deliveryOutcome // of the one that was not taken
	attempted   bool
}

type groupSource uint8

const (
	fromStream groupSource = iota + 1
	fromParked
	fromRequeued
)

func (c *deliverer) run(ctx context.Context) {
	for ctx.Err() == nil {
		wait, err := c.acquireLease(ctx)
		if err == nil && c.leaseToken != 0 {
			wait, err = c.deliverWhileLeased(ctx)
		}
		c.notifier.observeState(c.sink, c.partition, deliveryState{})
		if err != nil && ctx.Err() == nil {
			c.log.Debug("deliveries wait for Redis", zap.Error(err))
		}
		sleepContext(ctx, wait)
	}
}

// acquireLease asks for the lease.
func (c *deliverer) acquireLease(ctx context.Context) (time.Duration, error) {
	asked := time.Now()
	token, raw, start, parkedJSON, err := c.notifier.store.AcquireSinkLease(ctx, c.sink.name,
		c.partition, c.notifier.options.Replica, c.notifier.leaseDuration())
	c.leaseToken = token
	if err != nil || token == 0 {
		return c.notifier.standbyInterval() + rand.N(c.notifier.standbyInterval()/5), err
	}
	c.leaseUntil, c.state, c.parkedHolds, c.doneEntries, c.progress = asked.Add(
		c.notifier.leaseDuration()), deliveryState{Cursor: start, Position: -1},
		map[string]*parkedHold{}, map[string]bool{}, hold.SinkProgress{}
	c.unsaved, c.requeuedCheckedAt = true, time.Time{}
	if raw == nil {
		// Only what comes from now on: whoever adds an address doesn't want to
		// hear of last week.
		if length, added, err := c.notifier.store.StreamLength(ctx, c.partition); err == nil &&
			(added >= 0 || length == 0) {
			c.state.Position = max(added, 0)
		}
	} else if json.Unmarshal(raw, &c.state) != nil {
		c.state = deliveryState{Cursor: start, Position: -1}
	}
	for _, entry := range c.state.DoneAhead {
		c.doneEntries[entry] = true
	}
	for id, v := range parkedJSON {
		var q parkedHold
		if json.Unmarshal(v, &q) == nil {
			c.parkedHolds[id] = &q
		}
	}
	if c.state.DisabledAddress != "" && c.state.DisabledAddress != c.sink.addressDigest {
		c.state.DisabledAddress = ""
	}
	return 0, nil
}

// deliverWhileLeased delivers until the lease is lost or ctx ends, and gives it
// back then.
func (c *deliverer) deliverWhileLeased(ctx context.Context) (time.Duration, error) {
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if c.leaseToken != 0 {
			_ = c.saveProgress(last, 0) // it ends by itself
		}
	}()
	for ctx.Err() == nil {
		wait, err := c.deliverRound(ctx)
		if errors.Is(err, errLeaseLost) {
			c.leaseToken = 0
			return c.notifier.standbyInterval(), nil
		}
		if err != nil {
			// What was delivered is remembered: should the lease still be ours
			// when Redis is back, nothing is sent twice.
			wait = sinkBackoffMin
			if time.Now().After(c.leaseUntil) {
				c.leaseToken = 0
				return wait, err
			}
		}
		c.notifier.observeState(c.sink, c.partition, c.state)
		sleepContext(ctx, wait)
	}
	return 0, nil
}

var errLeaseLost = errors.New("another replica delivers to this sink")

// saveProgress notes how far it came.
func (c *deliverer) saveProgress(ctx context.Context, lease time.Duration) error {
	c.state.ParkedHolds, c.state.DoneAhead = len(c.parkedHolds),
		slices.Sorted(maps.Keys(c.doneEntries))
	raw, err := json.Marshal(&c.state)
	if err != nil {
		return err
	}
	c.progress.State = raw
	asked := time.Now()
	ok, err := c.notifier.store.SaveSinkProgress(ctx, c.sink.name, c.partition,
		c.leaseToken, c.progress, lease)
	if err != nil {
		return err
	}
	if !ok {
		return errLeaseLost
	}
	c.leaseUntil, c.unsaved, c.progress = asked.Add(lease), false, hold.SinkProgress{}
	return nil
}

// deliverRound is one look and what it brings. It returns how long to wait for
// the next.
func (c *deliverer) deliverRound(ctx context.Context) (time.Duration, error) {
	if c.unsaved || time.Until(c.leaseUntil) < minLeaseLeft+2*c.notifier.options.PollInterval {
		if err := c.saveProgress(ctx, c.notifier.leaseDuration()); err != nil {
			return 0, err
		}
	}
	now := c.notifier.now()
	if c.state.DisabledAddress != "" {
		return c.notifier.standbyInterval(), nil
	}
	if wait := c.state.NextAttemptAt.Sub(now); wait > 0 {
		return min(wait, c.notifier.standbyInterval()), c.reportFailing(ctx, now)
	}
	events, trimmed, err := c.notifier.store.ReadEvents(ctx, c.partition,
		c.state.Cursor, eventBatchSize)
	if err != nil {
		return 0, err
	}
	if trimmed {
		if err := c.reportTrimmed(ctx); err != nil {
			return 0, err
		}
		inStream := map[string]bool{}
		for _, e := range events {
			inStream[e.ID] = c.doneEntries[e.ID]
		}
		maps.DeleteFunc(c.doneEntries, func(id string, _ bool) bool { return !inStream[id] })
	}
	groups := c.groupByHold(events, now)
	if c.state.Attempts == 0 {
		if now.Sub(c.requeuedCheckedAt) >= requeuedCheckInterval {
			c.requeuedCheckedAt = now
			requeued, err := c.notifier.store.RequeuedDeadLetters(ctx, c.sink.name,
				c.partition, eventBatchSize)
			if err != nil {
				return 0, err
			}
			for _, e := range requeued {
				if m, ok := c.sink.newMessage(e, c.notifier.renderOptions); ok {
					groups = append(groups, &orderedGroup{orderKey: e.ID,
						messages: []message{m}, source: fromRequeued})
				} else {
					c.progress.Requeued, c.unsaved = append(c.progress.Requeued, e.ID), true
				}
			}
		}
		groups = append(groups, c.dueParkedGroups(now)...)
	}
	c.sendGroups(ctx, groups)
	if ctx.Err() != nil {
		// What was cut off says nothing about the sink; what was taken counts.
		c.markDelivered(groups)
		c.advanceCursor(events)
		return 0, nil
	}
	c.handleFailures(ctx, groups, events, c.notifier.now())
	c.state.OldestPending = c.oldestPending(c.advanceCursor(events))
	if c.unsaved {
		if err := c.saveProgress(ctx, c.notifier.leaseDuration()); err != nil {
			return 0, err
		}
	}
	if err := c.reportFailing(ctx, c.notifier.now()); err != nil {
		return 0, err
	}
	if len(events) == eventBatchSize && c.state.Attempts == 0 {
		return 0, nil
	}
	return c.notifier.options.PollInterval, nil
}

// groupByHold sorts what the stream has by hold. What nobody wants to hear of,
// and what waits behind an event that is parked, is seen to already.
func (c *deliverer) groupByHold(events []hold.StreamEvent, now time.Time) (groups []*orderedGroup) {
	by := map[string]*orderedGroup{}
	for _, e := range events {
		if c.doneEntries[e.ID] {
			continue
		}
		m, ok := c.sink.newMessage(e, c.notifier.renderOptions)
		if !ok {
			c.doneEntries[e.ID] = true
			continue
		}
		if q := c.parkedHolds[m.orderKey]; q != nil {
			if len(q.Events) < maxParkedEventsPerHold {
				q.Events = append(q.Events, e.Event)
				c.recordParked(m.orderKey)
				c.doneEntries[e.ID] = true
			}
			continue // one that has no room waits in the stream
		}
		g := by[m.orderKey]
		if g == nil {
			g = &orderedGroup{orderKey: m.orderKey, source: fromStream}
			by[m.orderKey] = g
			groups = append(groups, g)
		}
		g.messages = append(g.messages, m)
	}
	if c.state.Attempts > 0 { // it took nothing the last time: see whether it takes anything now
		groups = groups[:min(len(groups), maxProbeGroups)]
		for _, g := range groups {
			g.messages = g.messages[:1]
		}
	}
	return groups
}

// dueParkedGroups are parked holds that are to be tried again.
func (c *deliverer) dueParkedGroups(now time.Time) (groups []*orderedGroup) {
	for id, q := range c.parkedHolds {
		if q.NextAttemptAt.After(now) || len(groups) >= eventBatchSize {
			continue
		}
		g := &orderedGroup{orderKey: id, source: fromParked}
		for _, e := range q.Events {
			if m, ok := c.sink.newMessage(hold.StreamEvent{Event: e},
				c.notifier.renderOptions); ok {
				g.messages = append(g.messages, m)
			}
		}
		groups = append(groups, g)
	}
	return groups
}

func (c *deliverer) recordParked(id string) {
	b, err := json.Marshal(c.parkedHolds[id])
	if err != nil {
		return // JSON that was read before
	}
	if c.progress.Park == nil {
		c.progress.Park = map[string][]byte{}
	}
	c.progress.Park[id] = b
	c.unsaved = true
}

// sendGroups tells the groups, some at a time, each in order. A sink that takes
// many at once gets what there is as one.
func (c *deliverer) sendGroups(ctx context.Context, groups []*orderedGroup) {
	if len(groups) == 0 {
		return
	}
	if c.sink.takesDigests && c.state.Attempts == 0 {
		c.sendDigests(ctx, groups)
		return
	}
	end := time.Now().Add(roundTimeout)
	gate := make(chan struct{}, c.sink.concurrency())
	var wg sync.WaitGroup
	for _, g := range groups {
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			for i := range g.messages {
				if ctx.Err() != nil || time.Now().After(end) {
					return
				}
				g.attempted = true
				g.lastOutcome = c.sendMessages(g.messages[i : i+1])
				if g.lastOutcome.result != resultDelivered {
					return
				}
				g.delivered++
			}
		})
	}
	wg.Wait()
}

// sendDigests sends one message of up to so many alerts as people read at once.
func (c *deliverer) sendDigests(ctx context.Context, groups []*orderedGroup) {
	end := time.Now().Add(roundTimeout)
	var all []message
	var groupOf []*orderedGroup
	flush := func() bool {
		if len(all) == 0 {
			return true
		}
		out := c.sendMessages(all)
		for _, g := range groupOf {
			g.attempted, g.lastOutcome = true, out
			if out.result == resultDelivered {
				g.delivered++
			}
		}
		all, groupOf = nil, nil
		return out.result == resultDelivered && time.Now().Before(end) && ctx.Err() == nil
	}
	for _, g := range groups {
		for i := range g.messages {
			alone := c.sink.tracksIncidents && g.messages[i].alert.HoldID == ""
			if alone && !flush() {
				return
			}
			all, groupOf = append(all, g.messages[i]), append(groupOf, g)
			if (alone || len(all) >= maxDigestAlerts) && !flush() {
				return
			}
		}
	}
	flush()
}

func (c *deliverer) sendMessages(msgs []message) deliveryOutcome {
	bounded, cancel := context.WithTimeout(c.sendCtx, sendTimeout)
	defer cancel()
	out := c.sink.send(bounded, msgs)
	for i := range msgs {
		c.notifier.recordDelivery(c.sink, &msgs[i], out)
	}
	return out
}

// markDelivered notes what was delivered.
func (c *deliverer) markDelivered(groups []*orderedGroup) (anyDelivered bool) {
	for _, g := range groups {
		for _, m := range g.messages[:g.delivered] {
			switch g.source {
			case fromStream:
				c.doneEntries[m.entryID] = true
			case fromRequeued:
				c.progress.Requeued = append(c.progress.Requeued, m.entryID)
			}
			anyDelivered, c.unsaved = true, true
		}
		if g.source == fromParked && g.delivered > 0 {
			q := c.parkedHolds[g.orderKey]
			q.Events, q.Attempts, q.NextAttemptAt = q.Events[g.delivered:], 0, time.Time{}
			if len(q.Events) == 0 {
				delete(c.parkedHolds, g.orderKey)
				delete(c.progress.Park, g.orderKey)
				c.progress.Unpark = append(c.progress.Unpark, g.orderKey)
			} else {
				c.recordParked(g.orderKey)
			}
		}
	}
	return anyDelivered
}

// handleFailures decides what follows from what was not taken: is it this
// hold's event, or is it the sink?
func (c *deliverer) handleFailures(
	ctx context.Context, groups []*orderedGroup, events []hold.StreamEvent, now time.Time,
) {
	anyDelivered := c.markDelivered(groups)
	var failure *deliveryOutcome
	for _, g := range groups {
		if !g.attempted || g.delivered == len(g.messages) {
			continue
		}
		switch {
		case g.lastOutcome.result == resultGone:
			c.state.DisabledAddress, c.state.Reason, c.unsaved = c.sink.addressDigest,
				g.lastOutcome.reason, true
			c.log.Error(
				"this way out asked not to be told any more, and is not; replay what waits once it is mended", zap.String("event", string(event.SinkDisabled)), zap.String("reason", g.lastOutcome.reason))
			c.publishSystemEvent(ctx, event.SinkDisabled, c.sink.name+":"+c.state.Cursor,
				event.Data{Sink: c.sink.name, Detail: g.lastOutcome.reason})
			return
		case g.source == fromRequeued:
			if g.lastOutcome.result != resultRetryLater {
				c.deadLetter(g.messages[0].eventJSON, g.lastOutcome.reason, now)
				c.progress.Requeued = append(c.progress.Requeued, g.messages[0].entryID)
			}
		case g.source == fromParked:
			c.deferParked(g, now)
		case g.lastOutcome.result == resultRejected || g.lastOutcome.result == resultFailed &&
			anyDelivered:
			if len(c.parkedHolds) >= maxParkedHolds {
				failure = &deliveryOutcome{result: resultFailed, reason: "it refuses events of " +
					itoa(maxParkedHolds) + " holds: " + g.lastOutcome.reason}
				continue
			}
			q := &parkedHold{}
			for _, m := range g.messages[g.delivered:] {
				q.Events = append(q.Events, m.eventJSON)
				c.doneEntries[m.entryID] = true
			}
			c.parkedHolds[g.orderKey] = q
			c.deferParked(g, now)
			c.log.Warn("a hold's event was not taken; it is tried again, and those of others go on",
				zap.String("hold", g.orderKey), zap.String("reason", g.lastOutcome.reason))
		default:
			if failure == nil || g.lastOutcome.retryAfter > failure.retryAfter {
				failure = &g.lastOutcome
			}
		}
	}
	switch {
	case failure != nil && failure.result == resultRetryLater:
		c.state.NextAttemptAt, c.state.Reason, c.unsaved = now.Add(
			min(max(failure.retryAfter, time.Second), time.Hour)), failure.reason, true
	case failure != nil:
		c.state.Attempts++
		c.state.Reason, c.unsaved = failure.reason, true
		if c.state.FailingSince.IsZero() {
			c.state.FailingSince = now
			c.log.Warn("a way out takes nothing; what happens waits in the stream",
				zap.String("reason", failure.reason))
		}
		c.state.NextAttemptAt = now.Add(
			max(backoff(c.state.Attempts, sinkBackoffMin, sinkBackoffMax),
				min(failure.retryAfter, time.Hour)))
		c.deadLetterExpired(ctx, events, now)
	case anyDelivered && c.state.Attempts > 0:
		c.log.Info("a way out takes events again",
			zap.Duration("after", now.Sub(c.state.FailingSince)))
		c.state.Attempts, c.state.FailingSince, c.state.NextAttemptAt, c.state.Reason, c.unsaved = 0, time.Time{}, time.Time{}, "", true
	}
}

// deferParked sets when a parked hold is tried again, and gives up what has
// waited for days.
func (c *deliverer) deferParked(g *orderedGroup, now time.Time) {
	q := c.parkedHolds[g.orderKey]
	q.Attempts++
	q.NextAttemptAt = now.Add(backoff(q.Attempts, parkedBackoffMin, parkedBackoffMax))
	if len(q.Events) > 0 && now.Sub(eventTime(q.Events[0])) > deadLetterAfter {
		c.deadLetter(q.Events[0], g.lastOutcome.reason, now)
		q.Events, q.Attempts, q.NextAttemptAt = q.Events[1:], 0, now
	}
	if len(q.Events) == 0 {
		delete(c.parkedHolds, g.orderKey)
		delete(c.progress.Park, g.orderKey)
		c.progress.Unpark, c.unsaved = append(c.progress.Unpark, g.orderKey), true
		return
	}
	c.recordParked(g.orderKey)
}

// deadLetterExpired makes dead letters of what a sink that takes nothing has
// not taken for days.
func (c *deliverer) deadLetterExpired(
	ctx context.Context, events []hold.StreamEvent, now time.Time,
) {
	n := int64(0)
	for _, e := range events {
		if !c.doneEntries[e.ID] && now.Sub(eventTime(e.Event)) > deadLetterAfter {
			c.doneEntries[e.ID] = true
			c.deadLetter(e.Event, c.state.Reason, now)
			n++
		}
	}
	if n > 0 {
		c.publishSystemEvent(ctx, event.SinkDeadLetters, c.sink.name+":"+now.Format(time.DateOnly),
			event.Data{Sink: c.sink.name, Count: n})
	}
}

func (c *deliverer) deadLetter(event []byte, reason string, now time.Time) {
	c.progress.DeadLetters = append(c.progress.DeadLetters,
		hold.DeadLetter{Event: event, Reason: reason})
	c.state.DeadLetters++
	c.unsaved = true
	var e struct{ ID string }
	_ = json.Unmarshal(event, &e) // an event of ours
	c.log.Error("an event was given up after days; holdd callbacks replay sends it once more",
		zap.String("id", e.ID), zap.String("reason", reason), zap.Time("at", now))
}

// advanceCursor moves the cursor over what is seen to, and returns what isn't.
func (c *deliverer) advanceCursor(events []hold.StreamEvent) (left []hold.StreamEvent) {
	for i, e := range events {
		if !c.doneEntries[e.ID] {
			return events[i:]
		}
		delete(c.doneEntries, e.ID)
		c.state.Cursor, c.unsaved = e.ID, true
		if c.state.Position >= 0 {
			c.state.Position++
		}
	}
	return nil
}

// reportTrimmed finds out how many events were trimmed before this sink was
// told of them, and tells.
func (c *deliverer) reportTrimmed(ctx context.Context) error {
	length, added, err := c.notifier.store.StreamLength(ctx, c.partition)
	if err != nil {
		return err
	}
	n := int64(-1)
	if added >= 0 {
		before := added - length // how many are gone from its beginning
		if c.state.Position >= 0 && added >= c.state.Position {
			n = before - c.state.Position
		}
		c.state.Position = before
	} else if c.state.Attempts == 0 {
		n = 0 // it was told of everything until now, and this Redis doesn't count
	}
	if n == 0 {
		return nil
	}
	if n > 0 {
		c.state.EventsLost += n
	}
	c.unsaved = true
	c.log.Error("events were trimmed before this way out was told of them",
		zap.String("event", string(event.SinkEventsLost)), zap.Int64("events", n))
	c.publishSystemEvent(ctx, event.SinkEventsLost, c.sink.name+":"+itoa(c.partition)+":"+
		c.state.Cursor, event.Data{Sink: c.sink.name, Count: n})
	return nil
}

// reportFailing tells people that a sink takes nothing, and when it does again:
// once over all partitions.
func (c *deliverer) reportFailing(ctx context.Context, now time.Time) error {
	failing := !c.state.FailingSince.IsZero() && now.Sub(c.state.FailingSince) >= reportFailingAfter
	if failing == c.state.FailureReported {
		return nil
	}
	cond := hold.Condition{Name: "sink_" + c.sink.name, Active: failing,
		RaisedEvent: event.EncodeSystem(event.SinkFailing, now, event.Data{Sink: c.sink.name,
			Detail: c.state.Reason}),
		ClearedEvent: event.EncodeSystem(event.SinkRecovered, now, event.Data{Sink: c.sink.name})}
	ttl := deadLetterAfter // who sees it is the partition, whichever replica serves it
	if _, err := c.notifier.store.ReportConditions(ctx, "partition-"+itoa(c.partition), ttl, 0,
		[]hold.Condition{cond}); err != nil {
		return err
	}
	c.state.FailureReported, c.unsaved = failing, true
	return nil
}

func (c *deliverer) publishSystemEvent(
	ctx context.Context, t hold.EventType, about string, d event.Data,
) {
	if _, err := c.notifier.store.PublishOnce(ctx, string(t)+":"+about,
		event.EncodeSystem(t, c.notifier.now(), d)); err != nil {
		c.log.Warn("an alert about a way out could not be written down",
			zap.String("event", string(t)), zap.Error(err))
	}
}

// oldestPending is when the oldest event that waits happened.
func (c *deliverer) oldestPending(events []hold.StreamEvent) (t time.Time) {
	consider := func(e []byte) {
		if at := eventTime(e); t.IsZero() || at.Before(t) {
			t = at
		}
	}
	for _, e := range events {
		if !c.doneEntries[e.ID] {
			consider(e.Event)
			break
		}
	}
	for _, q := range c.parkedHolds {
		consider(q.Events[0])
	}
	return t
}

func eventTime(event []byte) time.Time {
	var e struct{ Timestamp time.Time }
	if json.Unmarshal(event, &e) != nil {
		return time.Time{}
	}
	return e.Timestamp
}

// backoff grows with each try, and spreads by a fifth so that what failed
// together doesn't come back together.
func backoff(tries int, base, limit time.Duration) time.Duration {
	d := limit
	if tries < 20 && base<<(tries-1) < limit {
		d = base << (tries - 1)
	}
	return d - d/10 + rand.N(d/5+1)
}

func sleepContext(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
