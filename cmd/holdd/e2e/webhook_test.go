package e2e_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

const signingSecret = "whsec_e2e_of_the_endpoint"

// webhookSettings lets a replica take Stripe's events. The first secret is on
// its way out.
var webhookSettings = append([]string{"STRIPE_WEBHOOK_SECRETS=whsec_e2e_the_old_one," +
	signingSecret}, highBudgetSettings...)

// webhookProxy receives Stripe's events under a host name of its own, as a
// proxy in front of a service does. It can lose them.
type webhookProxy struct {
	server             *httptest.Server
	target             atomic.Pointer[url.URL]
	dropAll            atomic.Bool
	forwarded, dropped atomic.Int64
}

// newWorldWithWebhooks is a world whose Stripe sends its events to the first
// replica.
func newWorldWithWebhooks(tb testing.TB, o stripesim.Options) (*world, *webhookProxy) {
	tb.Helper()
	d := &webhookProxy{}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(d.target.Load())
			r.Out.Host = "hooks.example.com"
		},
		// Stripe sends it again
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			w.WriteHeader(http.StatusBadGateway)
		},
	}
	d.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d.dropAll.Load() {
			d.dropped.Add(1)
			return // 200: Stripe thinks that it has arrived
		}
		if d.target.Load() == nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		d.forwarded.Add(1)
		proxy.ServeHTTP(w, r)
	}))
	tb.Cleanup(d.server.Close)
	o.Webhook = stripesim.Webhook{URL: d.server.URL + api.WebhookPath,
		Secrets: []string{signingSecret}}
	w := newWorld(tb, o)
	w.runStripe()
	return w, d
}

// runStripe runs the simulator's own actions, such as expiry.
func (w *world) runStripe() {
	ctx, stop := w.tb.Context(), make(chan struct{})
	go func() {
		defer close(stop)
		w.sim.Run(ctx) // the test's context ends before its clean-up
	}()
	w.tb.Cleanup(func() { <-stop })
}

func (d *webhookProxy) forwardTo(r *replica) {
	u, err := url.Parse(r.url)
	if err != nil {
		d.server.Close()
		panic(err)
	}
	d.target.Store(u)
}

// authorizeHold authorizes a hold at Stripe as a booking system does that
// writes the terms beside it.
func (w *world) authorizeHold(h stripesim.Hold) string {
	w.tb.Helper()
	id, err := w.sim.Authorize(h)
	if err != nil {
		w.tb.Fatal(err)
	}
	return id
}

func termMetadata(pairs ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m["holdd_"+pairs[i]] = pairs[i+1]
	}
	return m
}

// moneyEffects is what happened to the money of an intent since it was
// authorized, such as "captured 700 by api, released 300 by api".
func (w *world) moneyEffects(id string) string {
	var out []string
	for _, e := range w.sim.Ledger() {
		if e.Intent == id && e.Kind != stripesim.EffectAuthorized &&
			e.Kind != stripesim.EffectIncremented {
			out = append(out, fmt.Sprintf("%s %d by %s", e.Kind, e.Amount, e.Actor))
		}
	}
	return strings.Join(out, ", ")
}

// lastEffectAt is the time of the last effect on the money of an intent.
func (w *world) lastEffectAt(id string) (t time.Time) {
	for _, e := range w.sim.Ledger() {
		if e.Intent == id {
			t = e.Time
		}
	}
	return t
}

// waitForState waits until a hold is there, in that state.
func (w *world) waitForState(
	r *replica, id string, s hold.State, within time.Duration,
) (v hold.View) {
	w.tb.Helper()
	storetest.WaitUntil(w.tb, within, fmt.Sprintf("%s is %s", id, s), func() bool {
		var err error
		v, err = r.client.Get(w.tb.Context(), id)
		return err == nil && v.State == s.String()
	})
	return v
}

// waitForFirstReconcile waits until the reconcile run that a replica starts by
// itself has ended.
func (w *world) waitForFirstReconcile(r *replica) {
	w.tb.Helper()
	storetest.WaitUntil(w.tb, processTimeout, "the first comparison with Stripe is over",
		func() bool { return r.log.contains(`"reconcile.finished"`) })
}

// countRequests is how many requests of a kind Stripe got.
func (w *world) countRequests(c stripesim.EndpointClass) (n int64) {
	for a, k := range w.sim.Stats().Calls {
		if a.Class == c {
			n += k
		}
	}
	return n
}

// checkNoErrorsLogged checks that a replica logged no errors except some.
func checkNoErrorsLogged(tb testing.TB, r *replica, but ...string) {
	tb.Helper()
	for _, line := range r.log.errorLines() {
		if slices.ContainsFunc(but, func(s string) bool { return strings.Contains(line, s) }) {
			continue
		}
		tb.Errorf("%s reports a failure: %s", r.name, line)
	}
}

