package intake_test

import (
	"errors"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

func TestChanger_EachRequest(t *testing.T) {
	inWorld(t, func(w *world) {
		c, id := w.changer, w.AuthorizeIntent()
		h := w.schedule(captureIn(time.Hour, id))
		reference := "BK-7"
		check := func(name string, state hold.State) func(hold.Hold, time.Time, error) {
			return func(got hold.Hold, now time.Time, err error) {
				t.Helper()
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if got.State != state || got.Revision <= h.Revision ||
					got.Version != w.hold(id).Version {
					t.Errorf("%s: %+v at %s", name, got, now)
				}
				h = got
			}
		}
		check("patch", hold.Scheduled)(
			c.PatchTerms(w.Ctx, id, hold.Patch{Reference: &reference}, h.Revision, "test"))
		check("pause", hold.Paused)(c.PauseHold(w.Ctx, id, h.Revision, false, "test"))
		check("resume", hold.Scheduled)(c.ResumeHold(w.Ctx, id, h.Revision, false, "test"))
		check("acknowledge", hold.Scheduled)(c.AcknowledgeWarnings(w.Ctx, id, h.Revision, "test"))
		if n := w.wakes.Load(); n != 0 {
			t.Errorf("%d wake-ups before anything is due", n)
		}
		check("capture", hold.Scheduled)(c.RequestCapture(w.Ctx, id,
			hold.CaptureRequest{Amount: 4000}, h.Revision, "test"))
		if w.wakes.Load() == 0 || h.CaptureAmount != 4000 {
			t.Errorf("a capture must wake the dispatcher: %+v", h)
		}
		check("cancel", hold.Scheduled)(c.RequestCancel(w.Ctx, id, "", h.Revision, "test"))
		if h.NextOp != hold.OpCancel {
			t.Errorf("%+v", h)
		}
		if _, _, err := c.RequestCapture(w.Ctx, id,
			hold.CaptureRequest{}, 0, "test"); !isProblem(err, hold.CancelAccepted) {
			t.Errorf("capture after cancel: %v", err)
		}
		before := w.hold(id).Version
		again, _, err := c.RequestCancel(w.Ctx, id, "", 0, "test")
		if err != nil || again.Version != before || w.hold(id).Version != before {
			t.Errorf("cancel again: %v, version %d, was %d", err, again.Version, before)
		}
	})
}

func TestChanger_Refusals(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.AuthorizeIntent()
		h := w.schedule(captureIn(time.Hour, id))
		if _, _, err := w.changer.PauseHold(w.Ctx, "pi_x", 0, false,
			"test"); !isProblem(err, hold.InvalidID) {
			t.Errorf("invalid id: %v", err)
		}
		if _, _, err := w.changer.PauseHold(w.Ctx, "pi_unknownunknown", 0, false, "test"); !isProblem(
			err, hold.HoldNotFound) {
			t.Errorf("no hold: %v", err)
		}
		if _, _, err := w.changer.PauseHold(w.Ctx, id, h.Revision+1, false, "test"); !isProblem(
			err, hold.RevisionMismatch) {
			t.Errorf("another revision: %v", err)
		}
		w.Redis.SetError("LOADING")
		if _, _, err := w.changer.PauseHold(w.Ctx, id, 0, false, "test"); !errors.Is(
			err, health.ErrUnavailable) {
			t.Errorf("Redis unavailable: %v", err)
		}
		w.Redis.SetError("")
		if got := w.hold(id); got.Version != h.Version {
			t.Errorf("a refused request changed the hold: %+v", got)
		}
	})
}

// A change that loses to another writer is decided again on what that one
// wrote.
func TestChanger_Conflict(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.AuthorizeIntent()
		h := w.schedule(captureIn(time.Hour, id))
		pause := func() {
			if _, _, err := w.changer.PauseHold(w.Ctx, id, 0, false, "other"); err != nil {
				t.Error(err)
			}
		}
		w.commits.before = pause
		if _, _, err := w.changer.RequestCapture(w.Ctx, id, hold.CaptureRequest{}, 0,
			"test"); !isProblem(err, hold.HoldPaused) {
			t.Errorf("capture of a hold that was paused meanwhile: %v", err)
		}
		if _, _, err := w.changer.ResumeHold(w.Ctx, id, 0, false, "test"); err != nil {
			t.Fatal(err)
		}
		w.commits.before = pause
		_, _, err := w.changer.RequestCancel(w.Ctx, id, "", w.hold(id).Revision, "test")
		if !isProblem(err, hold.RevisionMismatch) {
			t.Errorf("a change in between must be seen by a caller who names the revision: %v", err)
		}
		if got := w.hold(id); got.State != hold.Paused || got.Revision <= h.Revision {
			t.Errorf("%+v", got)
		}
	})
}

