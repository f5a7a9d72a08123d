package worker_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker"
	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
	"github.com/holdd/holdd/worker/wiring"
)

// TestAuthorize_CreateFaults: whatever goes wrong with the first one, two, four
// requests, a caller that insists gets one authorization, and it is scheduled.
func TestAuthorize_CreateFaults(t *testing.T) {
	skipIfShort(t)
	for _, kind := range faultKinds {
		for _, times := range []int{1, 2, 4} {
			t.Run(fmt.Sprint(kind, times), func(t *testing.T) {
				runTestEnv(t, func(w *testEnv) {
					r := w.startReplica()
					req := newAuthorizeRequest(48 * time.Hour)
					w.addFault(stripesim.ClassCreate, times, kind)
					a, err := retryUntilKnown(t, func() (hold.AuthorizationResult, error) {
						a, err := r.Authorize(w.Ctx, callerKey, req, "api")
						if problemCode(err) == hold.AuthorizationRefused {
							// told that nothing happened: the caller tries
							// again
							err = health.ErrUnavailable
						}
						return a, err
					})
					if err != nil || a.Hold == nil || a.Hold.State != hold.Scheduled {
						t.Fatalf("%+v %v", a, err)
					}
					time.Sleep(3 * time.Minute) // the job has looked after what was left
					if id := w.mustOneAuthorization(); id != a.PaymentIntent ||
						len(w.IntentEffects(id)) != 0 {
						t.Errorf("%v", w.IntentEffects(id))
					}
				}, pollEvery5s)
			})
		}
	}
}

// TestConfirmAuthorization_Faults is the same for what follows 3-D Secure.
func TestConfirmAuthorization_Faults(t *testing.T) {
	for _, kind := range faultKinds {
		for _, class := range []stripesim.EndpointClass{stripesim.ClassConfirm,
			stripesim.ClassRetrieve} {
			t.Run(fmt.Sprint(kind, " ", class), func(t *testing.T) {
				runTestEnv(t, func(w *testEnv) {
					r := w.startReplica()
					req := newAuthorizeRequest(48 * time.Hour)
					req.PaymentMethod = "pm_card_threeDSecure2Required"
					first, err := r.Authorize(w.Ctx, callerKey, req, "api")
					if err != nil {
						t.Fatal(err)
					}
					if err := w.Sim.Dashboard().CompleteAction(first.PaymentIntent); err != nil {
						t.Fatal(err)
					}
					w.addFault(class, 2, kind)
					a, err := retryUntilKnown(t, func() (hold.AuthorizationResult, error) {
						a, err := r.Confirm(w.Ctx, first.PaymentIntent, "confirm-01",
							hold.ConfirmRequest{}, "api")
						if c := problemCode(err); c == hold.AuthorizationRefused ||
							c == hold.AuthorizationNotFound {
							err = health.ErrUnavailable
						}
						return a, err
					})
					if err != nil || a.Hold == nil || a.Hold.State != hold.Scheduled {
						t.Fatalf("%+v %v", a, err)
					}
					time.Sleep(3 * time.Minute) // the job has looked after what was left
					if id := w.mustOneAuthorization(); id != a.PaymentIntent ||
						len(w.IntentEffects(id)) != 0 {
						t.Errorf("%v", w.IntentEffects(id))
					}
				}, pollEvery5s)
			})
		}
	}
}

// addFault makes the next calls of a class go wrong.
func (w *testEnv) addFault(class stripesim.EndpointClass, times int, kind stripesim.FaultKind) {
	w.T.Helper()
	if _, err := w.Sim.Faults.AddFaultRule(stripesim.FaultRule{Class: class, Times: times,
		Fault: stripesim.Fault{Kind: kind}}); err != nil {
		w.T.Fatal(err)
	}
}

// TestAuthorize_CrashAtEveryStep kills the replica at each of its side effects,
// before and after; another one takes the caller's repetition, or nobody
// repeats it.
func TestAuthorize_CrashAtEveryStep(t *testing.T) {
	for step := 1; ; step++ {
		finished := false
		for _, repeats := range []bool{true, false} {
			runTestEnv(t, func(w *testEnv) {
				r := w.startReplica()
				crashing := w.newCrashingWorker(r, step)
				req := newAuthorizeRequest(48 * time.Hour)
				type result struct {
					a   hold.AuthorizationResult
					err error
				}
				done := make(chan result, 1)
				go func() {
					a, err := crashing.Authorizer.Authorize(w.Ctx, callerKey, req, "api")
					done <- result{a, err}
				}()
				first := <-done
				finished = !r.IsKilled()
				second := w.startReplica()
				if repeats {
					a, err := retryUntilKnown(t, func() (hold.AuthorizationResult, error) {
						return second.Authorize(w.Ctx, callerKey, req, "api")
					})
					if err != nil || a.Hold == nil || a.Hold.State != hold.Scheduled {
						t.Fatalf("step %d: %+v %v after %v", step, a, err, first.err)
					}
				}
				time.Sleep(3 * time.Minute) // the job has looked after what was left
				got := w.authorizationsByIntent()
				if len(got) == 0 && !repeats {
					return // it died before the card was asked, and nobody asked again
				}
				id := w.mustOneAuthorization()
				if h := w.mustGet(second, id); h.State != hold.Scheduled ||
					!h.CaptureAt.Equal(h.NextAt) || h.Reference != "BK-2071" {
					t.Errorf("step %d, repeats %t: %+v", step, repeats, h)
				}
			}, pollEvery5s)
		}
		if finished {
			if step < 5 {
				t.Fatalf("only %d steps", step)
			}
			t.Logf("%d places to crash at", step-1)
			return
		}
		if step > 60 {
			t.Fatal("no end of steps")
		}
	}
}

