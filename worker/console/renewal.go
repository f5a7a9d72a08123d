package console

import (
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// renewalTermLines describes how the amount stays held after the authorization
// ends, with the intents that are not the hold's own.
func (pages *holdPages) renewalTermLines(q *request, h *hold.Hold, now time.Time) (f []termLine) {
	v := hold.NewView(h, now, false)
	r := v.Renewal
	if r == nil {
		return nil
	}
	intent := func(id string) node {
		return group{el("code", a("data-copy", id), text(id)), text(" "),
			el("a", a("href", stripeDashboardURL(pages.o.Livemode, id, h.Account)),
				a("rel", "noreferrer"),
				text(q.t("hold.dashboard")))}
	}
	if r.Until != nil {
		f = append(f, termLine{"renewed", group{q.renderTime(*r.Until), text(" "),
			text(q.tCount("renewal.made", int64(r.MaxRenewals), r.Completed, r.MaxRenewals))}})
	}
	switch {
	case r.StartsAt != nil:
		f = append(f, termLine{"next_renewal", q.renderTime(*r.StartsAt)})
	case r.ActBefore != nil:
		f = append(f, termLine{"act_before", q.renderTime(*r.ActBefore)})
	case r.Problem != "":
		f = append(f, termLine{"not_renewed", text(q.t("cause." + r.Problem))})
	}
	if r.Unprotected {
		f = append(f, termLine{"unprotected", text(q.t("renewal.unprotected"))})
	}
	if r.PaymentIntent != "" {
		f = append(f, termLine{"new_intent", intent(r.PaymentIntent)})
	}
	if r.Releasing != "" {
		f = append(f, termLine{"releasing", intent(r.Releasing)})
	}
	return f
}
