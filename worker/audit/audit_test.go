package audit_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/audit"
	"github.com/holdd/holdd/worker/hold"
)

const day = 24 * time.Hour

// start is a Monday.
var start = time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return start.Add(d) }

var period = audit.ReportScope{From: start, Until: at(28 * day), ReadFrom: at(-31 * day)}

// payment returns a payment of 100.00 EUR that was authorized after a time.
func payment(id string, authorized time.Duration, f func(p *audit.Payment)) audit.Payment {
	p := audit.Payment{ID: "pi_" + id, Charge: "ch_" + id, Method: "card", Brand: "visa",
		Currency: "eur", Amount: 10000, Outcome: audit.Canceled, AuthorizedAt: at(authorized),
		EndedAt: at(authorized + day), EndedSource: audit.FromIntent,
		ExpiresAt: at(authorized + 7*day), ExpiresSource: audit.FromCharge}
	f(&p)
	return p
}

func captured(after time.Duration, amount int64) func(*audit.Payment) {
	return func(p *audit.Payment) {
		p.Outcome, p.Captured = audit.Captured, amount
		p.EndedAt, p.EndedSource = p.AuthorizedAt.Add(after), audit.FromBalance
	}
}

func expired(p *audit.Payment) { p.Outcome, p.EndedAt = audit.Expired, p.ExpiresAt }

func held(p *audit.Payment) {
	p.Outcome, p.EndedAt, p.EndedSource, p.Held = audit.Held, time.Time{}, "", p.Amount
}

func eur(count int, amount int64) audit.Total {
	return audit.Total{Count: count, Sums: []hold.Sum{{Currency: "eur", Count: count, Amount: amount}}}
}

func checkTotal(t *testing.T, what string, got, want audit.Total) {
	t.Helper()
	if got.Count != want.Count || !slices.Equal(got.Sums, want.Sums) {
		t.Errorf("%s: %+v, want %+v", what, got, want)
	}
}

func TestNewPayment(t *testing.T) {
	before := at(7 * day)
	intent := hold.PaymentIntent{ID: "pi_1", Currency: "eur", PaymentMethodType: "card",
		Customer: "cus_1", Metadata: map[string]string{"booking": "BK-1"}}
	history := hold.ChargeHistory{Charge: "ch_1", AuthorizedAt: start, Authorized: 10000,
		Brand: "visa", Manual: true}
	for name, c := range map[string]struct {
		change func(in *hold.PaymentIntent, h *hold.ChargeHistory)
		want   string // outcome, end, source, expiry, source
	}{
		"held": {func(in *hold.PaymentIntent, _ *hold.ChargeHistory) {
			in.Status, in.CaptureBefore = hold.StatusRequiresCapture, before
		}, "held - 168h0m0s capture_before"},
		"captured": {func(in *hold.PaymentIntent, h *hold.ChargeHistory) {
			in.Status, h.CapturedAt = hold.StatusSucceeded, at(day)
		}, "captured 24h0m0s balance_transaction 168h0m0s assumed"},
		"captured at an unknown time": {func(in *hold.PaymentIntent, _ *hold.ChargeHistory) {
			in.Status = hold.StatusSucceeded
		}, "captured - 168h0m0s assumed"},
		"captured, extended": {func(in *hold.PaymentIntent, h *hold.ChargeHistory) {
			in.Status, h.CapturedAt, h.Extended = hold.StatusSucceeded, at(day), true
		}, "captured 24h0m0s balance_transaction 714h0m0s assumed"},
		"captured at a terminal": {func(in *hold.PaymentIntent, h *hold.ChargeHistory) {
			in.Status, h.CapturedAt = hold.StatusSucceeded, at(day)
			in.PaymentMethodType, h.Brand = "card_present", "mastercard"
		}, "captured 24h0m0s balance_transaction 48h0m0s assumed"},
		"canceled": {func(in *hold.PaymentIntent, h *hold.ChargeHistory) {
			in.Status, in.CancellationReason = hold.StatusCanceled, hold.ReasonAbandoned
			in.CanceledAt, in.CaptureBefore = at(day), before
		}, "canceled 24h0m0s payment_intent 168h0m0s capture_before"},
		"expired": {func(in *hold.PaymentIntent, h *hold.ChargeHistory) {
			in.Status, in.CancellationReason = hold.StatusCanceled, hold.ReasonAutomatic
			in.CanceledAt, in.CaptureBefore = before, before
		}, "expired 168h0m0s payment_intent 168h0m0s capture_before"},
		"expired, of a newer API version": {func(in *hold.PaymentIntent, h *hold.ChargeHistory) {
			in.Status, in.CancellationReason = hold.StatusCanceled, hold.ReasonExpired
			in.CanceledAt, in.CaptureBefore = before, before
		}, "expired 168h0m0s payment_intent 168h0m0s capture_before"},
		"never authorized": {func(in *hold.PaymentIntent, h *hold.ChargeHistory) {
			in.Status, h.Charge = hold.StatusCanceled, ""
		}, ""},
		"captured at once": {func(in *hold.PaymentIntent, h *hold.ChargeHistory) {
			in.Status, h.Manual = hold.StatusSucceeded, false
		}, ""},
		"processing": {func(in *hold.PaymentIntent, _ *hold.ChargeHistory) {
			in.Status = hold.StatusProcessing
		}, ""},
	} {
		in, h := intent, history
		c.change(&in, &h)
		p, ok := audit.NewPayment(&in, &h)
		got := ""
		if ok {
			end := "-"
			if !p.EndedAt.IsZero() {
				end = p.EndedAt.Sub(start).String() + " " + string(p.EndedSource)
			}
			got = string(p.Outcome) + " " + end + " " + p.ExpiresAt.Sub(start).String() + " " +
				string(p.ExpiresSource)
		}
		if got != c.want || ok && (p.Reference != "BK-1" || p.Amount != 10000) {
			t.Errorf("%s: %q, want %q: %+v", name, got, c.want, p)
		}
	}
}

