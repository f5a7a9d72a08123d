package simtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
	"go.uber.org/zap/zapcore"
)

// runResult is what a run leaves behind for the judge.
type runResult struct {
	plan         plan
	breaches     []string
	digest       string
	summary      string
	fullTrace    string
	faultHits    map[string]int
	requestCount int
	simulated    time.Duration
}

// stripeRate returns how many requests a second of one kind Stripe allows.
func (p *plan) stripeRate() float64 {
	if p.strictRate > 0 {
		return float64(p.strictRate)
	}
	return float64(2*p.rateLimit + 2)
}

// slowestRate returns how many requests a second of one kind holdd sends at
// least: what is left of a strict rate while holdd learns it.
func (p *plan) slowestRate() float64 {
	if p.strictRate > 0 {
		return float64(p.strictRate) / 3
	}
	return float64(p.rateLimit)
}

// runPlan runs a plan and judges the run.
func runPlan(t *testing.T, p plan) (o runResult) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		w := &world{plan: p, ctx: ctx, startedAt: time.Now(), occurrences: map[string]int{},
			faultHits: map[string]int{}, hitsByFault: map[int]int{}, intentIDs: map[int]string{},
			claimOwner: map[string]string{}, unsentKeys: map[string]bool{},
			redis: miniredis.NewMiniRedis()}
		w.trace = &trace{startedAt: w.startedAt}
		w.redisClocks = []clockPeriod{{w.startedAt, p.redisClockAhead}}
		w.redis.ClockTTL(true)
		w.redis.Seed(int(p.seed))
		w.replicas = make([]*replica, p.replicas)
		w.intakeObserved = intakeObservations{firstLoggedAt: map[string]time.Time{},
			cardholdersActed: map[int]bool{}, reviews: map[int][]reviewChange{},
			earlierDeadlines: map[int][]time.Time{}}
		w.sim = stripesim.New(stripesim.Options{OnEvent: w.stripeEventFunc(), Seed: p.seed,
			EndpointRate: p.stripeRate(), OverallRate: float64(8*p.rateLimit + 8),
			ServiceTime: p.serviceTime, ExpiryReason: p.expiryReason(),
			AuthorizationWindow: w.authorizationWindow,
			Webhook:             stripesim.Webhook{APIVersion: p.eventVersion},
			FaultFunc: func(stripesim.Call) stripesim.Fault {
				f := w.nextFault
				w.faultMu.Unlock()
				return f
			}})
		w.spawn(func() { w.sim.Run(ctx) })
		if p.redisClockAhead != 0 {
			w.faultHits["redis:clock apart"] = 1
		}
		for slot := range p.replicas {
			w.spawn(func() {
				time.Sleep(time.Duration(slot+1) * 137 * time.Millisecond)
				w.startReplica(slot)
			})
		}
		w.playPlan()
		o = w.finish(cancel)
	})
	return o
}

// playPlan starts everything in the plan at its time, and waits until every
// hold has ended.
func (w *world) playPlan() {
	for i := range w.plan.holds {
		w.spawn(func() { w.playHold(&w.plan.holds[i]) })
	}
	for i, a := range w.plan.intake.reconcileRequests {
		w.spawn(func() { w.requestReconcile(i, a) })
	}
	for _, l := range w.plan.intake.invalidInboxEntries {
		w.spawn(func() { w.postInboxEntry(0, l.at, l.payload) })
	}
	for _, l := range w.plan.laterWrites {
		w.spawn(func() { w.writeAsLaterRelease(l) })
	}
	for i := range w.plan.faults {
		w.spawn(func() { w.injectFault(&w.plan.faults[i]) })
	}
	for i := range 10 {
		w.spawn(func() {
			w.sleep(w.plan.duration*time.Duration(i+1)/8 + newRNG(w.plan.seed, "person",
				fmt.Sprint(i)).durationBetween(0, time.Second))
			if !w.isClosing() {
				w.handleAttention(i)
			}
		})
	}
	faultFreeAt, last := w.plan.ends()
	time.Sleep(w.durationUntil(faultFreeAt + 2*time.Second))
	w.faultsOver.Store(true)
	w.trace.add(false, "from here on nothing goes wrong")
	horizon := max(last, w.elapsed()) + 12*w.plan.jobInterval + 40*time.Minute
	for w.elapsed() < horizon && !(w.allHoldsSettled() && w.intakeSettled()) {
		time.Sleep(2*w.plan.jobInterval + time.Second)
	}
}

