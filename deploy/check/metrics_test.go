package check

import (
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/store/storetest"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/redis/go-redis/v9"
	"sigs.k8s.io/yaml"
)

// metricSeries is what a daemon that has lived a little tells: each series'
// labels, by the name that a query would use.
type metricSeries map[string][]map[string]string

func parseMetrics(t *testing.T, text string) metricSeries {
	t.Helper()
	p := expfmt.NewTextParser(model.LegacyValidation)
	families, err := p.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	all := metricSeries{}
	for name, f := range families {
		for _, m := range f.Metric {
			// Prometheus adds these
			series := map[string]string{"job": "holdd", "instance": "a:8420"}
			for _, l := range m.Label {
				series[l.GetName()] = l.GetValue()
			}
			if m.Histogram == nil {
				all[name] = append(all[name], series)
				continue
			}
			all[name+"_count"] = append(all[name+"_count"], series)
			all[name+"_sum"] = append(all[name+"_sum"], series)
			bucket := maps.Clone(series)
			bucket["le"] = "+Inf"
			all[name+"_bucket"] = append(all[name+"_bucket"], bucket)
		}
	}
	return all
}

// prometheusOwnSeries are series that are not holdd's.
var prometheusOwnSeries = metricSeries{
	"up":     {{"job": "holdd", "instance": "a:8420"}},
	"ALERTS": {{"alertname": "HolddDown", "alertstate": "firing", "severity": "critical", "job": "holdd", "instance": "a:8420"}},
}

// checkQuery holds a query against what there is: each selector has to find a
// series, each label that it groups by has to exist.
func (all metricSeries) checkQuery(query string) error {
	e, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	var problems []string
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		v, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		series := slices.Concat(all[v.Name], prometheusOwnSeries[v.Name])
		if len(series) == 0 {
			problems = append(problems, fmt.Sprintf("there is no metric %s", v.Name))
		}
		found := false
		for _, s := range series {
			found = found || matchLabels(v.LabelMatchers, s)
			for l := range s {
				known[l] = true
			}
		}
		for _, m := range v.LabelMatchers {
			if m.Name != model.MetricNameLabel && m.Value != "" && !slices.ContainsFunc(series, func(s map[string]string) bool { return s[m.Name] != "" }) {
				problems = append(problems, fmt.Sprintf("%s has no label %s", v.Name, m.Name))
			}
		}
		if !found {
			problems = append(problems, fmt.Sprintf("%s finds no series", v))
		}
		return nil
	})
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		var by []string
		switch n := n.(type) {
		case *parser.AggregateExpr:
			by = n.Grouping
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				by = slices.Concat(n.VectorMatching.MatchingLabels, n.VectorMatching.Include)
			}
		}
		for _, l := range by {
			if !known[l] {
				problems = append(problems, "nothing in it has the label "+l)
			}
		}
		return nil
	})
	if len(problems) > 0 {
		return fmt.Errorf("%s", strings.Join(problems, "; "))
	}
	return nil
}

func matchLabels(ms []*labels.Matcher, s map[string]string) bool {
	for _, m := range ms {
		if m.Name != model.MetricNameLabel && !m.Matches(s[m.Name]) {
			return false
		}
	}
	return true
}

