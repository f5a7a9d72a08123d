package stripesim

// refund is a Refund. A call refunds captured money. Versions before 2025-03-31 also have one
// for money that was never captured: of a canceled or lapsed authorization, and of the rest of a
// partial capture.
type refund struct {
	id       string
	seq      int
	created  int64
	amount   int64
	reason   string
	charge   string
	intent   *intent
	captured bool // of money that was captured
	metadata map[string]string
}

// refundJSON is refund as version 2023-10-16 shows it.
type refundJSON struct {
	ID                     string            `json:"id"`
	Object                 string            `json:"object"`
	Amount                 int64             `json:"amount"`
	BalanceTransaction     any               `json:"balance_transaction"`
	Charge                 any               `json:"charge"`
	Created                int64             `json:"created"`
	Currency               string            `json:"currency"`
	Metadata               map[string]string `json:"metadata"`
	PaymentIntent          any               `json:"payment_intent"`
	Reason                 *string           `json:"reason"`
	ReceiptNumber          *string           `json:"receipt_number"`
	SourceTransferReversal *string           `json:"source_transfer_reversal"`
	Status                 string            `json:"status"`
	TransferReversal       *string           `json:"transfer_reversal"`
}

func (r *refund) toJSON() *refundJSON {
	j := &refundJSON{ID: r.id, Object: "refund", Amount: r.amount, Charge: r.charge,
		Created: r.created, Currency: r.intent.currency, Metadata: r.metadata,
		PaymentIntent: r.intent.id, Reason: stringOrNil(r.reason), Status: "succeeded"}
	if r.intent.unlisted {
		j.PaymentIntent = nil
	}
	if j.Metadata == nil {
		j.Metadata = map[string]string{}
	}
	if r.captured {
		j.BalanceTransaction = r.balanceTransactionID()
	}
	return j
}

// expand shows the objects at paths in full.
func (j *refundJSON) expand(r *refund, paths []string) *refundJSON {
	for _, path := range paths {
		switch path {
		case "charge":
			j.Charge = r.intent.account.charges[r.charge].toJSON()
		case "payment_intent":
			j.PaymentIntent = newIntentJSON(r.intent, nil)
		case "balance_transaction":
			if r.captured {
				j.BalanceTransaction = r.balanceTransactionJSON()
			}
		}
	}
	return j
}

// reasonExpired is the reason of the refund of an authorization that lapsed.
const reasonExpired = "expired_uncaptured_charge"

// refundReasons are the cancellation reasons that are reasons of a refund too.
var refundReasons = map[string]bool{"duplicate": true, "fraudulent": true,
	"requested_by_customer": true}

// refundUncaptured records the refund of money that is not captured.
func refundUncaptured(in *intent, op *operation, amount int64, reason string) {
	if amount == 0 {
		return
	}
	addRefund(op, in.charge, &refund{amount: amount, reason: reason})
	if in.account.env.options.sendsRefundEvents() {
		in.account.emitEvent(op, "charge.refunded", in, in.charge.snapshot())
	}
}

// addRefund gives a refund its id and its place.
func addRefund(op *operation, c *charge, r *refund) {
	a := c.intent.account
	r.id, r.seq, r.created = a.newID(refundIDPrefix), len(a.refundOrder), op.now.Unix()
	r.charge, r.intent = c.id, c.intent
	a.refunds[r.id] = r
	a.refundOrder = append(a.refundOrder, r)
	c.refunds = append(c.refunds[:len(c.refunds):len(c.refunds)], r)
	c.amountRefunded += r.amount
	c.fullyRefunded = c.amountRefunded == c.amount
}

