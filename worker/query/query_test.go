package query_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/query"
)

func TestHoldReader_Get(t *testing.T) {
	inWorld(t, func(w *world) {
		w.schedule(hold.ScheduleRequest{PaymentIntent: id(1), Reference: "BK-1"})
		h, now, err := w.reader.Get(w.ctx, id(1))
		if err != nil || h.Reference != "BK-1" || now.Sub(w.start).Abs() > time.Second {
			w.t.Errorf("%+v %v %v", h, now, err)
		}
		for given, want := range map[string]error{
			id(2):     &hold.Problem{Code: hold.HoldNotFound},
			"booking": &hold.Problem{Code: hold.InvalidID},
		} {
			if _, _, err := w.reader.Get(w.ctx, given); !errors.Is(err, want) {
				w.t.Errorf("%s: %v", given, err)
			}
		}
		w.redis.SetError("ERR disk on fire")
		if _, _, err := w.reader.Get(w.ctx, id(1)); !errors.Is(err, health.ErrUnavailable) {
			w.t.Errorf("without Redis: %v", err)
		}
		if _, err := w.reader.List(w.ctx, query.HoldQuery{}); !errors.Is(err,
			health.ErrUnavailable) {
			w.t.Errorf("without Redis: %v", err)
		}
		w.redis.SetError("")
	})
}

// scheduleMix schedules five holds whose deadlines are in the order of their
// ids. The third is paused and the fifth is settled.
func (w *world) scheduleMix() {
	w.t.Helper()
	day := 24 * time.Hour
	w.schedule(
		hold.ScheduleRequest{PaymentIntent: id(1), Reference: "B-2", ExpiresAt: w.in(day),
			CaptureAt: w.in(time.Hour)},
		hold.ScheduleRequest{PaymentIntent: id(2), Reference: "A-2", ExpiresAt: w.in(2 * day)},
		hold.ScheduleRequest{PaymentIntent: id(3), Reference: "B-1", ExpiresAt: w.in(3 * day),
			CaptureAt: w.in(time.Hour), Metadata: map[string]string{"room": "12", "floor": "1"}},
		hold.ScheduleRequest{PaymentIntent: id(4), Reference: "A-1", ExpiresAt: w.in(4 * day),
			CancelAt: w.in(time.Hour), Account: "acct_12345678",
			Metadata: map[string]string{"room": "12"}},
		hold.ScheduleRequest{PaymentIntent: id(5), Reference: "A-3", ExpiresAt: w.in(5 * day)},
	)
	w.change(id(3), pause)
	w.change(id(5), cancelElsewhere)
}

func TestHoldReader_List_Filters(t *testing.T) {
	inWorld(t, func(w *world) {
		w.scheduleMix()
		for _, tt := range []struct {
			name string
			q    query.HoldQuery
			want []int
		}{
			{"all: open by deadline, then settled", query.HoldQuery{}, []int{1, 2, 3, 4, 5}},
			{"scheduled", query.HoldQuery{State: hold.Scheduled}, []int{1, 4}},
			{"waiting", query.HoldQuery{State: hold.Waiting}, []int{2}},
			{"paused", query.HoldQuery{State: hold.Paused}, []int{3}},
			{"canceled", query.HoldQuery{State: hold.Canceled}, []int{5}},
			{"captured", query.HoldQuery{State: hold.Captured}, nil},
			{"account", query.HoldQuery{Account: "acct_12345678"}, []int{4}},
			{"reference, in its order", query.HoldQuery{Reference: "A-"}, []int{4, 2, 5}},
			{"a prefix ends before the next", query.HoldQuery{Reference: "A-1"}, []int{4}},
			{"no such reference", query.HoldQuery{Reference: "C"}, nil},
			{"expiring", query.HoldQuery{ExpiringWithin: 50 * time.Hour}, []int{1, 2}},
			{"expiring excludes settled", query.HoldQuery{ExpiringWithin: 500 * time.Hour},
				[]int{1, 2, 3, 4}},
			{"reference and expiring", query.HoldQuery{Reference: "A-",
				ExpiringWithin: 500 * time.Hour},
				[]int{4, 2}},
			{"reference and state", query.HoldQuery{Reference: "A-", State: hold.Waiting},
				[]int{2}},
			{"metadata", query.HoldQuery{Metadata: map[string]string{"room": "12"}}, []int{3, 4}},
			{"all pairs", query.HoldQuery{Metadata: map[string]string{"room": "12", "floor": "1"}},
				[]int{3}},
			{"another value", query.HoldQuery{Metadata: map[string]string{"room": "1"}}, nil},
			{"an empty value is a value", query.HoldQuery{Metadata: map[string]string{"bed": ""}},
				nil},
			{"limit", query.HoldQuery{Limit: 2}, []int{1, 2}},
		} {
			page, err := w.reader.List(w.ctx, tt.q)
			var want []string
			for _, n := range tt.want {
				want = append(want, id(n))
			}
			if err != nil || !slices.Equal(ids(page.Holds), want) {
				w.t.Errorf("%s: %v %v, want %v", tt.name, ids(page.Holds), err, want)
			}
			if more := tt.q.Limit > 0; (page.Next != "") != more {
				w.t.Errorf("%s: next %q", tt.name, page.Next)
			}
		}
		time.Sleep(2 * time.Hour)
		page, err := w.reader.List(w.ctx, query.HoldQuery{State: hold.Ready})
		if err != nil || !slices.Equal(ids(page.Holds), []string{id(1), id(4)}) {
			w.t.Errorf("due holds: %v %v", ids(page.Holds), err)
		}
	})
}

