package store_test

import (
	"strings"
	"testing"
)

// A sink whose cursor is an erased event misses nothing, and an event that it has
// not read yet is still in the stream.
func TestEraseEvents_LoseNoEvent(t *testing.T) {
	t.Parallel()
	onRedisAndMiniredis(t, func(t *testing.T, e *testStore) {
		w := newScheduledWrite("pi_a", pastDue, nearDeadline)
		for _, name := range []string{"first Marta", "second Marta", "third Marta"} {
			w.Events = append(w.Events, []byte(`{"hold":"pi_a","text":"`+name+`"}`))
		}
		e.mustCommit(w)
		before, _, err := e.store.ReadEvents(t.Context(), 0, "0-0", 10)
		if err != nil || len(before) != 3 {
			t.Fatalf("%v, %v", before, err)
		}
		cursor := before[1].ID
		blank := func(b []byte) []byte {
			return []byte(strings.ReplaceAll(string(b), "Marta", ""))
		}
		for range 2 {
			err = e.store.ErasePersonalDataInEvents(t.Context(), "pi_a", blank,
				func(int) (string, error) { return cursor, nil })
			if err != nil {
				t.Fatal(err)
			}
		}
		rest, gap, err := e.store.ReadEvents(t.Context(), 0, cursor, 10)
		if err != nil || gap || len(rest) != 1 ||
			string(rest[0].Event) != `{"hold":"pi_a","text":"third "}` {
			t.Errorf("after the cursor: %v, gap %v, %v", rest, gap, err)
		}
		all, _, err := e.store.ReadEvents(t.Context(), 0, "0-0", 10)
		if err != nil || len(all) != 1 {
			t.Errorf("all events: %v, %v", all, err)
		}
		// A trimmed stream still counts as a gap.
		later := newScheduledWrite("pi_b", pastDue, nearDeadline)
		later.Events = [][]byte{[]byte("{}")}
		e.mustCommit(later)
		if n := e.rdb.XTrimMaxLen(t.Context(), "holdd:{0}:events", 1).Val(); n != 1 {
			t.Fatalf("trimmed %d", n)
		}
		_, gap, err = e.store.ReadEvents(t.Context(), 0, rest[0].ID, 10)
		if err != nil || !gap {
			t.Errorf("a trimmed stream: gap %v, %v", gap, err)
		}
	})
}
