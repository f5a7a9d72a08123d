package store

import (
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// fullStaged has a different value in every field.
func fullStaged(day func(n int) time.Time) *hold.PartialCaptures {
	return &hold.PartialCaptures{
		Plan: []hold.CaptureStage{{At: day(2), Amount: 4500}, {At: day(3), Amount: 3000}},
		Base: 1200, Done: 1, Captured: 5700, Count: 2, Part: 7000,
		Requests: []uint64{1<<63 + 5, 7}, Request: 1<<47 + 3, MetadataFull: true,
		PartParams: hold.CaptureParams{ApplicationFeeAmount: 70,
			TransferData:              hold.TransferData{Amount: 60},
			StatementDescriptorSuffix: "BK-1", CaptureMetadata: map[string]string{"k": "v", "l": ""}},
		Unknown: hold.UnknownFields{Fields: string(appendNumberField(nil, 900, 9))},
	}
}

// A release that does not know captures in parts would capture everything at the
// first of them, and would take a total above the authorized amount for a
// mistake.
func TestRecord_StagedCapturesHaveTheirOwnEncoding(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*hold.Hold){
		"planned": func(h *hold.Hold) {
			h.PartialCaptures = &hold.PartialCaptures{Plan: []hold.CaptureStage{{At: h.CaptureAt, Amount: 1}}}
		},
		"captured":    func(h *hold.Hold) { h.PartialCaptures = &hold.PartialCaptures{Captured: 1, Count: 1} },
		"overcapture": func(h *hold.Hold) { h.CaptureAmount = h.Amount + 1 },
	} {
		h := typicalHold()
		h.MaxCapturable, h.CaptureAmount = h.Amount+1, h.Amount
		if rec := appendRecord(nil, &h); rec[encodingOffset] != encodingVersion {
			t.Errorf("%s: encoding %d without it", name, rec[encodingOffset])
		}
		edit(&h)
		if rec := appendRecord(nil, &h); rec[encodingOffset] != stagedEncoding {
			t.Errorf("%s: encoding %d with it", name, rec[encodingOffset])
		}
	}
}

// A hold with the most captures that Stripe accepts keeps a small record.
func TestRecord_StagedCapturesAreBounded(t *testing.T) {
	t.Parallel()
	h := typicalHold()
	plain := len(appendRecord(nil, &h))
	s := &hold.PartialCaptures{}
	for i := range hold.MaxCaptures {
		s.Plan = append(s.Plan, hold.CaptureStage{At: h.CreatedAt.Add(time.Duration(i) * time.Hour),
			Amount: 999_999})
		s.Requests = append(s.Requests, 1<<63)
	}
	h.PartialCaptures = s
	if n := len(appendRecord(nil, &h)) - plain; n > 1300 {
		t.Errorf("%d captures take %d bytes", hold.MaxCaptures, n)
	}
}