func TestHoldReader_List_Cursor(t *testing.T) {
	inWorld(t, func(w *world) {
		w.scheduleMix()
		for _, q := range []query.HoldQuery{{}, {Reference: "A-"}, {State: hold.Scheduled}} {
			all, err := w.reader.List(w.ctx, q)
			if err != nil {
				w.t.Fatal(err)
			}
			var paged []hold.Hold
			for q.Limit = 1; ; {
				page, err := w.reader.List(w.ctx, q)
				if err != nil || len(page.Holds) > 1 {
					w.t.Fatalf("%+v %v", page, err)
				}
				paged = append(paged, page.Holds...)
				if q.Cursor = page.Next; q.Cursor == "" {
					break
				}
			}
			if !slices.Equal(ids(paged), ids(all.Holds)) {
				w.t.Errorf("page by page %v, at once %v", ids(paged), ids(all.Holds))
			}
		}
		for _, invalid := range []string{"x", "e30", "bm90IEpTT04", "eyJzZXQiOjk5fQ", "eyJzZXQiOi0xfQ"} {
			_, err := w.reader.List(w.ctx, query.HoldQuery{Cursor: invalid})
			if !errors.Is(err, &hold.Problem{Code: hold.InvalidCursor}) {
				w.t.Errorf("cursor %q: %v", invalid, err)
			}
		}
	})
}

// A hold that is settled between two pages is neither lost nor ends the list.
func TestHoldReader_List_HoldSettledBetweenPages(t *testing.T) {
	inWorld(t, func(w *world) {
		w.scheduleMix()
		first, err := w.reader.List(w.ctx, query.HoldQuery{Limit: 2})
		if err != nil || !slices.Equal(ids(first.Holds), []string{id(1), id(2)}) {
			w.t.Fatalf("%v %v", ids(first.Holds), err)
		}
		w.change(id(2), cancelElsewhere) // the cursor points to it
		w.change(id(3), cancelElsewhere)
		rest, err := w.reader.List(w.ctx, query.HoldQuery{Cursor: first.Next})
		got := ids(rest.Holds)
		if err != nil || got[0] != id(4) || !slices.Contains(got, id(3)) {
			w.t.Errorf("%v %v", got, err)
		}
	})
}

// A filter that matches nothing costs no more than a bounded number of reads a
// page.
func TestHoldReader_List_BoundsExaminedHolds(t *testing.T) {
	inWorld(t, func(w *world) {
		reqs := make([]hold.ScheduleRequest, 1100)
		for i := range reqs {
			reqs[i] = hold.ScheduleRequest{PaymentIntent: id(i)}
		}
		w.schedule(reqs...)
		q := query.HoldQuery{Account: "acct_12345678"}
		page, err := w.reader.List(w.ctx, q)
		if err != nil || len(page.Holds) != 0 || page.Next == "" {
			w.t.Fatalf("first page: %d holds, next %q, %v", len(page.Holds), page.Next, err)
		}
		q.Cursor = page.Next
		if page, err = w.reader.List(w.ctx, q); err != nil || page.Next != "" {
			w.t.Errorf("last page: next %q, %v", page.Next, err)
		}
		all, err := w.reader.List(w.ctx, query.HoldQuery{Limit: 5000})
		if err != nil || len(all.Holds) != 200 {
			w.t.Errorf("%d holds on a page, %v", len(all.Holds), err)
		}
	})
}
