package console

import (
	"testing"

	"github.com/holdd/holdd/worker/hold"
)

// A text about one thing is in the singular.
func TestTexts_CountOne(t *testing.T) {
	for _, tc := range []struct {
		got, want string
	}{
		{english.tCount("timeline.omitted", 1, 1), "1 entry omitted"},
		{english.tCount("timeline.omitted", 2, 2), "2 entries omitted"},
		{english.tCount("renewal.made", 1, 0, 1), "(0 of 1 renewal)"},
		{english.tCount("run.finished", 1, 1), "1 PaymentIntent compared with Stripe,"},
		{english.tCount("deliveries.replay", 1, 1), "Deliver 1 dead letter again"},
		{english.tCount("deliveries.effect", 1, 1, "callback"), "Delivers 1 event to callback again. " +
			"It keeps its id, so that the receiver recognizes it."},
	} {
		if tc.got != tc.want {
			t.Errorf("%q, want %q", tc.got, tc.want)
		}
	}
}

// Every value that a page may show has a text.
func TestTexts_OfEveryEnumeration(t *testing.T) {
	var keys []string
	for _, s := range hold.States() {
		keys = append(keys, "state."+s.String())
	}
	for i := range uint8(100) {
		if s := hold.Cause(i).String(); s != "unknown" {
			keys = append(keys, "cause."+s)
		}
		if s := hold.Op(i).String(); s != "unknown" {
			keys = append(keys, "op."+s)
		}
		if s := hold.HistoryKind(i).String(); s != "unknown" {
			keys = append(keys, "history."+s)
		}
		if s := hold.ExpiryPolicy(i).String(); s != "unknown" {
			keys = append(keys, "policy."+s)
		}
		if s := hold.DeadlineSource(i).String(); s != "unknown" {
			keys = append(keys, "source."+s)
		}
	}
	for _, x := range acts {
		keys = append(keys, "act."+x.name, "confirm."+x.name, "done."+x.name)
	}
	for _, x := range bulkActs {
		for _, prefix := range []string{"bulk.title.", "bulk.effect.", "bulk.confirm.", "bulk.done."} {
			keys = append(keys, prefix+x.name)
		}
	}
	for _, tab := range holdTabs {
		keys = append(keys, "tab."+tab.name, "holds.empty."+tab.name, "sort.default."+tab.name)
	}
	for _, s := range sections {
		keys = append(keys, "nav."+s.tab)
	}
	for _, key := range keys {
		if !english.has(key) {
			t.Errorf("no text for %s", key)
		}
	}
}
