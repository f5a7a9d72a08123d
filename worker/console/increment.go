package console

import (
	"context"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// incrementAct asks the bank for a higher authorized amount.
var incrementAct = act{
	name: "increment",
	accepts: func(h *hold.Hold) bool {
		return acceptsActs(h) && h.State != hold.Attention && !h.CancelWanted && h.Amount > 0
	},
	form: func(q *request, h *hold.Hold) node {
		why := el("p", el("label", a("for", "why"), text(q.t("field.why"))),
			el("input", a("id", "why"), a("name", "why"), a("value", q.r.FormValue("why")),
				a("maxlength", "200")))
		return inputForm(q, h, "increment", inputField(q, "total", q.r.FormValue("total"), "decimal",
			q.t("field.total.help", hold.FormatAmount(hold.AuthorizedTotal(h), h.Currency))), why)
	},
	effect: func(q *request, h *hold.Hold) (node, []attr, bool, error) {
		req, ready, err := parseIncrementForm(q, h)
		if err != nil || !ready {
			return nil, nil, ready, err
		}
		before := hold.FormatAmount(hold.AuthorizedTotal(h), h.Currency)
		t := q.t("effect.increment", holdDisplayName(h), before,
			hold.FormatAmount(req.Amount, h.Currency), before)
		return bdi(t), []attr{a("total", hold.FormatMajor(req.Amount, h.Currency)),
			a("why", req.Reason)}, true, nil
	},
	do: func(
		ctx context.Context, c HoldChanger, q *request, h *hold.Hold, revision uint64,
	) error {
		req, ready, err := parseIncrementForm(q, h)
		if err == nil && !ready {
			err = &hold.Problem{Code: hold.InvalidAmount, Detail: q.t("amount.missing")}
		}
		if err != nil {
			return err
		}
		_, _, err = c.RequestIncrementAndWait(ctx, h.ID, req, revision, q.visitor.name)
		return err
	},
	isRequested: func(q *request, h *hold.Hold, _ time.Time) bool {
		req, ready, err := parseIncrementForm(q, h)
		return err == nil && ready && hold.IsIncrementPendingTo(h, req.Amount)
	},
}

// parseIncrementForm returns the request that the form has sent. ready is false
// before it was sent.
func parseIncrementForm(
	q *request, h *hold.Hold) (req hold.IncrementRequest, ready bool, err error,
) {
	given, ready := q.r.Form["total"]
	if !ready {
		return req, false, nil
	}
	req.Reason = q.r.FormValue("why")
	req.Amount, err = hold.ParseMajor(given[0], h.Currency)
	if err == nil && req.Amount <= hold.AuthorizedTotal(h) {
		err = &hold.Problem{Code: hold.InvalidAmount, Field: "total",
			Detail: q.t("total.range", hold.FormatAmount(hold.AuthorizedTotal(h), h.Currency))}
	}
	return req, true, err
}
