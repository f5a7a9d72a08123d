package console

import (
	"context"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// The acts.
var (
	captureAct = act{
		name: "capture", style: "money",
		accepts: func(h *hold.Hold) bool {
			return acceptsActs(h) && h.State != hold.Paused && !h.CancelWanted && h.Amount > 0
		},
		form: func(q *request, h *hold.Hold) node {
			given := hold.FormatMajor(amountToCapture(h), h.Currency)
			if sent, ok := q.r.Form["amount"]; ok {
				given = sent[0]
			}
			return inputForm(q, h, "capture", inputField(q, "amount", given, "decimal",
				q.t("field.amount.help", hold.FormatAmount(hold.MaxCaptureAmount(h), h.Currency))))
		},
		effect: func(q *request, h *hold.Hold) (node, []attr, bool, error) {
			amount, ready, err := parseAmountField(q, h)
			if err != nil || !ready {
				return nil, nil, ready, err
			}
			t := q.t("effect.capture", hold.FormatAmount(amount, h.Currency), holdDisplayName(h))
			if rest := h.Amount - amount; rest > 0 {
				t += " " + q.t("effect.rest", hold.FormatAmount(rest, h.Currency))
			}
			return bdi(t), []attr{a("amount", hold.FormatMajor(amount, h.Currency))}, true, nil
		},
		do: func(
			ctx context.Context, c HoldChanger, q *request, h *hold.Hold, revision uint64,
		) error {
			amount, ready, err := parseAmountField(q, h)
			if err == nil && !ready {
				err = &hold.Problem{Code: hold.InvalidAmount, Detail: q.t("amount.missing")}
			}
			if err != nil {
				return err
			}
			_, _, err = c.RequestCapture(ctx, h.ID, hold.NewFinalCaptureRequest(h, amount), revision,
				q.visitor.name)
			return err
		},
		isRequested: func(q *request, h *hold.Hold, _ time.Time) bool {
			amount, ready, err := parseAmountField(q, h)
			return err == nil && ready && h.CaptureAmount == hold.CapturedSoFar(h)+amount &&
				(h.PartialCaptures == nil || h.PartialCaptures.Part == 0)
		},
	}
	cancelAct = act{
		name: "cancel", style: "danger",
		accepts: acceptsActs,
		effect: func(q *request, h *hold.Hold) (node, []attr, bool, error) {
			if n := hold.CapturedSoFar(h); n > 0 {
				return bdi(q.t("effect.cancel.rest", hold.FormatAmount(h.Amount, h.Currency),
					holdDisplayName(h), hold.FormatAmount(n, h.Currency))), nil, true, nil
			}
			return bdi(q.t("effect.cancel", hold.FormatAmount(h.Amount, h.Currency),
				holdDisplayName(h))), nil, true, nil
		},
		do: func(
			ctx context.Context, c HoldChanger, q *request, h *hold.Hold, revision uint64,
		) error {
			_, _, err := c.RequestCancel(ctx, h.ID, q.r.PostFormValue("reason"), revision, q.visitor.name)
			return err
		},
		isRequested: func(q *request, h *hold.Hold, _ time.Time) bool {
			reason := q.r.PostFormValue("reason")
			return reason == "" || reason == h.CancellationReason
		},
	}
	pauseAct = act{
		name: "pause",
		accepts: func(h *hold.Hold) bool {
			return acceptsActs(h) && h.State != hold.Paused && h.State != hold.Attention &&
				!h.CancelWanted
		},
		effect: describeFixedEffect("pause"),
		do: func(
			ctx context.Context, c HoldChanger, q *request, h *hold.Hold, revision uint64,
		) error {
			_, _, err := c.PauseHold(ctx, h.ID, revision, isFormConfirmed(q), q.visitor.name)
			return err
		},
	}
	resumeAct = act{
		name: "resume",
		accepts: func(h *hold.Hold) bool {
			return h.State == hold.Paused
		},
		effect: describeFixedEffect("resume"),
		do: func(
			ctx context.Context, c HoldChanger, q *request, h *hold.Hold, revision uint64,
		) error {
			_, _, err := c.ResumeHold(ctx, h.ID, revision, isFormConfirmed(q), q.visitor.name)
			return err
		},
	}
	acknowledgeAct = act{
		name: "acknowledge",
		accepts: func(h *hold.Hold) bool {
			return acceptsActs(h) && !h.Acknowledged
		},
		effect: describeFixedEffect("acknowledge"),
		do: func(
			ctx context.Context, c HoldChanger, q *request, h *hold.Hold, revision uint64,
		) error {
			_, _, err := c.AcknowledgeWarnings(ctx, h.ID, revision, q.visitor.name)
			return err
		},
	}
	// forgetAct erases the personal data of a settled hold.
	forgetAct = act{
		name: "forget", style: "danger",
		accepts: func(h *hold.Hold) bool {
			d, err := h.ErasePersonalData("", h.SettledAt)
			return err == nil && !d.Unchanged
		},
		effect: describeFixedEffect("forget"),
		do: func(
			ctx context.Context, c HoldChanger, q *request, h *hold.Hold, revision uint64,
		) error {
			if h.Revision != revision {
				return &hold.Problem{Code: hold.RevisionMismatch}
			}
			_, _, err := c.Erase(ctx, h.ID, q.visitor.name)
			return err
		},
	}
	rescheduleAct = act{
		name:    "reschedule",
		accepts: func(h *hold.Hold) bool { return acceptsActs(h) && !h.CancelWanted },
		form:    rescheduleForm,
		effect:  describeRescheduleEffect,
		do: func(
			ctx context.Context, c HoldChanger, q *request, h *hold.Hold, revision uint64,
		) error {
			p, _, err := parseRescheduleForm(q)
			if err != nil {
				return err
			}
			p.Confirm = isFormConfirmed(q)
			_, _, err = c.PatchTerms(ctx, h.ID, p, revision, q.visitor.name)
			return err
		},
		isRequested: func(q *request, h *hold.Hold, now time.Time) bool {
			p, ready, err := parseRescheduleForm(q)
			if err != nil || !ready {
				return false
			}
			d, err := h.ApplyPatch(&p, q.visitor.name, now)
			return err == nil && d.Unchanged
		},
	}
)

// describeFixedEffect is the effect of an act that needs nothing else.
func describeFixedEffect(name string) func(*request, *hold.Hold) (node, []attr, bool, error) {
	return func(q *request, h *hold.Hold) (node, []attr, bool, error) {
		t := q.t("effect."+name, hold.FormatAmount(h.Amount, h.Currency), holdDisplayName(h))
		return bdi(t), nil, true, nil
	}
}

func isFormConfirmed(q *request) bool { return q.r.PostFormValue("confirm") == "true" }

// inputForm asks for what an act needs. It changes nothing: the next page is an
// address of its own.
func inputForm(q *request, h *hold.Hold, act string, fields ...node) node {
	return el("form", a("action", actPagePath(h.ID, act)), group(fields),
		el("p", class("buttons"), el("button", class("primary"), text(q.t("act.continue"))),
			link(holdPagePath(h.ID), q.t("act.back"))))
}

// inputField is an input with its label and help.
func inputField(q *request, name, value, mode, help string) node {
	return el("p", el("label", a("for", name), text(q.t("field."+name))),
		el("input", a("id", name), a("name", name), a("value", value), a("inputmode", mode),
			a("autocomplete", "off"), a("aria-describedby", name+"-help"), booleanAttr("required")),
		el("small", a("id", name+"-help"), text(help)))
}

// localTimeLayout is the layout of an input of the type datetime-local.
const localTimeLayout = "2006-01-02T15:04"

func rescheduleForm(q *request, h *hold.Hold) node {
	action, at := "capture", h.CaptureAt
	if !h.CancelAt.IsZero() {
		action, at = "cancel", h.CancelAt
	}
	value := q.r.FormValue("at")
	if value == "" && !at.IsZero() {
		value = at.In(q.zone).Format(localTimeLayout)
	}
	choose := el("select", a("id", "then"), a("name", "then"))
	for _, then := range []string{"capture", "cancel"} {
		o := el("option", a("value", then), text(q.t("then."+then)))
		if then == action {
			booleanAttr("selected").AddTo(o)
		}
		o.AddTo(choose)
	}
	return inputForm(q, h, "reschedule",
		el("p", el("label", a("for", "then"), text(q.t("field.then"))), choose),
		el("p", el("label", a("for", "at"), text(q.t("field.at"))),
			el("input", a("id", "at"), a("name", "at"), a("type", "datetime-local"),
				a("value", value), a("aria-describedby", "at-help"), booleanAttr("required")),
			el("small", a("id", "at-help"), text(q.t("field.at.help", q.zone.String())))))
}

// parseRescheduleForm returns the change that the form asks for. ready is false
// before it was sent.
func parseRescheduleForm(q *request) (p hold.Patch, ready bool, err error) {
	given := q.r.FormValue("at")
	if given == "" {
		return p, false, nil
	}
	at, err := time.ParseInLocation(localTimeLayout, given, q.zone)
	if err != nil {
		return p, true, &hold.Problem{Code: hold.InvalidTime, Detail: q.t("at.invalid")}
	}
	// Package hold knows what a local time means when the clocks change.
	local := at.Format(localTimeLayout)
	p.TimeZone = q.zone.String()
	if q.r.FormValue("then") == "cancel" {
		p.CancelAt = &local
	} else {
		p.CaptureAt = &local
	}
	return p, true, nil
}

func describeRescheduleEffect(q *request, h *hold.Hold) (node, []attr, bool, error) {
	p, ready, err := parseRescheduleForm(q)
	if err != nil || !ready {
		return nil, nil, ready, err
	}
	key, then, local := "effect.capture_at", "capture", p.CaptureAt
	if local == nil {
		key, then, local = "effect.cancel_at", "cancel", p.CancelAt
	}
	at, err := time.ParseInLocation(localTimeLayout, *local, q.zone)
	if err != nil {
		return nil, nil, true, err
	}
	amount := hold.FormatAmount(amountToCapture(h), h.Currency)
	if then == "cancel" {
		amount = hold.FormatAmount(h.Amount, h.Currency)
	}
	return group{bdi(q.t(key, amount, holdDisplayName(h))), text(" "), q.renderTime(at)},
		[]attr{a("at", *local), a("then", then)}, true, nil
}

// cancellationReasonField asks for the reason that Stripe keeps of a cancel.
func cancellationReasonField(q *request, h *hold.Hold) node {
	choose := el("select", a("id", "reason"), a("name", "reason"),
		el("option", a("value", ""), text(q.t("reason.default"))))
	for _, r := range []string{"requested_by_customer", "abandoned", "duplicate", "fraudulent"} {
		o := el("option", a("value", r), text(q.t("reason."+r)))
		if r == h.CancellationReason {
			booleanAttr("selected").AddTo(o)
		}
		o.AddTo(choose)
	}
	return el("p", el("label", a("for", "reason"), text(q.t("field.reason"))), choose)
}
