package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

const (
	// readRate is Stripe's limit of reads a second, and holdd's default.
	readRate = 25
	// webhookSenders is how many webhooks are under way at once.
	webhookSenders = 16
	// listTimeout bounds a list of all intents.
	listTimeout   = 5 * time.Minute
	webhookSecret = "whsec_benchbenchbenchbench"
)

// readsWorkload is the size of the measurements of reads.
type readsWorkload struct {
	unverified                 int
	stormIntents, eventsOfEach int
	reconciled                 int
}

// readsBench measures how holdd reads many intents.
type readsBench struct{ lab }

// readsRun is a Redis, a simulator without limits, and a daemon.
type readsRun struct {
	redis  *redisServer
	sim    *stripesim.Sim
	stripe string // URL
	engine holddEngine
	daemon *process
	api    string // URL

	mu       sync.Mutex
	payloads [][]byte // of the events
	stops    []func()
}

// newReadsRun starts a Redis and a simulator. The daemon may send readRate
// reads a second.
func (b *readsBench) newReadsRun(ctx context.Context, rate int) (*readsRun, error) {
	r := &readsRun{engine: holddEngine{launcher: b.launcher, env: []string{
		fmt.Sprint("HOLDD_RATE_READ=", rate), "STRIPE_WEBHOOK_SECRETS=" + webhookSecret}}}
	var err error
	if r.redis, err = b.startRedis(ctx); err != nil {
		return nil, err
	}
	r.stops = append(r.stops, r.redis.stop)
	r.sim = stripesim.New(stripesim.Options{Seed: 1, EndpointRate: -1, OverallRate: -1,
		OnEvent: r.keepEvent})
	var stop func()
	if r.stripe, stop, err = serveSimulator(ctx, r.sim); err != nil {
		r.stop()
		return nil, err
	}
	r.stops = append(r.stops, stop)
	return r, nil
}

func (r *readsRun) keepEvent(e stripesim.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.payloads = append(r.payloads, e.Payload)
}

func (r *readsRun) stop() {
	for i := range r.stops {
		r.stops[len(r.stops)-1-i]()
	}
}

// startDaemon starts holdd.
func (r *readsRun) startDaemon(ctx context.Context) (err error) {
	if r.daemon, r.api, err = r.engine.serve(ctx, r.redis, r.stripe); err != nil {
		return err
	}
	r.stops = append(r.stops, r.daemon.stop)
	return nil
}

