package alert

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/health"
	"go.uber.org/zap"
)

const (
	pingTimeout     = 10 * time.Second
	minPingInterval = 30 * time.Second // healthchecks services refuse more than a few a minute
	// redisOutageGrace is how long Redis must be away before people are told
	// past it: a failover is none of their business.
	redisOutageGrace = 30 * time.Second
)

// pinger tells a dead man's switch that this replica lives: it alarms when
// nobody does.
type pinger struct {
	log           *zap.Logger
	client        *http.Client
	successURL    string
	failureURL    string
	updates       chan string // why not; empty: ready
	failureLogged bool
}

func newPinger(o *Options) (*pinger, error) {
	u, err := url.Parse(o.PingURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("ping_url is no web address: write it as https://hc-ping.com/…")
	}
	fail := *u
	fail.Path = strings.TrimRight(fail.Path, "/") + "/fail"
	return &pinger{log: o.Logger, successURL: u.String(), failureURL: fail.String(),
		updates: make(chan string, 1),
		client:  newHTTPClient(o.Transport)}, nil
}

// update never waits: what was not sent yet is stale.
func (p *pinger) update(checks []health.Check) {
	var failures []string
	for _, c := range checks {
		if !c.OK {
			failures = append(failures, c.Name+": "+c.Detail)
		}
	}
	select {
	case <-p.updates:
	default:
	}
	select {
	case p.updates <- strings.Join(failures, "\n"):
	default:
	}
}

func (p *pinger) run(ctx context.Context) {
	last, at := "", time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case failures := <-p.updates:
			if failures == last && time.Since(at) < minPingInterval-time.Second {
				continue
			}
			last, at = failures, time.Now()
			p.send(ctx, failures)
		}
	}
}

func (p *pinger) send(ctx context.Context, failures string) {
	method, to, body := http.MethodGet, p.successURL, io.Reader(nil)
	if failures != "" {
		method, to, body = http.MethodPost, p.failureURL, strings.NewReader(failures)
	}
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, to, body)
	reason := "ping_url can't be used"
	if err == nil {
		out := doRequest(p.client, req)
		if out.result == resultDelivered {
			p.failureLogged = false
			return
		}
		reason = out.reason
	}
	if !p.failureLogged && ctx.Err() == nil {
		p.failureLogged = true
		p.log.Warn("ping_url was not reached: the switch that it stands for will go off",
			zap.String("reason", reason))
	}
}

// redisOutageNotifier tells people past Redis that Redis is away: once an
// episode, each replica by itself, since there is nothing that they share.
type redisOutageNotifier struct {
	notifier *Notifier
	updates  chan bool
}

func newRedisOutageNotifier(a *Notifier) *redisOutageNotifier {
	return &redisOutageNotifier{notifier: a, updates: make(chan bool, 1)}
}

func (r *redisOutageNotifier) update(checks []health.Check) {
	unavailable := false
	for _, c := range checks {
		unavailable = unavailable || c.Name == "redis" && !c.OK
	}
	select {
	case <-r.updates:
	default:
	}
	select {
	case r.updates <- unavailable:
	default:
	}
}

func (r *redisOutageNotifier) run(ctx context.Context) {
	var since time.Time
	notified := false
	var sending sync.WaitGroup
	defer sending.Wait()
	notify := func(resolved bool) {
		al := r.newAlert(since, resolved)
		for _, s := range r.notifier.sinks {
			if s.minSeverity != 0 && s.takesDigests && s.minSeverity <= al.Severity {
				sending.Go(func() { r.sendWithRetry(ctx, s, al) })
			}
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case unavailable := <-r.updates:
			switch {
			case unavailable && since.IsZero():
				since = r.notifier.now()
			case unavailable && !notified && r.notifier.now().Sub(since) >= redisOutageGrace:
				notified = true
				notify(false)
			case !unavailable:
				if notified {
					sending.Wait() // in order
					notify(true)
				}
				since, notified = time.Time{}, false
			}
		}
	}
}

func (r *redisOutageNotifier) newAlert(since time.Time, resolved bool) Alert {
	w := &alertWriter{options: r.notifier.renderOptions, now: r.notifier.now()}
	al := Alert{ID: "evt_redis_" + r.notifier.options.Replica, Kind: RedisUnavailable,
		Severity: Critical, Resolved: resolved, At: since}
	if resolved {
		al.Title = "[over] Redis is back: work goes on"
	} else {
		al.Title = "[critical] Redis does not answer"
		w.addLine("Since: %s.", w.formatTimeAndLeft(since))
		w.addLine("By itself: nothing is captured or released until it is back; Stripe's deadlines go on.")
		w.addLine("Do: start it, or see what keeps it.")
	}
	w.addLine("Told by replica %s, past Redis: others may tell the same.",
		r.notifier.options.Replica)
	if r.notifier.renderOptions.RunbookURL != "" {
		w.addLine("More: %s#%s", r.notifier.renderOptions.RunbookURL, RedisUnavailable)
	}
	al.Text = strings.Join(w.lines, "\n")
	return al
}

// sendWithRetry tries a few times; what could not be sent then is in the log.
func (r *redisOutageNotifier) sendWithRetry(ctx context.Context, s *sink, al Alert) {
	m := []message{{eventID: al.ID, orderKey: systemEventKey, alert: &al}}
	for n := 1; ; n++ {
		try, cancel := context.WithTimeout(ctx, sendTimeout)
		out := s.send(try, m)
		cancel()
		r.notifier.recordDelivery(s, &m[0], out)
		if out.result == resultDelivered || ctx.Err() != nil {
			return
		}
		if n >= maxDirectAttempts {
			r.notifier.log.Error("nobody could be told that Redis is away",
				zap.String("sink", s.name), zap.String("reason", out.reason))
			return
		}
		sleepContext(ctx, backoff(n, sinkBackoffMin, time.Minute))
	}
}

// maxDirectAttempts is how often what goes past Redis is tried: about five
// minutes.
const maxDirectAttempts = 8
