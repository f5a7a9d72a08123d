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
	{"Redis forgets claims, and its clock goes back by as much as it takes until the same holds are claimed in the same millisecond again: who had them first wrote over changes that had been granted since", stepped(1)},
	{"the same with other delays, because the coincidence needs the right ones: each seed has it about two times in three", stepped(2)},
	{"the same", stepped(3)},
	{"the same", stepped(4)},
	{"a replica falls asleep with claims that no handler has begun with, and wakes when they are another's", asleep()},
	{"a release whose time lies behind a deadline that nobody knew of: the policy says capture, and must not", calm(30*time.Second, ways{},
		placed{n: 1, at: 5 * time.Second, told: 6 * time.Second, life: 20 * time.Minute, amount: 5000, currency: "eur", own: "cancel", due: 20*time.Minute + 30*time.Second, policy: "capture"},
	).with(fault{n: 1, kind: "stripe:down", from: 5 * time.Second, to: 10 * time.Second, slot: -1})},
	{"whoever captured has died before it could say so, and Stripe can't be reached: until it can, nobody may be told that the hold is canceled", calm(time.Second, ways{},
		placed{n: 1, at: 5 * time.Second, told: 6 * time.Second, life: 10 * time.Minute, amount: 5000, currency: "eur", own: "capture", due: 20 * time.Second, acts: []act{
			{n: 1, at: 55 * time.Second, kind: "cancel"}, {n: 2, at: 63 * time.Second, kind: "cancel"}, {n: 3, at: 70 * time.Second, kind: "cancel"}}},
	).with(fault{n: 1, kind: "kill at", where: "stripe", after: true, from: 19 * time.Second, to: 22 * time.Second, back: 5 * time.Second},
		fault{n: 2, kind: "stripe:dial", from: 25 * time.Second, to: 90 * time.Second, p: 1, slot: -1})},
	{"Stripe refuses a capture, and would refuse its key for a day: a person who wishes it again means that it be tried again", calm(5*time.Second, ways{},
		placed{n: 1, at: 5 * time.Second, told: 6 * time.Second, life: 30 * time.Minute, amount: 5000, currency: "eur", own: "capture", due: time.Minute, acts: []act{{n: 1, at: 10 * time.Minute, kind: "capture"}}},
	).with(fault{n: 1, kind: "stripe:refused", where: "capture", from: 55 * time.Second, to: 70 * time.Second, p: 1, slot: -1})},
	{"a release reads the deadline first and then meets no Stripe: what the read told of the deadline was dropped with its answer, and nobody looked at the hold any more", calm(time.Second, ways{},
		placed{n: 1, at: 5 * time.Second, told: 6 * time.Second, life: 75 * time.Second, amount: 5000, currency: "eur", own: "none", policy: "alert", acts: []act{{n: 1, at: 20 * time.Second, kind: "cancel"}}},
	).with(fault{n: 1, kind: "stripe:forbidden", from: 5 * time.Second, to: 8 * time.Second, p: 1, slot: -1},
		fault{n: 2, kind: "stripe:dial", where: "cancel", from: 10 * time.Second, to: 70 * time.Second, p: 1, slot: -1},
		fault{n: 3, kind: "stripe:refused", where: "cancel", from: 70 * time.Second, to: 90 * time.Second, p: 1, slot: -1})},
	{"replies to changes are lost between Redis and the replica: their callers, who said which revision was meant, are not refused because of their own changes", matched()},
	{"the reply to a change is lost, and before it is repeated another replica acts on the hold: it was granted, and nobody is told otherwise", overtaken()},
	{"somebody releases a hold at the Dashboard, no webhook comes: the comparison settles it", calm(30*time.Second, ways{on: true, compare: 2 * time.Minute},
		placed{n: 1, at: 5 * time.Second, told: 6 * time.Second, life: 38 * time.Minute, amount: 5000, currency: "eur", own: "capture", due: 30 * time.Minute, acts: []act{{n: 1, at: 5 * time.Minute, kind: "dashboard cancel"}}})},
	{"terms that nobody can read, and no webhook comes: the comparison tells of them", calm(30*time.Second, ways{on: true, compare: 2 * time.Minute},
		placed{n: 1, at: 5 * time.Second, told: 5 * time.Second, life: 38 * time.Minute, amount: 5000, currency: "eur", own: "capture", due: 30 * time.Minute, way: "metadata", spoiled: true})},
	{"somebody captures at the Dashboard just what was to be captured: it is told as somebody else's", calm(30*time.Second, ways{on: true, compare: 2 * time.Minute},
		placed{n: 1, at: 5 * time.Second, told: 6 * time.Second, life: 38 * time.Minute, amount: 5000, currency: "eur", own: "capture", due: 30 * time.Minute,
			acts: []act{{n: 1, at: 5 * time.Minute, kind: "dashboard capture", amount: 5000}}})},
	{"Redis is emptied long after terms were changed: those that stand at Stripe are the changed ones", calm(30*time.Second, ways{on: true, mirror: 30 * time.Second},
		placed{n: 1, at: 5 * time.Second, told: 6 * time.Second, life: 38 * time.Minute, amount: 5000, currency: "eur", own: "capture", due: 30 * time.Minute,
			acts: []act{{n: 1, at: time.Minute, kind: "patch capture_at", time: 20 * time.Minute}}},
	).with(fault{n: 1, kind: "redis:emptied", from: 12 * time.Minute, to: 12 * time.Minute, slot: -1})},
	{"Redis is emptied after a capture, and while Stripe can't be asked the hold is scheduled again and released: holdd finds what it did itself", calm(30*time.Second, ways{on: true},
		placed{n: 1, at: 5 * time.Second, told: 6 * time.Second, life: 38 * time.Minute, amount: 5000, currency: "eur", own: "capture", due: 2 * time.Minute,
			acts: []act{{n: 1, at: 12 * time.Minute, kind: "again"}, {n: 2, at: 12*time.Minute + 10*time.Second, kind: "cancel"}}},
	).with(fault{n: 1, kind: "redis:emptied", from: 5 * time.Minute, to: 5 * time.Minute, slot: -1},
		fault{n: 2, kind: "stripe:down", from: 11 * time.Minute, to: 14 * time.Minute, slot: -1})},
	{"a card is authorized by a replica that dies before it can say so, and its caller doesn't ask again", calm(30*time.Second, ways{on: true},
		placed{n: 1, at: 20 * time.Second, told: 20 * time.Second, life: 38 * time.Minute, amount: 5000, currency: "eur", own: "capture", due: 30 * time.Minute, way: "card",
			card: &paid{method: "pm_card_visa", clicks: []time.Duration{0}, guest: "acts", hasty: true}},
	).with(fault{n: 1, kind: "kill at", where: "stripe", after: true, from: 20 * time.Second, to: 25 * time.Second, back: 5 * time.Second})},
	{"a guest clicks twice, and Stripe takes its time: one request to authorize at a time", double()},
	{"a replica falls asleep in the middle of a comparison, and wakes when another has gone on with it", drowsy()},
	{"somebody asks for a comparison while one is under way and Redis is slow: that one goes on", asking()},
	{"a hold comes when its policy's time is over, and nobody confirms that it acts at once: the request is refused", calm(30*time.Second, ways{},
		placed{n: 1, at: 5 * time.Second, told: 5*time.Minute + 20*time.Second, life: 6 * time.Minute, amount: 5000, currency: "eur", own: "none", policy: "cancel", unconfirmed: true})},
	{"a hold is scheduled while Stripe can't be asked, and the first read shows that its policy's time is over: a person is called, and the policy doesn't act", calm(5*time.Second, ways{},
		placed{n: 1, at: 5 * time.Second, told: 5*time.Minute + 10*time.Second, life: 6 * time.Minute, amount: 5000, currency: "eur", own: "none", policy: "cancel", unconfirmed: true},
	).with(fault{n: 1, kind: "stripe:down", from: 5 * time.Minute, to: 5*time.Minute + 13*time.Second, slot: -1})},
	{"Stripe reviews a payment past the time at which it was to be captured, and approves it: it is captured then", calm(5*time.Second, ways{on: true, hooks: true},
		placed{n: 1, at: 5 * time.Second, told: 6 * time.Second, life: 30 * time.Minute, amount: 5000, currency: "eur", own: "capture", due: 5 * time.Minute,
			acts: []act{{n: 1, at: time.Minute, kind: "dashboard review"}, {n: 2, at: 8 * time.Minute, kind: "dashboard approve"}}})},
	{"the policy was about to release, Stripe could not be reached, and meanwhile somebody says that the policy is to capture", calm(5*time.Second, ways{},
		placed{n: 1, at: 5 * time.Second, told: 6 * time.Second, life: 30 * time.Minute, amount: 5000, currency: "eur", own: "none", policy: "cancel",
			acts: []act{{n: 1, at: 29*time.Minute + 30*time.Second, kind: "patch policy", policy: "capture"}}},
	).with(fault{n: 1, kind: "stripe:dial", where: "cancel", from: 28 * time.Minute, to: 29*time.Minute + 33*time.Second, p: 1, slot: -1})},
	{"Stripe could not be asked for a week, and the authorization lasts longer than was assumed: the policy reads it first, and has to wait", calm(10*time.Minute, ways{},
		placed{n: 1, at: 5 * time.Second, told: 6 * time.Second, life: 9 * 24 * time.Hour, amount: 5000, currency: "eur", own: "none", policy: "capture"},
	).with(fault{n: 1, kind: "stripe:down", from: 5 * time.Second, to: 7*24*time.Hour - 5*time.Minute, slot: -1})},
	{"the same, and the amount is known: the policy looks before it acts, though it would not have to for the amount's sake", calm(10*time.Minute, ways{},
		placed{n: 1, at: 5 * time.Second, told: 6 * time.Second, life: 9 * 24 * time.Hour, amount: 5000, currency: "eur", own: "none", policy: "capture", declared: true, undated: true},
	).with(fault{n: 1, kind: "stripe:down", from: 5 * time.Second, to: 7*24*time.Hour - 5*time.Minute, slot: -1})},
	{"a policy is changed just as its time is looked at: whoever looked has seen the older one, and passed the time of both", looked()},
	{"a milestone, and less than a second later another one that nobody could look at until the authorization had lapsed: who drops ids that were seen hears of both", calm(time.Second, ways{},
		placed{n: 1, at: 5 * time.Second, told: 6 * time.Second, life: 10 * time.Minute, amount: 5000, currency: "eur", own: "cancel", due: 9*time.Minute + 5*time.Second + 838*time.Millisecond},
	).with(fault{n: 1, kind: "redis:down", from: 9*time.Minute + 5*time.Second + 500*time.Millisecond, to: 10*time.Minute + 5*time.Second + 500*time.Millisecond, p: 1, slot: -1})},
	{"Redis comes back without its last seconds, and what happens next to a hold has the version that was forgotten: who drops ids that were seen hears of it",
		calm(time.Second, ways{}, placed{n: 1, at: 5 * time.Second, told: 6 * time.Second, life: 10 * time.Minute, amount: 5000, currency: "eur", own: "capture", due: 8 * time.Minute, acts: []act{
			{n: 1, at: 61 * time.Second, kind: "patch capture_at", time: 7 * time.Minute}, {n: 2, at: 65 * time.Second, kind: "pause"}}},
		).with(fault{n: 1, kind: "redis:lose tail", from: 60 * time.Second, to: 63 * time.Second, p: 1, slot: -1})},
	{"another system takes a part of a hold before it is due, and no webhook comes: what is captured is what is missing from the total", calm(30*time.Second, ways{},
		placed{n: 1, at: 5 * time.Second, told: 6 * time.Second, life: 38 * time.Minute, amount: 10_000, currency: "eur", own: "capture", due: 30 * time.Minute, part: 5000, multi: true,
			acts: []act{{n: 1, at: 5 * time.Minute, kind: "dashboard part", amount: 4000}}},
		placed{n: 2, at: 5 * time.Second, told: 6 * time.Second, life: 38 * time.Minute, amount: 10_000, currency: "eur", own: "capture", due: 30 * time.Minute, part: 5000, multi: true, declared: true,
			acts: []act{{n: 1, at: 5 * time.Minute, kind: "dashboard part", amount: 4000}}},
		placed{n: 3, at: 5 * time.Second, told: 6 * time.Second, life: 38 * time.Minute, amount: 10_000, currency: "eur", own: "capture", due: 30 * time.Minute, part: 5000, multi: true,
			acts: []act{{n: 1, at: 5 * time.Minute, kind: "dashboard part", amount: 6000}}},
		placed{n: 4, at: 5 * time.Second, told: 6 * time.Second, life: 38 * time.Minute, amount: 10_000, currency: "eur", own: "capture", due: 30 * time.Minute, multi: true,
			acts: []act{{n: 1, at: 5 * time.Minute, kind: "dashboard part", amount: 4000}}})},
	{"more is authorized while an older list is under way: what was learned meanwhile stands", grown()},
}

