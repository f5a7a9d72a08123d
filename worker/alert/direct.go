package alert

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/execute"
	"github.com/holdd/holdd/worker/health"
	"go.uber.org/zap"
)

const (
	// redisOutageGrace is how long Redis is unavailable before an alert: a
	// failover takes less.
	redisOutageGrace = 30 * time.Second
	// stallGrace is how long a stage that has stalled may take to succeed,
	// because Redis may have come back a moment ago.
	stallGrace = 10 * time.Second
	// maxDirectAttempts is how often a direct alert is tried: for about five
	// minutes.
	maxDirectAttempts = 8
)

// readinessNotifier sends alerts about failed checks to the sinks directly, once
// an episode. Each replica sends its own, because it cannot write an event to
// Redis.
type readinessNotifier struct {
	sinks    []*sink
	replica  string
	render   RenderOptions
	observer DeliveryObserver
	log      *zap.Logger
	updates  chan []health.ReadinessCheckResult // enqueueReadinessChecks sends, run receives
}

// failedCheckEpisode is how long one check has failed.
type failedCheckEpisode struct {
	check           string
	grace           time.Duration
	raised, cleared *systemAlertRule

	since    time.Time // zero: it does not fail
	reported bool
}

func newReadinessNotifier(o *Options, sinks []*sink) *readinessNotifier {
	return &readinessNotifier{sinks: sinks, replica: o.Replica, render: o.renderOptions(),
		observer: o.Observer, log: o.Logger, updates: make(chan []health.ReadinessCheckResult, 1)}
}

func (r *readinessNotifier) enqueueReadinessChecks(checks []health.ReadinessCheckResult) {
	replaceLatest(r.updates, checks)
}

func (r *readinessNotifier) run(ctx context.Context) {
	redis := &failedCheckEpisode{check: "redis", grace: redisOutageGrace,
		raised: &redisUnavailableAlert, cleared: &redisRecoveredAlert}
	stages := &failedCheckEpisode{check: health.CheckStages, grace: stallGrace,
		raised: &stageStalledAlert, cleared: &stageResumedAlert}
	var sending sync.WaitGroup
	defer sending.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case checks := <-r.updates:
			r.updateEpisodeAndSendAlert(ctx, &sending, redis,
				findReadinessCheck(checks, redis.check))
			if redis.since.IsZero() { // without Redis every stage stalls: one alert
				r.updateEpisodeAndSendAlert(ctx, &sending, stages,
					findReadinessCheck(checks, stages.check))
			}
		}
	}
}

// findReadinessCheck returns the check with a name. A check that was not made
// is OK.
func findReadinessCheck(
	checks []health.ReadinessCheckResult, name string,
) health.ReadinessCheckResult {
	for _, c := range checks {
		if c.Name == name {
			return c
		}
	}
	return health.ReadinessCheckResult{Name: name, OK: true}
}

// updateEpisodeAndSendAlert continues, begins or ends the episode of a check.
func (r *readinessNotifier) updateEpisodeAndSendAlert(
	ctx context.Context, sending *sync.WaitGroup, e *failedCheckEpisode,
	c health.ReadinessCheckResult,
) {
	switch {
	case !c.OK && e.since.IsZero():
		e.since = utcNow()
	case !c.OK && !e.reported && utcNow().Sub(e.since) >= e.grace:
		e.reported = true
		r.sendToEachAlertSink(ctx, sending, r.newEpisodeAlert(e, e.raised, c.Detail))
	case c.OK:
		if e.reported {
			sending.Wait() // in order
			r.sendToEachAlertSink(ctx, sending, r.newEpisodeAlert(e, e.cleared, ""))
		}
		e.since, e.reported = time.Time{}, false
	}
}

func (r *readinessNotifier) newEpisodeAlert(
	e *failedCheckEpisode, kind *systemAlertRule, detail string,
) Alert {
	w := &alertTextBuilder{options: r.render, now: utcNow()}
	a := kind.newAlertFromRule(w, strings.NewReplacer("{replica}", r.replica,
		"{since}", w.formatTimeWithTimeLeft(e.since), "{detail}", sanitizeTextForChat(detail, 300)))
	a.ID, a.At = "evt_"+e.check+"_"+r.replica, e.since
	return a
}

func (r *readinessNotifier) sendToEachAlertSink(
	ctx context.Context, sending *sync.WaitGroup, a Alert,
) {
	for _, s := range r.sinks {
		if s.minSeverity != 0 && s.takesDigests && s.minSeverity <= a.Severity {
			to := &sinkSender{sink: s, ctx: ctx, observer: r.observer,
				log: r.log.With(zap.String("sink", s.name))}
			sending.Go(func() { to.sendAlertWithRetry(&a) })
		}
	}
}

// sendAlertWithRetry sends a direct alert in a few attempts.
func (s *sinkSender) sendAlertWithRetry(a *Alert) {
	m := []sinkMessage{{eventID: a.ID, orderKey: systemEventKey, alert: a}}
	for n := 1; ; n++ {
		out := s.sendOneAttempt(m)
		if out.result == resultDelivered || s.ctx.Err() != nil {
			return
		}
		if n >= maxDirectAttempts {
			s.log.Error("alert about this replica not delivered",
				zap.String("kind", string(a.Kind)), zap.String("reason", out.reason))
			return
		}
		execute.SleepUnlessCanceled(s.ctx, jitteredBackoff(n, sinkBackoffMin, time.Minute))
	}
}
