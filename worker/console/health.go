package console

import (
	"maps"
	"slices"
)

// healthPages show the state of the daemon.
type healthPages struct{ o *Options }

func (pages *healthPages) healthPage(q *request) (view, error) {
	body := group{pages.checks(q)}
	replicas, err := pages.o.Store.AliveReplicas(q.ctx())
	if err != nil { // the checks above say that Redis is unavailable
		body = append(body, el("p", class("note warn"), text(q.t("health.no_redis"))))
		return view{title: q.t("nav.health"), tab: "health", body: body, live: true}, nil
	}
	slices.Sort(replicas)
	list := el("ul", class("plain"))
	for _, r := range replicas {
		el("li", el("code", text(r))).addTo(list)
	}
	rates, err := pages.rates(q)
	if err != nil {
		return view{}, err
	}
	run, ok, err := pages.o.Reconciler.Reconciliation(q.ctx(), "")
	if err != nil {
		return view{}, err
	}
	last := group{el("p", class("empty"), text(q.t("orphan.no_run")))}
	if ok {
		counts := el("ul", class("plain"))
		for _, kind := range slices.Sorted(maps.Keys(run.Counts)) {
			el("li", text(q.t("number", run.Counts[kind])+" "+string(kind))).addTo(counts)
		}
		last = group{runLine(q, &run), counts,
			el("p", link("/console/not-scheduled", q.t("nav.unscheduled")))}
	}
	body = append(body, el("h2", text(q.t("health.replicas"))), list,
		el("h2", text(q.t("health.jobs"))), pages.stageTable(q),
		el("h2", text(q.t("health.rates"))), rates,
		el("h2", text(q.t("health.reconcile"))), last,
		el("p", class("soft"), text(q.t("health.doctor"))))
	return view{title: q.t("nav.health"), tab: "health", body: body, live: true}, nil
}

// checks lists the readiness checks of this replica.
func (pages *healthPages) checks(q *request) node {
	body := el("tbody")
	for _, check := range pages.o.Readiness.Check(q.ctx()) {
		state := el("span", class("state captured"), text(q.t("health.ok")))
		if !check.OK {
			state = el("span", class("state attention"), text(q.t("health.failed")))
		}
		row(text(check.Name), state, isolate(clean(check.Detail))).addTo(body)
	}
	return el("table", head(q.t("col.check"), q.t("col.state"), q.t("col.detail")), body)
}

// stageTable says when each stage of this replica last succeeded.
func (pages *healthPages) stageTable(q *request) node {
	successes := pages.o.Stages.LastSuccesses()
	body := el("tbody")
	for _, name := range slices.Sorted(maps.Keys(successes)) {
		row(text(name), q.shownTime(successes[name])).addTo(body)
	}
	return el("table", head(q.t("col.job"), q.t("col.succeeded")), body)
}

func (pages *healthPages) rates(q *request) (node, error) {
	rates, err := pages.o.Store.LoweredRates(q.ctx())
	if err != nil {
		return nil, err
	}
	if len(rates) == 0 {
		return el("p", class("empty"), text(q.t("health.full_rate"))), nil
	}
	body := el("tbody")
	for _, r := range rates {
		row(text(r.Account), text(r.Kind), text(q.t("health.per_second", r.PerSecond))).addTo(body)
	}
	return el("table", head(q.t("col.account"), q.t("col.kind"), q.t("col.rate")), body), nil
}
