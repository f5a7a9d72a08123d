package console

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"

	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

const (
	maxBulkHolds  = 1000 // that one act may change
	maxBulkPages  = 40   // of a list that are read for them
	bulkPageSize  = 200
	bulkWorkers   = 8
	shownOfBulk   = 10 // holds that the confirmation names
	shownRefusals = 50
)

// bulkAct is something that an operator does to many holds at once.
type bulkAct struct {
	name, style string
	accepts     func(h *hold.Hold) bool
	amount      func(h *hold.Hold) int64 // that the act is about
	do          func(ctx context.Context, c HoldChanger, h *hold.Hold, by string) error
}

// bulkActs are in the order of their buttons.
var bulkActs = []bulkAct{
	{name: captureAct.name, style: captureAct.style, accepts: captureAct.accepts,
		amount: amountToCapture,
		do: func(ctx context.Context, c HoldChanger, h *hold.Hold, by string) error {
			_, _, err := c.RequestCapture(ctx, h.ID, newBulkCaptureRequest(h), h.Revision, by)
			return err
		}},
	{name: cancelAct.name, style: cancelAct.style, accepts: cancelAct.accepts,
		amount: func(h *hold.Hold) int64 { return h.Amount },
		do: func(ctx context.Context, c HoldChanger, h *hold.Hold, by string) error {
			_, _, err := c.RequestCancel(ctx, h.ID, "", h.Revision, by)
			return err
		}},
	{name: acknowledgeAct.name, accepts: acknowledgeAct.accepts,
		amount: func(h *hold.Hold) int64 { return h.Amount },
		do: func(ctx context.Context, c HoldChanger, h *hold.Hold, by string) error {
			_, _, err := c.AcknowledgeWarnings(ctx, h.ID, h.Revision, by)
			return err
		}},
}

// newBulkCaptureRequest returns the request for the amount that the confirmation sums.
func newBulkCaptureRequest(h *hold.Hold) hold.CaptureRequest {
	amount := amountToCapture(h)
	if amount == 0 {
		return hold.CaptureRequest{} // the total of the terms is reached
	}
	return hold.NewFinalCaptureRequest(h, amount)
}

func findBulkAct(name string) (bulkAct, bool) {
	for _, x := range bulkActs {
		if x.name == name {
			return x, true
		}
	}
	return bulkAct{}, false
}

// bulkButtons offer the acts on the ticked holds, and on all that match.
func bulkButtons(q *request, holds string) node {
	if !q.visitor.mayOperate {
		return group{}
	}
	buttons := func(label string, parts ...part) node {
		p := el("p", class("buttons"), el("span", class("soft"), text(label)))
		for _, x := range bulkActs {
			b := el("button", a("formaction", "/console/bulk/"+x.name), text(q.t("act."+x.name)))
			for _, extra := range parts {
				extra.AddTo(b)
			}
			b.AddTo(p)
		}
		return p
	}
	return group{buttons(q.t("bulk.ticked")),
		buttons(q.t("bulk.all", holds), a("name", "all"), a("value", "true"))}
}

// bulkPages act on many holds of a list.
type bulkPages struct{ o *Options }

// bulkSelection is the holds that a bulk act changes.
type bulkSelection struct {
	holds   []hold.Hold // that the act accepts
	sums    []hold.Sum  // by currency
	refused int         // holds that the act does not accept now
	tooMany bool
}

