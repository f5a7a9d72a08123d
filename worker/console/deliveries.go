package console

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"

	"go.uber.org/zap"
)

// deadLettersShown bounds the dead letters of each sink on the page.
const deadLettersShown = 50

// deliveryPages show the sinks of events, and replay their dead letters.
type deliveryPages struct{ o *Options }

func (pages *deliveryPages) deliveriesPage(q *request) (pageView, error) {
	sinks, err := pages.o.Deliveries.ListSinkStatuses(q.ctx())
	if err != nil {
		return pageView{}, err
	}
	body := group{el("p", text(q.t("deliveries.intro")))}
	if len(sinks) == 0 {
		body = append(body, el("p", class("empty"), text(q.t("deliveries.none"))))
	}
	for i := range sinks {
		section, err := pages.sinkSection(q, &sinks[i])
		if err != nil {
			return pageView{}, err
		}
		body = append(body, section)
	}
	return pageView{title: q.t("nav.deliveries"), tab: "deliveries", body: body, live: true}, nil
}

func (pages *deliveryPages) sinkSection(q *request, s *event.SinkStatus) (node, error) {
	out := el("section", el("h2", text(s.Sink), text(" "), sinkStateBadge(q, s)),
		sinkDetailsList(q, s))
	if s.DeadLetters == 0 {
		return out, nil
	}
	list, _, err := pages.o.Deliveries.ListDeadLetters(q.ctx(), s.Sink, deadLettersShown)
	if err != nil {
		return nil, err
	}
	body := el("tbody")
	for _, d := range list {
		var e event.Envelope
		_ = json.Unmarshal(d.Event, &e) // an unreadable event is listed by its payload
		subject := node(text("–"))
		if id := e.Data.Hold.ID; id != "" {
			subject = link(holdPagePath(id), id)
		}
		tableRow(
			text(string(e.Type)),
			subject,
			q.renderTime(e.Timestamp),
			bdi(replaceControlChars(d.Reason)),
			el("details", el("summary", text(q.t("deliveries.payload"))),
				el("pre", text(replaceControlChars(string(d.Event))))),
		).AddTo(
			body,
		)
	}
	el("div", class("scroll"), a("tabindex", "0"), a("role", "region"), a("aria-label", s.Sink),
		el("table", tableHead(q.t("col.event"), q.t("col.hold"), q.t("col.time"), q.t("col.reason"),
			q.t("col.payload")), body)).AddTo(out)
	if q.visitor.mayOperate {
		el("p", class("acts"), link("/console/deliveries/"+url.PathEscape(s.Sink),
			q.tCount("deliveries.replay", int64(s.DeadLetters), s.DeadLetters))).AddTo(out)
	}
	return out, nil
}

func sinkStateBadge(q *request, s *event.SinkStatus) node {
	switch {
	case s.Disabled:
		return el("span", class("state attention"), text(q.t("sink.disabled")))
	case !s.Failing.IsZero():
		return el("span", class("state attention"), text(q.t("sink.failing")))
	case !s.Oldest.IsZero():
		return el("span", class("state ready"), text(q.t("sink.pending")))
	}
	return el("span", class("state captured"), text(q.t("sink.ok")))
}

func sinkDetailsList(q *request, s *event.SinkStatus) node {
	dl := el("dl")
	add := func(key string, value node) {
		el("div", el("dt", text(q.t("sink."+key))), el("dd", value)).AddTo(dl)
	}
	if !s.Failing.IsZero() {
		add("since", q.renderTime(s.Failing))
		add("reason", bdi(replaceControlChars(s.Reason)))
	}
	if !s.Oldest.IsZero() {
		add("oldest", q.renderTime(s.Oldest))
	}
	add("parked", text(q.t("number", s.Parked)))
	add("dead", text(q.t("number", s.DeadLetters)))
	if s.EventsLost > 0 {
		add("lost", text(q.t("number", s.EventsLost)))
	}
	return dl
}

// replayConfirmationPage confirms that the dead letters of a sink are delivered
// again.
func (pages *deliveryPages) replayConfirmationPage(q *request) (pageView, error) {
	sink := q.r.PathValue("sink")
	if !pages.o.Deliveries.HasSink(sink) {
		return notFoundPage(q)
	}
	if !q.visitor.mayOperate {
		return q.messagePage(http.StatusForbidden, q.t("error.role.title"),
			q.t("error.role.detail", q.visitor.name)), nil
	}
	_, total, err := pages.o.Deliveries.ListDeadLetters(q.ctx(), sink, 1)
	return pageView{title: q.tCount("deliveries.replay", total, total), tab: "deliveries",
		body: el("form", class("card"), a("method", "post"),
			a("action", "/console/deliveries/"+url.PathEscape(sink)), a("data-once", ""),
			el("p", class("effect"), text(q.tCount("deliveries.effect", total, total, sink))),
			el("p", class("buttons"), el("button", class("primary"),
				text(q.t("deliveries.confirm"))), link("/console/deliveries", q.t("act.back"))))}, err
}

func (pages *deliveryPages) requeueConfirmedDeadLetters(q *request) (pageView, error) {
	sink := q.r.PathValue("sink")
	if !pages.o.Deliveries.HasSink(sink) {
		return notFoundPage(q)
	}
	n, err := pages.o.Deliveries.RequeueDeadLetters(q.ctx(), sink, nil)
	if err == nil {
		pages.o.Logger.Info("dead letters replayed", zap.String("event", "dead_letters.replayed"),
			zap.String("sink", sink), zap.Int64("events", n), zap.String("by", q.visitor.name))
		pages.o.RecordAct(q.ctx(), hold.AuditLogEntry{By: q.visitor.name,
			Act: hold.ActDeadLettersReplayed, Detail: fmt.Sprintf("%d of %s", n, sink)})
	}
	return pageView{redirect: "/console/deliveries?done=replay"}, err
}
