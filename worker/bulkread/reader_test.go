package bulkread_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker/bulkread"
	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/execute"
	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

func TestMain(m *testing.M) { envtest.Main(m) }

// world is a reader on a Stripe in virtual time.
type world struct {
	*envtest.Env
	caller *gateway.Caller
	reader *bulkread.IntentRetriever

	mu      sync.Mutex
	answers map[int][]hold.Answer
}

func inWorld(t *testing.T, f func(w *world)) {
	t.Helper()
	envtest.Run(t, stripesim.Options{Seed: 1}, func(e *envtest.Env) {
		w := &world{Env: e}
		process := e.NewProcess()
		st := process.OpenStore(store.Options{Rates: envtest.Rates})
		e.OnStop(func() { st.Close() })
		w.caller = gateway.NewCaller(process.NewGateway(nil), st, gateway.CallerOptions{
			Timeout: 10 * time.Second, Health: health.NewRedisHealthReporter(e.Log), Logger: e.Log})
		w.reader = bulkread.NewIntentRetriever(w.caller, 0)
		f(w)
	})
}

// authorize places n intents of an account, and returns their reads.
func (w *world) authorize(n int, account string) (reads []bulkread.PendingRetrieve) {
	for range n {
		id := w.AuthorizeIntent(func(h *stripesim.Hold) { h.Account = account })
		reads = append(reads, bulkread.PendingRetrieve{PaymentIntent: id, Account: account,
			ExistedAt: time.Now()})
	}
	return reads
}

// read reads intents within maxWait, and checks that each answer is about its
// intent and that each intent has one answer or is returned.
func (w *world) read(reads []bulkread.PendingRetrieve, maxWait time.Duration) (unread []int) {
	w.T.Helper()
	w.answers = map[int][]hold.Answer{}
	unread = w.reader.RetrieveEach(w.Ctx, reads,
		execute.CallBatchOptions{Concurrency: 8, MaxWait: maxWait},
		func(i int, a hold.Answer) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.answers[i] = append(w.answers[i], a)
		})
	for i := range reads {
		want := 1
		if slices.Contains(unread, i) {
			want = 0
		}
		if len(w.answers[i]) != want {
			w.T.Errorf("intent %d: %d answers, want %d", i, len(w.answers[i]), want)
		}
		for _, a := range w.answers[i] {
			if a.Intent != nil && a.Intent.ID != reads[i].PaymentIntent {
				w.T.Errorf("intent %d is %s, its answer has %s", i, reads[i].PaymentIntent,
					a.Intent.ID)
			}
		}
	}
	return unread
}

// checkCalls checks how many lists and single reads Stripe received.
func (w *world) checkCalls(lists, reads int64) {
	w.T.Helper()
	if l, r := w.CountStripeCalls(stripesim.ClassList),
		w.CountStripeCalls(stripesim.ClassRetrieve); l != lists ||
		r != reads {
		w.T.Errorf("%d lists and %d reads, want %d and %d", l, r, lists, reads)
	}
}

func TestReadEach_ListsManyAndReadsFew(t *testing.T) {
	inWorld(t, func(w *world) {
		reads := append(w.authorize(250, ""), w.authorize(10, "acct_few00000001")...)
		if unread := w.read(reads, time.Minute); len(unread) != 0 {
			t.Errorf("not read: %v", unread)
		}
		w.checkCalls(3, 10)
	})
}

// A walk starts at the newest waiting intent, and skips what lies between two
// groups of them.
func TestReadEach_SkipsIntentsThatDoNotWait(t *testing.T) {
	inWorld(t, func(w *world) {
		older := w.authorize(20, "")
		time.Sleep(time.Hour)
		w.authorize(500, "")
		time.Sleep(time.Hour)
		newer := w.authorize(20, "")
		time.Sleep(time.Hour)
		w.authorize(500, "")
		if unread := w.read(append(older, newer...), time.Minute); len(unread) != 0 {
			t.Errorf("not read: %v", unread)
		}
		w.checkCalls(2, 0)
	})
}

// Where pages answer too few of the waiting intents, single reads cost less.
func TestReadEach_StopsListingWhereFewWait(t *testing.T) {
	inWorld(t, func(w *world) {
		var reads []bulkread.PendingRetrieve
		for range 12 {
			reads = append(reads, w.authorize(1, "")...)
			w.authorize(150, "")
		}
		if unread := w.read(reads, time.Minute); len(unread) != 0 {
			t.Errorf("not read: %v", unread)
		}
		w.checkCalls(2, 12)
	})
}