// authorize places n holds at Stripe, with terms in the metadata if terms is
// set.
func (r *readsRun) authorize(n int, terms bool) (ids []string, err error) {
	h := stripesim.Hold{Amount: 12000, Currency: "eur", Incremental: true}
	if terms {
		h.Metadata = map[string]string{"holdd_capture_at": time.Now().
			Add(24 * time.Hour).UTC().Format(time.RFC3339)}
	}
	for range n {
		id, err := r.sim.Authorize(h)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// scheduleUnverified places n holds at Stripe and schedules them without
// amount, currency and deadline while Stripe is unavailable. The nearest action
// is not that of the oldest hold.
func (r *readsRun) scheduleUnverified(ctx context.Context, n int) (ids []string, err error) {
	if ids, err = r.authorize(n, false); err != nil {
		return nil, err
	}
	w, st, err := r.engine.scheduler(ctx, r.redis)
	if err != nil {
		return nil, err
	}
	defer st.Close()
	at := time.Now().Add(24 * time.Hour)
	for from := 0; from < n; from += scheduleBatch {
		var reqs []hold.ScheduleRequest
		for i := from; i < min(from+scheduleBatch, n); i++ {
			due := at.Add(time.Duration(i*7919%n) * time.Second)
			reqs = append(reqs, hold.ScheduleRequest{PaymentIntent: ids[i],
				CaptureAt: due.UTC().Format(time.RFC3339)})
		}
		for _, s := range w.Scheduler.Schedule(ctx, reqs, "api") {
			if s.Err != nil {
				return nil, fmt.Errorf("holdd: schedule: %w", s.Err)
			}
		}
	}
	return ids, nil
}

// reads returns how many single reads and pages the simulator has answered.
func (r *readsRun) reads() (single, pages int64) {
	for c, n := range r.sim.Stats().Calls {
		switch c.Class {
		case stripesim.ClassRetrieve:
			single += n
		case stripesim.ClassList:
			pages += n
		}
	}
	return single, pages
}

// waitUntilEmpty waits until a sorted set of the only partition has no members.
func (r *readsRun) waitUntilEmpty(ctx context.Context, set string) error {
	for {
		n, err := r.redis.rdb.ZCard(ctx, "holdd:{0}:"+set).Result()
		if err == nil && n == 0 {
			return nil
		}
		if err == nil {
			err = r.daemon.errIfEnded()
		}
		if err == nil {
			err = sleepContext(ctx, 50*time.Millisecond)
		}
		if err != nil {
			return err
		}
	}
}

// measureVerify measures how long holdd takes to verify holds that it accepted
// while Stripe was unavailable.
func (b *readsBench) measureVerify(ctx context.Context) ([]table, error) {
	r, err := b.newReadsRun(ctx, readRate)
	if err != nil {
		return nil, err
	}
	defer r.stop()
	n := b.workload.reads.unverified
	if _, err := r.scheduleUnverified(ctx, n); err != nil {
		return nil, err
	}
	if err := r.startDaemon(ctx); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := r.waitUntilEmpty(ctx, "unverified"); err != nil {
		return nil, err
	}
	took := time.Since(began)
	single, pages := r.reads()
	b.addTimes(verifyTime, took.Seconds(), float64(n)/readRate)
	t := readsTable("Unverified holds")
	t.rows = append(t.rows, readsRow(fmt.Sprintf("%d holds", n), n, took, single, pages))
	return []table{t}, nil
}

// addTimes records how long holdd took, and the least that it can take.
func (b *readsBench) addTimes(f figure, holdd, bare float64) {
	b.samples.addOf(f, "holdd", holdd)
	b.samples.addOf(f, "bare", bare)
}

func readsTable(title string) table {
	return table{inDocs: true, title: fmt.Sprintf("%s, %d reads/s allowed", title, readRate),
		header: tableRow{"", "took", "intents a second", "single reads", "pages",
			"calls an intent", "one by one", "ratio"}}
}

// readsRow compares the time until n intents are read with the least that
// single reads take under the limit.
func readsRow(name string, n int, took time.Duration, single, pages int64) tableRow {
	oneByOne := float64(n) / readRate
	return tableRow{name, fmt.Sprintf("%.1f s", took.Seconds()),
		fmt.Sprintf("%.0f/s", float64(n)/took.Seconds()), fmt.Sprint(single), fmt.Sprint(pages),
		fmt.Sprintf("%.3f", float64(single+pages)/float64(n)),
		fmt.Sprintf("%.1f s", oneByOne), fmt.Sprintf("%.3f", took.Seconds()/oneByOne)}
}

// measureStorm verifies holds, and then measures how long holdd takes to
// refresh them after a storm of webhooks.
func (b *readsBench) measureStorm(ctx context.Context) ([]table, error) {
	r, err := b.newReadsRun(ctx, readRate)
	if err != nil {
		return nil, err
	}
	defer r.stop()
	size := b.workload.reads
	ids, err := r.scheduleUnverified(ctx, size.stormIntents)
	if err != nil {
		return nil, err
	}
	if err := r.startDaemon(ctx); err != nil {
		return nil, err
	}
	if err := r.waitUntilEmpty(ctx, "unverified"); err != nil {
		return nil, err
	}
	r.payloads = nil
	for step := 1; len(r.payloads) < size.eventsOfEach*len(ids); step++ {
		for _, id := range ids {
			if err := r.sim.Dashboard().Increment(id, int64(12000+100*step)); err != nil {
				return nil, err
			}
		}
	}
	single, pages := r.reads()
	began := time.Now()
	if err := r.sendWebhooks(ctx); err != nil {
		return nil, err
	}
	sent := time.Since(began)
	if err := r.waitUntilEmpty(ctx, "refresh"); err != nil {
		return nil, err
	}
	took := time.Since(began)
	s, p := r.reads()
	b.addTimes(stormTime, took.Seconds(), float64(len(ids))/readRate)
	t := readsTable("A storm of webhooks")
	t.rows = append(t.rows, readsRow(fmt.Sprintf("%d events of %d holds, sent in %.1f s",
		len(r.payloads), len(ids), sent.Seconds()), len(ids), took, s-single, p-pages))
	return []table{t}, nil
}

// sendWebhooks posts every event once.
func (r *readsRun) sendWebhooks(ctx context.Context) error {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: webhookSenders}}
	defer client.CloseIdleConnections()
	return runInParallel(len(r.payloads), 1, webhookSenders, func(i, _ int) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.api+"/webhooks/stripe",
			bytes.NewReader(r.payloads[i]))
		if err != nil {
			return err
		}
		req.Header.Set("Stripe-Signature",
			stripesim.Sign(r.payloads[i], time.Now(), webhookSecret))
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("holdd: webhook: %s", res.Status)
		}
		return nil
	})
}

