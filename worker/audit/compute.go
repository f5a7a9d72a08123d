package audit

import (
	"cmp"
	"slices"
	"time"
)

const day = 24 * time.Hour

// LongestAuthorization is how long before the period payments must be read,
// because an authorization of that time may have been held in the period. It is
// a day more than the longest window.
const LongestAuthorization = 31 * day

// ReportScope is what a report is about.
type ReportScope struct {
	Account     string
	Livemode    bool
	From, Until time.Time
	ReadFrom    time.Time      // of the oldest intent that was read
	IntentsRead int            // also those that are no payments
	Location    *time.Location // in which a week begins; nil is UTC
}

// ComputeReport returns the report of payments, in any order.
func ComputeReport(payments []Payment, o ReportScope) Report {
	if o.Location == nil {
		o.Location = time.UTC
	}
	all := slices.Clone(payments)
	slices.SortFunc(all, func(a, b Payment) int {
		return cmp.Or(a.AuthorizedAt.Compare(b.AuthorizedAt), cmp.Compare(a.ID, b.ID))
	})
	r := Report{Account: o.Account, Livemode: o.Livemode, From: o.From.UTC(), Until: o.Until.UTC(),
		ReadFrom: o.ReadFrom.UTC(), IntentsRead: o.IntentsRead}
	period := slices.DeleteFunc(slices.Clone(all), func(p Payment) bool {
		return p.AuthorizedAt.Before(o.From) || p.AuthorizedAt.After(o.Until)
	})
	r.sumOutcomes(period)
	r.Expired = newExpiredReport(period, o)
	r.LateCaptures = newLateCapturesReport(period)
	r.TimeToCapture = newTimeToCaptureReport(period)
	r.HeldTwice = newOverlapReport(all, o)
	r.HeldNow = newHeldNowReport(all, o.Until)
	r.Sources = newCertaintyReport(period, &r.HeldNow)
	r.fillEmptyLists()
	return r
}

// fillEmptyLists makes lists without elements empty, because programs iterate
// over them: in JSON they are [] and not null.
func (r *Report) fillEmptyLists() {
	totals := []*Total{&r.Authorized, &r.Captured, &r.ReleasedAtCapture, &r.Canceled, &r.StillHeld,
		&r.Expired.Total, &r.LateCaptures.Total, &r.HeldTwice.Total, &r.HeldNow.Total}
	for i := range r.Expired.ByWeek {
		totals = append(totals, &r.Expired.ByWeek[i].Total)
	}
	for i := range r.Expired.ByBrand {
		totals = append(totals, &r.Expired.ByBrand[i].Total)
	}
	for _, all := range [][]DurationBucket{r.LateCaptures.Buckets, r.TimeToCapture.Buckets,
		r.HeldNow.Buckets} {
		for i := range all {
			totals = append(totals, &all[i].Total)
		}
	}
	for _, t := range totals {
		t.Sums = notNil(t.Sums)
	}
	r.Expired.ByWeek, r.Expired.ByBrand = notNil(r.Expired.ByWeek), notNil(r.Expired.ByBrand)
	for _, p := range []*[]Payment{&r.Expired.Payments, &r.LateCaptures.Payments,
		&r.HeldNow.Payments} {
		*p = notNil(*p)
	}
	r.HeldTwice.Overlaps = notNil(r.HeldTwice.Overlaps)
}

func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func (r *Report) sumOutcomes(period []Payment) {
	for _, p := range period {
		r.Authorized.add(p.Currency, p.Amount)
		switch p.Outcome {
		case Captured:
			r.Captured.add(p.Currency, p.Captured)
			if rest := p.Amount - p.Captured; rest > 0 {
				r.ReleasedAtCapture.add(p.Currency, rest)
			}
		case Canceled:
			r.Canceled.add(p.Currency, p.Amount)
		case Held:
			r.StillHeld.add(p.Currency, p.Held)
		}
	}
}

func newExpiredReport(period []Payment, o ReportScope) (r ExpiredReport) {
	weeks, brands := map[string]*Total{}, map[string]*ExpiredBrandTotal{}
	for at := startOfWeek(o.From, o.Location); !at.After(o.Until); at = at.AddDate(0, 0, 7) {
		r.ByWeek = append(r.ByWeek, ExpiredWeekTotal{Monday: at.Format(time.DateOnly)})
	}
	for i := range r.ByWeek {
		weeks[r.ByWeek[i].Monday] = &r.ByWeek[i].Total
	}
	for _, p := range period {
		b := brands[p.cardBrandName()]
		if b == nil {
			b = &ExpiredBrandTotal{Brand: p.cardBrandName()}
			brands[b.Brand] = b
		}
		b.Authorized++
		if p.Outcome != Expired {
			continue
		}
		b.add(p.Currency, p.Amount)
		r.add(p.Currency, p.Amount)
		ended := p.EndedAt
		if ended.IsZero() {
			ended = p.ExpiresAt
		}
		if w := weeks[startOfWeek(ended, o.Location).Format(time.DateOnly)]; w != nil {
			w.add(p.Currency, p.Amount)
		}
		r.Payments = append(r.Payments, p)
	}
	for _, b := range brands {
		r.ByBrand = append(r.ByBrand, *b)
	}
	slices.SortFunc(r.ByBrand, func(a, b ExpiredBrandTotal) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(b.Authorized, a.Authorized),
			cmp.Compare(a.Brand, b.Brand))
	})
	slices.SortStableFunc(r.Payments, func(a, b Payment) int { return b.EndedAt.Compare(a.EndedAt) })
	return r
}