// TestAuthorize_RedisDataLost: an attempt that Redis has lost meets its own
// answer at Stripe.
func TestAuthorize_RedisDataLost(t *testing.T) {
	for _, kind := range []stripesim.FaultKind{"", stripesim.FaultDropReply,
		stripesim.FaultErrorAfter, stripesim.FaultErrorBefore} {
		t.Run(string(kind), func(t *testing.T) {
			runTestEnv(t, func(w *testEnv) {
				r := w.startReplica()
				req := newAuthorizeRequest(48 * time.Hour)
				if kind != "" {
					w.addFault(stripesim.ClassCreate, 1, kind)
				}
				ctx, cancel := context.WithTimeout(w.Ctx, 20*time.Second)
				defer cancel()
				_, _ = r.Authorize(ctx, callerKey, req, "api")
				w.Redis.FlushAll()
				a, err := retryUntilKnown(t, func() (hold.AuthorizationResult, error) {
					return r.Authorize(w.Ctx, callerKey, req, "api")
				})
				if err != nil || a.Hold == nil || a.Hold.ID != w.mustOneAuthorization() {
					t.Fatalf("%+v %v", a, err)
				}
			})
		})
	}
}

// TestAuthorize_RedisDataLostAfterPatch: the repetition of the click finds the
// hold's terms where they were mirrored to, not those that it was begun with.
func TestAuthorize_RedisDataLostAfterPatch(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		req := newAuthorizeRequest(48 * time.Hour)
		a, err := r.Authorize(w.Ctx, callerKey, req, "api")
		if err != nil {
			t.Fatal(err)
		}
		release, none := envtest.In(24*time.Hour), ""
		if _, _, err := r.PatchTerms(w.Ctx, a.Hold.ID, hold.Patch{CaptureAt: &none, CancelAt: &release},
			0, "api"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // it is mirrored
		w.Redis.FlushAll()
		again, err := r.Authorize(w.Ctx, callerKey, req, "api")
		if err != nil || again.Hold == nil || again.Hold.ID != a.Hold.ID ||
			!again.Hold.CaptureAt.IsZero() || again.Hold.CancelAt.IsZero() {
			t.Fatalf("%+v %v", again, err)
		}
	}, func(w *testEnv, _ *stripesim.Options) { w.opts.Rules.Mirror = true })
}

// TestAuthorize_SentByOlderVersion: a request whose answer was lost was sent by
// a holdd that put other parameters to the same wish. The repetition must not
// be told to take a new key, under which the card would be authorized once
// more.
func TestAuthorize_SentByOlderVersion(t *testing.T) {
	for _, arrived := range []bool{true, false} {
		runTestEnv(t, func(w *testEnv) {
			r := w.startReplica()
			req := newAuthorizeRequest(48 * time.Hour)
			w.addFault(stripesim.ClassCreate, 10, stripesim.FaultDropRequest)
			if _, err := r.Authorize(w.Ctx, callerKey, req, "api"); problemCode(
				err) != hold.OutcomeUnknown {
				t.Fatal(err)
			}
			w.Sim.Faults.ClearFaultRules()
			id, err := hold.DeriveAttemptIDFromKey(callerKey)
			if err != nil {
				t.Fatal(err)
			}
			_, call, err := req.ValidateAndBuildParams(id, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			call.Key, call.Description = (&hold.AuthorizationAttempt{ID: id,
				Generation: 1}).IdempotencyKey(), "worded otherwise"
			if !arrived {
				call.PaymentMethod = "pm_card_visa_chargeDeclinedInsufficientFunds"
			}
			older, err := gateway.New(gateway.Options{APIKey: envtest.APIKey,
				BaseURL: "http://stripe.test", Transport: w.Sim.Transport()})
			if err != nil {
				t.Fatal(err)
			}
			defer older.CloseIdleConnections()
			older.Do(w.Ctx, hold.Call{Op: hold.OpAuthorize, Key: call.Key, Authorize: &call})
			a, err := retryUntilKnown(t, func() (hold.AuthorizationResult, error) {
				return r.Authorize(w.Ctx, callerKey, req, "api")
			})
			if arrived {
				if err != nil || a.Hold == nil || a.Hold.ID != w.mustOneAuthorization() {
					t.Fatalf("%+v %v", a, err)
				}
			} else if problemCode(err) != hold.CardDeclined {
				t.Fatalf("%+v %v", a, err)
			}
		})
	}
}

// TestAuthorize_CaptureAfterDeadline: the card is authorized and the time lies
// beyond: the hold requires attention, and the money isn't forgotten.
func TestAuthorize_CaptureAfterDeadline(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		a, err := r.Authorize(w.Ctx, callerKey, newAuthorizeRequest(8*24*time.Hour), "api")
		if err != nil || a.Hold == nil || a.Hold.State != hold.Attention ||
			a.Hold.Reason != hold.CauseAfterDeadline {
			t.Fatalf("%+v %v", a.Hold, err)
		}
		req := newAuthorizeRequest(20 * 24 * time.Hour)
		req.ExtendedAuthorization = true
		if a, err = r.Authorize(w.Ctx, "extended-1", req, "api"); err != nil ||
			a.Hold.State != hold.Scheduled {
			t.Fatalf("%+v %v", a.Hold, err)
		}
	})
}