// ends returns the time of the last request or fault, and of the last deadline.
func (p *plan) ends() (faultFreeAt, last time.Duration) {
	for _, h := range p.holds {
		faultFreeAt = max(faultFreeAt, h.scheduledAt+h.repeatAfter)
		last = max(last, h.placedAt+h.authorizationWindow+max(0, h.expiryError))
		if h.renewal.until > 0 {
			last = max(last, h.renewal.until+h.authorizationWindow)
		}
		if h.card != nil && p.jobInterval >= 30*time.Second {
			last = max(last, h.placedAt+70*time.Minute)
		}
		for _, a := range h.actions {
			faultFreeAt = max(faultFreeAt, a.at)
			if a.kind == "stripe deadline" {
				last = max(last, a.newTime)
			}
		}
	}
	for _, a := range p.intake.reconcileRequests {
		faultFreeAt = max(faultFreeAt, a.at)
	}
	for _, l := range p.intake.invalidInboxEntries {
		faultFreeAt = max(faultFreeAt, l.at)
	}
	for _, l := range p.laterWrites {
		faultFreeAt = max(faultFreeAt, l.at, l.stateUntil)
	}
	for _, f := range p.faults {
		faultFreeAt = max(faultFreeAt, f.to+f.restartAfter)
	}
	return faultFreeAt, last
}

// sleep sleeps, but not beyond the world's end.
func (w *world) sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.ctx.Done():
	}
}

func (w *world) isClosing() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closing
}

// allHoldsSettled says whether Redis knows of no open hold; those that are told
// to be of the wrong account don't count.
func (w *world) allHoldsSettled() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for part := range w.plan.partitions {
		ids, _ := w.redis.ZMembers(fmt.Sprintf("holdd:{%d}:expiring", part))
		for _, h := range w.plan.holds {
			if h.requestedAccount == "" && slices.Contains(ids, w.intentIDs[h.number]) {
				return false
			}
		}
	}
	for _, c := range w.apiRequests {
		if c.answeredAt.IsZero() {
			return false
		}
	}
	return true
}

// injectFault injects a fault that has a time.
func (w *world) injectFault(f *fault) {
	time.Sleep(w.durationUntil(f.from))
	slot := func() *replica {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.replicas[f.replicaIndex]
	}
	switch f.kind {
	case "kill":
		if r := slot(); r != nil && !r.dead.Load() {
			w.recordFaultHit(f)
			w.kill(r, f.restartAfter)
		}
	case "stop":
		if r := slot(); r != nil && !r.dead.Load() && r.ready.Load() {
			w.recordFaultHit(f)
			w.trace.add(false, "%s is stopped", r.name)
			r.stopGracefully()
			time.Sleep(f.restartAfter)
			if !r.dead.Load() {
				w.startReplica(f.replicaIndex)
			}
		}
	case "stripe:revoked":
		w.recordFaultHit(f)
		w.trace.add(false, "Stripe rejects the key")
		w.sim.Keys.RevokeKey("sk_test_world")
		time.Sleep(w.durationUntil(f.to))
		w.sim.Keys.RestoreKey("sk_test_world")
		w.trace.add(false, "Stripe takes the key again")
	case "redis:emptied":
		w.recordFaultHit(f)
		w.emptyRedis()
	case "redis:lose tail":
		w.recordFaultHit(f)
		before := w.snapshotRedis()
		time.Sleep(w.durationUntil(f.to))
		w.mu.Lock()
		if f.clockStep != 0 {
			w.redisClocks = append(w.redisClocks,
				clockPeriod{time.Now(), w.redisClocks[len(w.redisClocks)-1].ahead + f.clockStep})
			w.faultHits["redis:clock set"]++
		}
		w.mu.Unlock()
		lost := w.publishedEvents()
		w.restoreRedis(before)
		w.mu.Lock()
		w.lostEvents = append(w.lostEvents, lost...)
		w.redisEpoch++
		w.lostSpans = append(w.lostSpans, [2]time.Time{w.timeAt(f.from), time.Now()})
		w.mu.Unlock()
		w.trace.add(false, "Redis comes back as it was at +%s", f.from.Round(time.Millisecond))
	}
}

