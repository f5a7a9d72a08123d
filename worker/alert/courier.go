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
	leaseNeeded = 45 * time.Second // what must be left of it before a round begins: longer than a round can last
	roundTime   = 20 * time.Second // after which a round begins nothing new
	sendTime    = 15 * time.Second // one try
	againEvery  = 10 * time.Second // a look for dead letters that are to be sent once more
	batchSize   = 64
	atOnce      = 8 // holds of a batch that are told of at the same time
	probes      = 3 // of a sink that took nothing the last time

	backoffMin   = 5 * time.Second
	backoffMax   = 10 * time.Minute
	parkedMin    = 10 * time.Second
	parkedMax    = time.Hour
	giveUpAfter  = 72 * time.Hour
	maxParked    = 256 // holds
	maxPerHold   = 64  // events of one that wait
	tellDownFrom = 15 * time.Minute
)

// state is what a sink's deliverer knows of one partition, kept in the store.
type state struct {
	Cursor  string    `json:"cursor"`          // everything up to it is delivered, parked or given up
	Ahead   []string  `json:"ahead,omitempty"` // entries after it of which the same is true
	Pos     int64     `json:"pos"`             // how many events the stream had up to there; -1: not known
	Failing time.Time `json:"failing,omitzero"`
	Tries   int       `json:"tries,omitempty"`
	Next    time.Time `json:"next,omitzero"`  // no try before
	Gone    string    `json:"gone,omitempty"` // digest of the address that asked not to be told any more
	Told    bool      `json:"told,omitempty"` // people know that it takes nothing
	Reason  string    `json:"reason,omitempty"`
	Oldest  time.Time `json:"oldest,omitzero"` // event that waits, in the stream or parked
	Parked  int       `json:"parked,omitempty"`
	Dead    int64     `json:"dead,omitempty"` // ever
	Lost    int64     `json:"lost,omitempty"`
}

// parked are events of one hold, in order, that the sink refuses while it takes those of others.
type parked struct {
	Tries  int               `json:"tries"`
	Next   time.Time         `json:"next"`
	Events []json.RawMessage `json:"events"`
}

// courier delivers one partition's events to one sink.
type courier struct {
	a         *Alerts
	sink      *sink
	partition int
	sends     context.Context // of the requests themselves: it outlives the deliverer's by a moment
	log       *zap.Logger

	token   int64
	until   time.Time // our clock: when the lease ends, reckoned from before it was asked for
	st      state
	parked  map[string]*parked
	done    map[string]bool // entries after the cursor that were delivered
	again   time.Time       // when dead letters were last looked for
	changed bool
	p       hold.SinkProgress
}

// group are messages that must arrive in order.
type group struct {
	key   string
	msgs  []message
	kind  groupKind
	sent  int
	out   outcome // of the one that was not taken
	tried bool
}

type groupKind uint8

const (
	ofStream groupKind = iota + 1
	ofPark
	ofAgain
)

func (c *courier) run(ctx context.Context) {
	for ctx.Err() == nil {
		wait, err := c.begin(ctx)
		if err == nil && c.token != 0 {
			wait, err = c.serve(ctx)
		}
		c.a.watch(c.sink, c.partition, state{})
		if err != nil && ctx.Err() == nil {
			c.log.Debug("deliveries wait for Redis", zap.Error(err))
		}
		sleep(ctx, wait)
	}
}

// begin asks for the lease.
func (c *courier) begin(ctx context.Context) (time.Duration, error) {
	asked := time.Now()
	token, raw, start, park, err := c.a.store.BeginSink(ctx, c.sink.name, c.partition, c.a.o.Replica, c.a.lease())
	c.token = token
	if err != nil || token == 0 {
		return c.a.standBy() + rand.N(c.a.standBy()/5), err
	}
	c.until, c.st, c.parked, c.done, c.p = asked.Add(c.a.lease()), state{Cursor: start, Pos: -1}, map[string]*parked{}, map[string]bool{}, hold.SinkProgress{}
	c.changed, c.again = true, time.Time{}
	if raw == nil {
		// Only what comes from now on: whoever adds an address doesn't want to hear of last week.
		if length, added, err := c.a.store.StreamLength(ctx, c.partition); err == nil && (added >= 0 || length == 0) {
			c.st.Pos = max(added, 0)
		}
	} else if json.Unmarshal(raw, &c.st) != nil {
		c.st = state{Cursor: start, Pos: -1}
	}
	for _, entry := range c.st.Ahead {
		c.done[entry] = true
	}
	for id, v := range park {
		var q parked
		if json.Unmarshal(v, &q) == nil {
			c.parked[id] = &q
		}
	}
	if c.st.Gone != "" && c.st.Gone != c.sink.address {
		c.st.Gone = ""
	}
	return 0, nil
}