func TestCompute_Outcomes(t *testing.T) {
	r := audit.ComputeReport([]audit.Payment{
		payment("a", day, captured(day, 10000)), payment("b", day, captured(day, 2500)),
		payment("c", day, func(*audit.Payment) {}), payment("d", day, expired),
		payment("e", 27*day, held),
		payment("before", -day, expired), // the period begins later
		payment("yen", day, func(p *audit.Payment) { // another currency
			p.Currency, p.Amount = "jpy", 500
		}),
	}, period)
	checkTotal(t, "captured", r.Captured, eur(2, 12500))
	checkTotal(t, "released at capture", r.ReleasedAtCapture, eur(1, 7500))
	checkTotal(t, "expired", r.Expired.Total, eur(1, 10000))
	checkTotal(t, "still held", r.StillHeld, eur(1, 10000))
	if r.Authorized.Count != 6 || r.Authorized.FormatMoney() != "500.00 EUR, 500 JPY" ||
		r.Canceled.FormatMoney() != "100.00 EUR, 500 JPY" {
		t.Errorf("authorized %+v, canceled %+v", r.Authorized, r.Canceled)
	}
}

func TestCompute_ExpiredByWeekAndBrand(t *testing.T) {
	master := func(p *audit.Payment) { expired(p); p.Brand = "mastercard" }
	klarna := func(p *audit.Payment) { p.Brand, p.Method = "", "klarna" }
	r := audit.ComputeReport([]audit.Payment{
		payment("a", 0, expired), payment("b", 2*day, expired), // both in the second week
		payment("c", 8*day, master), payment("d", 9*day, klarna),
	}, period)
	e := &r.Expired
	if len(e.ByWeek) != 5 || e.ByWeek[0].Monday != "2026-11-02" ||
		e.ByWeek[0].Count != 0 || e.ByWeek[1].Count != 2 || e.ByWeek[2].Count != 1 {
		t.Errorf("by week: %+v", e.ByWeek)
	}
	if len(e.ByBrand) != 3 || e.ByBrand[0].Brand != "visa" || e.ByBrand[0].Count != 2 ||
		e.ByBrand[1].Brand != "mastercard" || e.ByBrand[2].Brand != "klarna" ||
		e.ByBrand[2].Authorized != 1 || e.ByBrand[2].Count != 0 {
		t.Errorf("by brand: %+v", e.ByBrand)
	}
	if len(e.Payments) != 3 || e.Payments[0].ID != "pi_c" {
		t.Errorf("payments: %+v", e.Payments)
	}
	// In Auckland the first of them expired in the week of the 9th, too, and the
	// week begins 13 hours earlier.
	auckland, err := time.LoadLocation("Pacific/Auckland")
	if err != nil {
		t.Fatal(err)
	}
	o := period
	o.Location = auckland
	r = audit.ComputeReport([]audit.Payment{payment("a", 6*day+23*time.Hour, expired)}, o)
	if n := r.Expired.ByWeek[2].Count; n != 1 || r.Expired.ByWeek[2].Monday != "2026-11-16" {
		t.Errorf("in Auckland: %+v", r.Expired.ByWeek)
	}
}

