package store

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"google.golang.org/protobuf/encoding/protowire"
)

// A release takes decisions without the fields of a later one, and writes them
// back when it writes the record.
func TestRecord_UnknownFieldsSurviveARewrite(t *testing.T) {
	t.Parallel()
	h := withoutUnknownFields(fullHold())
	rec := appendRecord(nil, &h)
	split := headerSize + len(h.Account)
	extra := protowire.AppendVarint(protowire.AppendTag(nil, 900, protowire.VarintType), 1<<60)
	extra = protowire.AppendString(protowire.AppendTag(extra, 901, protowire.BytesType),
		"of a later holdd")
	extra = protowire.AppendFixed32(protowire.AppendTag(extra, 902, protowire.Fixed32Type), 7)
	extra = protowire.AppendFixed64(protowire.AppendTag(extra, 903, protowire.Fixed64Type), 7)
	extra = protowire.AppendTag(extra, 904, protowire.StartGroupType)
	extra = protowire.AppendTag(extra, 904, protowire.EndGroupType)
	want := h
	want.Unknown.Fields = string(extra)
	for name, with := range map[string]string{
		"at the end": string(rec) + string(extra),
		"in front":   string(rec[:split]) + string(extra) + string(rec[split:]),
	} {
		got, _, err := decodeRecord(h.ID, with)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v\n got %+v\nwant %+v", name, err, got, want)
		}
		if again := string(appendRecord(nil, &got)); again != string(rec)+string(extra) {
			t.Errorf("%s: rewritten as %x", name, again)
		}
	}
	for name, change := range map[string]func(*hold.Hold){
		"flag":         func(h *hold.Hold) { h.Unknown.Flags = 1 << 9 },
		"packed value": func(h *hold.Hold) { h.Unknown.Packed = 5 },
		"renewal":      func(h *hold.Hold) { h.Renewal.Unknown.Fields = string(extra) },
		"renewal flag": func(h *hold.Hold) { h.Renewal.Unknown.Flags = 1 << 9 },
		"history": func(h *hold.Hold) {
			h.History[0].Unknown = hold.UnknownFields{Fields: string(extra), Packed: 3}
		},
		"settled": func(h *hold.Hold) {
			h.State, h.Trace = hold.Captured, hold.TraceContext{} // a settled hold keeps none
			h.History[0].Unknown = hold.UnknownFields{Fields: string(extra), Packed: 3}
		},
	} {
		later := withoutUnknownFields(fullHold())
		change(&later)
		got, _, err := decodeRecord(later.ID, string(appendRecord(nil, &later)))
		if err != nil || !reflect.DeepEqual(got, later) {
			t.Errorf("%s: %v\n got %+v\nwant %+v", name, err, got, later)
		}
	}
}

// A release cannot judge a hold in a state that it does not know, so it does not
// read the record.
func TestDecodeRecord_RefusesUnknownValues(t *testing.T) {
	t.Parallel()
	unknownCurrency := typicalHold()
	unknownCurrency.Currency = ""
	unknownCurrency.Unknown.Packed = 0
	packed := packAndClearHoldValues(&unknownCurrency) | 31<<currencyShift
	for name, rec := range map[string]string{
		"state":          changedRecord(func(h *hold.Hold) { h.State = hold.Expired + 1 }),
		"previous state": changedRecord(func(h *hold.Hold) { h.PreviousState = hold.Expired + 1 }),
		"operation":      changedRecord(func(h *hold.Hold) { h.NextOp = hold.OpRelease + 1 }),
		"policy":         changedRecord(func(h *hold.Hold) { h.OnExpiry = hold.PolicyAlert + 1 }),
		"renewal step": changedRecord(func(h *hold.Hold) {
			h.Renewal = &hold.Renewal{Step: hold.RenewalReleaseFirst + 1}
		}),
		"renewal policy": changedRecord(func(h *hold.Hold) {
			h.Renewal = &hold.Renewal{RenewalTerms: hold.RenewalTerms{OnFailure: 9}}
		}),
		"currency": changedRecord(func(h *hold.Hold) {
			h.Unknown.Fields = string(appendNumberField(nil, fieldPacked, packed))
		}),
		"too many unknown fields": changedRecord(func(h *hold.Hold) {
			h.Unknown.Fields = string(appendTextField(nil, 900, strings.Repeat("x", 5000)))
		}),
	} {
		if h, _, err := decodeRecord("pi_12345678", rec); !errors.Is(err, hold.ErrUnreadableRecord) {
			t.Errorf("%s: read as %+v, %v", name, h, err)
		}
	}
}

// withoutNewFields returns a hold as the release before this one wrote it.
func withoutNewFields(h hold.Hold) hold.Hold {
	h.PartialCaptures, h.MaxCapturable, h.Trace = nil, 0, hold.TraceContext{}
	r := *h.Renewal
	r.IncrementTo, r.IncrementUntil = 0, time.Time{}
	r.DeclinedCard, r.NeverAgain, r.Advice = "", "", hold.DeclineAdvice{}
	r.ReturnURL, r.CardSetup, r.CardSetups = "", "", 0
	r.ReleaseFirst, r.Unprotected, r.Replaced, r.ConfirmAt = false, false, false, time.Time{}
	h.Renewal = &r
	return h
}

// The trace costs 28 bytes of a hold that has one, and nothing of any other. A
// settled hold keeps none. What a later release may write in its place survives.
func TestRecord_Trace(t *testing.T) {
	t.Parallel()
	h := typicalHold()
	without := appendRecord(nil, &h)
	h.Trace = fullHold().Trace
	with := appendRecord(nil, &h)
	if n := len(with) - len(without); n != 28 {
		t.Errorf("the trace takes %d bytes", n)
	}
	later := appendTextField(slices.Clone(without), fieldTrace, "of another form")
	got, _, err := decodeRecord(h.ID, string(later))
	if err != nil || got.Trace != (hold.TraceContext{}) ||
		string(appendRecord(nil, &got)) != string(later) {
		t.Errorf("%v, %+v", err, got)
	}
	h.State = hold.Captured
	if got := encodeAndDecode(t, h); got.Trace != (hold.TraceContext{}) {
		t.Errorf("a settled hold keeps %+v", got.Trace)
	}
}

// changedRecord returns the record of a typical hold with a change.
func changedRecord(change func(*hold.Hold)) string {
	h := typicalHold()
	change(&h)
	return string(appendRecord(nil, &h))
}

// The release before this one wrote this record. Both run on one Redis during an
// upgrade.
func TestDecodeRecord_ReadsThePreviousRelease(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("testdata", "record-v3-full.hex"))
	if err != nil {
		t.Fatal(err)
	}
	rec, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	want := withoutNewFields(withoutUnknownFields(fullHold()))
	got, _, err := decodeRecord(want.ID, string(rec))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n got %+v\nwant %+v", err, got, want)
	}
	if again := appendRecord(nil, &got); string(again) != string(rec) {
		t.Errorf("written back as\n%x", again)
	}
}