// serve delivers until the lease is lost or ctx ends, and gives it back then.
func (c *courier) serve(ctx context.Context) (time.Duration, error) {
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if c.token != 0 {
			_ = c.save(last, 0) // it ends by itself
		}
	}()
	for ctx.Err() == nil {
		wait, err := c.round(ctx)
		if errors.Is(err, errLeaseLost) {
			c.token = 0
			return c.a.standBy(), nil
		}
		if err != nil {
			// What was delivered is remembered: should the lease still be ours when Redis is back, nothing is sent twice.
			wait = backoffMin
			if time.Now().After(c.until) {
				c.token = 0
				return wait, err
			}
		}
		c.a.watch(c.sink, c.partition, c.st)
		sleep(ctx, wait)
	}
	return 0, nil
}

var errLeaseLost = errors.New("another replica delivers to this sink")

// save notes how far it came.
func (c *courier) save(ctx context.Context, lease time.Duration) error {
	c.st.Parked, c.st.Ahead = len(c.parked), slices.Sorted(maps.Keys(c.done))
	raw, err := json.Marshal(&c.st)
	if err != nil {
		return err
	}
	c.p.State = raw
	asked := time.Now()
	ok, err := c.a.store.SaveSink(ctx, c.sink.name, c.partition, c.token, c.p, lease)
	if err != nil {
		return err
	}
	if !ok {
		return errLeaseLost
	}
	c.until, c.changed, c.p = asked.Add(lease), false, hold.SinkProgress{}
	return nil
}

// round is one look and what it brings. It returns how long to wait for the next.
func (c *courier) round(ctx context.Context) (time.Duration, error) {
	if c.changed || time.Until(c.until) < leaseNeeded+2*c.a.o.Poll {
		if err := c.save(ctx, c.a.lease()); err != nil {
			return 0, err
		}
	}
	now := c.a.now()
	if c.st.Gone != "" {
		return c.a.standBy(), nil
	}
	if wait := c.st.Next.Sub(now); wait > 0 {
		return min(wait, c.a.standBy()), c.tellDown(ctx, now)
	}
	events, torn, err := c.a.store.ReadEvents(ctx, c.partition, c.st.Cursor, batchSize)
	if err != nil {
		return 0, err
	}
	if torn {
		if err := c.missed(ctx); err != nil {
			return 0, err
		}
		there := map[string]bool{}
		for _, e := range events {
			there[e.ID] = c.done[e.ID]
		}
		maps.DeleteFunc(c.done, func(id string, _ bool) bool { return !there[id] })
	}
	groups := c.group(events, now)
	if c.st.Tries == 0 {
		if now.Sub(c.again) >= againEvery {
			c.again = now
			more, err := c.a.store.RequeuedDeadLetters(ctx, c.sink.name, c.partition, batchSize)
			if err != nil {
				return 0, err
			}
			for _, e := range more {
				if m, ok := c.sink.read(e, c.a.style); ok {
					groups = append(groups, &group{key: e.ID, msgs: []message{m}, kind: ofAgain})
				} else {
					c.p.Requeued, c.changed = append(c.p.Requeued, e.ID), true
				}
			}
		}
		groups = append(groups, c.due(now)...)
	}
	c.send(ctx, groups)
	if ctx.Err() != nil {
		// What was cut off says nothing about the sink; what was taken counts.
		c.taken(groups)
		c.advance(events)
		return 0, nil
	}
	c.judge(ctx, groups, events, c.a.now())
	c.st.Oldest = c.oldest(c.advance(events))
	if c.changed {
		if err := c.save(ctx, c.a.lease()); err != nil {
			return 0, err
		}
	}
	if err := c.tellDown(ctx, c.a.now()); err != nil {
		return 0, err
	}
	if len(events) == batchSize && c.st.Tries == 0 {
		return 0, nil
	}
	return c.a.o.Poll, nil
}

