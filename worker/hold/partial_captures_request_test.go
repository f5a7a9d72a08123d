package hold_test

import (
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

func TestRequestCapture_Part(t *testing.T) {
	at := t0.Add(5 * day)
	h := newHold(t, heldIntent(multicapture), withCaptureAt(at))
	h = mustAccept(t)(h.RequestCapture(part(10000, "ship-1"), "api", t0))
	again, err := h.RequestCapture(part(10000, "ship-1"), "api", t0)
	if err != nil || !again.Unchanged {
		t.Fatalf("repeated: %v, unchanged %t", err, again.Unchanged)
	}
	for name, change := range map[string]func() error{
		"another part": func() error {
			_, err := h.RequestCapture(part(1, "ship-2"), "api", t0)
			return err
		},
		"the last capture": func() error {
			_, err := h.RequestCapture(hold.CaptureRequest{}, "api", t0)
			return err
		},
		"a change": func() error {
			n := int64(1)
			_, err := h.ApplyPatch(&hold.Patch{CaptureAmount: &n}, "api", t0)
			return err
		},
	} {
		if err := change(); err == nil {
			t.Errorf("%s was accepted while a part is pending", name)
		}
	}
	d, calls := drive(t, h, t0, okAnswer(heldIntent(multicapture)),
		okAnswer(heldIntent(received(10000))))
	if c := calls[1]; c.Amount != 10000 || !c.KeepRest {
		t.Errorf("call %+v", c)
	}
	h = d.Hold
	if h.State != hold.Scheduled || !h.NextAt.Equal(at) || h.Amount != amount-10000 {
		t.Errorf("%s at %s, %d left", h.State, h.NextAt, h.Amount)
	}
	if again, err = h.RequestCapture(part(10000, "ship-1"), "api", t0); err != nil ||
		!again.Unchanged {
		t.Errorf("repeated after its outcome: %v, unchanged %t", err, again.Unchanged)
	}
	// The amount of the last capture comes on top of the parts.
	h = mustAccept(t)(h.RequestCapture(hold.CaptureRequest{Amount: 5000}, "api", t0))
	d, calls = drive(t, h, t0, okAnswer(heldIntent(received(10000))),
		okAnswer(capturedIntent(15000)))
	if c := calls[1]; c.Amount != 5000 || c.KeepRest || d.Hold.CapturedAmount != 15000 ||
		d.Hold.CapturedElsewhere != 0 || d.Hold.Reason != hold.CauseTrigger {
		t.Errorf("call %+v, %d captured, %d elsewhere, %s", c, d.Hold.CapturedAmount,
			d.Hold.CapturedElsewhere, d.Hold.Reason)
	}
}

func TestRequestCapture_AmountAlreadyCaptured(t *testing.T) {
	h := newHold(t, heldIntent(received(4500)))
	for _, n := range []int64{3000, 4500} {
		_, err := h.RequestCapture(hold.CaptureRequest{Amount: n}, "api", t0)
		wantCode(t, err, hold.AmountAlreadyCaptured)
		if err != nil && !strings.Contains(err.Error(), "45.00") {
			t.Errorf("%v does not name what was captured", err)
		}
	}
	h = mustAccept(t)(h.RequestCapture(hold.CaptureRequest{Amount: 7500}, "api", t0))
	d, calls := drive(t, h, t0, okAnswer(heldIntent(received(4500))),
		okAnswer(capturedIntent(7500)))
	if calls[1].Amount != 3000 || d.Hold.CapturedAmount != 7500 {
		t.Errorf("call %+v, %d captured", calls[1], d.Hold.CapturedAmount)
	}
}

func pendingPart(t *testing.T) hold.Hold {
	t.Helper()
	h := newHold(t, heldIntent(multicapture), withCaptureAt(t0.Add(2*day)))
	h = mustAccept(t)(h.RequestCapture(part(4500, "k1"), "api", t0))
	d, _ := drive(t, h, t0, okAnswer(heldIntent(multicapture)),
		hold.Answer{Kind: hold.AnswerRateLimited})
	return d.Hold
}

func TestPause_PartPending(t *testing.T) {
	_, err := pendingPart(t).Pause(hold.CauseTrigger, "api", t0.Add(time.Second))
	wantCode(t, err, hold.TooLate)
}

func TestRequestCapture_PartRepeatedAfterRefusal(t *testing.T) {
	h := pendingPart(t)
	d, _ := drive(t, h, h.NextAt, okAnswer(heldIntent(multicapture)),
		hold.Answer{Kind: hold.AnswerDeclined, Code: "do_not_honor"})
	if d.Hold.State != hold.Attention {
		t.Fatalf("%s", d.Hold.State)
	}
	at := formatTime(t0.Add(3 * day))
	h = mustAccept(t)(d.Hold.ApplyPatch(&hold.Patch{CaptureAt: &at}, "api", t0.Add(time.Hour)))
	d, err := h.RequestCapture(part(4500, "k1"), "api", t0.Add(time.Hour))
	if err != nil || d.Unchanged {
		t.Fatalf("%v, unchanged %t", err, d.Unchanged)
	}
	_, calls := drive(t, d.Hold, t0.Add(time.Hour), okAnswer(heldIntent(multicapture)),
		okAnswer(heldIntent(received(4500))))
	if c := calls[1]; c.Amount != 4500 || !c.KeepRest {
		t.Errorf("call %+v", c)
	}
}

func TestRequestCapture_PartRepeatedWithoutOutcome(t *testing.T) {
	h := newHold(t, heldIntent(multicapture), withCaptureAt(t0.Add(2*day)))
	h = mustAccept(t)(h.RequestCapture(part(4500, "k1"), "api", t0))
	d, _ := drive(t, h, t0, okAnswer(heldIntent(multicapture)), unknownAnswer)
	for range 301 { // a day of reads that show nothing
		d, _ = drive(t, d.Hold, d.Hold.NextAt, hold.Answer{Kind: hold.AnswerNotFound})
	}
	now := d.Hold.History[len(d.Hold.History)-1].At
	if d.Hold.State != hold.Attention {
		t.Fatalf("%s", d.Hold.State)
	}
	_, err := d.Hold.RequestCapture(part(4500, "k1"), "api", now)
	wantCode(t, err, hold.TooLate)
	at := formatTime(t0.Add(3 * day))
	h = mustAccept(t)(d.Hold.ApplyPatch(&hold.Patch{CaptureAt: &at}, "api", now))
	_, err = h.RequestCapture(part(4500, "k1"), "api", now)
	wantCode(t, err, hold.TooLate)
}

func TestRequestCapture_PartKeyOfOtherAmount(t *testing.T) {
	_, err := pendingPart(t).RequestCapture(part(4501, "k1"), "api", t0.Add(time.Second))
	wantCode(t, err, hold.IdempotencyKeyReused)
}

func TestRequestCapture_PartRefused(t *testing.T) {
	open := newHold(t, heldIntent(multicapture), withCaptureAmount(20000))
	single := newHold(t, heldIntent(func(in *hold.PaymentIntent) {
		in.Features = hold.FeaturesKnown
	}))
	canceled := mustAccept(t)(open.RequestCancel("", "api", t0))
	paused := mustAccept(t)(open.Pause(0, "api", t0))
	for name, tt := range map[string]struct {
		h    hold.Hold
		n    int64
		code hold.ProblemCode
	}{
		"without multicapture":  {single, 1000, hold.MulticaptureUnavailable},
		"without an amount":     {open, 0, hold.InvalidAmount},
		"more than the terms":   {open, 20001, hold.AmountTooLarge},
		"unverified":            {newHold(t, nil), 1000, hold.TooLate},
		"after a cancel":        {canceled, 1000, hold.CancelAccepted},
		"paused":                {paused, 1000, hold.HoldPaused},
		"with planned captures": {stagedHold(t), 1000, hold.CapturesPlanned},
		"renewed": {newHold(t, heldIntent(multicapture, renewable), withRenewal(t0.Add(30*day))), 1000,
			hold.ConflictingTerms},
	} {
		_, err := tt.h.RequestCapture(part(tt.n, "key"), "api", t0)
		t.Run(name, func(t *testing.T) { wantCode(t, err, tt.code) })
	}
}

// withMetadata is an intent with the metadata that a capture has written.
func withMetadata(pairs map[string]string) func(*hold.PaymentIntent) {
	return func(in *hold.PaymentIntent) { in.Metadata = pairs }
}

// A lost part is told from what another system captured by the metadata that its
// capture wrote.
func TestParts_AttributedByMetadata(t *testing.T) {
	h := newHold(t, heldIntent(multicapture))
	h = mustAccept(t)(h.RequestCapture(part(4500, "k1"), "api", t0))
	d, calls := drive(t, h, t0, okAnswer(heldIntent(multicapture)), unknownAnswer)
	wrote := calls[1].CaptureParams.CaptureMetadata
	d, _ = drive(t, d.Hold, t0.Add(time.Minute),
		okAnswer(heldIntent(received(5500), withMetadata(wrote))))
	if d.Hold.PartialCaptures.Captured != 4500 || d.Hold.CapturedElsewhere != 1000 ||
		d.Events[0].Amount != 4500 {
		t.Fatalf("%+v, %d elsewhere, %+v", d.Hold.PartialCaptures, d.Hold.CapturedElsewhere, d.Events)
	}
	h = mustAccept(t)(d.Hold.RequestCapture(hold.CaptureRequest{Amount: 3000}, "api", t0))
	d, calls = drive(t, h, t0, okAnswer(heldIntent(received(5500), withMetadata(wrote))),
		okAnswer(capturedIntent(8500)))
	if c := calls[1]; c.Amount != 3000 || c.ReleaseRest {
		t.Errorf("call %+v", c)
	}
	again, err := d.Hold.RequestCapture(hold.CaptureRequest{Amount: 3000}, "api", t0)
	if err != nil || !again.Unchanged {
		t.Errorf("repeated: %v, unchanged %t", err, again.Unchanged)
	}
}

// After a loss of Redis, a repeated request captures nothing more.
func TestParts_RebuiltFromMetadata(t *testing.T) {
	h := newHold(t, heldIntent(multicapture), withCaptureAt(t0.Add(2*day)))
	h = mustAccept(t)(h.RequestCapture(part(4500, "k1"), "api", t0))
	d, calls := drive(t, h, t0, okAnswer(heldIntent(multicapture)),
		okAnswer(heldIntent(received(4500))))
	wrote := calls[1].CaptureParams.CaptureMetadata
	pairs, _ := hold.MetadataDiff(&d.Hold, wrote)
	if _, removed := pairs[hold.MetaParts]; removed {
		t.Fatalf("the mirror removes what the capture wrote: %v", pairs)
	}
	pairs[hold.MetaParts] = wrote[hold.MetaParts]
	in := heldIntent(received(4500), withMetadata(pairs))
	d, err := hold.NewFromMetadata(in, "", "reconcile", t0.Add(time.Hour))
	if err != nil || d.Hold.PartialCaptures == nil || d.Hold.PartialCaptures.Captured != 4500 ||
		d.Hold.CapturedElsewhere != 0 {
		t.Fatalf("%v, %+v", err, d.Hold.PartialCaptures)
	}
	again, err := d.Hold.RequestCapture(part(4500, "k1"), "api", t0.Add(time.Hour))
	if err != nil || !again.Unchanged {
		t.Errorf("repeated: %v, unchanged %t", err, again.Unchanged)
	}
}

// Metadata that another intent's was copied to, and metadata without room, change
// nothing.
func TestParts_Metadata(t *testing.T) {
	copied := map[string]string{hold.MetaParts: "4500 1 AAAAAAAB"}
	h := newHold(t, heldIntent(multicapture, withMetadata(copied)))
	if hold.CapturedSoFar(&h) != 0 {
		t.Errorf("%d captured", hold.CapturedSoFar(&h))
	}
	full := map[string]string{}
	for i := range 50 {
		full[string(rune('A'+i))] = "x"
	}
	h = mustAccept(t)(newHold(t, heldIntent(multicapture)).RequestCapture(part(4500, "k"), "api", t0))
	_, calls := drive(t, h, t0, okAnswer(heldIntent(multicapture, withMetadata(full))),
		okAnswer(heldIntent(received(4500))))
	if len(calls[1].CaptureParams.CaptureMetadata) != 0 {
		t.Errorf("sends %v", calls[1].CaptureParams.CaptureMetadata)
	}
}

// What a part is sent with belongs to that part alone.
func TestRequestCapture_PartParams(t *testing.T) {
	fee, suffix := int64(500), "PART 1"
	at := t0.Add(2 * day)
	none := newHold(t, heldIntent(multicapture), withCaptureAt(at))
	req := part(4500, "k1")
	req.ApplicationFeeAmount, req.StatementDescriptorSuffix = &fee, &suffix
	_, err := none.RequestCapture(req, "api", t0)
	wantCode(t, err, hold.ConflictingTerms)
	h := newHold(t, heldIntent(multicapture), withCaptureAt(at), func(d *hold.ValidRequest) {
		d.CaptureParams.ApplicationFeeAmount = 1200
	})
	zero := int64(0)
	req.ApplicationFeeAmount = &zero
	_, err = h.RequestCapture(req, "api", t0)
	wantCode(t, err, hold.ConflictingTerms)
	req.ApplicationFeeAmount = &fee
	h = mustAccept(t)(h.RequestCapture(req, "api", t0))
	d, calls := drive(t, h, t0, okAnswer(heldIntent(multicapture)),
		okAnswer(heldIntent(received(4500))))
	if p := calls[1].CaptureParams; p.ApplicationFeeAmount != fee ||
		p.StatementDescriptorSuffix != suffix {
		t.Errorf("the part sends %+v", p)
	}
	_, calls = drive(t, d.Hold, at, okAnswer(heldIntent(received(4500))),
		okAnswer(capturedIntent(amount)))
	if p := calls[1].CaptureParams; p.ApplicationFeeAmount != 1200 ||
		p.StatementDescriptorSuffix != "" {
		t.Errorf("the last capture sends %+v", p)
	}
}

// TestRequestCapture_PartRepeatedAfterCancel checks that a cancel drops the part
// whose place it takes: a repetition of its request is not said to be accepted,
// and a part whose outcome is unknown is said to be so.
func TestRequestCapture_PartRepeatedAfterCancel(t *testing.T) {
	at := t0.Add(time.Minute)
	h := mustAccept(t)(pendingPart(t).RequestCancel("", "api", at))
	_, err := h.RequestCapture(part(4500, "k1"), "api", at)
	wantCode(t, err, hold.CancelAccepted)
	d, calls := drive(t, h, at, okAnswer(canceledIntent(hold.ReasonRequestedByCustomer)))
	if calls[0].Op != hold.OpCancel || d.Hold.State != hold.Canceled || d.Hold.CapturedAmount != 0 {
		t.Errorf("%s: %s, %d captured", calls[0].Op, d.Hold.State, d.Hold.CapturedAmount)
	}
}
