package console

import (
	"testing"

	"github.com/holdd/holdd/worker/hold"
)

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