// calm is a world of one replica and one partition in which nothing goes wrong by itself, and whose people look after nothing.
func calm(tick time.Duration, w ways, holds ...placed) plan {
	for i := range holds {
		holds[i].reference = "BK"
	}
	return plan{seed: 1, span: 240 * time.Hour, tick: tick, slots: 1, handlers: 2, partitions: 1, margin: time.Minute, thresholds: []time.Duration{4 * time.Minute, 2 * time.Minute, time.Minute},
		write: 25, lease: 30 * time.Second, ways: w, holds: holds}
}

func (p plan) with(faults ...fault) plan {
	p.faults = faults
	return p
}

func matched() plan {
	var all []placed
	for n := range 8 {
		all = append(all, placed{n: n + 1, at: 5 * time.Second, told: 6 * time.Second, life: 30 * time.Minute, amount: 5000, currency: "eur", own: "capture", due: 20 * time.Minute,
			acts: []act{{n: 1, at: time.Minute, kind: "patch capture_at", time: 10 * time.Minute, match: true}}})
	}
	return calm(5*time.Second, ways{}, all...).with(fault{n: 1, kind: "redis:cut after", where: "commit", from: 59 * time.Second, to: 61 * time.Second, p: 0.4, slot: -1})
}

// overtaken is a world in which the reply to a change is lost, and before it can be repeated another replica has acted on the hold.
func overtaken() plan {
	var all []placed
	for n := range 48 {
		all = append(all, placed{n: n + 1, at: 5 * time.Second, told: 6 * time.Second, life: 30 * time.Minute, amount: 5000, currency: "eur", own: "capture", due: time.Minute,
			acts: []act{{n: 1, at: time.Minute - 4*time.Millisecond - time.Duration(n)*50*time.Microsecond, kind: []string{"patch amount", "capture part", "cancel", "patch capture_at"}[n%4],
				amount: int64(1000 + n), time: time.Minute - time.Millisecond}}})
	}
	p := calm(time.Second, ways{}, all...)
	p.slots, p.handlers, p.write = 2, 48, 100
	return p.with(fault{n: 1, kind: "redis:cut after", where: "commit", from: time.Minute - 20*time.Millisecond, to: time.Minute - time.Millisecond, p: 0.5, slot: 0},
		fault{n: 2, kind: "redis:slow", where: "commit", from: time.Minute - 20*time.Millisecond, to: time.Minute + 100*time.Millisecond, p: 1, slot: 0})
}