// errorLines are the lines of level error, outcomes included.
func (l *processLog) errorLines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, line := range l.otherLines {
		if strings.Contains(line, `"level":"error"`) {
			out = append(out, line)
		}
	}
	for _, es := range l.outcomesByHold {
		for _, e := range es {
			if e.Level == "error" {
				out = append(out, fmt.Sprintf("%+v", e))
			}
		}
	}
	return out
}

// countLines is how many lines that are no outcomes contain the text.
func (l *processLog) countLines(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.otherLines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// authorizeWithMetadata places one hold of each kind that metadata can
// describe, due at the same time. It returns the expected effects.
func (w *world) authorizeWithMetadata(at time.Time) map[string]string {
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		w.tb.Fatal(err)
	}
	when := formatTime(at)
	return map[string]string{
		w.authorizeHold(stripesim.Hold{Amount: 10_000, Metadata: termMetadata("capture_at", when,
			"reference", "BK-1")}): "captured 10000 by api",
		w.authorizeHold(stripesim.Hold{Amount: 10_000, Metadata: termMetadata("capture_at", when,
			"capture_amount", "7000")}): "captured 7000 by api, released 3000 by api",
		w.authorizeHold(stripesim.Hold{Amount: 900, Currency: "jpy",
			Metadata: termMetadata("capture_at", when)}): "captured 900 by api",
		w.authorizeHold(stripesim.Hold{Amount: 10_000, Metadata: termMetadata("cancel_at",
			when)}): "canceled 10000 by api",
		w.authorizeHold(stripesim.Hold{Amount: 10_000, Account: "acct_1Connected00001",
			Metadata: termMetadata("capture_at", when)}): "captured 10000 by api",
		w.authorizeHold(stripesim.Hold{Amount: 10_000, Metadata: termMetadata("capture_at",
			at.In(paris).Format("2006-01-02T15:04:05.000"), "time_zone",
			"Europe/Paris")}): "captured 10000 by api",
		w.authorizeHold(stripesim.Hold{Amount: 10_000, Metadata: termMetadata("reference",
			"BK-waits")}): "",
		// nobody's but its owner's
		w.authorizeHold(stripesim.Hold{Amount: 10_000, Metadata: map[string]string{
			"room": "12"}}): "",
		w.authorizeHold(stripesim.Hold{Amount: 10_000, Metadata: termMetadata("capture_at", when,
			"paused", "true")}): "",
		// told to a person
		w.authorizeHold(
			stripesim.Hold{Amount: 10_000, Metadata: termMetadata("capture_at", "tomorrow")}): "",
	}
}

// checkMetadataEffects waits for what authorizeWithMetadata wants, and checks that it came
// at its time and once.
func (w *world) checkMetadataEffects(want map[string]string, at time.Time) (late time.Duration) {
	w.tb.Helper()
	storetest.WaitUntil(w.tb, time.Until(at)+processTimeout,
		"everything was done that the metadata asks for", func() bool {
			for id, done := range want {
				if done != "" && w.moneyEffects(id) == "" {
					return false
				}
			}
			return true
		})
	for id, done := range want {
		if got := w.moneyEffects(id); got != done {
			w.tb.Errorf("%s: %q, and it should be %q", id, got, done)
		}
		if done == "" {
			continue
		}
		d := w.lastEffectAt(id).Sub(at)
		if late = max(late, d); d < 0 {
			w.tb.Errorf("%s: %s early", id, -d)
		}
	}
	return late
}

// A PaymentIntent with terms in its metadata is captured at its time without a
// request to holdd.
func TestMetadata_ScheduledByWebhook(t *testing.T) {
	t.Parallel()
	w, d := newWorldWithWebhooks(t, unlimitedStripeOptions)
	// The comparisons with Stripe are far away: what arrives came by webhook.
	r := w.startReplica(binaryPath(t, buildRace),
		append(webhookSettings, "HOLDD_SCHEDULE_RECONCILE=@every 5h")...)
	w.waitForFirstReconcile(r)
	d.forwardTo(r)
	at := afterNow(4 * time.Second)
	want := w.authorizeWithMetadata(at)
	late := w.checkMetadataEffects(want, at)
	t.Logf("%d events were taken; the last act came %s after its time", d.forwarded.Load(),
		late.Round(time.Millisecond))
	storetest.WaitUntil(t, processTimeout, "wrong terms are told of",
		func() bool { return r.log.countLines(`"metadata.rejected"`) == 1 })
	rdb := w.redis.Client()
	defer rdb.Close()
	rejected, err := rdb.XRange(t.Context(), "holdd:inbox:rejected", "-", "+").Result()
	if err != nil || len(rejected) != 1 || rejected[0].Values["source"] != "stripe" ||
		rejected[0].Values["code"] != string(hold.InvalidTime) ||
		!strings.Contains(fmt.Sprint(rejected[0].Values["hold"]), "tomorrow") ||
		want[fmt.Sprint(rejected[0].Values["id"])] != "" {
		t.Errorf("rejected: %v %v", rejected, err)
	}
	if n := len(r.log.errorLines()); n != 1 {
		t.Errorf("%d lines of level error, and the wrong terms are one: %v", n, r.log.errorLines())
	}
	storetest.WaitUntil(t, processTimeout, "five holds are shown as captured",
		func() bool { return len(w.listByState(r, hold.Captured)) == 5 })
}

