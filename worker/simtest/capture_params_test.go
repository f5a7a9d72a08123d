package simtest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// drawCaptureParams lets the captures of some holds send a fee and other
// parameters. Now and then the fee is most of the amount, so that it exceeds
// what another system leaves.
func (p *plan) drawCaptureParams() {
	if !newRNG(p.seed, "capture params").chance(0.35) {
		return
	}
	for i := range p.holds {
		h := &p.holds[i]
		d := newRNG(p.seed, "capture params", fmt.Sprint(h.number))
		if h.intake == "card" || !d.chance(0.4) {
			continue
		}
		most := min(h.amount, h.amount+h.amountError)
		if h.captureAmount > 0 && h.action != "none" {
			most = min(most, h.captureAmount)
		}
		part := func() int64 { return 1 + d.Int64N(max(1, most/pickOne(d, int64(1), 10))) }
		c := &h.captureParams
		if d.chance(0.8) {
			c.ApplicationFeeAmount = part()
		}
		if d.chance(0.3) {
			c.TransferData.Amount = part()
		}
		if d.chance(0.4) {
			c.StatementDescriptorSuffix = h.reference
		}
		if d.chance(0.4) {
			c.CaptureMetadata = map[string]string{"checked_out": "yes",
				"night": fmt.Sprint(h.number)}
		}
		if d.chance(0.3) {
			at := d.durationBetween(h.scheduledAt, h.placedAt+h.authorizationWindow)
			h.actions = append(h.actions, plannedAction{number: 41, kind: "patch fee", at: at,
				amount: 1 + d.Int64N(h.amount/4)})
			slices.SortStableFunc(h.actions, func(a, b plannedAction) int {
				return int(a.at - b.at)
			})
		}
	}
}

// captureDetails is how the ledger shows a capture with these parameters.
func captureDetails(p *hold.CaptureParams) stripesim.CaptureDetails {
	d := stripesim.CaptureDetails{ApplicationFeeAmount: p.ApplicationFeeAmount,
		TransferAmount: p.TransferData.Amount, DescriptorSuffix: p.StatementDescriptorSuffix}
	if len(p.CaptureMetadata) > 0 {
		b, _ := json.Marshal(p.CaptureMetadata)
		d.Metadata = string(b)
	}
	return d
}

// captureParamsMetadata are the parameters as terms in metadata.
func captureParamsMetadata(p *hold.CaptureParams) map[string]string {
	d, m := captureDetails(p), map[string]string{}
	for k, n := range map[string]int64{"holdd_application_fee_amount": d.ApplicationFeeAmount,
		"holdd_transfer_data_amount": d.TransferAmount} {
		if n > 0 {
			m[k] = fmt.Sprint(n)
		}
	}
	for k, v := range map[string]string{"holdd_statement_descriptor_suffix": d.DescriptorSuffix,
		"holdd_capture_metadata": d.Metadata} {
		if v != "" {
			m[k] = v
		}
	}
	return m
}

// captureParamsOf reads the parameters from an intent's metadata.
func captureParamsOf(m map[string]string) (p hold.CaptureParams) {
	p.ApplicationFeeAmount, _ = strconv.ParseInt(m["holdd_application_fee_amount"], 10, 64)
	p.TransferData.Amount, _ = strconv.ParseInt(m["holdd_transfer_data_amount"], 10, 64)
	p.StatementDescriptorSuffix = m["holdd_statement_descriptor_suffix"]
	_ = json.Unmarshal([]byte(m["holdd_capture_metadata"]), &p.CaptureMetadata)
	return p
}

// largestPart is the larger of fee and transfer, which a capture must cover.
func (t *terms) largestPart() int64 {
	return max(t.params.ApplicationFeeAmount, t.params.TransferAmount)
}

// exceedsHeld reports whether the terms ask for more than Stripe held within a
// span, so that holdd must not capture.
func (c *judgedHold) exceedsHeld(t *terms, from, to time.Time) bool {
	if t.captureAmount > c.heldAmountAt(from)+c.partsAt(from) {
		return true
	}
	return slices.ContainsFunc([]time.Time{from, to}, func(at time.Time) bool {
		takes := c.heldAmountAt(at)
		if t.captureAmount > 0 {
			takes = t.captureAmount - c.partsAt(at)
		}
		return t.largestPart() > takes
	})
}

// amountsHeldBetween are the amounts that Stripe held within a span.
func (c *judgedHold) amountsHeldBetween(from, to time.Time) []int64 {
	all := []int64{c.heldAmountAt(from), c.heldAmountAt(to)}
	for _, e := range c.effects {
		if e.Time.After(from) && e.Time.Before(to) {
			all = append(all, c.heldAmountAt(e.Time))
		}
	}
	return all
}

