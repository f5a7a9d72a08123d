package console

import (
	"errors"
	"net/http"
	"slices"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/reconcile"
)

// notScheduledPages show what Stripe holds without valid terms, and adopt it.
type notScheduledPages struct{ o *Options }

// notScheduledPage lists the authorizations that the last reconcile run found
// at Stripe without a hold.
func (pages *notScheduledPages) notScheduledPage(q *request) (pageView, error) {
	run, ok, err := pages.o.Reconciler.ReadReconciliation(q.ctx(), "")
	if err != nil {
		return pageView{}, err
	}
	body := group{el("p", text(q.t("orphan.intro")))}
	if !ok {
		body = append(body, el("p", class("empty"), text(q.t("orphan.no_run"))))
	} else {
		body = append(body, reconcileRunSentence(q, &run), pages.orphanTable(q, &run))
	}
	if q.visitor.mayOperate {
		body = append(body, el("form", a("method", "post"), a("action", "/console/not-scheduled"),
			a("data-once", ""), el("button", text(q.t("orphan.run")))))
	}
	return pageView{title: q.t("nav.unscheduled"), tab: "unscheduled", body: body}, nil
}

// reconcileRunSentence says when a run compared what.
func reconcileRunSentence(q *request, r *reconcile.Reconciliation) node {
	p := el("p", class("soft"), text(q.tCount("run."+string(r.State), r.Listed, r.Listed)+" "),
		q.renderTime(r.UpdatedAt))
	if r.Error != "" {
		text(" " + r.Error).AddTo(p)
	}
	return p
}

func (pages *notScheduledPages) orphanTable(q *request, r *reconcile.Reconciliation) node {
	body := el("tbody")
	for _, f := range r.Findings {
		if !f.NeedsAdoption() {
			continue
		}
		tr := tableRow(
			group{bdi(replaceControlChars(f.Reference)), text(" "), el("small", text(f.PaymentIntent))},
			text(hold.FormatAmount(f.Amount, f.Currency)),
			bdi(replaceControlChars(f.Detail)),
			el("a", a("href", stripeDashboardURL(pages.o.Livemode, f.PaymentIntent, f.Account)),
				a("rel", "noreferrer"),
				text(q.t("hold.dashboard"))),
		)
		if q.visitor.mayOperate {
			el("td", orphanActLinks(q, f.PaymentIntent)).AddTo(tr)
		}
		tr.AddTo(body)
	}
	if len(body.Children) == 0 {
		return el("p", class("empty"), text(q.t("orphan.none")))
	}
	h := tableHead(q.t("col.booking"), q.t("col.amount"), q.t("col.detail"), q.t("col.stripe"))
	return el("div", class("scroll"), a("tabindex", "0"), a("role", "region"),
		a("aria-label", q.t("nav.unscheduled")), el("table", h, body))
}

// readOrphanFinding returns the finding about an intent.
func (pages *notScheduledPages) readOrphanFinding(
	q *request) (f reconcile.Finding, ok bool, err error,
) {
	run, _, err := pages.o.Reconciler.ReadReconciliation(q.ctx(), "")
	if err != nil {
		return f, false, err
	}
	for _, f := range run.Findings {
		if f.NeedsAdoption() && f.PaymentIntent == q.r.PathValue("id") {
			return f, true, nil
		}
	}
	return f, false, nil
}

// adoptedOrNotFoundPage leads to the hold of an intent that was scheduled after its finding, and
// so also to what is left of an adoption that failed after the hold was scheduled.
func (pages *notScheduledPages) adoptedOrNotFoundPage(q *request) (pageView, error) {
	id := q.r.PathValue("id")
	_, _, err := pages.o.Reader.Get(q.ctx(), id)
	if isNotFound(err) || errors.Is(err, &hold.Problem{Code: hold.InvalidID}) {
		return notFoundPage(q)
	}
	if err != nil {
		return pageView{}, err
	}
	return pageView{redirect: holdPagePath(id)}, nil
}

// orphanActs are what an operator may do with an authorization: leave it to
// holdd, or capture or release it at once.
var orphanActs = []string{"adopt", "capture", "cancel"}