// startOfWeek returns the beginning of a time's week.
func startOfWeek(t time.Time, in *time.Location) time.Time {
	t = t.In(in)
	back := (int(t.Weekday()) + 6) % 7
	return time.Date(t.Year(), t.Month(), t.Day()-back, 0, 0, 0, 0, in)
}

// lateSpans are the spans before the end of an authorization in which a capture
// is late.
var lateSpans = []time.Duration{time.Hour, 6 * time.Hour, day}

func newLateCapturesReport(period []Payment) (r LateCapturesReport) {
	r.Buckets = newDurationBuckets(lateSpans, false)
	for _, p := range period {
		left := p.ExpiresAt.Sub(p.EndedAt)
		if p.Outcome != Captured || p.EndedAt.IsZero() || left < 0 || left >= day {
			continue // after an assumed end the assumption was wrong
		}
		r.add(p.Currency, p.Captured)
		findBucket(r.Buckets, left).add(p.Currency, p.Captured)
		r.Payments = append(r.Payments, p)
	}
	slices.SortStableFunc(r.Payments, func(a, b Payment) int {
		return cmp.Compare(a.ExpiresAt.Sub(a.EndedAt), b.ExpiresAt.Sub(b.EndedAt))
	})
	return r
}

var captureSpans = []time.Duration{time.Hour, 6 * time.Hour, day, 2 * day, 3 * day, 4 * day,
	5 * day, 6 * day, 7 * day}

func newTimeToCaptureReport(period []Payment) (r TimeToCaptureReport) {
	r.Buckets = newDurationBuckets(captureSpans, true)
	var took []time.Duration
	for _, p := range period {
		if p.Outcome == Captured && !p.EndedAt.IsZero() {
			d := p.EndedAt.Sub(p.AuthorizedAt)
			took = append(took, d)
			findBucket(r.Buckets, d).add(p.Currency, p.Captured)
		}
	}
	if r.Count = len(took); r.Count == 0 {
		return r
	}
	slices.Sort(took)
	at := func(share float64) int64 {
		return int64(took[int(share*float64(len(took)-1))].Seconds())
	}
	r.Median, r.P90, r.Longest = at(0.5), at(0.9), at(1)
	return r
}

var heldSpans = []time.Duration{time.Hour, 6 * time.Hour, day, 3 * day, 7 * day}

func newHeldNowReport(all []Payment, now time.Time) (r HeldNowReport) {
	r.Buckets = newDurationBuckets(heldSpans, true)
	for _, p := range all {
		if p.Outcome == Held {
			r.add(p.Currency, p.Held)
			findBucket(r.Buckets, p.ExpiresAt.Sub(now)).add(p.Currency, p.Held)
			r.Payments = append(r.Payments, p)
		}
	}
	slices.SortStableFunc(r.Payments, func(a, b Payment) int {
		return a.ExpiresAt.Compare(b.ExpiresAt)
	})
	return r
}

func newDurationBuckets(spans []time.Duration, open bool) (b []DurationBucket) {
	for _, s := range spans {
		b = append(b, DurationBucket{Under: int64(s.Seconds())})
	}
	if open {
		b = append(b, DurationBucket{})
	}
	return b
}

// findBucket returns the bucket of a duration, the last one if none ends after
// it.
func findBucket(all []DurationBucket, d time.Duration) *DurationBucket {
	for i := range all {
		if d.Seconds() < float64(all[i].Under) {
			return &all[i]
		}
	}
	return &all[len(all)-1]
}

func newCertaintyReport(period []Payment, held *HeldNowReport) (r CertaintyReport) {
	for _, p := range period {
		if p.Customer == "" {
			r.WithoutCustomer++
		}
		if p.ID == p.Charge {
			r.ChargesAlone++
		}
		if p.Outcome != Captured {
			continue
		}
		if p.ExpiresSource == Assumed {
			r.CapturesAssumedEnd++
		}
		switch p.EndedSource {
		case FromBalance:
			r.CapturesByBalance++
		case FromEvent:
			r.CapturesByEvent++
		default:
			r.CapturesUnknown++
		}
	}
	for _, p := range held.Payments {
		if p.ExpiresSource == Assumed {
			r.HeldAssumedEnd++
		}
	}
	return r
}