// TestAuthorize_CallerCancels: a browser that closes leaves no card held
// without a hold.
func TestAuthorize_CallerCancels(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		w.Sim.Faults.SetFaultFunc(func(c stripesim.Call) stripesim.Fault {
			if c.Class == stripesim.ClassCreate {
				return stripesim.Fault{RequestDelay: 2 * time.Second, ReplyDelay: 2 * time.Second}
			}
			return stripesim.Fault{}
		})
		ctx, cancel := context.WithCancel(w.Ctx)
		done := make(chan error, 1)
		go func() {
			_, err := r.Authorize(ctx, callerKey, newAuthorizeRequest(48*time.Hour), "api")
			done <- err
		}()
		time.Sleep(time.Second)
		cancel()
		<-done
		synctest.Wait()
		if h := w.mustGet(r, w.mustOneAuthorization()); h.State != hold.Scheduled {
			t.Errorf("%+v", h)
		}
	})
}

// crashPoint counts a replica's side effects and dies at one of them.
type crashPoint struct {
	mu      sync.Mutex
	steps   int
	crashAt int
	replica *replica
}

// nextStep reports whether to go on.
func (d *crashPoint) nextStep() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.steps++; d.steps == d.crashAt {
		d.replica.SimulateSIGKILL()
	}
	return d.steps < d.crashAt
}

func (d *crashPoint) countStep() { d.nextStep() }

// newCrashingWorker makes a worker on the replica's connections that dies at
// its nth side effect: before one, or after it and before its answer is heard.
func (w *testEnv) newCrashingWorker(r *replica, crashAt int) *worker.Engine {
	w.T.Helper()
	crash := &crashPoint{crashAt: crashAt, replica: r}
	o := w.opts
	o.Replica = "doomed"
	doomed := &crashingStore{r.store, crash}
	stores := wiring.NewStores(r.store)
	stores.Attempts, stores.Commit = doomed, doomed
	out, err := wiring.NewEngineWithStores(stores, r.store, r.NewGateway(crash.countStep), o)
	if err != nil {
		w.T.Fatal(err)
	}
	return out
}

type crashingStore struct {
	*store.Store
	crash *crashPoint
}

func (s *crashingStore) wrapCall(err *error) func() {
	s.crash.nextStep()
	return func() {
		if !s.crash.nextStep() {
			*err = envtest.ErrKilled
		}
	}
}

func (s *crashingStore) BeginOrResumeAuthorization(
	ctx context.Context, a hold.AuthorizationAttempt, token string, lease, resumeIn time.Duration,
) (rec hold.AuthorizationAttempt, b hold.AttemptLookupResult, now time.Time, err error) {
	defer s.wrapCall(&err)()
	return s.Store.BeginOrResumeAuthorization(ctx, a, token, lease, resumeIn)
}

func (s *crashingStore) SaveAuthorizationIfLeaseHeld(
	ctx context.Context, a hold.AuthorizationAttempt, token string, release bool, next time.Time,
) (ok bool, err error) {
	defer s.wrapCall(&err)()
	return s.Store.SaveAuthorizationIfLeaseHeld(ctx, a, token, release, next)
}

func (s *crashingStore) Commit(
	ctx context.Context, writes []hold.HoldWrite,
) (results []hold.CommitResult, err error) {
	defer s.wrapCall(&err)()
	return s.Store.Commit(ctx, writes)
}