// looked is a world in which policies that say nothing are changed into ones that act, around the moment at which their time has come.
func looked() plan {
	var all []placed
	for n := range 48 {
		all = append(all, placed{n: n + 1, at: 5 * time.Second, told: 6 * time.Second, life: 10 * time.Minute, amount: 5000, currency: "eur", own: "none", policy: "alert",
			acts: []act{{n: 1, at: 9*time.Minute + 5*time.Second - 3*time.Millisecond + time.Duration(n)*125*time.Microsecond, kind: "patch policy", policy: []string{"capture", "cancel"}[n%2]}}})
	}
	p := calm(time.Second, ways{}, all...)
	p.handlers, p.write = 48, 100
	return p
}

func double() plan {
	p := calm(5*time.Second, ways{on: true}, placed{n: 1, at: 20 * time.Second, told: 20 * time.Second, life: 30 * time.Minute, amount: 5000, currency: "eur", own: "capture", due: 2 * time.Minute, way: "card",
		card: &paid{method: "pm_card_visa", clicks: []time.Duration{0, 2 * time.Second, 3 * time.Second}, guest: "acts"}})
	p.slots, p.service = 3, 6*time.Second
	return p
}

func drowsy() plan {
	var all []placed
	for n := range 6 {
		all = append(all, placed{n: n + 1, at: 5*time.Second + time.Duration(n)*time.Second, told: 12 * time.Second, life: 30 * time.Minute, amount: 5000, currency: "eur", own: "capture", due: 20 * time.Minute})
	}
	p := calm(5*time.Second, ways{on: true, compare: time.Minute, page: 2}, all...)
	p.slots = 2
	return p.with(fault{n: 1, kind: "stripe:slow reply", where: "list", from: 55 * time.Second, to: 66 * time.Second, p: 1, slot: -1},
		fault{n: 2, kind: "pause", from: 64 * time.Second, to: 150 * time.Second, slot: 1})
}

