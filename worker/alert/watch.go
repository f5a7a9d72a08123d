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
	pingTime  = 10 * time.Second
	pingEvery = 30 * time.Second // healthchecks services refuse more than a few a minute
	// awayFor is how long Redis must be away before people are told past it: a failover is none of their business.
	awayFor = 30 * time.Second
)

// pinger tells a dead man's switch that this replica lives: it alarms when nobody does.
type pinger struct {
	log    *zap.Logger
	client *http.Client
	ok     string
	fail   string
	news   chan string // why not; empty: ready
	failed bool
}

func newPinger(o *Options) (*pinger, error) {
	u, err := url.Parse(o.PingURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("ping_url is no web address: write it as https://hc-ping.com/…")
	}
	fail := *u
	fail.Path = strings.TrimRight(fail.Path, "/") + "/fail"
	return &pinger{log: o.Logger, ok: u.String(), fail: fail.String(), news: make(chan string, 1),
		client: client(o.Transport)}, nil
}

// tell never waits: what was not sent yet is stale.
func (p *pinger) tell(checks []health.Check) {
	var why []string
	for _, c := range checks {
		if !c.OK {
			why = append(why, c.Name+": "+c.Detail)
		}
	}
	select {
	case <-p.news:
	default:
	}
	select {
	case p.news <- strings.Join(why, "\n"):
	default:
	}
}

func (p *pinger) run(ctx context.Context) {
	last, at := "", time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case why := <-p.news:
			if why == last && time.Since(at) < pingEvery-time.Second {
				continue
			}
			last, at = why, time.Now()
			p.send(ctx, why)
		}
	}
}

func (p *pinger) send(ctx context.Context, why string) {
	method, to, body := http.MethodGet, p.ok, io.Reader(nil)
	if why != "" {
		method, to, body = http.MethodPost, p.fail, strings.NewReader(why)
	}
	ctx, cancel := context.WithTimeout(ctx, pingTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, to, body)
	reason := "ping_url can't be used"
	if err == nil {
		out := do(p.client, req)
		if out.verdict == taken {
			p.failed = false
			return
		}
		reason = out.reason
	}
	if !p.failed && ctx.Err() == nil {
		p.failed = true
		p.log.Warn("ping_url was not reached: the switch that it stands for will go off", zap.String("reason", reason))
	}
}

// redisWatch tells people past Redis that Redis is away: once an episode, each replica by itself, since there is nothing that they share.
type redisWatch struct {
	a    *Alerts
	news chan bool
}

func newRedisWatch(a *Alerts) *redisWatch { return &redisWatch{a: a, news: make(chan bool, 1)} }

func (r *redisWatch) tell(checks []health.Check) {
	away := false
	for _, c := range checks {
		away = away || c.Name == "redis" && !c.OK
	}
	select {
	case <-r.news:
	default:
	}
	select {
	case r.news <- away:
	default:
	}
}

func (r *redisWatch) run(ctx context.Context) {
	var since time.Time
	told := false
	var sending sync.WaitGroup
	defer sending.Wait()
	say := func(over bool) {
		al := r.alert(since, over)
		for _, s := range r.a.sinks {
			if s.least != 0 && s.batch && s.least <= al.Severity {
				sending.Go(func() { r.send(ctx, s, al) })
			}
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case away := <-r.news:
			switch {
			case away && since.IsZero():
				since = r.a.now()
			case away && !told && r.a.now().Sub(since) >= awayFor:
				told = true
				say(false)
			case !away:
				if told {
					sending.Wait() // in order
					say(true)
				}
				since, told = time.Time{}, false
			}
		}
	}
}

func (r *redisWatch) alert(since time.Time, over bool) Alert {
	w := &writer{style: r.a.style, now: r.a.now()}
	al := Alert{ID: "evt_redis_" + r.a.o.Replica, Kind: RedisAway, Severity: Critical, Over: over, At: since}
	if over {
		al.Title = "[over] Redis is back: work goes on"
	} else {
		al.Title = "[critical] Redis does not answer"
		w.line("Since: %s.", w.when(since))
		w.line("By itself: nothing is captured or released until it is back; Stripe's deadlines go on.")
		w.line("Do: start it, or see what keeps it.")
	}
	w.line("Told by replica %s, past Redis: others may tell the same.", r.a.o.Replica)
	if r.a.style.Runbook != "" {
		w.line("More: %s#%s", r.a.style.Runbook, RedisAway)
	}
	al.Text = strings.Join(w.lines, "\n")
	return al
}

// send tries a few times; what could not be sent then is in the log.
func (r *redisWatch) send(ctx context.Context, s *sink, al Alert) {
	m := []message{{id: al.ID, key: factKey, alert: &al}}
	for n := 1; ; n++ {
		try, cancel := context.WithTimeout(ctx, sendTime)
		out := s.send(try, m)
		cancel()
		r.a.sent(s, &m[0], out)
		if out.verdict == taken || ctx.Err() != nil {
			return
		}
		if n >= directTries {
			r.a.log.Error("nobody could be told that Redis is away", zap.String("sink", s.name), zap.String("reason", out.reason))
			return
		}
		sleep(ctx, backoff(n, backoffMin, time.Minute))
	}
}

// directTries is how often what goes past Redis is tried: about five minutes.
const directTries = 8