func (j *judge) checkCaptureParams(c *judgedHold) {
	for _, e := range c.ownEffects() {
		p := j.permissionFor(c, e)
		if p.allowed && e.Kind == stripesim.EffectCaptured &&
			!slices.Contains(p.details, e.CaptureDetails) {
			j.failHold(c, "captured with %+v, agreed were %+v", e.CaptureDetails, p.details)
		}
	}
}

// checkFeeWithinCapture judges the requests, also those that Stripe refused.
func (j *judge) checkFeeWithinCapture(c *judgedHold) {
	for _, r := range c.stripeRequests {
		if r.op != "capture" || r.largestPart == 0 {
			continue
		}
		takes, err := strconv.ParseInt(r.amount, 10, 64)
		if err != nil {
			takes = c.heldAmountAt(r.sentAt)
		}
		switch {
		case r.largestPart > takes:
			j.failHold(c, "a capture of %d at +%s had a fee or a transfer of %d", takes,
				j.since(r.sentAt), r.largestPart)
		case err != nil && c.multi:
			j.failHold(c, "the capture at +%s has a fee or a transfer and names no amount, though another system may take a part", j.since(r.sentAt))
		}
	}
}

// checkSameParamsUnderKey judges the requests, also those without a reply.
func (j *judge) checkSameParamsUnderKey(c *judgedHold) {
	bodies := map[string]string{}
	for _, r := range c.stripeRequests {
		if r.op != "capture" {
			continue
		}
		if first, there := bodies[r.idempotencyKey]; there && first != r.body {
			j.failHold(c, "key %s was sent with %q and with %q", r.idempotencyKey, first, r.body)
		}
		bodies[r.idempotencyKey] = r.body
	}
}

// captureParamsPlan is a world in which a fee meets a part that another system
// captured, a smaller capture, and a change between two attempts.
func captureParamsPlan() plan {
	fee := hold.CaptureParams{ApplicationFeeAmount: 3000, StatementDescriptorSuffix: "BK-1",
		CaptureMetadata: map[string]string{"checked_out": "yes"}}
	withHold := func(n int, edit func(h *plannedHold)) plannedHold {
		h := plannedHold{number: n, placedAt: 5 * time.Second, scheduledAt: 6 * time.Second,
			authorizationWindow: 38 * time.Minute, amount: 10_000, currency: "eur",
			action: "capture", dueAt: 30 * time.Minute, captureParams: fee}
		edit(&h)
		return h
	}
	part := func(amount int64) func(h *plannedHold) {
		return func(h *plannedHold) {
			h.multi, h.actions = true, []plannedAction{
				{number: 1, at: 5 * time.Minute, kind: "dashboard part", amount: amount}}
		}
	}
	return quietPlan(time.Second, intakePlan{},
		withHold(1, part(8000)), withHold(2, part(4000)),
		withHold(3, func(h *plannedHold) {
			h.actions = []plannedAction{
				{number: 1, at: 10 * time.Minute, kind: "capture part", amount: 500}}
		}),
		withHold(4, func(h *plannedHold) {
			h.dueAt = time.Minute
			for k := range 8 {
				h.actions = append(h.actions, plannedAction{number: k + 1, kind: "patch fee",
					at: h.dueAt + time.Duration(k+1)*700*time.Millisecond, amount: int64(100 + k)})
			}
		}),
	).withFaults(fault{number: 1, kind: "stripe:lock_timeout", atCall: "capture",
		from: 59 * time.Second, to: 70 * time.Second, probability: 1, replicaIndex: -1})
}

// mirroredCaptureParamsPlan is a world in which Redis is emptied after the
// parameters were written to the metadata.
func mirroredCaptureParamsPlan() plan {
	return quietPlan(30*time.Second, intakePlan{enabled: true, mirrorInterval: 30 * time.Second},
		plannedHold{number: 1, placedAt: 5 * time.Second, scheduledAt: 6 * time.Second,
			authorizationWindow: 40 * time.Minute, amount: 10_000, currency: "eur",
			action: "capture", dueAt: 25 * time.Minute, captureParams: hold.CaptureParams{
				ApplicationFeeAmount: 900, TransferData: hold.TransferData{Amount: 800},
				StatementDescriptorSuffix: "BK-1",
				CaptureMetadata:           map[string]string{"room": "41"}}},
	).withFaults(fault{number: 1, kind: "redis:emptied", from: 12 * time.Minute,
		to: 12*time.Minute + time.Second, probability: 1, replicaIndex: -1})
}