// fingerprint changes with the holds, their order, and each of their revisions.
func (s *bulkSelection) fingerprint() string {
	sum := sha256.New()
	for i := range s.holds {
		fmt.Fprintf(sum, "%s %d\n", s.holds[i].ID, s.holds[i].Revision)
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// readSelectedHolds reads the ticked holds, or all holds of the list.
func (pages *bulkPages) readSelectedHolds(q *request, x bulkAct) (s bulkSelection, err error) {
	add := func(h *hold.Hold) {
		if !x.accepts(h) {
			s.refused++
			return
		}
		s.holds = append(s.holds, *h)
		s.sums = hold.AddToCurrencySums(s.sums, h.Currency, x.amount(h))
	}
	if q.r.Form.Get("all") == "" {
		ids := q.r.Form["id"]
		if len(ids) > bulkPageSize {
			return bulkSelection{tooMany: true}, nil
		}
		for _, id := range ids {
			h, _, err := pages.o.Reader.Get(q.ctx(), id)
			if err != nil {
				return s, err
			}
			add(&h)
		}
		return s, nil
	}
	l, _ := parseHoldListQuery(q.r.Form)
	l.query.Limit, l.query.Cursor = bulkPageSize, ""
	for range maxBulkPages {
		page, err := pages.o.Reader.List(q.ctx(), l.query)
		if err != nil {
			return s, err
		}
		for i := range page.Holds {
			add(&page.Holds[i])
		}
		if l.query.Cursor = page.Next; page.Next == "" || len(s.holds) > maxBulkHolds {
			break
		}
	}
	s.tooMany = l.query.Cursor != "" || len(s.holds) > maxBulkHolds
	return s, nil
}

// bulkConfirmationPage names how many holds an act changes, and their sums.
func (pages *bulkPages) bulkConfirmationPage(q *request) (pageView, error) {
	x, ok := findBulkAct(q.r.PathValue("act"))
	if !ok {
		return notFoundPage(q)
	}
	if !q.visitor.mayOperate {
		return q.messagePage(http.StatusForbidden, q.t("error.role.title"),
			q.t("error.role.detail", q.visitor.name)), nil
	}
	s, err := pages.readSelectedHolds(q, x)
	if err != nil {
		return pageView{}, err
	}
	return bulkConfirmationView(q, x, &s), nil
}

func bulkConfirmationView(q *request, x bulkAct, s *bulkSelection) pageView {
	v := pageView{title: q.t("bulk.title." + x.name), tab: "holds"}
	back := el("p", link(listURLBeforeBulkAct(q.r.Form), q.t("act.back")))
	problem := ""
	switch {
	case s.tooMany:
		problem = q.t("bulk.too_many", maxBulkHolds)
	case len(s.holds) == 0 && s.refused > 0:
		problem = q.t("bulk.none_accepts")
	case len(s.holds) == 0:
		problem = q.t("bulk.none")
	}
	if problem != "" {
		v.status = http.StatusUnprocessableEntity
		v.body = group{el("p", class("note warn"), a("role", "alert"), text(problem)), back}
		return v
	}
	form := el("form", class("card"), a("method", "post"), a("action", "/console/bulk/"+x.name),
		a("data-once", ""), el("p", class("lead"), el("b", text(q.formatCountAndSums(s.sums)))),
		el("p", class("effect"), text(q.t("bulk.effect."+x.name))), renderFirstSelectedHolds(q, x, s))
	if s.refused > 0 {
		el("p", class("note"), text(q.t("bulk.left_out", q.formatHoldCount(s.refused)))).AddTo(form)
	}
	for _, key := range []string{"tab", "q", "sort", "all", "id"} {
		for _, value := range q.r.Form[key] {
			hiddenInput(key, value).AddTo(form)
		}
	}
	hiddenInput("fingerprint", s.fingerprint()).AddTo(form)
	el("p", class("buttons"), el("button", class("primary "+x.style),
		text(q.t("bulk.confirm."+x.name, q.formatHoldCount(len(s.holds))))),
		link(listURLBeforeBulkAct(q.r.Form), q.t("act.back"))).AddTo(form)
	v.body = form
	return v
}

// renderFirstSelectedHolds names the first holds.
func renderFirstSelectedHolds(q *request, x bulkAct, s *bulkSelection) node {
	ul := el("ul", class("plain"))
	for i := range s.holds[:min(shownOfBulk, len(s.holds))] {
		h := &s.holds[i]
		el("li", bdi(holdDisplayName(h)), text(" "+hold.FormatAmount(x.amount(h),
			h.Currency)+" "),
			el("small", text(h.ID))).AddTo(ul)
	}
	if more := len(s.holds) - shownOfBulk; more > 0 {
		el("li", class("soft"), text(q.t("bulk.more", more))).AddTo(ul)
	}
	return ul
}

// listURLBeforeBulkAct returns the list that the act began at.
func listURLBeforeBulkAct(form url.Values) string {
	l, _ := parseHoldListQuery(form)
	return l.urlWithChanges()
}

// bulkActResult is what became of one hold.
type bulkActResult struct {
	hold *hold.Hold
	err  error
}

// applyConfirmedBulkAct does what a visitor has confirmed, if the holds are
// still those that the confirmation counted.
func (pages *bulkPages) applyConfirmedBulkAct(q *request) (pageView, error) {
	x, ok := findBulkAct(q.r.PathValue("act"))
	if !ok {
		return notFoundPage(q)
	}
	s, err := pages.readSelectedHolds(q, x)
	if err != nil {
		return pageView{}, err
	}
	if s.tooMany || len(s.holds) == 0 || s.fingerprint() != q.r.PostFormValue("fingerprint") {
		v := bulkConfirmationView(q, x, &s)
		v.status, v.title = http.StatusPreconditionFailed, q.t("error.faster.title")
		v.body = group{el("p", class("note warn"), a("role", "alert"),
			text(q.t("bulk.changed"))), v.body}
		return v, nil
	}
	outcomes := pages.applyBulkActToEachHold(q.ctx(), x, s.holds, q.visitor.name)
	refused := 0
	for _, o := range outcomes {
		if o.err != nil {
			refused++
		}
	}
	pages.o.RecordAct(q.ctx(), hold.AuditLogEntry{By: q.visitor.name, Act: hold.ActBulk, Op: x.name,
		Detail: fmt.Sprintf("%s, %d refused", hold.FormatCount(len(outcomes), "hold", "holds"),
			refused)})
	return bulkResultPage(q, x, outcomes), nil
}

// applyBulkActToEachHold does an act to each hold, at the revision that was
// confirmed.
func (pages *bulkPages) applyBulkActToEachHold(
	ctx context.Context, x bulkAct, holds []hold.Hold, by string,
) []bulkActResult {
	outcomes := make([]bulkActResult, len(holds))
	next := make(chan int, len(holds))
	for i := range holds {
		outcomes[i].hold = &holds[i]
		next <- i
	}
	close(next)
	var workers sync.WaitGroup
	for range min(bulkWorkers, len(holds)) {
		workers.Go(func() {
			for i := range next {
				if outcomes[i].err = ctx.Err(); outcomes[i].err == nil {
					outcomes[i].err = x.do(ctx, pages.o.Changer, &holds[i], by)
				}
			}
		})
	}
	workers.Wait()
	return outcomes
}

// bulkResultPage says how many requests were accepted, and lists the others.
func bulkResultPage(q *request, x bulkAct, outcomes []bulkActResult) pageView {
	var accepted []hold.Sum
	failed := 0
	body := el("tbody")
	for _, o := range outcomes {
		if o.err == nil {
			accepted = hold.AddToCurrencySums(accepted, o.hold.Currency, x.amount(o.hold))
			continue
		}
		if failed++; failed <= shownRefusals {
			tableRow(holdLink(q, o.hold), text(describeBulkRefusal(q, o.err))).AddTo(body)
		}
	}
	style, role := "note good", "status"
	if failed > 0 {
		style, role = "note warn", "alert"
	}
	out := group{el("p", class(style), a("role", role),
		text(q.t("bulk.done."+x.name, q.formatCountAndSums(accepted))))}
	if failed > 0 {
		out = append(out, el("h2", text(q.t("bulk.failed", q.formatHoldCount(failed)))),
			el("table", tableHead(q.t("col.booking"), q.t("col.reason")), body))
	}
	out = append(out, el("p", link(listURLBeforeBulkAct(q.r.Form), q.t("bulk.back"))))
	return pageView{title: q.t("bulk.title." + x.name), tab: "holds", body: out}
}

// describeBulkRefusal says why a hold was not changed, or that nobody knows.
func describeBulkRefusal(q *request, err error) string {
	var p *hold.Problem
	switch {
	case errors.As(err, &p):
		return p.Detail
	case errors.Is(err, health.ErrUnavailable), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, context.Canceled):
		return q.t("bulk.unknown")
	}
	return q.t("error.internal.title")
}
