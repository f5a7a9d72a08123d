package console

import (
	"context"

	"github.com/holdd/holdd/worker/hold"
)

// linkAct shows the link with which the cardholder of a renewal acts. It is shown
// only after a confirmation, because whoever reads it can act as the cardholder.
var linkAct = act{
	name:    "link",
	accepts: hold.IsAwaitingCardholder,
	effect:  describeFixedEffect("link"),
	do: func(_ context.Context, _ HoldChanger, q *request, h *hold.Hold, _ uint64) error {
		return hold.CheckHoldAwaitsCardholder(h, q.now)
	},
	result: func(pages *holdPages, q *request, h *hold.Hold) (pageView, error) {
		shown := group{text(q.t("link.none"))}
		if pages.o.CardholderLink != nil {
			url := pages.o.CardholderLink(h)
			shown = group{text(q.t("cardholder.send") + " "), el("code", a("data-copy", url), text(url))}
		}
		return pageView{title: q.t("act.link"), tab: "holds", body: el("div", class("card"),
			el("p", class("lead"), el("b", bdi(holdDisplayName(h))), text(" "), q.renderHoldAmount(h)),
			el("p", shown), el("p", link(holdPagePath(h.ID), q.t("error.back_to_hold"))))}, nil
	},
}
