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

// exposed is what a daemon that has lived a little tells: each series' labels, by the name that a query would use.
type exposed map[string][]map[string]string

func scrape(t *testing.T, text string) exposed {
	t.Helper()
	p := expfmt.NewTextParser(model.LegacyValidation)
	families, err := p.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	all := exposed{}
	for name, f := range families {
		for _, m := range f.Metric {
			series := map[string]string{"job": "holdd", "instance": "a:8420"} // Prometheus adds these
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

// outside are series that are not holdd's.
var outside = exposed{
	"up":     {{"job": "holdd", "instance": "a:8420"}},
	"ALERTS": {{"alertname": "HolddDown", "alertstate": "firing", "severity": "critical", "job": "holdd", "instance": "a:8420"}},
}

// check holds a query against what there is: each selector has to find a series, each label that it groups by has to exist.
func (all exposed) check(query string) error {
	e, err := parser.ParseExpr(query)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	var wrong []string
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		v, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		series := slices.Concat(all[v.Name], outside[v.Name])
		if len(series) == 0 {
			wrong = append(wrong, fmt.Sprintf("there is no metric %s", v.Name))
		}
		found := false
		for _, s := range series {
			found = found || matches(v.LabelMatchers, s)
			for l := range s {
				known[l] = true
			}
		}
		for _, m := range v.LabelMatchers {
			if m.Name != labels.MetricName && m.Value != "" && !slices.ContainsFunc(series, func(s map[string]string) bool { return s[m.Name] != "" }) {
				wrong = append(wrong, fmt.Sprintf("%s has no label %s", v.Name, m.Name))
			}
		}
		if !found {
			wrong = append(wrong, fmt.Sprintf("%s finds no series", v))
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
				wrong = append(wrong, "nothing in it has the label "+l)
			}
		}
		return nil
	})
	if len(wrong) > 0 {
		return fmt.Errorf("%s", strings.Join(wrong, "; "))
	}
	return nil
}

func matches(ms []*labels.Matcher, s map[string]string) bool {
	for _, m := range ms {
		if m.Name != labels.MetricName && !m.Matches(s[m.Name]) {
			return false
		}
	}
	return true
}

// lived gives the metrics of a daemon that has captured and released, and that has something at risk.
func lived(t *testing.T, w *world) (text string) {
	t.Helper()
	w.deaf.Store(true)
	w.must(t, "holdd schedule "+w.authorize(t)+" --reference BK-0 --capture-at +1h")
	// No look at the metrics yet: what is at risk is told as it was then, for a minute.
	storetest.Until(t, patient, "the booking system does not take it", func() bool { return w.unheard.Load() > 0 })
	w.deaf.Store(false)
	w.must(t, "holdd schedule "+w.authorize(t)+" --reference BK-1 --capture-at now --yes")
	w.must(t, "holdd schedule "+w.authorize(t)+" --reference BK-2 --cancel-at now --yes")
	soon := w.authorize(t)
	if err := w.sim.SetCaptureBefore(soon, w.sim.Now().Add(40*time.Minute)); err != nil {
		t.Fatal(err)
	}
	w.must(t, "holdd schedule "+soon+" --reference BK-3 --on-expiry alert")
	w.must(t, `redis-cli -u "$REDIS_URL" xadd holdd:inbox '*' hold '{}'`)
	storetest.Until(t, patient, "one is captured, one is canceled, both are counted, one is rejected", func() bool {
		_, text = w.get(t, "/metrics")
		return strings.Contains(text, `holdd_events_total{cause="schedule",type="hold.captured"} 1`) &&
			strings.Contains(text, `holdd_events_total{cause="schedule",type="hold.canceled"} 1`) && strings.Contains(text, `holdd_holds{state="settled"} 2`) &&
			strings.Contains(text, "holdd_rejected_total{") && strings.Contains(text, `holdd_deliveries_total{kind="event",result="taken",sink="callback"}`)
	})
	return text
}

