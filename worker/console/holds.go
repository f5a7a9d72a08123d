package console

import (
	"net/url"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/query"
)

const (
	expiringWithin = 72 * time.Hour
	holdsPerPage   = 50
)

// holdTabs are the lists of holds.
var holdTabs = []struct {
	name  string
	query query.HoldQuery
}{
	{"uncaptured", query.HoldQuery{Group: query.GroupOpen}},
	{"due", query.HoldQuery{Group: query.GroupDue}},
	{"expiring", query.HoldQuery{Group: query.GroupOpen, ExpiringWithin: expiringWithin}},
	{"attention", query.HoldQuery{State: hold.Attention}},
	{"cardholder", query.HoldQuery{Group: query.GroupOpen, RequiresAction: true}},
	{"settled", query.HoldQuery{Group: query.GroupSettled}},
}

// holdListQuery is what a list of holds shows.
type holdListQuery struct {
	tab, search, sort string
	query             query.HoldQuery
}

// parseHoldListQuery reads the address of a list. A search for an id leads to the
// hold's page instead.
func parseHoldListQuery(form url.Values) (l holdListQuery, holdID string) {
	l = holdListQuery{tab: holdTabs[0].name, query: holdTabs[0].query,
		search: strings.TrimSpace(form.Get("q"))}
	for _, t := range holdTabs {
		if t.name == form.Get("tab") {
			l.tab, l.query = t.name, t.query
		}
	}
	l.query.Limit, l.query.Cursor = holdsPerPage, form.Get("cursor")
	switch {
	case hold.CheckPaymentIntentID(l.search) == nil:
		return l, l.search
	case strings.HasPrefix(l.search, "acct_"):
		l.query.Account = l.search
	case l.search != "":
		l.query.Reference = l.search
	}
	if form.Get("sort") == "reference" {
		l.sort, l.query.ByReference = "reference", true
	}
	return l, ""
}

// urlWithChanges returns the address of the list, with changes.
func (l *holdListQuery) urlWithChanges(changes ...string) string {
	v := url.Values{"tab": {l.tab}}
	if l.search != "" {
		v.Set("q", l.search)
	}
	if l.sort != "" {
		v.Set("sort", l.sort)
	}
	for i := 0; i+1 < len(changes); i += 2 {
		if v.Del(changes[i]); changes[i+1] != "" {
			v.Set(changes[i], changes[i+1])
		}
	}
	return "/console/holds?" + v.Encode()
}

// holdPages list holds, show one, and act on it.
type holdPages struct{ o *Options }

func (pages *holdPages) holdsPage(q *request) (pageView, error) {
	l, id := parseHoldListQuery(q.r.Form)
	if id != "" {
		return pageView{redirect: holdPagePath(id)}, nil
	}
	page, err := pages.o.Reader.List(q.ctx(), l.query)
	if err != nil {
		return pageView{}, err
	}
	totals, err := pages.o.Reader.SumTotals(q.ctx(), l.query)
	if err != nil {
		return pageView{}, err
	}
	body := group{holdTabLinks(q, &l), searchForm(q, &l), totalsLine(q, &totals)}
	if len(page.Holds) > 0 {
		body = append(body, wrapInBulkForm(q, &l, &totals, holdTable(q, &l, page.Holds, page.Now)))
	} else if page.Next == "" {
		body = append(body, el("p", class("empty"), text(q.t("holds.empty."+l.emptyListTextKey()))))
	}
	body = append(body, pagerLinks(q, &l, &page))
	return pageView{title: q.t("nav.holds"), tab: "holds", body: body, live: true}, nil
}

// wrapInBulkForm puts the acts on many holds around the table of open ones.
func wrapInBulkForm(q *request, l *holdListQuery, totals *query.HoldTotals, table node) node {
	if l.tab == "settled" || !q.visitor.mayOperate {
		return table
	}
	count := q.formatHoldCount(totals.Holds)
	if totals.AtLeast {
		count = q.t("totals.at_least", count)
	}
	return el("form", a("id", "bulk"), hiddenInput("tab", l.tab), hiddenInput("q", l.search),
		hiddenInput("sort", l.sort), table, bulkButtons(q, count))
}

