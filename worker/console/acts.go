package console

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// act is something that an operator does to a hold. Its first page asks for
// what it needs, its second names the effect, and only a POST from there acts.
type act struct {
	name, style string
	accepts     func(h *hold.Hold) bool
	// form asks for what the act needs. Nil: nothing.
	form func(q *request, h *hold.Hold) node
	// effect says what the act does with what the form has sent. It returns the
	// fields that the confirmation sends again. ready is false before the form
	// was sent.
	effect func(q *request, h *hold.Hold) (effect node, fields []attr, ready bool, err error)
	do     func(ctx context.Context, c HoldChanger, q *request, h *hold.Hold, revision uint64) error
	// isRequested reports whether h waits for what the form asks for. Nil: the
	// form asks for nothing beside the act.
	isRequested func(q *request, h *hold.Hold, now time.Time) bool
	// result is the page after the act. Nil: the page of the hold.
	result func(pages *holdPages, q *request, h *hold.Hold) (pageView, error)
}

func acceptsActs(h *hold.Hold) bool { return !h.State.IsFinal() && h.State != hold.Working }

// acts are in the order of their buttons.
var acts = []act{captureAct, partAct, cancelAct, incrementAct, linkAct, rescheduleAct, pauseAct,
	resumeAct, acknowledgeAct, forgetAct}

func findAct(name string) (act, bool) {
	for _, x := range acts {
		if x.name == name {
			return x, true
		}
	}
	return act{}, false
}

// actFormOrConfirmationPage shows the form of an act, or the page that confirms
// it.
func (pages *holdPages) actFormOrConfirmationPage(q *request) (pageView, error) {
	x, ok := findAct(q.r.PathValue("act"))
	if !ok {
		return notFoundPage(q)
	}
	if !q.visitor.mayOperate {
		return q.messagePage(http.StatusForbidden, q.t("error.role.title"),
			q.t("error.role.detail", q.visitor.name)), nil
	}
	h, _, err := pages.o.Reader.Get(q.ctx(), q.r.PathValue("id"))
	if err != nil {
		return pageView{}, err
	}
	return actFormOrConfirmationView(q, x, &h, "")
}

// actFormOrConfirmationView shows the form of an act until it was sent, and then what the
// act does. needsConsent is why the act needs a further yes.
func actFormOrConfirmationView(
	q *request,
	x act,
	h *hold.Hold,
	needsConsent string,
) (pageView, error) {
	v := pageView{title: q.t("act." + x.name), tab: "holds"}
	if !x.accepts(h) {
		v.status = http.StatusConflict
		v.title = q.t("error.faster.title")
		v.body = group{el("p", class("note warn"), a("role", "alert"),
			text(q.t("act.not_now", q.t("state."+h.State.String())))),
			el("p", link(holdPagePath(h.ID), q.t("error.back_to_hold")))}
		return v, nil
	}
	subject := el("p", class("lead"), el("b", bdi(holdDisplayName(h))), text(" "),
		q.renderHoldAmount(h), text(" "), el("small", text(h.ID)))
	effect, fields, ready, err := x.effect(q, h)
	var p *hold.Problem
	if err != nil && !errors.As(err, &p) {
		return pageView{}, err
	}
	card := el("div", class("card"), subject)
	switch {
	case p != nil:
		v.status = http.StatusUnprocessableEntity
		el("p", class("note warn"), a("role", "alert"), text(p.Detail+".")).AddTo(card)
		x.form(q, h).AddTo(card)
	case !ready:
		x.form(q, h).AddTo(card)
	default:
		confirmationForm(q, x, h, effect, fields, needsConsent).AddTo(card)
	}
	v.body = card
	return v, nil
}