// metricsOfActiveDaemon gives the metrics of a daemon that has captured and
// released, and that has something at risk.
func metricsOfActiveDaemon(t *testing.T, w *environment) (text string) {
	t.Helper()
	w.callbackUnavailable.Store(true)
	w.mustRunShell(t, "holdd schedule "+w.authorize(t)+" --reference BK-0 --capture-at +1h")
	// No look at the metrics yet: what is at risk is told as it was then, for a
	// minute.
	storetest.WaitUntil(t, waitTimeout, "the booking system does not take it", func() bool { return w.failedCallbacks.Load() > 0 })
	w.callbackUnavailable.Store(false)
	w.mustRunShell(t, "holdd schedule "+w.authorize(t)+" --reference BK-1 --capture-at now --yes")
	w.mustRunShell(t, "holdd schedule "+w.authorize(t)+" --reference BK-2 --cancel-at now --yes")
	expiringIntent := w.authorize(t)
	if err := w.sim.Dashboard().SetCaptureBefore(expiringIntent,
		w.sim.Now().Add(40*time.Minute)); err != nil {
		t.Fatal(err)
	}
	w.mustRunShell(t, "holdd schedule "+expiringIntent+" --reference BK-3 --on-expiry alert")
	w.mustRunShell(t, `redis-cli -u "$REDIS_URL" xadd holdd:inbox '*' hold '{}'`)
	storetest.WaitUntil(t, waitTimeout, "one is captured, one is canceled, both are counted, one is rejected", func() bool {
		_, text = w.get(t, "/metrics")
		return strings.Contains(text, `holdd_events_total{cause="schedule",type="hold.captured"} 1`) &&
			strings.Contains(text, `holdd_events_total{cause="schedule",type="hold.canceled"} 1`) && strings.Contains(text, `holdd_holds{state="settled"} 2`) &&
			strings.Contains(text, "holdd_rejected_total{") && strings.Contains(text, `holdd_deliveries_total{kind="event",result="delivered",sink="callback"}`)
	})
	return text
}

// metricsOfOverloadedDaemon gives the metrics of a daemon that can't serve in
// time what is due: 200 captures within ten seconds of the deadline, five a
// second.
func metricsOfOverloadedDaemon(t *testing.T) (text string) {
	t.Helper()
	w := newEnvironment(t, "HOLDD_RATE=5", "HOLDD_RATE_READ=5")
	due := time.Now().Add(20 * time.Minute)
	rdb := w.redis.Client()
	defer rdb.Close()
	for i := range 200 {
		entry := fmt.Sprintf(`{"payment_intent": %q, "reference": "BK-%d", "amount": 12000, "currency": "eur", "capture_at": %q, "expires_at": %q}`,
			w.authorize(t), i, due.Format(time.RFC3339), due.Add(10*time.Second).Format(time.RFC3339))
		if err := rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: "holdd:inbox", Values: []any{"hold", entry}}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	storetest.WaitUntil(t, waitTimeout, "it sees what is coming", func() bool {
		// One look in 50 seconds is enough for a day ahead, and too seldom for
		// a test: give the turn back.
		if err := rdb.Del(t.Context(), "holdd:lock:capacity").Err(); err != nil {
			t.Fatal(err)
		}
		_, text = w.get(t, "/metrics")
		return strings.Contains(text, "holdd_capacity_at_risk_holds 150\n") && strings.Contains(text, `holdd_capacity_at_risk_minor_units{currency="eur"} 1.8e+06`)
	})
	return text
}

type grafanaDashboard struct {
	Panels []struct {
		Title   string
		Type    string
		Targets []struct{ Expr string }
	}
	Annotations struct{ List []struct{ Expr string } }
	Templating  struct {
		List []struct{ Name, Type, Definition string }
	}
}

type ruleFile struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert, Expr         string
			Labels, Annotations map[string]string
		}
	}
}

