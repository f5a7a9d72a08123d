package query_test

import (
	"slices"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/query"
)

func TestHoldReader_List_Groups(t *testing.T) {
	inWorld(t, func(w *world) {
		w.schedule(
			hold.ScheduleRequest{PaymentIntent: id(1), CaptureAt: w.in(3 * time.Hour), Reference: "B"},
			hold.ScheduleRequest{PaymentIntent: id(2), CaptureAt: w.in(2 * time.Hour), Reference: "C"},
			hold.ScheduleRequest{PaymentIntent: id(3), Reference: "A"},
			hold.ScheduleRequest{PaymentIntent: id(4), CaptureAt: w.in(time.Hour)},
		)
		w.change(id(4), cancelElsewhere)
		for _, tt := range []struct {
			name string
			q    query.HoldQuery
			want []string
		}{
			{"due by time", query.HoldQuery{Group: query.GroupDue}, []string{id(2), id(1)}},
			{"settled", query.HoldQuery{Group: query.GroupSettled}, []string{id(4)}},
			{"by reference", query.HoldQuery{Group: query.GroupOpen, ByReference: true},
				[]string{id(3), id(1), id(2)}},
			{"due by reference", query.HoldQuery{Group: query.GroupDue, ByReference: true},
				[]string{id(1), id(2)}},
		} {
			page, err := w.reader.List(w.ctx, tt.q)
			if err != nil {
				t.Fatal(err)
			}
			if got := ids(page.Holds); !slices.Equal(got, tt.want) {
				t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
			}
		}
		page, err := w.reader.List(w.ctx, query.HoldQuery{Group: query.GroupOpen})
		if err != nil || len(page.Holds) != 3 {
			t.Errorf("open: %d holds, %v; want 3", len(page.Holds), err)
		}
		totals, err := w.reader.SumTotals(w.ctx, query.HoldQuery{Group: query.GroupOpen, Limit: 1})
		if err != nil || totals.Holds != 3 || totals.AtLeast || len(totals.Sums) != 1 ||
			totals.Sums[0].Amount != 30_000 {
			t.Errorf("%+v %v, want 3 holds of 300.00", totals, err)
		}
	})
}
