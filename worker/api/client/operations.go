package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// operationsClient has the methods of [Client] for operators: plan, reconcile,
// deliveries, health and log level.
type operationsClient struct{ conn *clientConnection }

func (c operationsClient) get(ctx context.Context, path string, v url.Values, out any) error {
	_, err := c.conn.send(ctx,
		clientRequest{method: http.MethodGet, path: appendQuery(path, v)}, out)
	return err
}

// GetPlan forecasts what will happen within next, and what is at risk. 0 means a
// day.
func (c operationsClient) GetPlan(ctx context.Context, next time.Duration) (p Plan, err error) {
	v := url.Values{}
	if next != 0 {
		v.Set("next", next.String())
	}
	err = c.get(ctx, "/v1/plan", v, &p)
	return p, err
}

// StartReconcile starts a comparison of the schedule with Stripe, or joins the
// one in progress.
func (c operationsClient) StartReconcile(
	ctx context.Context, dryRun bool, accounts []string,
) (run Reconciliation, started bool, err error) {
	status, err := c.conn.send(ctx, clientRequest{method: http.MethodPost, path: "/v1/reconcile",
		body: ReconcileRequest{DryRun: dryRun, Accounts: accounts}}, &run)
	return run, status == http.StatusAccepted, err
}

// GetReconciliation returns a comparison by its id; an empty id means the newest.
func (c operationsClient) GetReconciliation(
	ctx context.Context, id string,
) (run Reconciliation, err error) {
	v := url.Values{}
	if id != "" {
		v.Set("id", id)
	}
	err = c.get(ctx, "/v1/reconcile", v, &run)
	return run, err
}

// ListReconciliationFindingsOfKind returns the newest comparison with only the findings
// of one kind.
func (c operationsClient) ListReconciliationFindingsOfKind(
	ctx context.Context, kind string,
) (run Reconciliation, err error) {
	err = c.get(ctx, "/v1/reconcile", url.Values{"kind": {kind}}, &run)
	return run, err
}

// ListSinkStatuses lists the sinks of events and alerts.
func (c operationsClient) ListSinkStatuses(ctx context.Context) (s SinkList, err error) {
	err = c.get(ctx, "/v1/deliveries", nil, &s)
	return s, err
}

// ListDeadLetters lists up to n events that a sink did not accept.
func (c operationsClient) ListDeadLetters(
	ctx context.Context, sink string, n int,
) (d DeadLetterList, err error) {
	v := url.Values{"sink": {sink}, "limit": {strconv.Itoa(n)}}
	err = c.get(ctx, "/v1/deliveries/dead", v, &d)
	return d, err
}

// ReplayDeadLetters delivers dead letters of a sink again: those with the given
// ids, or all.
func (c operationsClient) ReplayDeadLetters(
	ctx context.Context, sink string, ids []string,
) (r ReplayResult, err error) {
	_, err = c.conn.send(ctx, clientRequest{method: http.MethodPost,
		path: "/v1/deliveries/replay", body: ReplayRequest{Sink: sink, IDs: ids}}, &r)
	return r, err
}

// GetReadiness returns the readiness report. A replica that is not ready is not
// an error.
func (c operationsClient) GetReadiness(ctx context.Context) (r Readiness, err error) {
	err = c.get(ctx, "/readyz", nil, &r)
	return r, err
}

// GetHealth returns the version and mode of a process that is alive.
func (c operationsClient) GetHealth(ctx context.Context) (h Health, err error) {
	err = c.get(ctx, "/healthz", nil, &h)
	return h, err
}

// GetLogLevel returns the daemon's log level.
func (c operationsClient) GetLogLevel(ctx context.Context) (l LogLevel, err error) {
	err = c.get(ctx, "/v1/log-level", nil, &l)
	return l, err
}

// SetLogLevel changes the daemon's log level (debug, info, warn or error) until
// it restarts.
func (c operationsClient) SetLogLevel(ctx context.Context, level string) (l LogLevel, err error) {
	_, err = c.conn.send(ctx, clientRequest{method: http.MethodPut,
		path: appendQuery("/v1/log-level", url.Values{"level": {level}})}, &l)
	return l, err
}