// group sorts what the stream has by hold. What nobody wants to hear of, and what waits behind an event that is parked, is seen to already.
func (c *courier) group(events []hold.StreamEvent, now time.Time) (groups []*group) {
	by := map[string]*group{}
	for _, e := range events {
		if c.done[e.ID] {
			continue
		}
		m, ok := c.sink.read(e, c.a.style)
		if !ok {
			c.done[e.ID] = true
			continue
		}
		if q := c.parked[m.key]; q != nil {
			if len(q.Events) < maxPerHold {
				q.Events = append(q.Events, e.Event)
				c.keep(m.key)
				c.done[e.ID] = true
			}
			continue // one that has no room waits in the stream
		}
		g := by[m.key]
		if g == nil {
			g = &group{key: m.key, kind: ofStream}
			by[m.key] = g
			groups = append(groups, g)
		}
		g.msgs = append(g.msgs, m)
	}
	if c.st.Tries > 0 { // it took nothing the last time: see whether it takes anything now
		groups = groups[:min(len(groups), probes)]
		for _, g := range groups {
			g.msgs = g.msgs[:1]
		}
	}
	return groups
}

// due are parked holds that are to be tried again.
func (c *courier) due(now time.Time) (groups []*group) {
	for id, q := range c.parked {
		if q.Next.After(now) || len(groups) >= batchSize {
			continue
		}
		g := &group{key: id, kind: ofPark}
		for _, e := range q.Events {
			if m, ok := c.sink.read(hold.StreamEvent{Event: e}, c.a.style); ok {
				g.msgs = append(g.msgs, m)
			}
		}
		groups = append(groups, g)
	}
	return groups
}

func (c *courier) keep(id string) {
	b, err := json.Marshal(c.parked[id])
	if err != nil {
		return // JSON that was read before
	}
	if c.p.Park == nil {
		c.p.Park = map[string][]byte{}
	}
	c.p.Park[id] = b
	c.changed = true
}

// send tells the groups, some at a time, each in order. A sink that takes many at once gets what there is as one.
func (c *courier) send(ctx context.Context, groups []*group) {
	if len(groups) == 0 {
		return
	}
	if c.sink.batch && c.st.Tries == 0 {
		c.sendDigest(ctx, groups)
		return
	}
	end := time.Now().Add(roundTime)
	gate := make(chan struct{}, c.sink.parallel())
	var wg sync.WaitGroup
	for _, g := range groups {
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			for i := range g.msgs {
				if ctx.Err() != nil || time.Now().After(end) {
					return
				}
				g.tried = true
				g.out = c.one(g.msgs[i : i+1])
				if g.out.verdict != taken {
					return
				}
				g.sent++
			}
		})
	}
	wg.Wait()
}

// sendDigest sends one message of up to so many alerts as people read at once.
func (c *courier) sendDigest(ctx context.Context, groups []*group) {
	end := time.Now().Add(roundTime)
	var all []message
	var of []*group
	flush := func() bool {
		if len(all) == 0 {
			return true
		}
		out := c.one(all)
		for _, g := range of {
			g.tried, g.out = true, out
			if out.verdict == taken {
				g.sent++
			}
		}
		all, of = nil, nil
		return out.verdict == taken && time.Now().Before(end) && ctx.Err() == nil
	}
	for _, g := range groups {
		for i := range g.msgs {
			alone := c.sink.pager && g.msgs[i].alert.Hold == ""
			if alone && !flush() {
				return
			}
			all, of = append(all, g.msgs[i]), append(of, g)
			if (alone || len(all) >= digestMax) && !flush() {
				return
			}
		}
	}
	flush()
}

func (c *courier) one(msgs []message) outcome {
	bounded, cancel := context.WithTimeout(c.sends, sendTime)
	defer cancel()
	out := c.sink.send(bounded, msgs)
	for i := range msgs {
		c.a.sent(c.sink, &msgs[i], out)
	}
	return out
}

// taken notes what was delivered.
func (c *courier) taken(groups []*group) (some bool) {
	for _, g := range groups {
		for _, m := range g.msgs[:g.sent] {
			switch g.kind {
			case ofStream:
				c.done[m.entry] = true
			case ofAgain:
				c.p.Requeued = append(c.p.Requeued, m.entry)
			}
			some, c.changed = true, true
		}
		if g.kind == ofPark && g.sent > 0 {
			q := c.parked[g.key]
			q.Events, q.Tries, q.Next = q.Events[g.sent:], 0, time.Time{}
			if len(q.Events) == 0 {
				delete(c.parked, g.key)
				delete(c.p.Park, g.key)
				c.p.Unpark = append(c.p.Unpark, g.key)
			} else {
				c.keep(g.key)
			}
		}
	}
	return some
}

