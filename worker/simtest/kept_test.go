package simtest

import (
	"strings"
	"testing"
	"time"
)

// kept are worlds in which a promise was broken once. They are plans and not seeds, so that they stay what they are when plan_test.go draws
// otherwise; a failure of TestSeeds prints its shrunk plan in this form.
var kept = []struct {
	why  string
	plan plan
}{
	{"a capture whose reply was given up arrives late, and Stripe doesn't find the intent: two 404s were taken for proof that nothing had happened",
		plan{seed: 547, span: 6 * time.Minute, tick: 5 * time.Second, slots: 2, handlers: 1, partitions: 3, margin: 6 * time.Second,
			thresholds: []time.Duration{24 * time.Second, 12 * time.Second, 6 * time.Second}, write: 5, lease: 30 * time.Second,
			holds: []placed{{n: 3, at: 167001054449, told: 171798255133, life: 99494268214, account: "acct_simtestone11", amount: 63992, currency: "jpy",
				own: "capture", due: 235135 * time.Millisecond, part: 39569, policy: "capture", reference: "BK-3"}},
			faults: []fault{
				{n: 2, kind: "stripe:not_found", from: 245 * time.Second, to: 285 * time.Second, p: 1, slot: -1},
				{n: 4, kind: "stripe:late", from: 231358901395, to: 240 * time.Second, p: 1, slot: -1}}}},
}

func TestKept(t *testing.T) {
	for _, k := range kept {
		if o := run(t, k.plan); len(o.breaches) > 0 {
			t.Errorf("%s:\n%s%s\n%s", k.why, &o.plan, o.story, strings.Join(o.breaches, "\n"))
		}
	}
}