func TestChanger_ConflictsWithoutEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.AuthorizeIntent()
		w.schedule(captureIn(time.Hour, id))
		references := []string{"a", "b", "c", "d", "e", "f", "g"}
		var interfere func()
		interfere = func() {
			if len(references) == 0 {
				return
			}
			r := references[0]
			references = references[1:]
			if _, _, err := w.changer.PatchTerms(w.Ctx, id, hold.Patch{Reference: &r},
				0, "other"); err != nil {
				t.Error(err)
			}
			w.commits.before = interfere
		}
		w.commits.before = interfere
		if _, _, err := w.changer.PauseHold(w.Ctx, id, 0, false, "test"); !errors.Is(
			err, health.ErrUnavailable) {
			t.Errorf("%v", err)
		}
		if h := w.hold(id); h.State != hold.Scheduled {
			t.Errorf("%+v", h)
		}
	})
}

// A lost reply must not make a caller's own request refuse it.
func TestChanger_LostReply(t *testing.T) {
	t.Run("written once more", func(t *testing.T) {
		inWorld(t, func(w *world) {
			id := w.AuthorizeIntent()
			w.schedule(captureIn(time.Hour, id))
			w.commits.loseReply = 1
			h, _, err := w.changer.PauseHold(w.Ctx, id, 0, false, "test")
			if err != nil || h.State != hold.Paused || h.Version != w.hold(id).Version {
				t.Errorf("%+v, %v", h, err)
			}
			if n := w.Logs.FilterMessage(string(hold.EventPaused)).Len(); n != 1 {
				t.Errorf("logged %d times", n)
			}
		})
	})
	t.Run("claimed meanwhile", func(t *testing.T) {
		inWorld(t, func(w *world) {
			id := w.AuthorizeIntent()
			w.schedule(captureIn(time.Hour, id))
			w.commits.loseReply = 1
			w.commits.afterLoss = func() { w.claim(id) }
			h, _, err := w.changer.RequestCapture(w.Ctx, id, hold.CaptureRequest{}, 0, "test")
			if err != nil || h.State != hold.Working {
				t.Errorf("a capture that is being made was refused: %s, %v", h.State, err)
			}
		})
	})
	t.Run("other terms meanwhile", func(t *testing.T) {
		inWorld(t, func(w *world) {
			id := w.AuthorizeIntent()
			w.schedule(captureIn(time.Hour, id))
			w.commits.loseReply = 1
			w.commits.afterLoss = func() {
				reference := "BK-8"
				patch := hold.Patch{Reference: &reference}
				if _, _, err := w.changer.PatchTerms(w.Ctx, id, patch, 0, "other"); err != nil {
					t.Error(err)
				}
			}
			if _, _, err := w.changer.PauseHold(w.Ctx, id, 0, false, "test"); !errors.Is(
				err, health.ErrUnavailable) {
				t.Errorf("%v", err)
			}
		})
	})
}

// A change that makes the deadline's policy act at once is accepted only with a
// confirmation.
func TestChanger_Confirm(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.AuthorizeIntent()
		if err := w.Sim.Dashboard().SetCaptureBefore(id, time.Now().Add(50*time.Minute)); err != nil {
			t.Fatal(err)
		}
		h := w.schedule(captureIn(40*time.Minute, id))
		if _, _, err := w.changer.PauseHold(w.Ctx, id, 0, false, "test"); !isProblem(
			err, hold.WouldCancelNow) {
			t.Errorf("pause inside the margin: %v", err)
		}
		none := ""
		patch := hold.Patch{CaptureAt: &none}
		if _, _, err := w.changer.PatchTerms(w.Ctx, id, patch, 0, "test"); !isProblem(
			err, hold.WouldCancelNow) {
			t.Errorf("patch inside the margin: %v", err)
		}
		if got := w.hold(id); got.Version != h.Version {
			t.Errorf("a refused request changed the hold: %+v", got)
		}
		patch.Confirm = true
		h, _, err := w.changer.PatchTerms(w.Ctx, id, patch, 0, "test")
		if err != nil || h.NextOp != hold.OpCancel || h.Reason != hold.CauseOnExpiry ||
			w.wakes.Load() == 0 {
			t.Errorf("confirmed: %+v, %v", h, err)
		}
	})
}
