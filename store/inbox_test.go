package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/redis/go-redis/v9"
)

func TestReadInbox_HandsEachEntryToOneConsumer(t *testing.T) {
	r := storetest.Start(t)
	s, _, err := store.Open(t.Context(), store.Options{URL: r.URL()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := r.Client()
	defer c.Close()
	add := func(fields ...string) {
		if err := c.XAdd(t.Context(), &redis.XAddArgs{Stream: "holdd:inbox",
			Values: fields}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	take := func(consumer string, n int, idle time.Duration) []hold.InboxEntry {
		t.Helper()
		l, _, err := s.ReadInboxEntries(t.Context(), consumer, n, idle, 100)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	if got := take("a", 10, time.Hour); len(got) != 0 {
		t.Fatalf("%v in an inbox that isn't there", got)
	}
	add("hold", `{"n":1}`) // before the group exists
	add("trace", "x", "hold", `{"n":2}`, "traceparent", "00-1-2-01")
	add("other", "y")
	add("hold", strings.Repeat("z", 1000))
	got := take("a", 3, time.Hour)
	if len(got) != 3 || got[0].Text != `{"n":1}` || got[1].Text != `{"n":2}` || got[2].Size != -1 ||
		got[0].Traceparent != "" || got[1].Traceparent != "00-1-2-01" ||
		time.Since(got[0].At) > time.Minute {
		t.Fatalf("%+v", got)
	}
	if rest := take("b", 3, time.Hour); len(rest) != 1 || rest[0].Size != 1000 ||
		len(rest[0].Text) != 100 {
		t.Fatalf("%+v", rest)
	}
	if err := s.AckInboxEntries(t.Context(), []string{got[0].ID}); err != nil {
		t.Fatal(err)
	}
	// Entries that were not acknowledged are taken over once they are idle,
	// oldest first, before new entries.
	add("hold", `{"n":5}`)
	storetest.WaitUntil(t, 5*time.Second, "entries are idle", func() bool {
		l, _, err := s.ReadInboxEntries(t.Context(), "c", 2, 50*time.Millisecond, 100)
		return err == nil && len(l) == 2 && l[0].ID == got[1].ID && l[1].ID == got[2].ID
	})
	if err := s.AckInboxEntries(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if n := c.XLen(t.Context(), "holdd:inbox").Val(); n != 4 {
		t.Errorf("%d entries of 4", n)
	}
	if err := s.AppendRejectedRequest(t.Context(), hold.RejectedRequest{Source: "inbox", ID: got[1].ID,
		Code: "x", Reason: "y", Text: "z"}); err != nil {
		t.Fatal(err)
	}
	if err := s.PruneConsumers(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if err := s.PruneConsumers(t.Context()); err != nil {
		t.Errorf("without an inbox: %v", err)
	}
	add("hold", `{"n":6}`)
	if got := take("a", 10, time.Hour); len(got) != 1 {
		t.Errorf("after everything was lost: %v", got)
	}
}

func TestRequestRefresh_PendingOrRemembered(t *testing.T) {
	r := storetest.Start(t)
	for _, partitions := range []int{1, 4} {
		t.Run(fmt.Sprint(partitions), func(t *testing.T) {
			c := r.Client()
			defer c.Close()
			c.FlushAll(t.Context())
			s, _, err := store.Open(t.Context(),
				store.Options{URL: r.URL(), Partitions: partitions})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			refreshes := func() []hold.PendingRefresh {
				t.Helper()
				l, _, err := s.ListDueRefreshes(t.Context(), 10)
				if err != nil {
					t.Fatal(err)
				}
				return l
			}
			at := time.Now().Add(time.Hour)
			commit := func(id string) {
				t.Helper()
				h := hold.Hold{ID: id, PaymentIntent: id, Account: "acct_12345678",
					State:    hold.Waiting,
					Revision: 1, Generation: 1, OnExpiry: hold.PolicyCancel,
					ExpiresAt: at, CreatedAt: at}
				ok, err := s.Commit(t.Context(),
					[]hold.HoldWrite{{Hold: h, Placement: hold.SortedSetPlacement{NextMilestone: at,
						MirrorAt: at.Add(-2 * time.Hour)}}})
				if err != nil || !ok[0].IsCommitted() {
					t.Fatal(ok, err)
				}
			}
			note := func(id string, adoptUnknown bool) {
				t.Helper()
				if err := s.RequestRefresh(t.Context(), id, "acct_12345678",
					adoptUnknown); err != nil {
					t.Fatal(err)
				}
			}
			note("pi_before00", false)
			if l := refreshes(); len(l) != 0 {
				t.Fatalf("%+v", l)
			}
			commit("pi_before00")
			commit("pi_unknown0")
			l := refreshes()
			if len(l) != 1 || l[0].Hold.ID != "pi_before00" || l[0].Hold.State != hold.Waiting ||
				l[0].AdoptUnknown {
				t.Fatalf("%+v", l)
			}
			// FinishOrPostponeRefresh does not remove a refresh that was
			// requested again.
			note("pi_before00", false)
			if err := s.FinishOrPostponeRefresh(t.Context(), l[0], time.Time{}); err != nil {
				t.Fatal(err)
			}
			storetest.WaitUntil(t, time.Second, "it is looked at again",
				func() bool { l = refreshes(); return len(l) == 1 })
			if err := s.FinishOrPostponeRefresh(t.Context(), l[0], time.Time{}); err != nil {
				t.Fatal(err)
			}
			if l := refreshes(); len(l) != 0 {
				t.Fatalf("%+v", l)
			}
			note("pi_terms000", true)
			l = refreshes()
			if len(l) != 1 || !l[0].AdoptUnknown || l[0].Hold.ID != "pi_terms000" ||
				l[0].Hold.Account != "acct_12345678" || l[0].Hold.State != 0 {
				t.Fatalf("%+v", l)
			}
			if err := s.FinishOrPostponeRefresh(t.Context(), l[0],
				time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			if l := refreshes(); len(l) != 0 {
				t.Fatalf("put off, and %+v", l)
			}
			if m, _, err := s.ListHoldsDueForMetadataMirror(t.Context(), 10); err != nil || len(m) != 2 {
				t.Errorf("%v %v", m, err)
			}
		})
	}
}