// Nothing says where the waiting intents are, and the newest do not wait. Of
// two groups, pages find all but the intent behind which they begin.
func TestReadEach_FindsGroupsOfUnknownAge(t *testing.T) {
	inWorld(t, func(w *world) {
		reads := w.authorize(150, "")
		w.authorize(500, "")
		reads = append(reads, w.authorize(150, "")...)
		w.authorize(500, "")
		for i := range reads {
			reads[i].ExistedAt = time.Now()
		}
		if unread := w.read(reads, time.Minute); len(unread) != 0 {
			t.Errorf("not read: %v", unread)
		}
		if l, r := w.CountStripeCalls(stripesim.ClassList),
			w.CountStripeCalls(stripesim.ClassRetrieve); l > 7 || r > 2 {
			t.Errorf("%d lists and %d reads", l, r)
		}
	})
}

// The order of the waiting intents says nothing of their age, and each call has
// time for a few pages only. The walks still find them all.
func TestReadEach_ManyShortCalls(t *testing.T) {
	inWorld(t, func(w *world) {
		reads := w.authorize(3000, "")
		n := len(reads)
		waiting := make([]bulkread.PendingRetrieve, n)
		for i := range reads {
			waiting[i*7919%n] = reads[i]
		}
		for len(waiting) > 0 {
			var left []bulkread.PendingRetrieve
			for _, i := range w.read(waiting, 200*time.Millisecond) {
				left = append(left, waiting[i])
			}
			waiting = left
		}
		calls := w.CountStripeCalls(stripesim.ClassList) + w.CountStripeCalls(stripesim.ClassRetrieve)
		if calls > int64(n)/10 {
			t.Errorf("%d calls for %d intents", calls, n)
		}
	})
}

// An intent that no page contains is read by itself.
func TestReadEach_UnlistedIsReadByItself(t *testing.T) {
	inWorld(t, func(w *world) {
		reads := w.authorize(12, "")
		gone := bulkread.PendingRetrieve{PaymentIntent: "pi_00000000gone", ExistedAt: time.Now()}
		reads = append(reads, gone)
		if unread := w.read(reads, time.Minute); !slices.Equal(unread, []int{12}) {
			t.Errorf("unread %v", unread)
		}
		w.checkCalls(1, 1)
		time.Sleep(10 * time.Second)
		w.read(reads, time.Minute)
		w.checkCalls(2, 2)
		if a := w.answers[12]; len(a) != 1 || a[0].Kind != hold.AnswerNotFound {
			t.Errorf("%+v", a)
		}
	})
}

// Without a list, every intent is read by itself.
func TestReadEach_ListFails(t *testing.T) {
	for _, kind := range []stripesim.FaultKind{stripesim.FaultErrorBefore,
		stripesim.FaultBrokenBody, stripesim.FaultDropReply} {
		t.Run(string(kind), func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.AddStripeFault(stripesim.FaultRule{Class: stripesim.ClassList,
					Fault: stripesim.Fault{Kind: kind}})
				reads := w.authorize(12, "")
				if unread := w.read(reads, time.Minute); len(unread) != 0 {
					t.Errorf("not read: %v", unread)
				}
				for i := range reads {
					if a := w.answers[i]; len(a) != 1 || a[0].Kind != hold.AnswerOK {
						t.Errorf("%d: %+v", i, a)
					}
				}
				w.checkCalls(1, 12)
			})
		})
	}
}

// Pages and single reads share the budget of 25 a second, and what it does not
// allow in time stays unread.
func TestReadEach_StaysWithinTheBudget(t *testing.T) {
	inWorld(t, func(w *world) {
		reads := w.authorize(150, "")
		for n := range 50 {
			reads = append(reads,
				bulkread.PendingRetrieve{PaymentIntent: fmt.Sprintf("pi_0000000000gone%d", n)})
		}
		began := time.Now()
		unread := w.read(reads, time.Second)
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("took %s", took)
		}
		unsent := 50 - w.CountStripeCalls(stripesim.ClassRetrieve)
		if unsent < 10 || unsent > 40 || len(unread) != 50 { // a first 404 is no answer
			t.Errorf("%d not sent, %d of %d not read", unsent, len(unread), len(reads))
		}
		s := w.Sim.Stats()
		if s.RateLimited != 0 {
			t.Errorf("%d answers of 429", s.RateLimited)
		}
	})
}

// The account of an intent decides which list answers it.
func TestReadEach_ManyAccounts(t *testing.T) {
	inWorld(t, func(w *world) {
		var reads []bulkread.PendingRetrieve
		for n := range 5 {
			reads = append(reads, w.authorize(30, fmt.Sprintf("acct_of%09d", n))...)
		}
		if unread := w.read(reads, time.Minute); len(unread) != 0 {
			t.Errorf("not read: %v", unread)
		}
		w.checkCalls(5, 0)
	})
}