// judge decides what follows from what was not taken: is it this hold's event, or is it the sink?
func (c *courier) judge(ctx context.Context, groups []*group, events []hold.StreamEvent, now time.Time) {
	some := c.taken(groups)
	var down *outcome
	for _, g := range groups {
		if !g.tried || g.sent == len(g.msgs) {
			continue
		}
		switch {
		case g.out.verdict == gone:
			c.st.Gone, c.st.Reason, c.changed = c.sink.address, g.out.reason, true
			c.log.Error("this way out asked not to be told any more, and is not; replay what waits once it is mended", zap.String("event", string(event.SinkDisabled)), zap.String("reason", g.out.reason))
			c.publish(ctx, event.SinkDisabled, c.sink.name+":"+c.st.Cursor, event.Data{Sink: c.sink.name, Detail: g.out.reason})
			return
		case g.kind == ofAgain:
			if g.out.verdict != later {
				c.bury(g.msgs[0].event, g.out.reason, now)
				c.p.Requeued = append(c.p.Requeued, g.msgs[0].entry)
			}
		case g.kind == ofPark:
			c.putOff(g, now)
		case g.out.verdict == refused || g.out.verdict == failed && some:
			if len(c.parked) >= maxParked {
				down = &outcome{verdict: failed, reason: "it refuses events of " + itoa(maxParked) + " holds: " + g.out.reason}
				continue
			}
			q := &parked{}
			for _, m := range g.msgs[g.sent:] {
				q.Events = append(q.Events, m.event)
				c.done[m.entry] = true
			}
			c.parked[g.key] = q
			c.putOff(g, now)
			c.log.Warn("a hold's event was not taken; it is tried again, and those of others go on", zap.String("hold", g.key), zap.String("reason", g.out.reason))
		default:
			if down == nil || g.out.after > down.after {
				down = &g.out
			}
		}
	}
	switch {
	case down != nil && down.verdict == later:
		c.st.Next, c.st.Reason, c.changed = now.Add(min(max(down.after, time.Second), time.Hour)), down.reason, true
	case down != nil:
		c.st.Tries++
		c.st.Reason, c.changed = down.reason, true
		if c.st.Failing.IsZero() {
			c.st.Failing = now
			c.log.Warn("a way out takes nothing; what happens waits in the stream", zap.String("reason", down.reason))
		}
		c.st.Next = now.Add(max(backoff(c.st.Tries, backoffMin, backoffMax), min(down.after, time.Hour)))
		c.giveUp(ctx, events, now)
	case some && c.st.Tries > 0:
		c.log.Info("a way out takes events again", zap.Duration("after", now.Sub(c.st.Failing)))
		c.st.Tries, c.st.Failing, c.st.Next, c.st.Reason, c.changed = 0, time.Time{}, time.Time{}, "", true
	}
}

// putOff sets when a parked hold is tried again, and gives up what has waited for days.
func (c *courier) putOff(g *group, now time.Time) {
	q := c.parked[g.key]
	q.Tries++
	q.Next = now.Add(backoff(q.Tries, parkedMin, parkedMax))
	if len(q.Events) > 0 && now.Sub(eventTime(q.Events[0])) > giveUpAfter {
		c.bury(q.Events[0], g.out.reason, now)
		q.Events, q.Tries, q.Next = q.Events[1:], 0, now
	}
	if len(q.Events) == 0 {
		delete(c.parked, g.key)
		delete(c.p.Park, g.key)
		c.p.Unpark, c.changed = append(c.p.Unpark, g.key), true
		return
	}
	c.keep(g.key)
}

// giveUp makes dead letters of what a sink that takes nothing has not taken for days.
func (c *courier) giveUp(ctx context.Context, events []hold.StreamEvent, now time.Time) {
	n := int64(0)
	for _, e := range events {
		if !c.done[e.ID] && now.Sub(eventTime(e.Event)) > giveUpAfter {
			c.done[e.ID] = true
			c.bury(e.Event, c.st.Reason, now)
			n++
		}
	}
	if n > 0 {
		c.publish(ctx, event.SinkDeadLetters, c.sink.name+":"+now.Format(time.DateOnly), event.Data{Sink: c.sink.name, Count: n})
	}
}

