package console

import (
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/query"
)

const (
	// maxSettledPages bounds how many settled holds count as of today.
	maxSettledPages = 10
	attentionShown  = 8
)

// overviewPages show what was done and what will be.
type overviewPages struct{ o *Options }

func (pages *overviewPages) todayPage(q *request) (pageView, error) {
	plan, err := pages.o.Planner.ForecastPlan(q.ctx(), timeUntilMidnight(q))
	if err != nil {
		return pageView{}, err
	}
	settled, err := pages.readSettledToday(q)
	if err != nil {
		return pageView{}, err
	}
	attention, err := pages.o.Reader.List(q.ctx(), query.HoldQuery{State: hold.Attention,
		Limit: attentionShown})
	if err != nil {
		return pageView{}, err
	}
	var capture, cancel []hold.Sum
	for _, h := range plan.Hours {
		capture, cancel = mergeSums(capture, h.Capture), mergeSums(cancel, h.Cancel)
	}
	var risk []hold.Sum
	for i := range plan.AtRisk {
		h := &plan.AtRisk[i].Hold
		risk = hold.AddToCurrencySums(risk, h.Currency, h.Amount)
	}
	oldest, err := pages.oldestDueCard(q)
	if err != nil {
		return pageView{}, err
	}
	body := group{pages.healthSentence(q), el("div", class("cards"), oldest,
		sumCard(q, "today.captured", "/console/holds?tab=settled", settled.captured),
		sumCard(q, "today.released", "/console/holds?tab=settled", settled.released),
		sumCard(q, "today.to_capture", "/console/plan", capture),
		sumCard(q, "today.to_release", "/console/plan", cancel),
		sumCard(q, "today.at_risk", "/console/plan", risk))}
	if settled.atLeast {
		body = append(body, el("p", class("soft"), text(q.t("today.at_least"))))
	}
	body = append(body, el("h2", text(q.t("today.attention"))))
	if len(attention.Holds) == 0 {
		body = append(body, el("p", class("empty"), text(q.t("holds.empty.attention"))))
	} else {
		l := holdListQuery{tab: "attention"}
		body = append(body, holdTable(q, &l, attention.Holds, attention.Now),
			el("p", link("/console/holds?tab=attention", q.t("today.all_attention"))))
	}
	if len(settled.newest) > 0 {
		l := holdListQuery{tab: "settled"}
		body = append(body, el("h2", text(q.t("today.newest"))),
			holdTable(q, &l, settled.newest, settled.now))
	}
	return pageView{title: q.now.In(q.zone).Format(q.t("today.title")), tab: "today", body: body,
		live: true}, nil
}

// oldestDueCard says for how long a hold has been due that no replica has
// claimed. If it rises, holdd is late, whatever the reason.
func (pages *overviewPages) oldestDueCard(q *request) (node, error) {
	age, err := pages.o.Store.ReadOldestDueAge(q.ctx())
	if err != nil {
		return nil, wrapAsUnavailable(err)
	}
	return el("a", class("tile"), a("href", "/console/health"),
		el("span", text(q.t("today.oldest_due"))), el("b", text(q.formatDuration(age)))), nil
}

// timeUntilMidnight returns the rest of the day in the property's zone.
func timeUntilMidnight(q *request) time.Duration {
	y, m, d := q.now.In(q.zone).Date()
	return max(time.Date(y, m, d+1, 0, 0, 0, 0, q.zone).Sub(q.now), time.Minute)
}

func sumCard(q *request, key, href string, sums []hold.Sum) node {
	c := el("a", class("tile"), a("href", href), el("span", text(q.t(key))),
		el("b", text(q.t("number", sumHoldCounts(sums)))))
	if sumHoldCounts(sums) > 0 {
		el("small", text(q.formatSums(sums))).AddTo(c)
	}
	return c
}

// settledToday are the holds that were settled today.
type settledToday struct {
	captured, released []hold.Sum
	newest             []hold.Hold
	now                time.Time
	atLeast            bool // there are more than were read
}

func (pages *overviewPages) readSettledToday(q *request) (s settledToday, err error) {
	y, m, d := q.now.In(q.zone).Date()
	midnight := time.Date(y, m, d, 0, 0, 0, 0, q.zone)
	list := query.HoldQuery{Group: query.GroupSettled, Limit: 200}
	for range maxSettledPages {
		page, err := pages.o.Reader.List(q.ctx(), list)
		if err != nil {
			return s, err
		}
		s.now = page.Now
		for i := range page.Holds {
			h := &page.Holds[i]
			if h.SettledAt.Before(midnight) {
				return s, nil
			}
			if len(s.newest) < attentionShown {
				s.newest = append(s.newest, *h)
			}
			if h.State == hold.Captured {
				s.captured = hold.AddToCurrencySums(s.captured, h.Currency, h.CapturedAmount)
			} else {
				s.released = hold.AddToCurrencySums(s.released, h.Currency, h.Amount)
			}
		}
		if list.Cursor = page.Next; list.Cursor == "" {
			return s, nil
		}
	}
	s.atLeast = true
	return s, nil
}

// mergeSums adds sums to sums, currency by currency.
func mergeSums(all, more []hold.Sum) []hold.Sum {
	for _, m := range more {
		found := false
		for i := range all {
			if all[i].Currency == m.Currency {
				all[i].Count += m.Count
				all[i].Amount += m.Amount
				found = true
			}
		}
		if !found {
			all = append(all, m)
		}
	}
	return all
}

// healthSentence is one sentence about the system.
func (pages *overviewPages) healthSentence(q *request) node {
	for _, check := range pages.o.Readiness.Check(q.ctx()) {
		if !check.OK {
			return el("p", class("note warn"), a("role", "status"),
				text(q.t("health.bad", check.Name)+" "), link("/console/health", q.t("health.more")))
		}
	}
	return el("p", class("note good"), text(q.t("health.good")))
}
