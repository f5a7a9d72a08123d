package console

import (
	"fmt"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/query"
)

// planSpans are the lengths of a plan.
var planSpans = []struct {
	name string
	span time.Duration
}{{"24h", 24 * time.Hour}, {"7d", 7 * 24 * time.Hour}}

func (pages *overviewPages) planPage(q *request) (pageView, error) {
	span := planSpans[0]
	tabs := el("nav", class("tabs"), a("aria-label", q.t("plan.spans")))
	for _, s := range planSpans {
		if s.name == q.r.FormValue("next") {
			span = s
		}
	}
	for _, s := range planSpans {
		item := link("/console/plan?next="+s.name, q.t("plan."+s.name))
		if s.name == span.name {
			a("aria-current", "page").AddTo(item)
		}
		item.AddTo(tabs)
	}
	plan, err := pages.o.Planner.ForecastPlan(q.ctx(), span.span)
	if err != nil {
		return pageView{}, err
	}
	body := group{tabs}
	if plan.Truncated {
		body = append(body, el("p", class("note warn"), text(q.t("plan.truncated"))))
	}
	if len(plan.Hours) == 0 {
		body = append(body, el("p", class("empty"), text(q.t("plan.empty"))))
	} else {
		body = append(body, planTable(q, &plan))
	}
	body = append(body, el("h2", text(q.t("plan.at_risk"))))
	if len(plan.AtRisk) == 0 {
		body = append(body, el("p", class("empty"), text(q.t("plan.no_risk"))))
	} else {
		body = append(body, atRiskTable(q, &plan))
	}
	return pageView{title: q.t("nav.plan"), tab: "plan", body: body, live: true}, nil
}

// planTable shows what each hour captures and releases. The bars repeat the
// numbers.
func planTable(q *request, p *query.Plan) node {
	most := 1
	for _, h := range p.Hours {
		most = max(most, sumHoldCounts(h.Capture)+sumHoldCounts(h.Cancel))
	}
	body := el("tbody")
	for _, h := range p.Hours {
		tableRow(q.renderTime(h.Start), bar(sumHoldCounts(h.Capture), sumHoldCounts(h.Cancel), most),
			text(formatCountAndSumsOrDash(q, h.Capture)), text(formatCountAndSumsOrDash(q, h.Cancel))).AddTo(body)
	}
	return el("div", class("scroll"), a("tabindex", "0"), a("role", "region"),
		a("aria-label", q.t("nav.plan")), el("table", class("plan"),
			tableHead(q.t("col.hour"), q.t("col.holds"), q.t("col.capture"), q.t("col.release")), body))
}

// bar draws two numbers of holds as a share of most.
func bar(captured, released, most int) node {
	const width = 200
	first := captured * width / most
	return el("svg", a("viewBox", "0 0 200 12"), a("aria-hidden", "true"), class("bar"),
		el("rect", class("capture"), a("width", fmt.Sprint(first)), a("height", "12")),
		el("rect", class("release"), a("x", fmt.Sprint(first)),
			a("width", fmt.Sprint(released*width/most)), a("height", "12")))
}

func atRiskTable(q *request, p *query.Plan) node {
	body := el("tbody")
	for i := range p.AtRisk {
		h := &p.AtRisk[i].Hold
		tr := tableRow(holdLink(q, h), text(hold.FormatAmount(h.Amount, h.Currency)),
			text(p.AtRisk[i].Reason), q.renderExpiry(h, p.From))
		a("data-hold", holdPagePath(h.ID)).AddTo(tr)
		tr.AddTo(body)
	}
	return el("div", class("scroll"), a("tabindex", "0"), a("role", "region"),
		a("aria-label", q.t("plan.at_risk")), el("table", tableHead(q.t("col.booking"),
			q.t("col.amount"), q.t("col.reason"), q.t("col.expires")), body))
}

// formatCountAndSumsOrDash writes holds and their totals, or a dash.
func formatCountAndSumsOrDash(q *request, sums []hold.Sum) string {
	if sumHoldCounts(sums) == 0 {
		return "–"
	}
	return q.formatCountAndSums(sums)
}
