package simtest

import (
	"strings"
	"testing"
	"time"
)

// kept are worlds in which a promise was broken once, or would be without a guard that chance hardly ever needs. They are plans and not seeds, so that they stay what they are when plan_test.go draws
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
	{"an intent with a term that nobody can read is scheduled by API, and the mirror has to take that term out by a second request: it gave up for want of budget each time, and began anew for ever",
		plan{seed: 898, span: 40 * time.Minute, tick: 30 * time.Second, slots: 1, handlers: 1, partitions: 1, margin: time.Minute, thresholds: []time.Duration{4 * time.Minute, time.Minute}, write: 2,
			lease: 30 * time.Second, ways: ways{on: true, mirror: 30 * time.Second},
			holds: []placed{{n: 1, at: 5 * time.Second, told: 5 * time.Second, life: 30 * time.Minute, amount: 60685, currency: "usd", own: "none", reference: "BK-1", way: "metadata", spoiled: true,
				acts: []act{{n: 1, at: time.Minute, kind: "again"}}}}}},
	{"two replicas mirror the same terms in step: the one that met the other's key put it off, and so the other's note came too late, at every tick",
		plan{seed: 541, span: 6 * time.Hour, tick: 10 * time.Minute, slots: 2, handlers: 1, partitions: 1, margin: 70 * time.Minute, thresholds: []time.Duration{280 * time.Minute, 140 * time.Minute}, write: 5,
			lease: 30 * time.Second, service: 7 * time.Second, ways: ways{on: true, mirror: 10 * time.Minute},
			holds: []placed{{n: 2, at: 20 * time.Minute, told: 31 * time.Minute, life: 338 * time.Minute, amount: 11379, currency: "jpy", own: "none", policy: "cancel", reference: "BK-2"}}}},
	{"Redis takes no commit for a while: terms that had just been written were found unwritten at once, and written again several times a second",
		plan{seed: 592, span: 6 * time.Minute, tick: 5 * time.Second, slots: 1, handlers: 1, partitions: 1, margin: 15 * time.Second, thresholds: []time.Duration{time.Minute, 30 * time.Second, 15 * time.Second}, write: 25,
			lease: 30 * time.Second, ways: ways{on: true, mirror: 5 * time.Second},
			holds:  []placed{{n: 8, at: 5 * time.Second, told: 5 * time.Second, life: 5 * time.Minute, amount: 44100, currency: "eur", own: "none", policy: "cancel", reference: "BK-8"}},
			faults: []fault{{n: 1, kind: "redis:cut before", from: 7 * time.Second, to: 30 * time.Second, p: 1, slot: -1, where: "commit"}}}},
	{"a replica falls asleep with claims that no handler has begun with, and wakes when they are another's", asleep()},
}

func asleep() plan {
	p := plan{seed: 1, span: 2 * time.Minute, tick: time.Second, slots: 2, handlers: 2, partitions: 1, margin: 6 * time.Second,
		thresholds: []time.Duration{24 * time.Second, 12 * time.Second, 6 * time.Second}, write: 25, lease: 30 * time.Second,
		faults: []fault{
			{n: 1, kind: "stripe:late", from: 19 * time.Second, to: 26 * time.Second, p: 1, slot: -1},
			{n: 2, kind: "pause", from: 21500 * time.Millisecond, to: 70 * time.Second, slot: 0}}}
	for n := range 12 {
		p.holds = append(p.holds, placed{n: n + 1, at: 3*time.Second + time.Duration(n)*time.Millisecond, told: 4*time.Second + time.Duration(n)*time.Millisecond, life: 5 * time.Minute,
			amount: 1000, currency: "eur", own: "capture", due: 20 * time.Second, policy: "capture", reference: "BK"})
	}
	return p
}

func TestKept(t *testing.T) {
	for _, k := range kept {
		if o := run(t, k.plan); len(o.breaches) > 0 {
			t.Errorf("%s:\n%s%s\n%s", k.why, &o.plan, o.story, strings.Join(o.breaches, "\n"))
		}
	}
}