func readRules(t *testing.T) (f ruleFile) {
	t.Helper()
	if err := yaml.Unmarshal(readFile(t, deployDir, "prometheus/holdd.rules.yaml"), &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestDashboardAndRules_MatchMetrics(t *testing.T) {
	w := newEnvironment(t)
	text := metricsOfActiveDaemon(t, w)
	queue := metricsOfOverloadedDaemon(t)
	all := parseMetrics(t, text)
	for name, series := range parseMetrics(t, queue) {
		all[name] = append(all[name], series...)
	}

	t.Run("the metrics are well named", func(t *testing.T) {
		for _, metrics := range []string{text, queue} {
			cmd := exec.Command(requireTool(t, "promtool"), "check", "metrics")
			cmd.Stdin = strings.NewReader(metrics)
			if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("promtool check metrics: %v\n%s", err, out)
			}
		}
	})
	t.Run("no series names a hold, a booking or a secret", func(t *testing.T) {
		if found := regexp.MustCompile(`\bpi_\w+|BK-\d|sk_test\w*|acct_\w+`).FindString(text); found != "" {
			t.Errorf("%s is in the metrics", found)
		}
	})
	t.Run("board", func(t *testing.T) {
		var b grafanaDashboard
		if err := json.Unmarshal(readFile(t, deployDir, "grafana/holdd.json"), &b); err != nil {
			t.Fatal(err)
		}
		fill := strings.NewReplacer("$job", "holdd.*", "$__rate_interval", "5m")
		queries, titles := 0, map[string]bool{}
		for _, p := range b.Panels {
			if p.Type != "row" && (len(p.Targets) == 0 || p.Title == "" || titles[p.Title]) {
				t.Errorf("panel %q has no query, no title, or another's", p.Title)
			}
			titles[p.Title] = true
			for _, q := range p.Targets {
				queries++
				if err := all.checkQuery(fill.Replace(q.Expr)); err != nil {
					t.Errorf("panel %q: %s: %v", p.Title, q.Expr, err)
				}
			}
		}
		if queries < 20 {
			t.Errorf("only %d queries were found", queries)
		}
		for _, a := range b.Annotations.List {
			if err := all.checkQuery(a.Expr); err != nil {
				t.Errorf("annotation %s: %v", a.Expr, err)
			}
		}
		for _, v := range b.Templating.List {
			m := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(v.Definition)
			if v.Type == "query" && (m == nil || all[m[1]] == nil || all[m[1]][0][m[2]] == "") {
				t.Errorf("variable %s: %s finds nothing", v.Name, v.Definition)
			}
		}
	})
	t.Run("rules", func(t *testing.T) {
		for _, g := range readRules(t).Groups {
			for _, r := range g.Rules {
				if err := all.checkQuery(r.Expr); err != nil {
					t.Errorf("%s: %v", r.Alert, err)
				}
			}
		}
	})
	t.Run("this check itself finds what is wrong", func(t *testing.T) {
		for _, q := range []string{"holdd_nothing", `holdd_ready{chekc="redis"}`, `holdd_ready{check="rediss"}`, "sum by (sate) (holdd_holds)", "sum(holdd_holds", `holdd_holds{state=~"gone|away"}`} {
			if all.checkQuery(q) == nil {
				t.Errorf("%s was found good", q)
			}
		}
	})
	t.Run("what is at risk is told", func(t *testing.T) {
		for _, want := range []string{"holdd_capacity_at_risk_holds 0", `holdd_delivery_dropped_total{reason="lost",sink="callback"} 0`, `holdd_at_risk_holds{within="1h"} 1`, `holdd_at_risk_holds{within="24h"} 1`, `holdd_at_risk_minor_units{currency="eur"} 12000`} {
			if !strings.Contains(text, want+"\n") {
				t.Errorf("the metrics don't say %s", want)
			}
		}
	})
	t.Run("a Redis that is away is told, and nothing is made up meanwhile", func(t *testing.T) {
		w.redis.Kill()
		storetest.WaitUntil(t, waitTimeout, "the metrics say so", func() bool {
			_, text := w.get(t, "/metrics")
			return strings.Contains(text, `holdd_ready{check="redis"} 0`) && !strings.Contains(text, "holdd_at_risk_holds{")
		})
		w.redis.Restart()
		storetest.WaitUntil(t, waitTimeout, "the metrics say that it is back", func() bool {
			_, text := w.get(t, "/metrics")
			return strings.Contains(text, `holdd_ready{check="redis"} 1`) && strings.Contains(text, "holdd_at_risk_holds{")
		})
	})
}

func TestMetrics_StripeKeyRejected(t *testing.T) {
	w := newEnvironment(t)
	w.sim.Keys.RevokeKey(stripeAPIKey)
	counted := regexp.MustCompile(`holdd_stripe_requests_total\{answer="unauthorized",op="(\w+)"\} [1-9]`)
	w.mustRunShell(t, "holdd schedule "+"pi_3PxYzA2eZvKYlo2C1gQmT0aB"+" --capture-at +1h --amount 100 --currency eur")
	storetest.WaitUntil(t, waitTimeout, "the metrics say that Stripe rejects the key", func() bool {
		_, text := w.get(t, "/metrics")
		return counted.MatchString(text) && strings.Contains(text, `holdd_ready{check="stripe"} 0`)
	})
}