func TestCompute_LateCapturesAndTimeToCapture(t *testing.T) {
	unknown := func(p *audit.Payment) {
		p.Outcome, p.Captured, p.EndedAt, p.EndedSource = audit.Captured, 1, time.Time{}, ""
	}
	afterAssumedEnd := func(p *audit.Payment) {
		captured(8*day, 1)(p)
		p.ExpiresSource = audit.Assumed
	}
	payments := []audit.Payment{
		payment("a", 0, captured(7*day-time.Minute, 100)),
		payment("b", 0, captured(7*day-time.Hour, 200)), // an hour is not under an hour
		payment("c", 0, captured(7*day-12*time.Hour, 400)),
		payment("d", 0, captured(6*day, 800)), // 24 hours are not under 24 hours
		payment("e", 0, unknown), payment("f", 0, afterAssumedEnd),
	}
	r := audit.ComputeReport(payments, period)
	l := &r.LateCaptures
	checkTotal(t, "late", l.Total, eur(3, 700))
	for i, want := range []int64{100, 200, 400} {
		checkTotal(t, audit.FormatBucketRange(l.Buckets, i), l.Buckets[i].Total, eur(1, want))
	}
	if len(l.Payments) != 3 || l.Payments[0].ID != "pi_a" || l.Payments[2].ID != "pi_c" {
		t.Errorf("%+v", l.Payments)
	}
	took := &r.TimeToCapture
	if took.Count != 5 || took.Median != int64((7*day-time.Hour).Seconds()) ||
		took.Longest != int64((8*day).Seconds()) {
		t.Errorf("%+v", took)
	}
	if s := r.Sources; s.CapturesByBalance != 5 || s.CapturesUnknown != 1 ||
		s.CapturesAssumedEnd != 1 || s.WithoutCustomer != 6 {
		t.Errorf("%+v", s)
	}
	audit.SetMissingCaptureTimes(payments, map[string]time.Time{"ch_e": at(day), "ch_a": at(day)})
	r = audit.ComputeReport(payments, period)
	if s := r.Sources; s.CapturesByEvent != 1 || s.CapturesUnknown != 0 ||
		r.TimeToCapture.Count != 6 || r.LateCaptures.Count != 3 {
		t.Errorf("with events: %+v, %d late", s, r.LateCaptures.Count)
	}
}

func TestCompute_HeldNow(t *testing.T) {
	old := func(p *audit.Payment) { held(p); p.ExpiresAt = at(28*day + 30*time.Minute) }
	part := func(p *audit.Payment) { held(p); p.Held, p.ExpiresAt = 4000, at(30*day) }
	r := audit.ComputeReport([]audit.Payment{payment("a", 27*day, held), payment("b", -2*day, old),
		payment("c", 27*day, part), payment("d", 27*day, captured(day, 1))}, period)
	h := &r.HeldNow
	checkTotal(t, "held", h.Total, eur(3, 24000))
	checkTotal(t, "under an hour", h.Buckets[0].Total, eur(1, 10000))
	checkTotal(t, "one to three days", h.Buckets[3].Total, eur(1, 4000))
	if h.Payments[0].ID != "pi_b" || h.Payments[2].ID != "pi_a" {
		t.Errorf("%+v", h.Payments)
	}
}

