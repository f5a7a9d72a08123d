package audit

import (
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// Report is the result of an audit. Durations are in seconds, amounts in minor
// units, times in UTC.
type Report struct {
	Account  string    `json:"account,omitempty"` // id; empty if the key may not read it
	Livemode bool      `json:"livemode"`
	From     time.Time `json:"from"`
	Until    time.Time `json:"until"`
	// IntentsRead counts all PaymentIntents that were read, from ReadFrom on.
	IntentsRead int       `json:"payment_intents_read"`
	ReadFrom    time.Time `json:"read_from"`

	Authorized Total `json:"authorized"` // between From and Until; of them:
	Captured   Total `json:"captured"`
	// ReleasedAtCapture counts captures of less than was authorized, and what
	// they released.
	ReleasedAtCapture Total `json:"released_at_capture"`
	Canceled          Total `json:"canceled"`
	StillHeld         Total `json:"still_held"`

	Expired       ExpiredReport       `json:"expired"`
	LateCaptures  LateCapturesReport  `json:"late_captures"`
	TimeToCapture TimeToCaptureReport `json:"time_to_capture"`
	HeldTwice     OverlapReport       `json:"held_twice"`
	HeldNow       HeldNowReport       `json:"held_now"`
	Sources       CertaintyReport     `json:"sources"`
}

// Total is a number of payments with their money in each currency.
type Total struct {
	Count int        `json:"count"`
	Sums  []hold.Sum `json:"sums"`
}

func (t *Total) add(currency string, amount int64) {
	t.Count++
	t.Sums = hold.AddToCurrencySums(t.Sums, currency, amount)
}

// ExpiredReport is the authorizations that expired uncaptured.
type ExpiredReport struct {
	Total
	ByWeek   []ExpiredWeekTotal  `json:"by_week"`  // every week of the period, by when they expired
	ByBrand  []ExpiredBrandTotal `json:"by_brand"` // the most expired first
	Payments []Payment           `json:"payments"` // the last first
}

// ExpiredWeekTotal is one week, which begins on a Monday.
type ExpiredWeekTotal struct {
	Monday string `json:"monday"` // as 2026-11-23
	Total
}

// ExpiredBrandTotal is one card brand, or one type of another payment method.
type ExpiredBrandTotal struct {
	Brand      string `json:"brand"`
	Authorized int    `json:"authorized"` // payments
	Total             // those that expired
}

// LateCapturesReport is the captures in the last 24 hours before the
// authorization ended. Captures whose time is not known are not among them.
type LateCapturesReport struct {
	Total
	Buckets  []DurationBucket `json:"buckets"`  // by the time that was left
	Payments []Payment        `json:"payments"` // the latest first
}

// DurationBucket is the payments of one span of time, from the end of the
// bucket before.
type DurationBucket struct {
	Under int64 `json:"under_seconds,omitempty"` // 0 has no end
	Total
}

// TimeToCaptureReport is the time from authorization to capture.
type TimeToCaptureReport struct {
	Count   int              `json:"count"` // captures whose time is known
	Median  int64            `json:"median_seconds"`
	P90     int64            `json:"p90_seconds"`
	Longest int64            `json:"longest_seconds"`
	Buckets []DurationBucket `json:"buckets"`
}

// OverlapReport is the authorizations that were placed while an earlier one of
// the same customer held money.
type OverlapReport struct {
	Total
	SameAmount int       `json:"same_amount"` // of them, as much as an earlier one held
	Customers  int       `json:"customers"`
	MostAtOnce int       `json:"most_at_once"`
	Overlaps   []Overlap `json:"overlaps"` // the last first
}

// FormatCustomers returns the number of customers with its noun.
func (r *OverlapReport) FormatCustomers() string {
	return hold.FormatCount(r.Customers, "customer", "customers")
}

// Overlap is an authorization and the oldest one that was held beside it.
type Overlap struct {
	Payment
	Earlier string `json:"earlier_payment_intent"`
	// Overlapped is for how long both were held; until now if they still are, 0
	// if the end of one is not known.
	Overlapped int64 `json:"overlapped_seconds"`
	SameAmount bool  `json:"same_amount"`
	BothHeld   bool  `json:"both_held_now"`
}

// HeldNowReport is what is held now, whenever it was authorized.
type HeldNowReport struct {
	Total
	Buckets  []DurationBucket `json:"buckets"`  // by when the authorization ends
	Payments []Payment        `json:"payments"` // the first to end first
}

// CertaintyReport says how much of the report is known and how much is assumed.
type CertaintyReport struct {
	CapturesByBalance int `json:"captures_timed_by_balance_transaction"`
	CapturesByEvent   int `json:"captures_timed_by_event"`
	CapturesUnknown   int `json:"captures_without_time"`
	// CapturesAssumedEnd counts captures whose authorization had no
	// capture_before, so that the end of its window is assumed.
	CapturesAssumedEnd int `json:"captures_with_assumed_end"`
	HeldAssumedEnd     int `json:"held_with_assumed_end"`
	// WithoutCustomer counts authorizations that name no customer, which cannot
	// be found as held twice.
	WithoutCustomer int `json:"without_customer"`
	// ChargesAlone counts authorizations that were made with the Charges API
	// alone. If one was captured within a minute, or if the time of its capture is
	// not known and all was captured, it counts as charged at once.
	ChargesAlone int `json:"made_with_charges_alone"`
}