func asking() plan {
	var all []placed
	for n := range 6 {
		all = append(all, placed{n: n + 1, at: 5 * time.Second, told: 6 * time.Second, life: 30 * time.Minute, amount: 5000, currency: "eur", own: "capture", due: 20 * time.Minute})
	}
	p := calm(5*time.Second, ways{on: true, compare: time.Minute, page: 1, asked: []asked{{at: 61400 * time.Millisecond}, {at: 62400 * time.Millisecond}, {at: 63400 * time.Millisecond}}}, all...)
	p.write = 2
	for n := range 3 {
		at := time.Duration(61400+1000*n) * time.Millisecond
		p.faults = append(p.faults, fault{n: n + 1, kind: "redis:late", where: "compare", from: at, to: at + 10*time.Millisecond, p: 1, slot: -1})
	}
	return p
}

func grown() plan {
	p := calm(5*time.Second, ways{on: true, hooks: true, compare: time.Minute}, placed{n: 1, at: 5 * time.Second, told: 6 * time.Second, life: 30 * time.Minute, amount: 5000, currency: "eur", own: "capture",
		due: 20 * time.Minute, acts: []act{{n: 1, at: 61 * time.Second, kind: "dashboard increment", amount: 9000}, {n: 2, at: 66 * time.Second, kind: "patch amount", amount: 8000}}})
	return p.with(fault{n: 1, kind: "stripe:slow reply", where: "list", from: 55 * time.Second, to: 66 * time.Second, p: 1, slot: -1})
}

// stepped is a world in which many holds are claimed as they fall due, and once more when a clock that was set back shows the same moment again. Some claims
// of the second time come in the same millisecond as the first.
func stepped(seed uint64) plan {
	var all []placed
	for n := range 24 {
		all = append(all, placed{n: n + 1, at: 5 * time.Second, told: 6 * time.Second, life: 30 * time.Minute, amount: 5000, currency: "eur", own: "capture", due: 30 * time.Second, part: 4000,
			acts: []act{{n: 1, at: 32 * time.Second, kind: "patch amount", amount: 3000}, {n: 2, at: 33 * time.Second, kind: "patch amount", amount: 2000}, {n: 3, at: 34 * time.Second, kind: "patch amount", amount: 1000}}})
	}
	p := calm(time.Second, ways{}, all...)
	p.seed, p.slots, p.handlers, p.partitions, p.write = seed, 2, 24, 8, 100
	return p.with(fault{n: 1, kind: "stripe:late", where: "capture", from: 29 * time.Second, to: 37 * time.Second, p: 1, slot: -1},
		fault{n: 2, kind: "redis:lose tail", from: 29500 * time.Millisecond, to: 31500 * time.Millisecond, p: 1, slot: -1, step: -5 * time.Second})
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