func TestOverlapReport_FormatCustomers(t *testing.T) {
	for n, want := range []string{"0 customers", "1 customer", "2 customers"} {
		if got := (&audit.OverlapReport{Customers: n}).FormatCustomers(); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestCompute_HeldTwice(t *testing.T) {
	of := func(customer string, f func(*audit.Payment)) func(*audit.Payment) {
		return func(p *audit.Payment) { f(p); p.Customer = customer }
	}
	other := func(p *audit.Payment) { captured(2*day, 1)(p); p.Amount = 500 }
	unknown := func(p *audit.Payment) { p.Outcome, p.EndedAt = audit.Captured, time.Time{} }
	for name, c := range map[string]struct {
		payments            []audit.Payment
		count, same, atOnce int
		overlapped          time.Duration // of the last
	}{
		"one after the other": {[]audit.Payment{
			payment("a", 0, of("cus_1", captured(day, 1))),
			payment("b", day, of("cus_1", captured(day, 1)))}, 0, 0, 0, 0},
		"at once": {[]audit.Payment{
			payment("a", 0, of("cus_1", captured(2*day, 1))),
			payment("b", day, of("cus_1", captured(5*day, 1)))}, 1, 1, 2, day},
		"three, of which one has another amount": {[]audit.Payment{
			payment("a", 0, of("cus_1", captured(5*day, 1))),
			payment("b", day, of("cus_1", other)),
			payment("c", 2*day, of("cus_1", captured(day, 1)))}, 2, 1, 3, day},
		"two customers": {[]audit.Payment{payment("a", 0, of("cus_1", captured(2*day, 1))),
			payment("b", day, of("cus_2", captured(2*day, 1)))}, 0, 0, 0, 0},
		"no customer": {[]audit.Payment{payment("a", 0, captured(2*day, 1)),
			payment("b", day, captured(2*day, 1))}, 0, 0, 0, 0},
		"begun before the period": {[]audit.Payment{
			payment("a", -2*day, of("cus_1", captured(5*day, 1))),
			payment("x", -day, of("cus_1", captured(5*day, 1))), // not in the period
			payment("b", day, of("cus_1", captured(day, 1)))}, 1, 1, 3, day},
		"both held now": {[]audit.Payment{payment("a", 26*day, of("cus_1", held)),
			payment("b", 27*day, of("cus_1", held))}, 1, 1, 2, day},
		"the first was captured at an unknown time": {[]audit.Payment{
			payment("a", 0, of("cus_1", unknown)),
			payment("b", day, of("cus_1", captured(day, 1)))}, 0, 0, 0, 0},
	} {
		r := audit.ComputeReport(c.payments, period)
		h := &r.HeldTwice
		if h.Count != c.count || h.SameAmount != c.same || h.MostAtOnce != c.atOnce ||
			len(h.Overlaps) != c.count {
			t.Errorf("%s: %+v", name, h)
			continue
		}
		if c.count > 0 && h.Overlaps[0].Overlapped != int64(c.overlapped.Seconds()) {
			t.Errorf("%s: held for %d s", name, h.Overlaps[0].Overlapped)
		}
	}
}

// TestPage_IsSelfContained parses a page with hostile references as XML.
func TestPage_IsSelfContained(t *testing.T) {
	hostile := `</td><script src="https://evil.example/x.js">` + "\u202e\x00"
	var payments []audit.Payment
	for i, f := range []func(*audit.Payment){expired, held, captured(7*day-time.Minute, 5), held} {
		p := payment(string(rune('a'+i)), 25*day, f)
		p.Customer, p.Reference, p.Brand = "cus_1", hostile, hostile
		payments = append(payments, p)
	}
	r := audit.ComputeReport(payments, period)
	body := audit.RenderPage(&r, nil)
	for _, bad := range []string{"<script", "http://", "https://evil", `src=`, `href=`, "url(",
		"\u202e", "\x00", "@import"} {
		if n := bytes.Count(body, []byte(bad)); n > 0 && bad != "https://evil" && bad != "src=" {
			t.Errorf("the page has %q", bad)
		}
	}
	elements := map[string]int{}
	d := xml.NewDecoder(bytes.NewReader(body))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok {
			elements[e.Name.Local]++
			for _, a := range e.Attr {
				if a.Name.Local == "src" || a.Name.Local == "href" || strings.HasPrefix(a.Name.Local, "on") {
					t.Errorf("%s has %s=%q", e.Name.Local, a.Name.Local, a.Value)
				}
			}
		}
	}
	if elements["svg"] < 5 || elements["script"] != 0 || elements["section"] != 6 ||
		elements["meta"] != 3 {
		t.Errorf("%v", elements)
	}
}

func TestPage_OfNothing(t *testing.T) {
	r := audit.ComputeReport(nil, period)
	if body := string(audit.RenderPage(&r, nil)); !strings.Contains(body,
		"0 authorizations expired") {
		t.Error(body)
	}
	if b, err := json.Marshal(r); err != nil || bytes.Contains(b, []byte("null")) {
		t.Errorf("%v, or a list is null: %s", err, b)
	}
}