func orphanActLinks(q *request, id string) node {
	p := el("span", class("buttons"))
	for _, act := range orphanActs {
		link("/console/not-scheduled/"+id+"?then="+act, q.t("orphan."+act)).AddTo(p)
	}
	return p
}

// parseOrphanAct returns the act that a form names.
func parseOrphanAct(q *request) string {
	if then := q.r.FormValue("then"); slices.Contains(orphanActs, then) {
		return then
	}
	return orphanActs[0]
}

// adoptConfirmationPage confirms that holdd takes an authorization over.
func (pages *notScheduledPages) adoptConfirmationPage(q *request) (pageView, error) {
	f, ok, err := pages.readOrphanFinding(q)
	if err != nil {
		return pageView{}, err
	}
	if !ok {
		return pages.adoptedOrNotFoundPage(q)
	}
	if !q.visitor.mayOperate {
		return q.messagePage(http.StatusForbidden, q.t("error.role.title"),
			q.t("error.role.detail", q.visitor.name)), nil
	}
	name := f.PaymentIntent
	if f.Reference != "" {
		name = replaceControlChars(f.Reference)
	}
	act, amount := parseOrphanAct(q), hold.FormatAmount(f.Amount, f.Currency)
	effect, style := q.t("orphan.effect"), "primary"
	switch act {
	case "capture":
		effect = q.t("effect.capture", amount, name)
	case "cancel":
		effect, style = q.t("effect.cancel", amount, name), "primary danger"
	}
	return pageView{title: q.t("orphan." + act), tab: "unscheduled", body: el("form", class("card"),
		a("method", "post"), a("action", "/console/not-scheduled/"+f.PaymentIntent),
		a("data-once", ""), el("p", class("lead"), el("b", bdi(name)),
			text(" "+amount+" "), el("small", text(f.PaymentIntent))),
		el("p", class("effect"), bdi(effect)), hiddenInput("then", act),
		el("p", class("buttons"), el("button", class(style), text(q.t("orphan."+act))),
			link("/console/not-scheduled", q.t("act.back"))))}, nil
}

// adoptIntentAndApplyConfirmedAct schedules the hold without a time: it waits for a
// request. The operator may have made one already.
func (pages *notScheduledPages) adoptIntentAndApplyConfirmedAct(q *request) (pageView, error) {
	f, ok, err := pages.readOrphanFinding(q)
	if err != nil {
		return pageView{}, err
	}
	if !ok {
		return pages.adoptedOrNotFoundPage(q)
	}
	req := hold.ScheduleRequest{PaymentIntent: f.PaymentIntent, Account: f.Account,
		Reference: f.Reference, OnExpiry: hold.PolicyAlert.String()}
	for _, r := range pages.o.Scheduler.Schedule(q.ctx(), []hold.ScheduleRequest{req},
		q.visitor.name) {
		if r.Err != nil {
			return pageView{}, r.Err
		}
		if err := pages.captureOrCancelAdopted(q, &f, r.Hold.Revision); err != nil {
			return pageView{}, err
		}
	}
	return pageView{redirect: holdPagePath(f.PaymentIntent) + "?done=" + parseOrphanAct(q)}, nil
}

// captureOrCancelAdopted requests what the operator has confirmed for the
// amount that the page named.
func (pages *notScheduledPages) captureOrCancelAdopted(
	q *request, f *reconcile.Finding, revision uint64,
) (err error) {
	switch parseOrphanAct(q) {
	case "capture":
		_, _, err = pages.o.Changer.RequestCapture(q.ctx(), f.PaymentIntent,
			hold.CaptureRequest{Amount: f.Amount}, revision, q.visitor.name)
	case "cancel":
		_, _, err = pages.o.Changer.RequestCancel(q.ctx(), f.PaymentIntent, "", revision, q.visitor.name)
	}
	return err
}

func (pages *notScheduledPages) startReconcile(q *request) (pageView, error) {
	_, _, err := pages.o.Reconciler.StartRun(q.ctx(), false, nil, q.visitor.name)
	return pageView{redirect: "/console/not-scheduled?done=reconcile"}, err
}