// If the webhooks are lost, the reconcile job finds the PaymentIntent.
func TestMetadata_ScheduledByReconcileJob(t *testing.T) {
	t.Parallel()
	w, d := newWorldWithWebhooks(t, unlimitedStripeOptions)
	r := w.startReplica(binaryPath(t, buildRace),
		append(webhookSettings, "HOLDD_SCHEDULE_RECONCILE=@every 1s")...)
	// A connected account that nothing tells of is met by its first hold.
	const connected = "acct_1Connected00001"
	w.scheduleAll(r, []hold.ScheduleRequest{{Account: connected,
		PaymentIntent: w.authorizeHold(stripesim.Hold{Amount: 50, Account: connected})}})
	d.dropAll.Store(true)
	d.forwardTo(r)
	at := afterNow(10 * time.Second)
	late := w.checkMetadataEffects(w.authorizeWithMetadata(at), at)
	if d.forwarded.Load() != 0 || d.dropped.Load() == 0 {
		t.Errorf("%d events came through and %d were lost: this test shows nothing",
			d.forwarded.Load(), d.dropped.Load())
	}
	t.Logf("%d events were lost; the last act came %s after its time", d.dropped.Load(),
		late.Round(time.Millisecond))
}

// The reconcile command finds it as well. Its dry run reports the same and
// changes nothing.
func TestMetadata_ScheduledByReconcileCommand(t *testing.T) {
	t.Parallel()
	w, d := newWorldWithWebhooks(t, unlimitedStripeOptions)
	bin := binaryPath(t, buildRace)
	r := w.startReplica(bin, append(webhookSettings, "HOLDD_SCHEDULE_RECONCILE=@every 5h",
		"HOLDD_SCHEDULE_REPORT=@every 1h")...)
	w.waitForFirstReconcile(r)
	d.dropAll.Store(true)
	d.forwardTo(r)
	at := afterNow(12 * time.Second)
	want := w.authorizeWithMetadata(at)
	cli := &cliRunner{t, bin, []string{"HOLDD_URL=" + r.url}}
	storetest.WaitUntil(t, processTimeout, "the events are lost",
		func() bool { return d.dropped.Load() >= int64(len(want)) })

	before := w.dumpRedis()
	args := []string{"reconcile", "--account", "acct_1Connected00001"}
	dry := cli.runCommand(0, append(args, "--dry-run", "-o", "wide"), "dry run, nothing was changed", "BK-1", "scheduled", "rejected", "capture at", `invalid time "tomorrow"`, "acct_1Connected00001", "JPY")
	if after := w.dumpRedis(); !maps.Equal(before, after) {
		t.Errorf("the dry run changed Redis")
	}
	if n := len(w.listByState(r, hold.Scheduled)); n != 0 {
		t.Errorf("the dry run scheduled %d holds", n)
	}
	var run api.Reconciliation
	if err := json.Unmarshal([]byte(cli.runCommand(0, append(args, "--json"))), &run); err != nil {
		t.Fatal(err)
	}
	// The intent without terms is too young to be called an orphan: its owner
	// may be about to schedule it.
	if run.CountsByKind["scheduled"] != 8 || run.CountsByKind["rejected"] != 1 ||
		run.CountsByKind["recent"] != 1 || len(run.CountsByKind) != 3 || run.Listed != 10 || run.Accounts != 2 || run.DryRun {
		t.Errorf("found %+v", run)
	}
	if n := strings.Count(dry, "pi_"); n != len(run.Findings) {
		t.Errorf("the dry run listed %d intents, the real one %d", n, len(run.Findings))
	}
	w.checkMetadataEffects(want, at)
	cli.runCommand(0, args, "8 of them scheduled, 1 rejected")
}
