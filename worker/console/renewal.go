package console

import (
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// renewalDetails describes how the amount stays held after the authorization
// ends, with the intents that are not the hold's own.
func (pages *holdPages) renewalDetails(q *request, h *hold.Hold, now time.Time) (f []detail) {
	v := hold.NewView(h, now, false)
	r := v.Renewal
	if r == nil {
		return nil
	}
	intent := func(id string) node {
		return group{el("code", a("data-copy", id), text(id)), text(" "),
			el("a", a("href", dashboardURL(pages.o.Livemode, id, h.Account)), a("rel", "noreferrer"),
				text(q.t("hold.dashboard")))}
	}
	if r.Until != nil {
		f = append(f, detail{"renewed", group{q.shownTime(*r.Until), text(" "),
			text(q.t("renewal.made", r.Completed, r.MaxRenewals))}})
	}
	switch {
	case r.StartsAt != nil:
		f = append(f, detail{"next_renewal", q.shownTime(*r.StartsAt)})
	case r.ActBefore != nil:
		f = append(f, detail{"act_before", q.shownTime(*r.ActBefore)})
	case r.Problem != "":
		f = append(f, detail{"not_renewed", text(q.t("cause." + r.Problem))})
	}
	if r.Unprotected {
		f = append(f, detail{"unprotected", text(q.t("renewal.unprotected"))})
	}
	if r.PaymentIntent != "" {
		f = append(f, detail{"new_intent", intent(r.PaymentIntent)})
	}
	if r.Releasing != "" {
		f = append(f, detail{"releasing", intent(r.Releasing)})
	}
	return f
}