func (l *holdListQuery) emptyListTextKey() string {
	if l.search != "" {
		return "search"
	}
	return l.tab
}

func holdTabLinks(q *request, l *holdListQuery) node {
	nav := el("nav", class("tabs"), a("aria-label", q.t("holds.tabs")))
	for _, t := range holdTabs {
		item := link(l.urlWithChanges("tab", t.name), q.t("tab."+t.name))
		if t.name == l.tab {
			a("aria-current", "page").AddTo(item)
		}
		item.AddTo(nav)
	}
	return nav
}

func searchForm(q *request, l *holdListQuery) node {
	sort := link(l.urlWithChanges("sort", "reference"), q.t("sort.reference"))
	if l.sort != "" {
		sort = link(l.urlWithChanges("sort", ""), q.t("sort.default."+l.tab))
	}
	return el("form", class("search"), a("role", "search"), a("action", "/console/holds"),
		hiddenInput("tab", l.tab),
		el("input", a("type", "search"), a("name", "q"), a("id", "search"), a("value", l.search),
			a("aria-label", q.t("search.label")), a("placeholder", q.t("search.hint")),
			a("maxlength", "200"), a("spellcheck", "false")),
		el("button", text(q.t("search.submit"))), sort)
}

func totalsLine(q *request, t *query.HoldTotals) node {
	s := q.formatCountAndSums(t.Sums)
	if t.AtLeast {
		s = q.t("totals.at_least", s)
	}
	if len(t.Unprotected) > 0 {
		s += " · " + q.t("totals.unprotected", q.formatSums(t.Unprotected))
	}
	return el("p", class("totals"), text(s))
}

func holdTable(q *request, l *holdListQuery, holds []hold.Hold, now time.Time) node {
	next := q.t("col.next")
	if l.tab == "settled" {
		next = q.t("col.settled")
	}
	body := el("tbody")
	for i := range holds {
		h := &holds[i]
		name := holdLink(q, h)
		if l.tab != "settled" && q.visitor.mayOperate {
			name = group{el("input", a("type", "checkbox"), a("name", "id"), a("value", h.ID),
				a("aria-label", q.t("bulk.tick", holdDisplayName(h)))), name}
		}
		tr := tableRow(name, el("span", class("num"), q.renderHoldAmount(h)), q.renderState(h, now),
			q.renderNextAction(h), q.renderExpiry(h, now))
		a("data-hold", holdPagePath(h.ID)).AddTo(tr)
		tr.AddTo(body)
	}
	return el("div", class("scroll"), a("tabindex", "0"), a("role", "region"),
		a("aria-label", q.t("tab."+l.tab)), el("table", class("holds"),
			tableHead(q.t("col.booking"), q.t("col.amount"), q.t("col.state"), next,
				q.t("col.expires")), body))
}

// holdLink names a hold by its reference and its id.
func holdLink(q *request, h *hold.Hold) node {
	out := group{el("a", a("href", holdPagePath(h.ID)), bdi(holdDisplayName(h)))}
	if h.Reference != "" {
		out = append(out, text(" "), el("small", text(h.ID)))
	}
	if h.Account != "" {
		out = append(out, text(" "), el("small", text(h.Account)))
	}
	return out
}

func pagerLinks(q *request, l *holdListQuery, page *query.HoldPage) node {
	nav := el("nav", class("pager"), a("aria-label", q.t("pager.label")))
	if l.query.Cursor != "" {
		link(l.urlWithChanges(), q.t("pager.first")).AddTo(nav)
	}
	if page.Next != "" {
		link(l.urlWithChanges("cursor", page.Next), q.t("pager.next")).AddTo(nav)
	}
	if len(nav.Children) == 0 {
		return group{}
	}
	return nav
}
