package console

import (
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

func (pages *holdPages) holdPage(q *request) (pageView, error) {
	h, now, err := pages.o.Reader.Get(q.ctx(), q.r.PathValue("id"))
	if err != nil {
		return pageView{}, err
	}
	body := group{
		el("p", class("lead"), el("b", q.renderHoldAmount(&h)), text(" "), q.renderState(&h, now),
			text(" "), nextStepSentence(q, &h)),
		renderTermsWarnings(q, &h, pages.o.Rules), actLinks(q, &h),
		el("section", a("aria-labelledby", "terms"),
			el("h2", a("id", "terms"), text(q.t("hold.terms"))), pages.termList(q, &h, now)),
		el("section", a("aria-labelledby", "timeline"),
			el("h2", a("id", "timeline"), text(q.t("hold.timeline"))), timelineList(q, &h)),
	}
	return pageView{title: holdDisplayName(&h), tab: "holds", body: body, live: true}, nil
}

// nextStepSentence says what happens next.
func nextStepSentence(q *request, h *hold.Hold) node {
	switch {
	case h.State.IsFinal():
		return group{text(q.t("hold.settled") + " "), q.renderTime(h.SettledAt)}
	case h.State == hold.Working:
		return text(q.t("hold.working"))
	}
	return q.renderNextAction(h)
}

func renderTermsWarnings(q *request, h *hold.Hold, rules hold.DecisionRules) node {
	var g group
	for _, w := range hold.TermsWarnings(h, q.now, rules) {
		g = append(g, el("p", class("note warn"), text(w.Detail)))
	}
	return g
}

// actLinks links to the pages that confirm each act that the hold accepts.
func actLinks(q *request, h *hold.Hold) node {
	if !q.visitor.mayOperate {
		return group{}
	}
	p := el("p", class("acts"))
	for _, act := range acts {
		if act.accepts(h) {
			e := link(actPagePath(h.ID, act.name), q.t("act."+act.name))
			class(act.style).AddTo(e)
			a("data-act", act.name).AddTo(e)
			e.AddTo(p)
		}
	}
	return p
}

// termLine is a line of the terms.
type termLine struct {
	key   string
	value node
}

func (pages *holdPages) termList(q *request, h *hold.Hold, now time.Time) node {
	dl := el("dl")
	list := append(pages.termLines(q, h, now), pages.renewalTermLines(q, h, now)...)
	for _, f := range list {
		el("div", el("dt", text(q.t("term."+f.key))), el("dd", f.value)).AddTo(dl)
	}
	return dl
}

// termLines lists the terms that are set.
func (pages *holdPages) termLines(q *request, h *hold.Hold, now time.Time) []termLine {
	copyable := func(s string) node {
		return el("code", a("data-copy", s), text(s))
	}
	dashboard := el("a", a("href",
		stripeDashboardURL(pages.o.Livemode, h.PaymentIntent, h.Account)),
		a("rel", "noreferrer"), text(q.t("hold.dashboard")))
	f := []termLine{
		{"reference", bdi(replaceControlChars(h.Reference))},
		{"id", copyable(h.ID)},
		{"intent", group{copyable(h.PaymentIntent), text(" "), dashboard}},
		{"account", copyable(h.Account)},
		{"amount", text(hold.FormatAmount(h.Amount, h.Currency))},
		{"capture_amount", text(hold.FormatAmount(h.CaptureAmount, h.Currency))},
		{"captures", plannedCaptureList(q, h)},
		{"captured", text(hold.FormatAmount(hold.CapturedSoFar(h), h.Currency))},
		{"elsewhere", text(hold.FormatAmount(h.CapturedElsewhere, h.Currency))},
		{"capture_at", q.renderTime(h.CaptureAt)},
		{"cancel_at", q.renderTime(h.CancelAt)},
		{"expires", group{q.renderTime(h.ExpiresAt),
			text(" " + q.t("source."+h.ExpiresSource.String()))}},
		{"on_expiry", text(q.t("policy." + h.OnExpiry.String()))},
		{"created", q.renderTime(h.CreatedAt)},
		{"acknowledged", text(q.t("yes"))},
		{"cardholder", cardholderActionText(q, h, now)},
		{"metadata", metadataList(q, h)},
	}
	unset := map[string]bool{"reference": h.Reference == "", "account": h.Account == "",
		"intent": false, "capture_amount": h.CaptureAmount == 0,
		"captures": len(hold.PlannedCaptureStages(h)) == 0,
		"captured": hold.CapturedSoFar(h) == 0, "elsewhere": h.CapturedElsewhere == 0,
		"capture_at": h.CaptureAt.IsZero(), "cancel_at": h.CancelAt.IsZero(),
		"expires": h.State.IsFinal(), "on_expiry": h.State.IsFinal(),
		"acknowledged": !h.Acknowledged, "metadata": len(h.Metadata) == 0,
		"cardholder": hold.CheckHoldAwaitsCardholder(h, now) != nil}
	return slices.DeleteFunc(f, func(f termLine) bool { return unset[f.key] })
}

// cardholderActionText says what the cardholder must do for the renewal.
func cardholderActionText(q *request, h *hold.Hold, now time.Time) node {
	switch {
	case hold.CheckHoldAwaitsCardholder(h, now) != nil:
		return text("")
	case hold.RenewalStatusForCardholder(h, h.Renewal.Generation, now) == hold.CardholderMustGiveCard:
		return text(q.t("cardholder.card"))
	}
	return text(q.t("cardholder.authentication"))
}

// plannedCaptureList lists the captures of a hold that is captured in parts.
func plannedCaptureList(q *request, h *hold.Hold) node {
	ol := el("ol", class("plain"))
	for _, stage := range hold.NewView(h, time.Time{}, false).Captures {
		li := el("li", text(q.t("term.stage", hold.FormatAmount(stage.Amount, h.Currency))),
			q.renderTime(stage.At))
		if stage.Captured {
			el("b", text(" "+q.t("term.stage.over"))).AddTo(li)
		}
		li.AddTo(ol)
	}
	return ol
}

func metadataList(q *request, h *hold.Hold) node {
	var pairs []string
	for k, v := range h.Metadata {
		pairs = append(pairs, replaceControlChars(k)+": "+replaceControlChars(v))
	}
	slices.Sort(pairs)
	ul := el("ul", class("plain"))
	for _, p := range pairs {
		el("li", bdi(p)).AddTo(ul)
	}
	return ul
}

// timelineList lists the history, newest first.
func timelineList(q *request, h *hold.Hold) node {
	ol := el("ol", class("timeline"))
	for i, e := range slices.Backward(h.History) {
		if i == 0 && h.HistoryDropped > 0 {
			el("li", class("soft"), text(q.tCount("timeline.omitted", int64(h.HistoryDropped), h.HistoryDropped))).AddTo(ol)
		}
		li := el("li", q.renderTime(e.At), el("b", text(formatHistoryEntryTitle(q, &e))))
		if e.By != "" {
			el("span", text(q.t("timeline.by", e.By))).AddTo(li)
		}
		if e.Note != "" {
			el("span", bdi(replaceControlChars(e.Note))).AddTo(li)
		}
		for _, id := range []struct{ key, value string }{
			{"timeline.key", e.Key}, {"timeline.request", e.RequestID}} {
			if id.value != "" {
				el("small", text(q.t(id.key)+" "), el("code", text(id.value))).AddTo(li)
			}
		}
		li.AddTo(ol)
	}
	return ol
}

// formatHistoryEntryTitle writes "capture: succeeded" for an attempt, and the
// kind of any other entry.
func formatHistoryEntryTitle(q *request, e *hold.HistoryEntry) string {
	title := q.t("history." + e.Kind.String())
	var details []string
	if e.Op != 0 {
		details = append(details, q.t("op."+e.Op.String()))
	}
	if e.Answer != 0 {
		details = append(details, strings.ReplaceAll(e.Answer.String(), "_", " "))
	}
	if e.Cause != 0 {
		details = append(details, q.t("cause."+e.Cause.String()))
	}
	if len(details) > 0 {
		title += ": " + strings.Join(details, ", ")
	}
	return title
}
