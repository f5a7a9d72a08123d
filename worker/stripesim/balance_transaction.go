package stripesim

import "strings"

// balanceTransactionJSON is balance_transaction: the captured money of one
// charge, without a fee.
type balanceTransactionJSON struct {
	ID                string   `json:"id"`
	Object            string   `json:"object"`
	Amount            int64    `json:"amount"`
	AvailableOn       int64    `json:"available_on"`
	BalanceType       string   `json:"balance_type"`
	Created           int64    `json:"created"`
	Currency          string   `json:"currency"`
	Description       *string  `json:"description"`
	ExchangeRate      *float64 `json:"exchange_rate"`
	Fee               int64    `json:"fee"`
	FeeDetails        []any    `json:"fee_details"`
	Net               int64    `json:"net"`
	ReportingCategory string   `json:"reporting_category"`
	Source            string   `json:"source"`
	Status            string   `json:"status"`
	Type              string   `json:"type"`
}

const (
	chargeIDPrefix             = "ch_"
	refundIDPrefix             = "re_"
	balanceTransactionIDPrefix = "txn_"
	payoutDelay                = 2 * day
)

// balanceTransactionID returns the id of the charge's balance transaction. It
// follows from the charge's.
func (c *charge) balanceTransactionID() string {
	return balanceTransactionIDPrefix + strings.TrimPrefix(c.id, chargeIDPrefix)
}

func (c *charge) balanceTransactionJSON() *balanceTransactionJSON {
	return &balanceTransactionJSON{ID: c.balanceTransactionID(), Object: "balance_transaction",
		Amount: c.amountCaptured, AvailableOn: c.balanceAt + int64(payoutDelay.Seconds()),
		BalanceType: "payments", Created: c.balanceAt, Currency: c.intent.currency, FeeDetails: []any{},
		Net: c.amountCaptured, ReportingCategory: "charge", Source: c.id, Status: "available",
		Type: "charge"}
}

// balanceTransactionID returns the id of the refund's balance transaction.
func (r *refund) balanceTransactionID() string {
	return balanceTransactionIDPrefix + strings.TrimPrefix(r.id, refundIDPrefix)
}

func (r *refund) balanceTransactionJSON() *balanceTransactionJSON {
	return &balanceTransactionJSON{ID: r.balanceTransactionID(), Object: "balance_transaction",
		Amount: -r.amount, AvailableOn: r.created, BalanceType: "payments", Created: r.created,
		Currency: r.intent.currency, FeeDetails: []any{}, Net: -r.amount,
		ReportingCategory: "refund", Source: r.id, Status: "available", Type: "refund"}
}

func retrieveBalanceTransaction(_ *operation, a *account, id string, _ *form) (any, *apiError) {
	suffix, ok := strings.CutPrefix(id, balanceTransactionIDPrefix)
	if r := a.refunds[refundIDPrefix+suffix]; r != nil && r.captured {
		return r.balanceTransactionJSON(), nil
	}
	c := a.charges[chargeIDPrefix+suffix]
	if !ok || c == nil || c.balanceAt == 0 {
		return nil, notFoundError("balance_transaction", "id", id)
	}
	return c.balanceTransactionJSON(), nil
}

// expandsBalanceTransaction reports whether a read asks for balance transactions
// beside its own objects. Stripe then wants the permission to read those too.
func expandsBalanceTransaction(query string) bool {
	return strings.Contains(query, "balance_transaction")
}