func confirmationForm(
	q *request, x act, h *hold.Hold, effect node, fields []attr, needsConsent string,
) node {
	form := el("form", a("method", "post"), a("action", actPagePath(h.ID, x.name)),
		a("data-once", ""), el("p", class("effect"), effect))
	if needsConsent != "" {
		el("p", class("note warn"), a("role", "alert"), text(needsConsent+".")).AddTo(form)
		hiddenInput("confirm", "true").AddTo(form)
	}
	hiddenInput("revision", strconv.FormatUint(h.Revision, 10)).AddTo(form)
	hiddenInput("entries", strconv.Itoa(countHistoryEntries(h))).AddTo(form)
	for _, f := range fields {
		hiddenInput(f.Name, f.Value).AddTo(form)
	}
	if x.name == "cancel" {
		cancellationReasonField(q, h).AddTo(form)
	}
	el("p", class("buttons"), el("button", class("primary "+x.style), text(q.t("confirm."+x.name))),
		link(holdPagePath(h.ID), q.t("act.back"))).AddTo(form)
	return form
}

// applyConfirmedAct does what a visitor has confirmed, on the revision that the
// visitor saw.
func (pages *holdPages) applyConfirmedAct(q *request) (pageView, error) {
	x, ok := findAct(q.r.PathValue("act"))
	if !ok {
		return notFoundPage(q)
	}
	revision, err := strconv.ParseUint(q.r.PostFormValue("revision"), 10, 64)
	if err != nil || revision == 0 {
		return q.messagePage(http.StatusBadRequest, q.t("error.form.title"),
			q.t("error.form.detail")), nil
	}
	h, _, err := pages.o.Reader.Get(q.ctx(), q.r.PathValue("id"))
	if err != nil {
		return pageView{}, err
	}
	done := pageView{redirect: holdPagePath(h.ID) + "?done=" + x.name}
	err = x.do(q.ctx(), pages.o.Changer, q, &h, revision)
	var p *hold.Problem
	switch {
	case err == nil && x.result != nil:
		return x.result(pages, q, &h)
	case err == nil:
		return done, nil
	case errors.Is(err, &hold.Problem{Code: hold.RevisionMismatch}):
		h, now, err2 := pages.o.Reader.Get(q.ctx(), h.ID)
		if err2 == nil && isRepeatedSubmit(q, x, &h, revision, now) {
			return done, nil
		}
		return changedMeanwhilePage(q, &h, err), err2
	case errors.As(err, &p) && (p.Code == hold.WouldCancelNow || p.Code == hold.WouldCaptureNow):
		v, err := actFormOrConfirmationView(q, x, &h, p.Detail)
		v.status = http.StatusUnprocessableEntity
		return v, err
	}
	return pageView{}, err
}

// changedMeanwhilePage says that the hold has changed since the visitor saw it.
func changedMeanwhilePage(q *request, h *hold.Hold, err error) pageView {
	v := pageView{title: q.t("error.faster.title"), tab: "holds",
		status: http.StatusPreconditionFailed}
	body := group{el("p", class("note warn"), a("role", "alert"), text(q.t("error.faster.detail")))}
	if n := len(h.History); n > 0 {
		last := h.History[n-1]
		body = append(body, el("p", text(formatHistoryEntryTitle(q, &last)+" "),
			text(q.t("timeline.by", last.By)+" "), q.renderTime(last.At)))
	}
	v.body = append(body, el("p", link(holdPagePath(h.ID), q.t("error.back_to_hold"))))
	return v
}

// parseAmountField returns the amount that the form has sent. ready is false
// before it was sent.
func parseAmountField(q *request, h *hold.Hold) (amount int64, ready bool, err error) {
	given, ready := q.r.Form["amount"]
	if !ready {
		return 0, false, nil
	}
	amount, err = hold.ParseMajor(given[0], h.Currency)
	switch {
	case err != nil:
	case amount <= 0 || amount > hold.MaxCaptureAmount(h):
		err = &hold.Problem{Code: hold.InvalidAmount, Field: "amount",
			Detail: q.t("amount.range", hold.FormatAmount(hold.MaxCaptureAmount(h), h.Currency))}
	}
	return amount, true, err
}
