package stripesim

// refund is a Refund. Versions before 2025-03-31 have one for money that was
// never captured: of a canceled or lapsed authorization, and of the rest of a
// partial capture.
type refund struct {
	id      string
	seq     int
	created int64
	amount  int64
	reason  string
	charge  string
	intent  *intent
}

// refundJSON is refund as version 2023-10-16 shows it.
type refundJSON struct {
	ID                     string            `json:"id"`
	Object                 string            `json:"object"`
	Amount                 int64             `json:"amount"`
	BalanceTransaction     *string           `json:"balance_transaction"`
	Charge                 string            `json:"charge"`
	Created                int64             `json:"created"`
	Currency               string            `json:"currency"`
	Metadata               map[string]string `json:"metadata"`
	PaymentIntent          string            `json:"payment_intent"`
	Reason                 *string           `json:"reason"`
	ReceiptNumber          *string           `json:"receipt_number"`
	SourceTransferReversal *string           `json:"source_transfer_reversal"`
	Status                 string            `json:"status"`
	TransferReversal       *string           `json:"transfer_reversal"`
}

func (r *refund) toJSON() *refundJSON {
	return &refundJSON{ID: r.id, Object: "refund", Amount: r.amount, Charge: r.charge,
		Created: r.created, Currency: r.intent.currency, Metadata: map[string]string{},
		PaymentIntent: r.intent.id, Reason: stringOrNil(r.reason), Status: "succeeded"}
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
	a, c := in.account, in.charge
	r := &refund{id: a.newID("re_"), seq: len(a.refundOrder), created: op.now.Unix(),
		amount: amount, reason: reason, charge: c.id, intent: in}
	a.refunds[r.id] = r
	a.refundOrder = append(a.refundOrder, r)
	c.refunds = append(c.refunds[:len(c.refunds):len(c.refunds)], r)
	c.amountRefunded += amount
	c.fullyRefunded = c.amountRefunded == c.amount
	if in.account.env.options.sendsRefundEvents() {
		a.emitEvent(op, "charge.refunded", in, c.snapshot())
	}
}

// sendsRefundEvents reports whether charge.refunded is sent for money that was
// never captured.
func (o *Options) sendsRefundEvents() bool {
	return o.Webhook.APIVersion >= "2020" && o.Webhook.APIVersion < "2025-03-31"
}

func retrieveRefund(_ *operation, a *account, id string, _ *form) (any, *apiError) {
	if r := a.refunds[id]; r != nil {
		return r.toJSON(), nil
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
		l.Data = append(l.Data, a.refundOrder[i].toJSON())
	}
	return l, nil
}