// finish ends the world and judges it.
func (w *world) finish(cancel context.CancelFunc) (o runResult) {
	elapsed := w.elapsed()
	for deadline := w.elapsed() + 4*w.plan.jobInterval + 5*time.Minute; len(
		w.liveReplicas()) == 0 && w.elapsed() < deadline; {
		// the replica killed last may not have restarted yet
		time.Sleep(time.Second)
	}
	rs := w.liveReplicas()
	final := w.readFinalHolds(rs)
	for _, r := range rs {
		r.stopGracefully()
	}
	w.mu.Lock()
	w.closing = true
	w.mu.Unlock()
	cancel()
	w.goroutines.Wait()
	j := &judge{world: w, finalHolds: final}
	w.correctReconcileTimes()
	j.events = w.publishedEvents()
	j.judgeRun()
	w.redis.Close()
	time.Sleep(5 * time.Second) // go-redis' own goroutines end within seconds of their pool's end
	var names []string
	for n, id := range w.intentIDs {
		if id != "" {
			names = append(names, id, fmt.Sprintf("H%d", n))
		}
	}
	w.trace.names = strings.NewReplacer(names...)
	for i, b := range w.breaches {
		w.breaches[i] = w.trace.names.Replace(b)
	}
	slices.Sort(w.breaches)
	return runResult{plan: w.plan, breaches: w.breaches, digest: w.trace.digest(),
		summary: w.trace.summary(), fullTrace: w.trace.fullText(), faultHits: w.faultHits,
		requestCount: len(w.apiRequests), simulated: elapsed}
}

// readFinalHolds returns what holdd reports of each hold at the end.
func (w *world) readFinalHolds(rs []*replica) map[string]*hold.Hold {
	final := map[string]*hold.Hold{}
	if len(rs) == 0 {
		w.breach("ends: no replica is up at the end")
		return final
	}
	for i := range w.plan.holds {
		n := w.plan.holds[i].number
		id := w.intentIDs[n]
		if id == "" {
			continue
		}
		h, _, err := rs[0].Get(w.ctx, id)
		for range 100 { // connections from before Redis was another one
			if !errors.Is(err, health.ErrUnavailable) {
				break
			}
			time.Sleep(time.Second)
			h, _, err = rs[0].Get(w.ctx, id)
		}
		for i := range h.History {
			h.History[i].At = w.fromRedisTime(h.History[i].At)
		}
		switch {
		case err == nil:
			final[id] = &h
		case !errors.Is(err, &hold.Problem{Code: hold.HoldNotFound}):
			w.breach("ends: H%d can't be read: %v", n, err)
		}
	}
	return final
}

// correctReconcileTimes turns the times of reconcile runs, which are by Redis'
// clock, into those of the run.
func (w *world) correctReconcileTimes() {
	for i := range w.intakeObserved.reconciliations {
		r := &w.intakeObserved.reconciliations[i]
		// A replica that has just come up has not heard of Redis' clock yet:
		// its first comparison begins by its own.
		if !slices.ContainsFunc(w.replicaStarts, func(up time.Time) bool {
			return !r.StartedAt.Before(up.Truncate(time.Millisecond)) &&
				r.StartedAt.Before(up.Add(time.Second))
		}) {
			r.StartedAt = w.fromRedisTime(r.StartedAt)
		}
		r.FinishedAt = w.fromRedisTime(r.FinishedAt)
	}
}

// publishedEvents are the events in Redis.
func (w *world) publishedEvents() (all []event.Envelope) {
	for part := range w.plan.partitions {
		entries, _ := w.redis.Stream(fmt.Sprintf("holdd:{%d}:events", part))
		for _, e := range entries {
			var ev event.Envelope
			if err := json.Unmarshal([]byte(e.Values[1]), &ev); err != nil {
				w.breach("events: %q is no event: %v", e.Values[1], err)
				continue
			}
			ev.Timestamp = w.fromRedisTime(ev.Timestamp)
			all = append(all, ev)
		}
	}
	return all
}

// logTracer puts what a replica logs into the story; of no account for the
// digest, since it is only there when somebody reads.
type logTracer struct {
	zapcore.LevelEnabler
	world   *world
	replica *replica
}

func (t *logTracer) Enabled(l zapcore.Level) bool      { return l >= zapcore.InfoLevel }
func (t *logTracer) With([]zapcore.Field) zapcore.Core { return t }
func (t *logTracer) Sync() error                       { return nil }
func (t *logTracer) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if t.Enabled(e.Level) {
		return c.AddCore(e, t)
	}
	return c
}
func (t *logTracer) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	t.world.trace.addLine(traceLine{excludedFromDigest: true,
		text: fmt.Sprintf("%s says %s: %v %v %v %v", t.replica.name, e.Message, enc.Fields["hold"],
			enc.Fields["cause"], enc.Fields["answer"], enc.Fields["error"])})
	return nil
}
