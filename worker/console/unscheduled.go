package console

import (
	"net/http"
	"slices"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/reconcile"
)

// unscheduledPages show what Stripe holds without terms, and adopt it.
type unscheduledPages struct{ o *Options }

// notScheduledPage lists the authorizations that the last reconcile run found
// at Stripe without a hold.
func (pages *unscheduledPages) notScheduledPage(q *request) (view, error) {
	run, ok, err := pages.o.Reconciler.ReadReconciliation(q.ctx(), "")
	if err != nil {
		return view{}, err
	}
	body := group{el("p", text(q.t("orphan.intro")))}
	if !ok {
		body = append(body, el("p", class("empty"), text(q.t("orphan.no_run"))))
	} else {
		body = append(body, runLine(q, &run), pages.orphanTable(q, &run))
	}
	if q.visitor.mayOperate {
		body = append(body, el("form", a("method", "post"), a("action", "/console/not-scheduled"),
			a("data-once", ""), el("button", text(q.t("orphan.run")))))
	}
	return view{title: q.t("nav.unscheduled"), tab: "unscheduled", body: body}, nil
}

// runLine says when a run compared what.
func runLine(q *request, r *reconcile.Reconciliation) node {
	p := el("p", class("soft"), text(q.t("run."+string(r.State), r.Listed)+" "),
		q.shownTime(r.UpdatedAt))
	if r.Error != "" {
		text(" " + r.Error).AddTo(p)
	}
	return p
}

func (pages *unscheduledPages) orphanTable(q *request, r *reconcile.Reconciliation) node {
	body := el("tbody")
	for _, f := range r.Findings {
		if f.Kind != reconcile.FoundOrphan {
			continue
		}
		tr := row(group{isolate(clean(f.Reference)), text(" "), el("small", text(f.PaymentIntent))},
			text(hold.FormatAmount(f.Amount, f.Currency)), isolate(clean(f.Detail)),
			el("a", a("href", dashboardURL(pages.o.Livemode, f.PaymentIntent, f.Account)), a("rel", "noreferrer"),
				text(q.t("hold.dashboard"))))
		if q.visitor.mayOperate {
			el("td", orphanLinks(q, f.PaymentIntent)).AddTo(tr)
		}
		tr.AddTo(body)
	}
	if len(body.Children) == 0 {
		return el("p", class("empty"), text(q.t("orphan.none")))
	}
	h := head(q.t("col.booking"), q.t("col.amount"), q.t("col.detail"), q.t("col.stripe"))
	return el("div", class("scroll"), a("tabindex", "0"), a("role", "region"),
		a("aria-label", q.t("nav.unscheduled")), el("table", h, body))
}

// findOrphan returns the finding about an intent.
func (pages *unscheduledPages) findOrphan(q *request) (f reconcile.Finding, ok bool, err error) {
	run, _, err := pages.o.Reconciler.ReadReconciliation(q.ctx(), "")
	if err != nil {
		return f, false, err
	}
	for _, f := range run.Findings {
		if f.Kind == reconcile.FoundOrphan && f.PaymentIntent == q.r.PathValue("id") {
			return f, true, nil
		}
	}
	return f, false, nil
}

// orphanActs are what an operator may do with an authorization: leave it to
// holdd, or capture or release it at once.
var orphanActs = []string{"adopt", "capture", "cancel"}

func orphanLinks(q *request, id string) node {
	p := el("span", class("buttons"))
	for _, act := range orphanActs {
		link("/console/not-scheduled/"+id+"?then="+act, q.t("orphan."+act)).AddTo(p)
	}
	return p
}

// orphanAct returns the act that a form names.
func orphanAct(q *request) string {
	if then := q.r.FormValue("then"); slices.Contains(orphanActs, then) {
		return then
	}
	return orphanActs[0]
}

// adoptPage confirms that holdd takes an authorization over.
func (pages *unscheduledPages) adoptPage(q *request) (view, error) {
	f, ok, err := pages.findOrphan(q)
	if err != nil {
		return view{}, err
	}
	if !ok {
		return notFoundPage(q)
	}
	if !q.visitor.mayOperate {
		return q.messagePage(http.StatusForbidden, q.t("error.role.title"),
			q.t("error.role.detail", q.visitor.name)), nil
	}
	name := f.PaymentIntent
	if f.Reference != "" {
		name = clean(f.Reference)
	}
	act, amount := orphanAct(q), hold.FormatAmount(f.Amount, f.Currency)
	effect, style := q.t("orphan.effect"), "primary"
	switch act {
	case "capture":
		effect = q.t("effect.capture", amount, name)
	case "cancel":
		effect, style = q.t("effect.cancel", amount, name), "primary danger"
	}
	return view{title: q.t("orphan." + act), tab: "unscheduled", body: el("form", class("card"),
		a("method", "post"), a("action", "/console/not-scheduled/"+f.PaymentIntent),
		a("data-once", ""), el("p", class("lead"), el("b", isolate(name)),
			text(" "+amount+" "), el("small", text(f.PaymentIntent))),
		el("p", class("effect"), isolate(effect)), hidden("then", act),
		el("p", class("buttons"), el("button", class(style), text(q.t("orphan."+act))),
			link("/console/not-scheduled", q.t("act.back"))))}, nil
}

// doAdopt schedules the hold without a time: it waits for a request. The
// operator may have made one already.
func (pages *unscheduledPages) doAdopt(q *request) (view, error) {
	f, ok, err := pages.findOrphan(q)
	if err != nil {
		return view{}, err
	}
	if !ok {
		return notFoundPage(q)
	}
	req := hold.ScheduleRequest{PaymentIntent: f.PaymentIntent, Account: f.Account,
		Reference: f.Reference, OnExpiry: hold.PolicyAlert.String()}
	for _, r := range pages.o.Scheduler.Schedule(q.ctx(), []hold.ScheduleRequest{req},
		q.visitor.name) {
		if r.Err != nil {
			return view{}, r.Err
		}
		if err := pages.actOnAdopted(q, &f, r.Hold.Revision); err != nil {
			return view{}, err
		}
	}
	return view{redirect: holdPath(f.PaymentIntent) + "?done=" + orphanAct(q)}, nil
}

// actOnAdopted requests what the operator has confirmed for the amount that the
// page named.
func (pages *unscheduledPages) actOnAdopted(
	q *request, f *reconcile.Finding, revision uint64,
) (err error) {
	switch orphanAct(q) {
	case "capture":
		_, _, err = pages.o.Changer.RequestCapture(q.ctx(), f.PaymentIntent,
			hold.CaptureRequest{Amount: f.Amount}, revision, q.visitor.name)
	case "cancel":
		_, _, err = pages.o.Changer.RequestCancel(q.ctx(), f.PaymentIntent, "", revision, q.visitor.name)
	}
	return err
}

func (pages *unscheduledPages) startReconcile(q *request) (view, error) {
	_, _, err := pages.o.Reconciler.StartRun(q.ctx(), false, nil, q.visitor.name)
	return view{redirect: "/console/not-scheduled?done=reconcile"}, err
}
