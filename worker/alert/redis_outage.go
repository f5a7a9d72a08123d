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
	// maxDirectAttempts is how often an alert about Redis is tried: for about
	// five minutes.
	maxDirectAttempts = 8
)

// redisOutageNotifier sends alerts about Redis to the sinks directly, once an
// episode. Each replica sends its own, because an event cannot be written.
type redisOutageNotifier struct {
	sinks    []*sink
	replica  string
	render   RenderOptions
	observer Observer
	log      *zap.Logger
	updates  chan bool // Redis is unavailable
}

func newRedisOutageNotifier(o *Options, sinks []*sink) *redisOutageNotifier {
	return &redisOutageNotifier{sinks: sinks, replica: o.Replica, render: o.renderOptions(),
		observer: o.Observer, log: o.Logger, updates: make(chan bool, 1)}
}

func (r *redisOutageNotifier) setChecks(checks []health.CheckResult) {
	unavailable := false
	for _, c := range checks {
		unavailable = unavailable || c.Name == "redis" && !c.OK
	}
	replaceLatest(r.updates, unavailable)
}

func (r *redisOutageNotifier) run(ctx context.Context) {
	var since time.Time
	reported := false
	var sending sync.WaitGroup
	defer sending.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case unavailable := <-r.updates:
			switch {
			case unavailable && since.IsZero():
				since = utcNow()
			case unavailable && !reported && utcNow().Sub(since) >= redisOutageGrace:
				reported = true
				r.sendToAll(ctx, &sending, r.newAlert(&redisUnavailableAlert, since))
			case !unavailable:
				if reported {
					sending.Wait() // in order
					r.sendToAll(ctx, &sending, r.newAlert(&redisRecoveredAlert, since))
				}
				since, reported = time.Time{}, false
			}
		}
	}
}

func (r *redisOutageNotifier) newAlert(kind *systemAlert, since time.Time) Alert {
	w := &alertText{options: r.render, now: utcNow()}
	a := kind.render(w, strings.NewReplacer("{replica}", r.replica,
		"{since}", w.formatTimeAndLeft(since)))
	a.ID, a.At = "evt_redis_"+r.replica, since
	return a
}

func (r *redisOutageNotifier) sendToAll(ctx context.Context, sending *sync.WaitGroup, a Alert) {
	for _, s := range r.sinks {
		if s.minSeverity != 0 && s.takesDigests && s.minSeverity <= a.Severity {
			to := &sender{sink: s, ctx: ctx, observer: r.observer,
				log: r.log.With(zap.String("sink", s.name))}
			sending.Go(func() { to.sendWithRetry(&a) })
		}
	}
}

// sendWithRetry sends an alert about Redis in a few attempts.
func (s *sender) sendWithRetry(a *Alert) {
	m := []message{{eventID: a.ID, orderKey: systemEventKey, alert: a}}
	for n := 1; ; n++ {
		out := s.sendOnce(m)
		if out.result == resultDelivered || s.ctx.Err() != nil {
			return
		}
		if n >= maxDirectAttempts {
			s.log.Error("alert about Redis not delivered", zap.String("reason", out.reason))
			return
		}
		execute.Sleep(s.ctx, backoff(n, sinkBackoffMin, time.Minute))
	}
}
