package intake_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

const (
	inboxKey    = "holdd:inbox"
	rejectedKey = "holdd:inbox:rejected"
)

// put writes an inbox entry.
func (w *world) put(fields ...string) {
	w.T.Helper()
	if _, err := w.Redis.XAdd(inboxKey, "*", fields); err != nil {
		w.T.Fatal(err)
	}
}

func (w *world) putRequest(req hold.ScheduleRequest) {
	w.T.Helper()
	text, err := json.Marshal(req)
	if err != nil {
		w.T.Fatal(err)
	}
	w.put("hold", string(text))
}

func TestInbox_SchedulesAndRejects(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.AuthorizeIntent()
		req := hold.ScheduleRequest{PaymentIntent: id, CaptureAt: envtest.In(time.Hour),
			Reference: "BK-1"}
		other := req
		other.Reference = "BK-2"
		w.putRequest(req)
		w.putRequest(req) // the same again is the same hold
		w.putRequest(other)
		w.put("hold", "{")
		w.put("hold", `{"payment_intent":"`+strings.Repeat("x", 70_000)+`"}`)
		w.put("wish", "{}")
		w.inbox.Run(w.Ctx)

		if h := w.hold(id); h == nil || h.Reference != "BK-1" || h.History[0].By != "inbox" {
			t.Errorf("%+v", h)
		}
		if left := w.StreamEntryStrings(inboxKey); len(left) != 0 {
			t.Errorf("not acknowledged: %.300q", left)
		}
		want := []string{
			"inbox invalid_field", "inbox entry_too_large", "inbox entry_without_hold",
			"inbox hold_exists",
		}
		if !slices.Equal(w.rejected, want) {
			t.Errorf("rejected %q, want %q", w.rejected, want)
		}
		if n := len(w.StreamEntryStrings(rejectedKey)); n != len(want) {
			t.Errorf("%d rejections recorded, want %d", n, len(want))
		}
	})
}

// An entry that may be decided later stays in the stream, and is read again
// after the lease.
func TestInbox_RetriesWhatMayWorkLater(t *testing.T) {
	t.Run("both replies of the commit lost", func(t *testing.T) {
		inWorld(t, func(w *world) {
			id := w.AuthorizeIntent()
			w.putRequest(captureIn(time.Hour, id))
			w.commits.loseReply = 2
			w.inbox.Run(w.Ctx)
			if n := len(w.StreamEntryStrings(inboxKey)); n != 1 {
				t.Fatalf("%d entries left: the acknowledged before its hold is known to be written",
					n)
			}
			time.Sleep(31 * time.Second)
			w.inbox.Run(w.Ctx)
			if left := w.StreamEntryStrings(inboxKey); len(left) != 0 ||
				w.hold(id) == nil || len(w.rejected) != 0 {
				t.Errorf("left %q, rejected %q", left, w.rejected)
			}
		})
	})
	t.Run("intent unknown to Stripe", func(t *testing.T) {
		inWorld(t, func(w *world) {
			id := w.AuthorizeIntent()
			notFound := stripesim.FaultRule{Intent: id, Times: 1,
				Fault: stripesim.Fault{Kind: stripesim.FaultNotFound}}
			w.AddStripeFault(notFound)
			w.putRequest(captureIn(time.Hour, id))
			w.putRequest(captureIn(time.Hour, "pi_unknownunknown"))
			w.inbox.Run(w.Ctx)
			if n := len(w.StreamEntryStrings(inboxKey)); n != 2 || len(w.rejected) != 0 {
				t.Fatalf("%d entries left, rejected %q", n, w.rejected)
			}
			for range 5 {
				time.Sleep(31 * time.Second)
				w.inbox.Run(w.Ctx)
			}
			if w.hold(id) == nil ||
				!slices.Equal(w.rejected, []string{"inbox payment_intent_not_found"}) {
				t.Errorf("hold %v, rejected %q", w.hold(id), w.rejected)
			}
			if left := w.StreamEntryStrings(inboxKey); len(left) != 0 {
				t.Errorf("left %q", left)
			}
		})
	})
	t.Run("rejection not recorded", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.put("hold", "{")
			w.newInbox(decodeRequest, failingRejector{errors.New("no reply")}).Run(w.Ctx)
			if n := len(w.StreamEntryStrings(inboxKey)); n != 1 {
				t.Errorf("%d entries left: an entry was acknowledged whose rejection is not recorded", n)
			}
		})
	})
}

func TestInbox_DecoderPanics(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.AuthorizeIntent()
		w.put("hold", "poison")
		w.putRequest(captureIn(time.Hour, id))
		w.newInbox(func(text []byte) (hold.ScheduleRequest, error) {
			if string(text) == "poison" {
				panic("bug")
			}
			return decodeRequest(text)
		}, w.rejector).Run(w.Ctx)
		if !slices.Equal(w.rejected, []string{"inbox entry_unreadable"}) {
			t.Errorf("rejected %q", w.rejected)
		}
		if left := w.StreamEntryStrings(inboxKey); w.hold(id) == nil || len(left) != 0 {
			t.Errorf("hold %v, left %q", w.hold(id), left)
		}
	})
}

// More entries than a batch has are scheduled in one tick.
func TestInbox_ManyBatches(t *testing.T) {
	inWorld(t, func(w *world) {
		var ids []string
		for range 300 {
			id := w.AuthorizeIntent()
			ids = append(ids, id)
			w.putRequest(captureIn(time.Hour, id))
		}
		w.inbox.Run(w.Ctx)
		for _, id := range ids {
			if w.hold(id) == nil {
				t.Fatalf("%s is not scheduled", id)
			}
		}
		if left := w.StreamEntryStrings(inboxKey); len(left) != 0 {
			t.Errorf("%d entries left", len(left))
		}
	})
}

func TestInbox_WithoutDecoder(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("hold", "{")
		w.newInbox(nil, w.rejector).Run(w.Ctx)
		if n := len(w.StreamEntryStrings(inboxKey)); n != 1 {
			t.Errorf("%d entries left", n)
		}
	})
}
