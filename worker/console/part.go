package console

import (
	"context"
	"fmt"
	"strconv"

	"github.com/holdd/holdd/worker/hold"
)

// partAct captures a part of a hold and keeps the rest held.
var partAct = act{
	name: "part", style: "money",
	accepts: func(h *hold.Hold) bool {
		return acceptsActs(h) && h.State != hold.Paused && h.State != hold.Attention &&
			!h.CancelWanted && h.Amount > 1 && h.Features&hold.FeatureMulticapture != 0 &&
			len(hold.PlannedCaptureStages(h)) == 0
	},
	form: func(q *request, h *hold.Hold) node {
		return inputForm(q, h, "part", inputField(q, "part", q.r.FormValue("part"), "decimal",
			q.t("field.part.help", hold.FormatAmount(h.Amount, h.Currency))))
	},
	effect: func(q *request, h *hold.Hold) (node, []attr, bool, error) {
		amount, ready, err := parsePartAmountField(q, h)
		if err != nil || !ready {
			return nil, nil, ready, err
		}
		t := q.t("effect.part", hold.FormatAmount(amount, h.Currency), holdDisplayName(h),
			hold.FormatAmount(h.Amount-amount, h.Currency))
		return bdi(t), []attr{a("part", hold.FormatMajor(amount, h.Currency)),
			a("captured", strconv.FormatInt(hold.CapturedSoFar(h), 10))}, true, nil
	},
	do: func(
		ctx context.Context, c HoldChanger, q *request, h *hold.Hold, revision uint64,
	) error {
		if isRepeatedPartSubmit(q, h, revision) {
			return nil
		}
		amount, ready, err := parsePartAmountField(q, h)
		if err == nil && !ready {
			err = &hold.Problem{Code: hold.InvalidAmount, Detail: q.t("amount.missing")}
		}
		if err != nil {
			return err
		}
		_, _, err = c.RequestCapture(ctx, h.ID, newPartCaptureRequest(q, h, amount, revision),
			revision,
			q.visitor.name)
		return err
	},
}

// newPartCaptureRequest returns the request of a form that was shown at a
// revision. By its key, a second click takes the amount no second time. A hold
// that was rebuilt after a loss of Redis begins at revision 1 again, so the key
// also has its creation time and what was captured when the form was shown.
func newPartCaptureRequest(
	q *request, h *hold.Hold, amount int64, revision uint64,
) hold.CaptureRequest {
	final := false
	key := fmt.Sprintf("console-%d-%d-%s", revision, h.CreatedAt.UnixMilli(),
		q.r.PostFormValue("captured"))
	return hold.CaptureRequest{Amount: amount, Final: &final, RequestKey: key}
}

// isRepeatedPartSubmit reports whether the part of this very form was accepted before.
// Its amount may be more than is left since.
func isRepeatedPartSubmit(q *request, h *hold.Hold, revision uint64) bool {
	amount, err := hold.ParseMajor(q.r.PostFormValue("part"), h.Currency)
	if err != nil {
		return false
	}
	req := newPartCaptureRequest(q, h, amount, revision)
	return hold.IsPartAccepted(h, &req, q.visitor.name)
}

// parsePartAmountField returns the amount of the part that the form has sent. ready is false
// before it was sent.
func parsePartAmountField(q *request, h *hold.Hold) (amount int64, ready bool, err error) {
	given, ready := q.r.Form["part"]
	if !ready {
		return 0, false, nil
	}
	amount, err = hold.ParseMajor(given[0], h.Currency)
	if err == nil && (amount <= 0 || amount >= h.Amount) {
		err = &hold.Problem{Code: hold.InvalidAmount, Field: "part",
			Detail: q.t("part.range", hold.FormatAmount(h.Amount, h.Currency))}
	}
	return amount, true, err
}