func (c *courier) bury(event []byte, reason string, now time.Time) {
	c.p.DeadLetters = append(c.p.DeadLetters, hold.DeadLetter{Event: event, Reason: reason})
	c.st.Dead++
	c.changed = true
	var e struct{ ID string }
	_ = json.Unmarshal(event, &e) // an event of ours
	c.log.Error("an event was given up after days; holdd callbacks replay sends it once more", zap.String("id", e.ID), zap.String("reason", reason), zap.Time("at", now))
}

// advance moves the cursor over what is seen to, and returns what isn't.
func (c *courier) advance(events []hold.StreamEvent) (left []hold.StreamEvent) {
	for i, e := range events {
		if !c.done[e.ID] {
			return events[i:]
		}
		delete(c.done, e.ID)
		c.st.Cursor, c.changed = e.ID, true
		if c.st.Pos >= 0 {
			c.st.Pos++
		}
	}
	return nil
}

// missed finds out how many events were trimmed before this sink was told of them, and tells.
func (c *courier) missed(ctx context.Context) error {
	length, added, err := c.a.store.StreamLength(ctx, c.partition)
	if err != nil {
		return err
	}
	n := int64(-1)
	if added >= 0 {
		before := added - length // how many are gone from its beginning
		if c.st.Pos >= 0 && added >= c.st.Pos {
			n = before - c.st.Pos
		}
		c.st.Pos = before
	} else if c.st.Tries == 0 {
		n = 0 // it was told of everything until now, and this Redis doesn't count
	}
	if n == 0 {
		return nil
	}
	if n > 0 {
		c.st.Lost += n
	}
	c.changed = true
	c.log.Error("events were trimmed before this way out was told of them", zap.String("event", string(event.SinkEventsLost)), zap.Int64("events", n))
	c.publish(ctx, event.SinkEventsLost, c.sink.name+":"+itoa(c.partition)+":"+c.st.Cursor, event.Data{Sink: c.sink.name, Count: n})
	return nil
}

// tellDown tells people that a sink takes nothing, and when it does again: once over all partitions.
func (c *courier) tellDown(ctx context.Context, now time.Time) error {
	down := !c.st.Failing.IsZero() && now.Sub(c.st.Failing) >= tellDownFrom
	if down == c.st.Told {
		return nil
	}
	cond := hold.Condition{Name: "sink_" + c.sink.name, Active: down,
		RaisedEvent:  event.EncodeSystem(event.SinkFailing, now, event.Data{Sink: c.sink.name, Detail: c.st.Reason}),
		ClearedEvent: event.EncodeSystem(event.SinkRecovered, now, event.Data{Sink: c.sink.name})}
	ttl := giveUpAfter // who sees it is the partition, whichever replica serves it
	if _, err := c.a.store.ReportConditions(ctx, "partition-"+itoa(c.partition), ttl, 0, []hold.Condition{cond}); err != nil {
		return err
	}
	c.st.Told, c.changed = down, true
	return nil
}

func (c *courier) publish(ctx context.Context, t hold.EventType, about string, d event.Data) {
	if _, err := c.a.store.PublishOnce(ctx, string(t)+":"+about, event.EncodeSystem(t, c.a.now(), d)); err != nil {
		c.log.Warn("an alert about a way out could not be written down", zap.String("event", string(t)), zap.Error(err))
	}
}

// oldest is when the oldest event that waits happened.
func (c *courier) oldest(events []hold.StreamEvent) (t time.Time) {
	consider := func(e []byte) {
		if at := eventTime(e); t.IsZero() || at.Before(t) {
			t = at
		}
	}
	for _, e := range events {
		if !c.done[e.ID] {
			consider(e.Event)
			break
		}
	}
	for _, q := range c.parked {
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

// backoff grows with each try, and spreads by a fifth so that what failed together doesn't come back together.
func backoff(tries int, base, most time.Duration) time.Duration {
	d := most
	if tries < 20 && base<<(tries-1) < most {
		d = base << (tries - 1)
	}
	return d - d/10 + rand.N(d/5+1)
}

func sleep(ctx context.Context, d time.Duration) {
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
