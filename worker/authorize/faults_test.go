package authorize_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// TestAuthorize_EveryFault lets the first requests fail in every way: a caller
// that repeats gets one authorization.
func TestAuthorize_EveryFault(t *testing.T) {
	for _, kind := range faultKinds {
		for _, times := range []int{1, 2, 4} {
			t.Run(fmt.Sprint(kind, times), func(t *testing.T) {
				inWorld(t, func(w *world) {
					p := w.start(0)
					req := booking()
					w.fail(stripesim.ClassCreate, times, kind)
					a, err := untilKnown(t, func() (hold.AuthorizationResult, error) {
						p.caller.ProbeIfUnavailable(w.Ctx) // as the worker does: a rejected key is tried again
						a, err := p.Authorize(w.Ctx, callerKey, req, "api")
						if code(err) == hold.AuthorizationRefused {
							// nothing happened: the caller tries again
							err = health.ErrUnavailable
						}
						return a, err
					})
					if err != nil || a.Hold == nil {
						t.Fatalf("%+v %v", a, err)
					}
					time.Sleep(3 * time.Minute)
					w.wantScheduled(p)
				})
			})
		}
	}
}

// TestConfirm_EveryFault does the same to confirmations and the reads before
// them.
func TestConfirm_EveryFault(t *testing.T) {
	for _, kind := range faultKinds {
		for _, class := range []stripesim.EndpointClass{stripesim.ClassConfirm,
			stripesim.ClassRetrieve} {
			t.Run(fmt.Sprint(kind, " ", class), func(t *testing.T) {
				inWorld(t, func(w *world) {
					p := w.start(0)
					first, err := p.Authorize(w.Ctx, callerKey,
						booking(card("pm_card_threeDSecure2Required")), "api")
					if err != nil {
						t.Fatal(err)
					}
					if err := w.Sim.Dashboard().CompleteAction(first.PaymentIntent); err != nil {
						t.Fatal(err)
					}
					w.fail(class, 2, kind)
					a, err := untilKnown(t, func() (hold.AuthorizationResult, error) {
						p.caller.ProbeIfUnavailable(w.Ctx)
						a, err := p.Confirm(w.Ctx, first.PaymentIntent, "confirm-01",
							hold.ConfirmRequest{}, "api")
						if c := code(err); c == hold.AuthorizationRefused ||
							c == hold.AuthorizationNotFound {
							err = health.ErrUnavailable
						}
						return a, err
					})
					if err != nil || a.Hold == nil {
						t.Fatalf("%+v %v", a, err)
					}
					time.Sleep(3 * time.Minute)
					w.wantScheduled(p)
				})
			})
		}
	}
}

// TestAuthorize_CrashAnywhere kills the process at each of its side effects.
// Another process gets the repetition, or no caller repeats.
func TestAuthorize_CrashAnywhere(t *testing.T) {
	for dieAt := 1; ; dieAt++ {
		finished := false
		for _, repeats := range []bool{true, false} {
			inWorld(t, func(w *world) {
				first := w.start(dieAt)
				req := booking()
				_, _ = first.Authorize(w.Ctx, callerKey, req, "api")
				finished = !first.IsKilled()
				second := w.start(0)
				if repeats {
					a, err := untilKnown(t, func() (hold.AuthorizationResult, error) {
						return second.Authorize(w.Ctx, callerKey, req, "api")
					})
					if err != nil || a.Hold == nil {
						t.Fatalf("step %d: %+v %v", dieAt, a, err)
					}
				}
				time.Sleep(3 * time.Minute) // the Resumer has been at it
				if !repeats && w.authorizedIntent() == "" {
					return // it died before the card was authorized
				}
				w.wantScheduled(second)
			})
		}
		switch {
		case finished && dieAt < 8:
			t.Fatalf("only %d side effects", dieAt-1)
		case finished:
			t.Logf("%d places to crash at", dieAt-1)
			return
		case dieAt > 60:
			t.Fatal("no end of side effects")
		}
	}
}

// TestAuthorize_RedisLosesTheAttempt lets Redis forget an attempt, which meets
// its own answer at Stripe.
func TestAuthorize_RedisLosesTheAttempt(t *testing.T) {
	for _, kind := range []stripesim.FaultKind{"", stripesim.FaultDropReply,
		stripesim.FaultErrorAfter, stripesim.FaultErrorBefore} {
		t.Run(string(kind), func(t *testing.T) {
			inWorld(t, func(w *world) {
				p := w.start(0)
				req := booking()
				if kind != "" {
					w.fail(stripesim.ClassCreate, 1, kind)
				}
				_, _ = p.Authorize(w.Ctx, callerKey, req, "api")
				w.Redis.FlushAll()
				a, err := untilKnown(t, func() (hold.AuthorizationResult, error) {
					return p.Authorize(w.Ctx, callerKey, req, "api")
				})
				if err != nil || a.Hold == nil {
					t.Fatalf("%+v %v", a, err)
				}
				w.wantScheduled(p)
			})
		})
	}
}

func TestAuthorize_CallerDisconnects(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.start(0)
		w.Sim.Settings.SetServiceTime(2 * time.Second)
		ctx, cancel := context.WithCancel(w.Ctx)
		go func() {
			time.Sleep(time.Second)
			cancel()
		}()
		_, _ = p.Authorize(ctx, callerKey, booking(), "api")
		synctest.Wait()
		w.wantScheduled(p)
	})
}

// TestAuthorize_LeaseEnds lets every call time out: the run ends within its
// lease and says that the outcome is unknown.
func TestAuthorize_LeaseEnds(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.start(0)
		w.fail(stripesim.ClassCreate, 9, stripesim.FaultDropReply)
		began := time.Now()
		_, err := p.Authorize(w.Ctx, callerKey, booking(), "api")
		if took := time.Since(began); code(err) != hold.OutcomeUnknown || took > lease {
			t.Errorf("%v after %s", err, took)
		}
		w.Sim.Faults.ClearFaultRules()
		time.Sleep(3 * time.Minute)
		w.wantScheduled(p)
	})
}

func TestAuthorize_RedisDown(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.start(0)
		w.Redis.SetError("down")
		if _, err := p.Authorize(w.Ctx, callerKey, booking(), "api"); code(err) != "unavailable" {
			t.Error(err)
		}
		w.Redis.SetError("")
		if id := w.authorizedIntent(); id != "" {
			t.Errorf("%s was authorized, and no record tells of it", id)
		}
	})
}

func TestAuthorize_KeyRejected(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.start(0)
		w.fail(stripesim.ClassCreate, 1, stripesim.FaultUnauthorized)
		for range 2 {
			if _, err := p.Authorize(w.Ctx, callerKey, booking(),
				"api"); code(err) != "unavailable" {
				t.Error(err)
			}
		}
		if n := len(w.Sim.Ledger()); n != 0 || !p.caller.IsKeyRejected() {
			t.Errorf("%d effects although the key is rejected", n)
		}
	})
}