// refundedCharge returns the charge that a call refunds.
func refundedCharge(a *account, f *form) (*charge, *apiError) {
	id, intentID := f.get("charge"), f.get("payment_intent")
	switch {
	case id == "" && intentID == "":
		return nil, validationError("parameter_missing", "payment_intent",
			"One of the following params should be provided for this request: payment_intent or "+
				"charge.")
	case id != "":
		if c := a.charges[id]; c != nil {
			return c, nil
		}
		return nil, notFoundError("charge", "id", id)
	}
	in, err := findIntent(a, intentID)
	switch {
	case err != nil:
		return nil, err
	case in.charge == nil || !in.charge.isCaptured:
		return nil, invalidRequestError("", "payment_intent",
			"This PaymentIntent (%s) does not have a successful charge to refund.", in.id)
	}
	return in.charge, nil
}

// createRefund refunds captured money. Held money is released by a cancel.
func createRefund(op *operation, a *account, _ string, f *form) (any, *apiError) {
	c, err := refundedCharge(a, f)
	if err != nil {
		return nil, err
	}
	var refunded int64
	for _, r := range c.refunds {
		if r.captured {
			refunded += r.amount
		}
	}
	rest := c.amountCaptured - refunded
	amount := rest
	if f.has("amount") {
		amount = f.int("amount")
	}
	metadata, err := mergeMetadata(nil, f)
	switch {
	case err != nil:
		return nil, err
	case !c.isCaptured || c.amountCaptured == 0:
		return nil, invalidRequestError("", "charge",
			"Charge %s has not been captured: cancel its PaymentIntent instead.", c.id)
	case rest == 0:
		return nil, invalidRequestError("charge_already_refunded", "",
			"Charge %s has already been refunded.", c.id)
	case amount < 1:
		return nil, validationError("parameter_invalid_integer", "amount",
			"This value must be greater than or equal to 1.")
	case amount > rest:
		return nil, invalidRequestError("", "amount",
			"Refund amount (%s) is greater than unrefunded amount on charge (%s)",
			formatAmount(amount, c.intent.currency), formatAmount(rest, c.intent.currency))
	}
	r := &refund{amount: amount, reason: f.get("reason"), captured: true, metadata: metadata}
	addRefund(op, c, r)
	recordEffect(c.intent, op, EffectRefunded, amount, false)
	a.emitEvent(op, "refund.created", c.intent, r.snapshot())
	a.emitEvent(op, "charge.refunded", c.intent, c.snapshot())
	return r.toJSON().expand(r, f.lists["expand"]), nil
}

func updateRefund(_ *operation, a *account, id string, f *form) (any, *apiError) {
	r := a.refunds[id]
	if r == nil {
		return nil, notFoundError("refund", "id", id)
	}
	metadata, err := mergeMetadata(r.metadata, f)
	if err != nil {
		return nil, err
	}
	r.metadata = metadata
	return r.toJSON().expand(r, f.lists["expand"]), nil
}

// sendsRefundEvents reports whether charge.refunded is sent for money that was
// never captured.
func (o *Options) sendsRefundEvents() bool {
	return o.Webhook.APIVersion >= "2020" && o.Webhook.APIVersion < "2025-03-31"
}

func retrieveRefund(_ *operation, a *account, id string, f *form) (any, *apiError) {
	if r := a.refunds[id]; r != nil {
		return r.toJSON().expand(r, f.lists["expand"]), nil
	}
	return nil, notFoundError("refund", "id", id)
}

func listRefunds(_ *operation, a *account, _ string, f *form) (any, *apiError) {
	charge, intent := f.get("charge"), f.get("payment_intent")
	at, more, err := paginate(f, pageSource{kind: "refund", length: len(a.refundOrder),
		created: func(i int) int64 { return a.refundOrder[i].created },
		find: func(id string) int {
			if r := a.refunds[id]; r != nil {
				return r.seq
			}
			return -1
		},
		keep: func(i int) bool {
			r := a.refundOrder[i]
			return (charge == "" || r.charge == charge) && (intent == "" || r.intent.id == intent)
		},
	})
	if err != nil {
		return nil, err
	}
	l := listJSON{Object: "list", Data: make([]any, 0, len(at)), HasMore: more, URL: "/v1/refunds"}
	for _, i := range at {
		r := a.refundOrder[i]
		l.Data = append(l.Data, r.toJSON().expand(r, f.expandPaths()))
	}
	return l, nil
}
