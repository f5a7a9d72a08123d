package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// FormatMoney returns the sums in words, such as "1250.00 EUR, 300 JPY"; "none"
// if there are none.
func (t *Total) FormatMoney() string {
	sums := slices.SortedFunc(slices.Values(t.Sums), func(a, b hold.Sum) int {
		return cmp.Compare(a.Currency, b.Currency)
	})
	var parts []string
	for _, s := range sums {
		parts = append(parts, hold.FormatAmount(s.Amount, s.Currency))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// FormatShareOf returns how much of all the payments are, such as "4.2 %".
func (t *Total) FormatShareOf(all int) string {
	if all == 0 {
		return "0 %"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(t.Count)/float64(all))
}

// FormatBucketRange returns the span of a bucket, such as "1 h to 6 h".
func FormatBucketRange(all []DurationBucket, i int) string {
	switch {
	case i == 0:
		return "under " + formatBucketBound(all[0].Under)
	case all[i].Under == 0:
		return "longer"
	}
	return formatBucketBound(all[i-1].Under) + " to " + formatBucketBound(all[i].Under)
}

func formatBucketBound(seconds int64) string {
	d := time.Duration(seconds) * time.Second
	if d%day == 0 {
		return fmt.Sprintf("%d d", d/day)
	}
	return fmt.Sprintf("%d h", d/time.Hour)
}

// FormatDuration returns a number of seconds in its two largest units, rounded
// down.
func FormatDuration(seconds int64) string {
	switch m := seconds / 60; {
	case seconds < 60:
		return fmt.Sprintf("%d s", seconds)
	case m < 60:
		return fmt.Sprintf("%d min", m)
	case m < 24*60:
		return fmt.Sprintf("%d h %d min", m/60, m%60)
	default:
		return fmt.Sprintf("%d d %d h", m/60/24, m/60%24)
	}
}

// DescribeLimitations says in sentences what the report assumes and what it
// cannot know.
func (r *Report) DescribeLimitations() (notes []string) {
	s := &r.Sources
	add := func(n int, before, one, many, rest string) {
		if n > 0 {
			notes = append(notes, before+hold.FormatCount(n, one, many)+rest)
		}
	}
	add(s.CapturesByBalance, "", "capture has", "captures have",
		" the time of the balance transaction.")
	add(s.CapturesByEvent, "", "capture has", "captures have", " the time of the event.")
	add(s.CapturesUnknown, "", "capture has no known time: it counts",
		"captures have no known time: they count", " as captured, and not in "+
			"the late captures, the time to capture and what was held twice. A key that may read "+
			"balance transactions would show it.")
	add(s.CapturesAssumedEnd, "For ", "capture", "captures", " the end of the authorization is "+
		"assumed from the payment method and the card brand, because a captured charge does not say "+
		"it. Visa ends authorizations without the cardholder two days earlier.")
	add(s.HeldAssumedEnd, "For ", "payment that is", "payments that are",
		" held now the end is assumed from the payment method.")
	add(s.WithoutCustomer, "", "authorization names no customer: it",
		"authorizations name no customer: they", " cannot be found as held twice.")
	add(s.ChargesAlone, "", "authorization was", "authorizations were", " made with the Charges API "+
		"alone. Such a charge does not say whether its capture was a request of its own: all that was "+
		"captured within a minute, or at an unknown time, counts as charged at once.")
	return append(notes, "Not read: the rest that expired after another system had captured a part.")
}
