package worker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// scheduleDue schedules n holds of an account that fall due at one instant.
func (w *testEnv) scheduleDue(
	r *replica, account string, n int, due time.Time, deadline time.Time,
) {
	w.T.Helper()
	reqs := make([]hold.ScheduleRequest, n)
	for i := range reqs {
		id := w.AuthorizeIntent(func(h *stripesim.Hold) { h.Account = account })
		reqs[i] = hold.ScheduleRequest{PaymentIntent: id, Account: account, Amount: 10_000,
			Currency: "eur", CaptureAt: due.Format(time.RFC3339Nano),
			ExpiresAt: deadline.Format(time.RFC3339Nano)}
	}
	for _, s := range r.Schedule(w.Ctx, reqs, "test") {
		if s.Err != nil {
			w.T.Fatal(s.Err)
		}
	}
}

// capturesBy returns how many holds of an account are captured, and when the
// last one was.
func (w *testEnv) capturesBy(account func(string) bool) (n int, last time.Time) {
	for _, e := range w.Sim.Ledger() {
		if e.Kind == stripesim.EffectCaptured && account(e.Account) {
			n++
			if e.Time.After(last) {
				last = e.Time
			}
		}
	}
	return n, last
}

// otherAccounts capture ten holds each in the tests of fairness. Within its
// limit of 25/s, each of them needs at least 0.36 seconds.
const otherAccounts, otherHolds = 60, 10

func otherAccount(i int) string { return fmt.Sprintf("acct_fairother%04d", i) }

func isOther(account string) bool { return strings.HasPrefix(account, "acct_fairother") }

// timeOthers schedules the holds of the other accounts, and returns how long
// after their due time the last one is captured.
func (w *testEnv) timeOthers(r *replica, due time.Time) time.Duration {
	w.T.Helper()
	for i := range otherAccounts {
		w.scheduleDue(r, otherAccount(i), otherHolds, due, due.Add(6*24*time.Hour))
	}
	time.Sleep(time.Until(due) + 5*time.Second)
	n, last := w.capturesBy(isOther)
	if n != otherAccounts*otherHolds {
		w.T.Errorf("%d holds of the other accounts are captured after 5 s, want %d", n,
			otherAccounts*otherHolds)
	}
	return last.Sub(due)
}

// An account that has far more due holds than its limit allows delays no other
// account, even if its deadlines are the nearest. It uses its own limit fully.
func TestDispatcher_BusyAccountDelaysNoOther(t *testing.T) {
	skipIfShort(t)
	const busyHolds = 1500
	var alone time.Duration
	runTestEnv(t, func(w *testEnv) {
		alone = w.timeOthers(w.startReplica(), time.Now().Add(time.Minute))
	})
	runTestEnv(t, func(w *testEnv) {
		r, due := w.startReplica(), time.Now().Add(time.Minute)
		w.scheduleDue(r, "acct_fairbusy0001", busyHolds, due, due.Add(5*24*time.Hour))
		took := w.timeOthers(r, due)
		if took > alone+250*time.Millisecond {
			t.Errorf("the other accounts take %s, and %s without the busy one", took, alone)
		}
		n, _ := w.capturesBy(func(account string) bool { return account == "acct_fairbusy0001" })
		if n < 5*24 || n > 5*25+2 {
			t.Errorf("the busy account captures %d holds within 5 s, its limit is 25/s", n)
		}
		if n := w.Sim.Stats().RateLimited; n != 0 {
			t.Errorf("%d times 429", n)
		}
	})
}

// More paused accounts than a poll lists do not hide the lanes of the others.
func TestDispatcher_PausedAccountsHideNoOther(t *testing.T) {
	skipIfShort(t)
	const pausedAccounts = 300
	runTestEnv(t, func(w *testEnv) {
		r, due := w.startReplica(), time.Now().Add(time.Minute)
		for i := range pausedAccounts {
			account := fmt.Sprintf("acct_fairpaused%04d", i)
			w.scheduleDue(r, account, 1, due, due.Add(5*24*time.Hour))
			err := r.store.PauseOpOfAccount(w.Ctx, account, hold.OpCapture, 2*time.Minute)
			if err != nil {
				t.Fatal(err)
			}
		}
		if took := w.timeOthers(r, due); took > time.Second {
			t.Errorf("the other accounts take %s", took)
		}
		isPaused := func(account string) bool { return !isOther(account) }
		if n, _ := w.capturesBy(isPaused); n != 0 {
			t.Errorf("%d holds of paused accounts are captured", n)
		}
		time.Sleep(2 * time.Minute)
		if n, _ := w.capturesBy(isPaused); n != pausedAccounts {
			t.Errorf("%d of %d holds are captured after the pause", n, pausedAccounts)
		}
	}, pollEvery5s)
}

// Many accounts share several partitions: every account uses its limit fully.
func TestDispatcher_FullRateInManyPartitions(t *testing.T) {
	skipIfShort(t)
	runTestEnv(t, func(w *testEnv) {
		w.store.Partitions = 16
		r, due := w.startReplica(), time.Now().Add(time.Minute)
		for _, account := range []string{"acct_fairone00001", "acct_fairtwo00002"} {
			w.scheduleDue(r, account, 200, due, due.Add(5*24*time.Hour))
		}
		time.Sleep(time.Until(due) + 9*time.Second) // 8 s at 25/s
		if n, last := w.capturesBy(func(string) bool { return true }); n != 400 {
			t.Errorf("%d of 400 holds are captured within 9 s, the last after %s", n, last.Sub(due))
		}
	}, pollEvery5s)
}