// measureReconcile measures how fast holdd compares Stripe with an empty
// schedule, and then with a complete one, beside stripe-go that only lists.
func (b *readsBench) measureReconcile(ctx context.Context) ([]table, error) {
	r, err := b.newReadsRun(ctx, 100_000) // a run may send half
	if err != nil {
		return nil, err
	}
	defer r.stop()
	n := b.workload.reads.reconciled
	if _, err := r.authorize(n, true); err != nil {
		return nil, err
	}
	b.logf("  %d intents placed", n)
	bare, err := b.listAll(r.stripe, n)
	if err != nil {
		return nil, err
	}
	runs := []*reconcileRun{{name: "empty schedule"}, {name: "complete schedule"}}
	for i, run := range runs {
		if i == 0 {
			err = r.startDaemon(ctx) // compares at once with a new Redis
		}
		if err == nil {
			err = r.timeReconcile(ctx, run, i > 0)
		}
		if err != nil {
			return nil, err
		}
		b.logf("  %s: %.1f s", run.name, run.took.Seconds())
	}
	again, err := b.listAll(r.stripe, n) // other load on the machine varies
	if err != nil {
		return nil, err
	}
	bare = min(bare, again)
	b.addTimes(reconcileTime, runs[1].took.Seconds(), bare.Seconds())
	return []table{reconcileTable(n, runs, bare)}, nil
}

// reconcileRun is one comparison.
type reconcileRun struct {
	name  string
	took  time.Duration
	calls int64
}

// timeReconcile waits for a run, after it started one if start is set.
func (r *readsRun) timeReconcile(ctx context.Context, run *reconcileRun, start bool) error {
	single, pages := r.reads()
	began := time.Now()
	if start {
		if err := r.startReconcile(ctx); err != nil {
			return err
		}
	}
	if err := r.waitForReconcile(ctx); err != nil {
		return err
	}
	run.took = time.Since(began)
	s, p := r.reads()
	run.calls = s - single + p - pages
	return nil
}

func reconcileTable(n int, runs []*reconcileRun, bare time.Duration) table {
	t := table{inDocs: true, title: fmt.Sprintf("Reconcile of %d intents", n), header: tableRow{"", "took",
		"intents a second", "calls an intent", "stripe-go lists alone", "ratio",
		fmt.Sprintf("with half of %d reads/s", readRate)}}
	for _, run := range runs {
		t.rows = append(t.rows, tableRow{run.name, fmt.Sprintf("%.1f s", run.took.Seconds()),
			fmt.Sprintf("%.0f/s", float64(n)/run.took.Seconds()),
			fmt.Sprintf("%.4f", float64(run.calls)/float64(n)),
			fmt.Sprintf("%.1f s", bare.Seconds()),
			fmt.Sprintf("%.2f", run.took.Seconds()/bare.Seconds()),
			fmt.Sprintf("%.0f s", float64(run.calls)/(readRate/2.0))})
	}
	return t
}

// listAll lists all intents with stripe-go in a process of its own, page by
// page, and returns how long that took.
func (b *readsBench) listAll(stripe string, want int) (time.Duration, error) {
	p, err := b.startProcess("bare", append(workerEnv(nil, stripe), "BENCH_LIST=1"),
		b.binPath("bare"))
	if err != nil {
		return 0, err
	}
	defer p.stop()
	if err := p.waitReady(); err != nil {
		return 0, err
	}
	began := time.Now()
	listed, err := p.readLineWithin(listTimeout)
	if err == nil && listed != strconv.Itoa(want) {
		err = p.withLog(fmt.Errorf("listed %q of %d intents", listed, want))
	}
	return time.Since(began), err
}

// reconcileReport is what the API says of a run.
type reconcileReport struct {
	State string `json:"state"`
}

// waitForReconcile waits until the newest run has finished.
func (r *readsRun) waitForReconcile(ctx context.Context) error {
	for {
		res, err := http.Get(r.api + "/v1/reconcile")
		if err != nil {
			return err
		}
		var report reconcileReport
		err = json.NewDecoder(res.Body).Decode(&report)
		_ = res.Body.Close()
		switch {
		case err != nil:
			return err
		case report.State == "finished":
			return nil
		case report.State == "interrupted":
			return r.daemon.withLog(errors.New("the run was interrupted"))
		}
		if err := sleepContext(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// startReconcile starts a run.
func (r *readsRun) startReconcile(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.api+"/v1/reconcile",
		bytes.NewReader([]byte("{}")))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("holdd: reconcile: %s", res.Status)
	}
	return nil
}
