package alert

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/health"
	"go.uber.org/zap"
)

const (
	pingTimeout     = 10 * time.Second
	minPingInterval = 30 * time.Second // services refuse more than a few pings a minute
)

// deadMansSwitchPinger pings a dead man's switch, which alarms when no replica
// pings it.
type deadMansSwitchPinger struct {
	log        *zap.Logger
	client     *http.Client
	successURL string
	failureURL string
	// enqueueReadinessChecks sends the failed checks, and run receives them.
	// Empty means ready.
	updates       chan string
	failureLogged bool
}

func newDeadMansSwitchPinger(o *Options) (*deadMansSwitchPinger, error) {
	u, err := url.Parse(o.PingURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("invalid ping_url: want a web address such as https://hc-ping.com/…")
	}
	fail := *u
	fail.Path = strings.TrimRight(fail.Path, "/") + "/fail"
	return &deadMansSwitchPinger{log: o.Logger, client: newHTTPClient(o.Transport),
		successURL: u.String(),
		failureURL: fail.String(), updates: make(chan string, 1)}, nil
}

func (p *deadMansSwitchPinger) enqueueReadinessChecks(checks []health.ReadinessCheckResult) {
	var failures []string
	for _, c := range checks {
		if !c.OK {
			failures = append(failures, c.Name+": "+c.Detail)
		}
	}
	replaceLatest(p.updates, strings.Join(failures, "\n"))
}

func (p *deadMansSwitchPinger) run(ctx context.Context) {
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
			p.pingSuccessOrFailure(ctx, failures)
		}
	}
}

func (p *deadMansSwitchPinger) pingSuccessOrFailure(ctx context.Context, failures string) {
	method, to, body := http.MethodGet, p.successURL, io.Reader(nil)
	if failures != "" {
		method, to, body = http.MethodPost, p.failureURL, strings.NewReader(failures)
	}
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, to, body)
	reason := "ping_url cannot be used"
	if err == nil {
		out := sendHTTPRequest(p.client, req)
		if out.result == resultDelivered {
			p.failureLogged = false
			return
		}
		reason = out.reason
	}
	if !p.failureLogged && ctx.Err() == nil {
		p.failureLogged = true
		p.log.Warn("ping failed: the dead man's switch at ping_url will alarm",
			zap.String("reason", reason))
	}
}