// short gives the metrics of a daemon that can't serve in time what is due: 200 captures within ten seconds of the deadline, five a second.
func short(t *testing.T) (text string) {
	t.Helper()
	w := newWorld(t, "HOLDD_RATE=5", "HOLDD_RATE_READ=5")
	due := time.Now().Add(20 * time.Minute)
	rdb := w.redis.Client()
	defer rdb.Close()
	for i := range 200 {
		wish := fmt.Sprintf(`{"payment_intent": %q, "reference": "BK-%d", "amount": 12000, "currency": "eur", "capture_at": %q, "expires_at": %q}`,
			w.authorize(t), i, due.Format(time.RFC3339), due.Add(10*time.Second).Format(time.RFC3339))
		if err := rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: "holdd:inbox", Values: []any{"hold", wish}}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	storetest.Until(t, patient, "it sees what is coming", func() bool {
		// One look in 50 seconds is enough for a day ahead, and too seldom for a test: give the turn back.
		if err := rdb.Del(t.Context(), "holdd:lock:capacity").Err(); err != nil {
			t.Fatal(err)
		}
		_, text = w.get(t, "/metrics")
		return strings.Contains(text, "holdd_capacity_at_risk_holds 150\n") && strings.Contains(text, `holdd_capacity_at_risk_minor_units{currency="eur"} 1.8e+06`)
	})
	return text
}

type board struct {
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

func rules(t *testing.T) (f ruleFile) {
	t.Helper()
	if err := yaml.Unmarshal(read(t, deploy, "prometheus/holdd.rules.yaml"), &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestBoardAndRulesAskForWhatTheDaemonTells(t *testing.T) {
	w := newWorld(t)
	text := lived(t, w)
	queue := short(t)
	all := scrape(t, text)
	for name, series := range scrape(t, queue) {
		all[name] = append(all[name], series...)
	}

	t.Run("the metrics are well named", func(t *testing.T) {
		for _, told := range []string{text, queue} {
			cmd := exec.Command(tool(t, "promtool"), "check", "metrics")
			cmd.Stdin = strings.NewReader(told)
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
		var b board
		if err := json.Unmarshal(read(t, deploy, "grafana/holdd.json"), &b); err != nil {
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
				if err := all.check(fill.Replace(q.Expr)); err != nil {
					t.Errorf("panel %q: %s: %v", p.Title, q.Expr, err)
				}
			}
		}
		if queries < 20 {
			t.Errorf("only %d queries were found", queries)
		}
		for _, a := range b.Annotations.List {
			if err := all.check(a.Expr); err != nil {
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
		for _, g := range rules(t).Groups {
			for _, r := range g.Rules {
				if err := all.check(r.Expr); err != nil {
					t.Errorf("%s: %v", r.Alert, err)
				}
			}
		}
	})
	t.Run("this check itself finds what is wrong", func(t *testing.T) {
		for _, q := range []string{"holdd_nothing", `holdd_ready{chekc="redis"}`, `holdd_ready{check="rediss"}`, "sum by (sate) (holdd_holds)", "sum(holdd_holds", `holdd_holds{state=~"gone|away"}`} {
			if all.check(q) == nil {
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
		storetest.Until(t, patient, "the metrics say so", func() bool {
			_, text := w.get(t, "/metrics")
			return strings.Contains(text, `holdd_ready{check="redis"} 0`) && !strings.Contains(text, "holdd_at_risk_holds{")
		})
		w.redis.Restart()
		storetest.Until(t, patient, "the metrics say that it is back", func() bool {
			_, text := w.get(t, "/metrics")
			return strings.Contains(text, `holdd_ready{check="redis"} 1`) && strings.Contains(text, "holdd_at_risk_holds{")
		})
	})
}

func TestARejectedKeyIsSeenWhileNothingElseIsAsked(t *testing.T) {
	w := newWorld(t)
	w.sim.RevokeKey(apiKey)
	counted := regexp.MustCompile(`holdd_stripe_requests_total\{answer="unauthorized",op="(\w+)"\} [1-9]`)
	w.must(t, "holdd schedule "+"pi_3PxYzA2eZvKYlo2C1gQmT0aB"+" --capture-at +1h --amount 100 --currency eur")
	storetest.Until(t, patient, "the metrics say that Stripe rejects the key", func() bool {
		_, text := w.get(t, "/metrics")
		return counted.MatchString(text) && strings.Contains(text, `holdd_ready{check="stripe"} 0`)
	})
}
