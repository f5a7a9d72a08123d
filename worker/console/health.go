package console

import (
	"maps"
	"slices"
)

// DoctorCheck is the result of one check of "holdd doctor".
type DoctorCheck struct {
	Name   string
	OK     bool
	Status string // ok, warning or wrong
	Detail string
	Hint   string // what to do, unless Detail says it
}

// healthPages show the state of the daemon.
type healthPages struct{ o *Options }

func (pages *healthPages) healthPage(q *request) (pageView, error) {
	body := group{pages.readinessCheckTable(q)}
	replicas, err := pages.o.Store.ListAliveReplicas(q.ctx())
	if err != nil { // the checks above say that Redis is unavailable
		body = append(body, el("p", class("note warn"), text(q.t("health.no_redis"))))
		return pageView{title: q.t("nav.health"), tab: "health", body: body, live: true}, nil
	}
	slices.Sort(replicas)
	list := el("ul", class("plain"))
	for _, r := range replicas {
		el("li", el("code", text(r))).AddTo(list)
	}
	rates, err := pages.loweredRateTable(q)
	if err != nil {
		return pageView{}, err
	}
	run, ok, err := pages.o.Reconciler.ReadReconciliation(q.ctx(), "")
	if err != nil {
		return pageView{}, err
	}
	last := group{el("p", class("empty"), text(q.t("orphan.no_run")))}
	if ok {
		counts := el("ul", class("plain"))
		for _, kind := range slices.Sorted(maps.Keys(run.Counts)) {
			el("li", text(q.t("number", run.Counts[kind])+" "+string(kind))).AddTo(counts)
		}
		last = group{reconcileRunSentence(q, &run), counts,
			el("p", link("/console/not-scheduled", q.t("nav.unscheduled")))}
	}
	body = append(body, el("h2", text(q.t("health.replicas"))), list,
		el("h2", text(q.t("health.jobs"))), pages.stageTable(q),
		el("h2", text(q.t("health.rates"))), rates,
		el("h2", text(q.t("health.reconcile"))), last, pages.doctorButton(q))
	return pageView{title: q.t("nav.health"), tab: "health", body: body, live: true}, nil
}

// doctorButton runs the checks of doctor, which send requests to Stripe.
func (pages *healthPages) doctorButton(q *request) node {
	if pages.o.Doctor == nil || !q.visitor.mayOperate {
		return el("p", class("soft"), text(q.t("health.doctor")))
	}
	return el("form", a("method", "post"), a("action", "/console/health/doctor"),
		a("data-once", ""), el("p", class("soft"), text(q.t("doctor.intro"))),
		el("button", text(q.t("doctor.run"))))
}

// doctorStartPage is where a reload of the results leads.
func (pages *healthPages) doctorStartPage(q *request) (pageView, error) {
	return pageView{title: q.t("doctor.title"), tab: "health", body: pages.doctorButton(q)}, nil
}

func (pages *healthPages) runDoctorAndShowResults(q *request) (pageView, error) {
	if pages.o.Doctor == nil {
		return notFoundPage(q)
	}
	body := el("tbody")
	for _, check := range pages.o.Doctor(q.ctx()) {
		style := "state attention"
		if check.OK {
			style = "state captured"
		}
		detail := group{bdi(replaceControlChars(check.Detail))}
		if check.Hint != "" {
			detail = append(detail, el("br"), el("small", bdi(replaceControlChars(check.Hint))))
		}
		tableRow(text(check.Name), el("span", class(style), text(q.t("doctor."+check.Status))),
			detail).AddTo(body)
	}
	return pageView{title: q.t("doctor.title"), tab: "health", body: group{
		el("table", tableHead(q.t("col.check"), q.t("col.state"), q.t("col.detail")), body),
		el("p", link("/console/health", q.t("act.back")))}}, nil
}

// readinessCheckTable lists the readiness checks of this replica.
func (pages *healthPages) readinessCheckTable(q *request) node {
	body := el("tbody")
	for _, check := range pages.o.Readiness.Check(q.ctx()) {
		state := el("span", class("state captured"), text(q.t("health.ok")))
		if !check.OK {
			state = el("span", class("state attention"), text(q.t("health.failed")))
		}
		tableRow(text(check.Name), state, bdi(replaceControlChars(check.Detail))).AddTo(body)
	}
	return el("table", tableHead(q.t("col.check"), q.t("col.state"), q.t("col.detail")), body)
}

// stageTable says when each stage of this replica last succeeded.
func (pages *healthPages) stageTable(q *request) node {
	successes := pages.o.Stages.LastSuccesses()
	body := el("tbody")
	for _, name := range slices.Sorted(maps.Keys(successes)) {
		tableRow(text(name), q.renderTime(successes[name])).AddTo(body)
	}
	return el("table", tableHead(q.t("col.job"), q.t("col.succeeded")), body)
}

func (pages *healthPages) loweredRateTable(q *request) (node, error) {
	rates, err := pages.o.Store.ListLoweredRates(q.ctx())
	if err != nil {
		return nil, err
	}
	if len(rates) == 0 {
		return el("p", class("empty"), text(q.t("health.full_rate"))), nil
	}
	body := el("tbody")
	for _, r := range rates {
		tableRow(text(r.Account), text(r.Kind), text(q.t("health.per_second", r.PerSecond))).AddTo(body)
	}
	return el("table", tableHead(q.t("col.account"), q.t("col.kind"), q.t("col.rate")), body), nil
}
