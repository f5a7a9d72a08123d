package hold_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// states says of each state what the rest of the code relies on.
//
// A new state needs these places, and each of them is named by the compiler or
// by a test:
//
//  1. its constant in hold.go, in the order of the values
//  2. its name in stateNames
//  3. its line in States
//  4. State.IsFinal, if nothing can happen to it any more
//  5. the decision that leads to it, and the transitions in doc.go
//     (TestDoc_StateDiagramMatchesTransitions)
//  6. the enumerations of the API: the View and the query of the list
//  7. this table, and holdInState in request_test.go
//  8. lastState in unknown.go and lastStateInRecords in package store
//
// No test names its color in cmd/holdd and in the console.
var states = map[hold.State]struct {
	name  string
	final bool
	// stored says that a record can have it, set that it has a sorted set of
	// its own.
	stored bool
	set    hold.SortedSet
	// requests are the changes that a caller can make in it.
	requests string
}{
	hold.Waiting:   {"waiting", false, true, hold.SetExpiring, "patch capture cancel increment pause acknowledge"},
	hold.Paused:    {"paused", false, true, hold.SetExpiring, "patch cancel increment resume acknowledge"},
	hold.Scheduled: {"scheduled", false, true, hold.SetScheduled, "patch capture cancel increment pause acknowledge"},
	hold.Ready:     {"ready", false, false, hold.SetReady, "patch capture cancel pause acknowledge"},
	hold.Working:   {"working", false, true, hold.SetWorking, ""},
	hold.Attention: {"attention", false, true, hold.SetAttention, "patch capture cancel acknowledge"},
	hold.Captured:  {"captured", true, true, hold.SetSettled, ""},
	hold.Canceled:  {"canceled", true, true, hold.SetSettled, ""},
	hold.Expired:   {"expired", true, true, hold.SetSettled, ""},
}

// TestState_Places names the places that a state needs.
func TestState_Places(t *testing.T) {
	if len(states) != len(hold.States()) {
		t.Fatalf("%d rows for %d states: see the list at the variable states", len(states), len(hold.States()))
	}
	field, _ := reflect.TypeFor[hold.View]().FieldByName("State")
	listed := field.Tag.Get("enum")
	var names []string
	for i, s := range hold.States() {
		row, ok := states[s]
		if !ok {
			t.Fatalf("state %s has no row", s)
		}
		names = append(names, row.name)
		if h := (hold.Hold{State: s}); hold.HasUnknownValues(&h) {
			t.Errorf("state %s counts as that of a later release: see lastState in unknown.go", s)
		}
		if int(s) != i+1 || s.String() != row.name || s.IsFinal() != row.final {
			t.Errorf("%d: %s, final %t; want %s, %t", s, s, s.IsFinal(), row.name, row.final)
		}
		if parsed, ok := hold.ParseState(row.name); !ok || parsed != s {
			t.Errorf("%s is parsed as %s", row.name, parsed)
		}
	}
	all := strings.Join(names, ",")
	if listed != all {
		t.Errorf("the View lists %s, want %s", listed, all)
	}
	if s := hold.State(len(names) + 1).String(); s != "unknown" {
		t.Errorf("state %s is not in States", s)
	}
	var found bool
	files, err := filepath.Glob("../api/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		found = found || strings.Contains(string(b), all)
	}
	if !found {
		t.Errorf("no file of package api lists %s", all)
	}
}

// TestState_Requests compares the changes that each state accepts with the
// table.
func TestState_Requests(t *testing.T) {
	for s, row := range states {
		if !row.stored {
			continue
		}
		h := holdInState(t, s)
		var accepted []string
		for _, r := range []struct {
			name string
			do   func() (hold.Decision, error)
		}{
			{"patch", func() (hold.Decision, error) {
				return h.ApplyPatch(&hold.Patch{Reference: ptr("BK-1")}, "api", t0)
			}},
			{"capture", func() (hold.Decision, error) { return h.RequestCapture(hold.CaptureRequest{}, "api", t0) }},
			{"cancel", func() (hold.Decision, error) { return h.RequestCancel("", "api", t0) }},
			{"increment", func() (hold.Decision, error) {
				return h.RequestIncrement(hold.IncrementRequest{Amount: raisedAmount}, "api", t0, testRules)
			}},
			{"pause", func() (hold.Decision, error) { return h.Pause(0, "api", t0) }},
			{"resume", func() (hold.Decision, error) { return h.Resume("api", t0) }},
			{"acknowledge", func() (hold.Decision, error) { return h.AcknowledgeWarnings("api", t0) }},
		} {
			if d, err := r.do(); err == nil && !d.Unchanged {
				accepted = append(accepted, r.name)
			}
		}
		if got := strings.Join(accepted, " "); got != row.requests {
			t.Errorf("%s accepts %q, want %q", s, got, row.requests)
		}
	}
}

// TestState_Placement compares where each state is kept with the table.
func TestState_Placement(t *testing.T) {
	for s, row := range states {
		if !row.stored {
			continue
		}
		d := hold.Decision{Hold: holdInState(t, s), NewDeadline: true}
		p := d.SortedSetPlacement(&hold.Hold{}, t0, testRules)
		got := hold.SetExpiring
		switch {
		case !p.SettledAt.IsZero():
			got = hold.SetSettled
		case p.NeedsAttention:
			got = hold.SetAttention
		case s == hold.Working:
			got = hold.SetWorking // by its lease, which the claim sets
		case !p.DueAt.IsZero():
			got = hold.SetScheduled
		}
		if got != row.set {
			t.Errorf("%s is kept in set %d, want %d", s, got, row.set)
		}
		if row.final == (p.NextMilestone != time.Time{}) {
			t.Errorf("%s: next milestone %s", s, p.NextMilestone)
		}
	}
}
