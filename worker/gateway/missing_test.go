package gateway_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// captureOf sends a capture of an intent and returns the kind of the
// answer.
func (e *callerEnv) captureOf(t *testing.T, account string, i int) hold.AnswerKind {
	t.Helper()
	a, err := e.Do(t.Context(), hold.Call{Op: hold.OpCapture, Account: account,
		PaymentIntent: fmt.Sprintf("pi_%d", i), Key: "k"})
	if err != nil {
		t.Fatal(err)
	}
	return a.Kind
}

// Many 404 in a row of different intents of an account are not believed. The
// account is paused until an intent is found.
func TestCaller_ManyIntentsNotFound(t *testing.T) {
	runWithCaller(t, func(t *testing.T, e *callerEnv) {
		kind := hold.AnswerNotFound
		e.answer = func(_ context.Context, c hold.Call) hold.Answer {
			if c.Account != "" {
				return hold.Answer{Kind: hold.AnswerOK}
			}
			return hold.Answer{Kind: kind, Code: "resource_missing"}
		}
		for range 3 { // the same intent counts once
			for i := range 19 {
				if k := e.captureOf(t, "", i); k != hold.AnswerNotFound {
					t.Fatalf("%d: %s", i, k)
				}
			}
		}
		if e.IsWrongKeySuspected() || len(e.paused) != 0 {
			t.Fatalf("after 19: %v", e.paused)
		}
		e.captureOf(t, "acct_other", 1) // another account says nothing
		for i := range 3 {
			if k := e.captureOf(t, "", 19+i); k != hold.AnswerForbidden {
				t.Fatalf("%d in a row: %s", 20+i, k)
			}
		}
		want := pauseCall{op: hold.OpCapture, d: time.Minute}
		if !e.IsWrongKeySuspected() || len(e.paused) != 3 || e.paused[0] != want {
			t.Errorf("paused %+v", e.paused)
		}
		if n := e.logs.FilterMessageSnippet("wrong key?").Len(); n != 1 {
			t.Errorf("%d lines", n)
		}
		// No answer says nothing; one that is found ends it.
		kind = hold.AnswerInvalid
		if e.captureOf(t, "", 50); !e.IsWrongKeySuspected() {
			t.Error("ended by an answer that proves nothing")
		}
		kind = hold.AnswerUnexpectedState
		if e.captureOf(t, "", 51); e.IsWrongKeySuspected() {
			t.Error("goes on although an intent was found")
		}
		kind = hold.AnswerNotFound
		if k := e.captureOf(t, "", 52); k != hold.AnswerNotFound {
			t.Errorf("a single 404: %s", k)
		}
	})
}

// A request can name ids that never existed. They pause nothing.
func TestCaller_IDsFromCallersNotFound(t *testing.T) {
	runWithCaller(t, func(t *testing.T, e *callerEnv) {
		e.answer = func(context.Context, hold.Call) hold.Answer {
			return hold.Answer{Kind: hold.AnswerNotFound}
		}
		for i := range 50 {
			a, err := e.Do(t.Context(), hold.Call{Op: hold.OpRead,
				PaymentIntent: fmt.Sprintf("pi_%d", i), MayBeMissing: true})
			if err != nil || a.Kind != hold.AnswerNotFound {
				t.Fatal(a, err)
			}
		}
		if e.IsWrongKeySuspected() {
			t.Error("suspected")
		}
	})
}
