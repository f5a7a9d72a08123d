package store

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"
)

// typicalHold is a typical pending hold, scheduled through the API with all
// fields of a request.
func typicalHold() hold.Hold {
	created := time.Date(2026, 11, 3, 9, 30, 0, 0, time.UTC)
	capture := created.Add(5*24*time.Hour + 90*time.Minute)
	return hold.Hold{
		ID: "pi_3PxYzA2eZvKYlo2C1gQmT0aB", PaymentIntent: "pi_3PxYzA2eZvKYlo2C1gQmT0aB",
		Reference: "BK-2071", Amount: 38_500, Currency: "eur",
		CaptureAt: capture, ExpiresAt: created.Add(7 * 24 * time.Hour),
		ExpiresSource: hold.SourceCharge, OnExpiry: hold.PolicyCancel,
		State: hold.Scheduled, Revision: 1, Verified: true, CreatedAt: created,
		History: []hold.HistoryEntry{{At: created, Kind: hold.HistoryScheduled, By: "api"}},
		NextOp:  hold.OpCapture, NextAt: capture, Reason: hold.CauseSchedule,
		Generation: 1, Version: 1,
	}
}

// fullHold has a different value in every field.
func fullHold() hold.Hold {
	h := typicalHold()
	day := func(n int) time.Time {
		return h.CreatedAt.Add(time.Duration(n)*24*time.Hour + 7*time.Millisecond)
	}
	h.PaymentIntent, h.Account, h.Metadata = "pi_3QyZzA2eZvKYlo2C1gQmT0xY", "acct_1PxYzA2eZvKYlo2C",
		map[string]string{"room": "41ü", "": "x", "guest": ""}
	h.CaptureAmount, h.OnExpiry, h.State, h.PreviousState, h.Revision = 38_499, hold.PolicyAlert,
		hold.Working, hold.Paused, 1<<40
	h.CancelAt, h.SettledAt, h.CapturedAmount = day(1), day(2), 38_000
	h.CapturedElsewhere, h.SingleCapture = 37_000, true
	h.Calls, h.Refusals = 7, 8
	h.CancellationReason = "duplicate"
	h.Features = hold.FeaturesKnown | hold.FeatureIncremental
	h.Increment = hold.PendingIncrement{Amount: 40_000, Until: day(5), Paused: true,
		PauseCause: hold.CauseReview}
	h.CaptureParams = hold.CaptureParams{ApplicationFeeAmount: 900,
		TransferData: hold.TransferData{Amount: 800}, StatementDescriptorSuffix: "BK-2071",
		CaptureMetadata: map[string]string{"room": "41ü", "k": "v"}}
	h.Acknowledged, h.CancelWanted, h.ReadFirst, h.Mirrored, h.Unmirrorable = true, true, true,
		true, true
	h.HistoryDropped, h.NextAt, h.Generation, h.InconclusiveReads, h.Retries, h.Version = 9,
		day(3), 4, 5, 6, 1<<47+3
	h.Renewal, h.PartialCaptures, h.MaxCapturable = fullRenewal(day), fullStaged(day), 44_000
	h.Trace = hold.TraceContext{TraceID: [16]byte{1, 15: 2}, SpanID: [8]byte{3, 7: 4}, Flags: 1}
	h.Sent = hold.IdempotencyKeyUsage{Count: 2, FirstAt: day(4), Unknown: true}
	h.History = []hold.HistoryEntry{
		{At: day(0), Kind: hold.HistoryAttempt, By: "token a", Op: hold.OpCancel, Key: "holdd-k",
			RequestID: "req_1", Answer: hold.AnswerReplayedError,
			Cause: hold.CauseReview, Note: "ein Satz"},
		{At: day(-3), Kind: hold.HistoryOutcome}, {},
	}
	later := appendTextField(nil, 900, "of a later holdd")
	h.Unknown = hold.UnknownFields{Fields: string(later), Flags: 1 << 9, Packed: 5}
	h.Renewal.Unknown, h.History[0].Unknown = h.Unknown, h.Unknown
	h.Renewal.Unknown.Packed, h.History[0].Unknown.Flags = 0, 0 // which have no such field
	return h
}

// withoutUnknownFields returns h as this release writes it.
func withoutUnknownFields(h hold.Hold) hold.Hold {
	h.Unknown, h.Renewal.Unknown = hold.UnknownFields{}, hold.UnknownFields{}
	h.History[0].Unknown = hold.UnknownFields{}
	return h
}

// fullRenewal has a different value in every field.
func fullRenewal(day func(n int) time.Time) *hold.Renewal {
	return &hold.Renewal{
		RenewalTerms: hold.RenewalTerms{Until: day(40), MaxAmount: 50_000, MaxRenewals: 3,
			OnFailure: hold.PolicyCapture, ReleaseFirst: true},
		Customer: "cus_1", PaymentMethod: "pm_1", AuthorizedAt: day(10), Completed: 2,
		Generation: 5, Step: hold.RenewalConfirm, Intent: "pi_3new", Amount: 38_400,
		DeclinedCard: "pm_2", NeverAgain: "stolen_card", IncrementTo: 45_000, IncrementUntil: day(19),
		Metadata: map[string]string{"holdd_hold": "pi_1", "a": ""}, Confirmation: 6,
		Sent:      hold.IdempotencyKeyUsage{Count: 7, FirstAt: day(11), Unknown: true},
		ReadFirst: true, SearchAfter: "pi_3after", RetryAt: day(12),
		Problem: hold.CauseDeclined, DeclineCode: "do_not_honor",
		Declines:  []time.Time{day(13), day(14)},
		Releasing: "pi_3old", ReleasingSince: day(15), ReleaseTry: 8,
		ReleaseKeyUsage: hold.IdempotencyKeyUsage{Count: 9, FirstAt: day(16), Unknown: true},
		ReleaseRead:     true, Exchanged: true, OwnEnded: true, Replaced: true,
		Advice:    hold.DeclineAdvice{Code: "try_again_later", NetworkCode: "24"},
		ReturnURL: "https://pay.hotel.example/", CardSetup: "cs_1", CardSetups: 10,
		Unprotected: true, ConfirmAt: day(20),
	}
}

func encodeAndDecode(t testing.TB, h hold.Hold) hold.Hold {
	t.Helper()
	got, since, err := decodeRecord(h.ID, string(appendRecord(nil, &h)))
	if err != nil || !since.IsZero() {
		t.Fatalf("%v, claimed since %v", err, since)
	}
	return got
}

func TestRecord_EveryFieldRoundTrips(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]hold.Hold{"typical": typicalHold(), "full": fullHold(),
		"settled": settledHold()} {
		if got := encodeAndDecode(t, h); !reflect.DeepEqual(got, h) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, h)
		}
	}
	// Check each field, so that the test fails if a new field of the hold is
	// missing in the record.
	typ := reflect.TypeFor[hold.Hold]()
	f := fullHold()
	for i := range typ.NumField() {
		if reflect.ValueOf(f).Field(i).IsZero() {
			t.Errorf("the full hold leaves out %s", typ.Field(i).Name)
		}
	}
	for _, e := range []reflect.Value{reflect.ValueOf(f.History[0]), reflect.ValueOf(f.Sent),
		reflect.ValueOf(f.Increment), reflect.ValueOf(*f.PartialCaptures),
		reflect.ValueOf(*f.Renewal), reflect.ValueOf(f.Renewal.RenewalTerms),
		reflect.ValueOf(f.Renewal.Sent), reflect.ValueOf(f.Renewal.ReleaseKeyUsage),
		reflect.ValueOf(f.Renewal.Advice)} {
		for i := range e.NumField() {
			if e.Type().Field(i).IsExported() && e.Field(i).IsZero() {
				t.Errorf("the full hold leaves out %s.%s", e.Type(), e.Type().Field(i).Name)
			}
		}
	}
}

// anyHold draws holds with any values that a record can have, even invalid
// ones.
func anyHold() *rapid.Generator[hold.Hold] {
	return rapid.Custom(func(t *rapid.T) hold.Hold {
		drawTime := func(name string) time.Time {
			ms := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(1, 1<<47)).Draw(t, name)
			if ms == 0 {
				return time.Time{}
			}
			return time.UnixMilli(ms).UTC()
		}
		text := rapid.OneOf(rapid.Just(""), rapid.String(), rapid.StringN(0, -1, 200))
		number := rapid.Uint32()
		by := rapid.OneOf(text, rapid.SampledFrom(senders))
		currency := rapid.OneOf(text, rapid.SampledFrom(currencies))
		requestID := rapid.OneOf(text, rapid.StringMatching(`req_[+A-Za-z0-9-]{13,15}`))
		h := hold.Hold{
			ID:        rapid.StringMatching(`pi_[A-Za-z0-9]{8,27}`).Draw(t, "id"),
			Account:   rapid.StringMatching(`(acct_[A-Za-z0-9]{8,64})?`).Draw(t, "account"),
			Reference: text.Draw(t, "reference"),
			Amount:    rapid.Int64().Draw(t, "amount"), Currency: currency.Draw(t, "currency"),
			CaptureAt: drawTime("capture"), CancelAt: drawTime("cancel"),
			CaptureAmount: rapid.Int64().Draw(t, "capture amount"), ExpiresAt: drawTime("expires"),
			ExpiresSource: hold.DeadlineSource(rapid.Byte().Draw(t, "source")),
			OnExpiry:      hold.ExpiryPolicy(rapid.ByteRange(1, 3).Draw(t, "policy")),
			State:         hold.State(rapid.ByteRange(1, 9).Draw(t, "state")),
			Revision:      rapid.Uint64().Draw(t, "revision"),
			Verified:      rapid.Bool().Draw(t, "verified"), CreatedAt: drawTime("created"),
			SettledAt: drawTime("settled"), CapturedAmount: rapid.Int64().Draw(t, "total"),
			CapturedElsewhere: rapid.Int64().Draw(t, "elsewhere"),
			SingleCapture:     rapid.Bool().Draw(t, "single capture"),
			Calls:             number.Draw(t, "calls"), Refusals: number.Draw(t, "refusals"),
			Acknowledged: rapid.Bool().Draw(t, "acknowledged"), CancelWanted: rapid.Bool().Draw(t,
				"cancel wanted"), Mirrored: rapid.Bool().Draw(t, "mirrored"),
			HistoryDropped: number.Draw(t, "forgotten"),
			NextOp:         hold.Op(rapid.ByteRange(0, 12).Draw(t, "next")), NextAt: drawTime("next at"),
			Reason:     hold.Cause(rapid.Byte().Draw(t, "reason")),
			Generation: number.Draw(t, "generation"),
			Sent: hold.IdempotencyKeyUsage{Count: number.Draw(t, "attempts"),
				FirstAt: drawTime("first"),
				Unknown: rapid.Bool().Draw(t, "unknown")},
			Features: hold.CardFeatures(rapid.Byte().Draw(t, "features")),
			Increment: hold.PendingIncrement{Amount: rapid.Int64().Draw(t, "increment"),
				Until: drawTime("until"), Paused: rapid.Bool().Draw(t, "increment paused"),
				PauseCause: hold.Cause(rapid.Byte().Draw(t, "pause cause"))},
			ReadFirst:         rapid.Bool().Draw(t, "read first"),
			InconclusiveReads: number.Draw(t, "misses"),
			Retries:           number.Draw(t, "retries"),
			Version:           rapid.Uint64Range(0, 1<<48-1).Draw(t, "version"),
			PreviousState:     hold.State(rapid.ByteRange(0, 9).Draw(t, "previous state")),
		}
		h.PaymentIntent = rapid.OneOf(rapid.Just(h.ID),
			rapid.StringMatching(`pi_[A-Za-z0-9]{8,27}`)).Draw(t, "intent")
		h.Metadata = rapid.MapOfN(text, text, 0, hold.MaxMetadataPairs).Draw(t, "metadata")
		if len(h.Metadata) == 0 {
			h.Metadata = nil
		}
		if rapid.Bool().Draw(t, "capture params") {
			h.CaptureParams = hold.CaptureParams{
				ApplicationFeeAmount:      rapid.Int64().Draw(t, "fee"),
				TransferData:              hold.TransferData{Amount: rapid.Int64().Draw(t, "transfer")},
				StatementDescriptorSuffix: text.Draw(t, "suffix"),
				CaptureMetadata: rapid.MapOfN(text, text, 1, hold.MaxMetadataPairs).Draw(t,
					"capture metadata"),
			}
		}
		for range rapid.IntRange(0, hold.MaxHistory).Draw(t, "lines") {
			h.History = append(h.History, hold.HistoryEntry{
				At: drawTime("at"), Kind: hold.HistoryKind(rapid.Byte().Draw(t, "kind")),
				By: by.Draw(t, "by"), Op: hold.Op(rapid.Byte().Draw(t, "op")),
				Key:       text.Draw(t, "key"),
				RequestID: requestID.Draw(t, "request"),
				Answer:    hold.AnswerKind(rapid.Byte().Draw(t, "answer")), Cause: hold.Cause(rapid.Byte().Draw(t, "cause")),
				Note:    text.Draw(t, "note"),
				Unknown: drawUnknownFields(t, 0),
			})
		}
		h.Unknown = drawUnknownFields(t, 8)
		// A planned operation always has a time.
		if h.NextOp != 0 && h.NextAt.IsZero() {
			h.NextAt = h.ActionTime()
		}
		if rapid.Bool().Draw(t, "captured whole") {
			h.State, h.CapturedAmount = hold.Captured, h.Amount
		}
		if !h.State.IsFinal() && rapid.Bool().Draw(t, "traced") {
			h.Trace = hold.TraceContext{TraceID: [16]byte{rapid.Byte().Draw(t, "trace")},
				SpanID: [8]byte{1}, Flags: rapid.Byte().Draw(t, "flags")}
		}
		return h
	})
}

// drawUnknownFields draws what a later release may write. flagBits is how many
// flags this release knows; 0 draws none.
func drawUnknownFields(t *rapid.T, flagBits int) (u hold.UnknownFields) {
	if !rapid.Bool().Draw(t, "later release") {
		return u
	}
	u.Fields = string(protowire.AppendString(protowire.AppendTag(nil, 900, protowire.BytesType),
		rapid.StringN(0, -1, 50).Draw(t, "unknown field")))
	u.Packed = rapid.Uint64Range(0, 1<<30).Draw(t, "unknown packed value")
	if flagBits > 0 {
		u.Flags = rapid.Uint64Range(0, 1<<20).Draw(t, "unknown flags") << flagBits
	}
	return u
}

func TestRecord_AnyHoldRoundTrips(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h := anyHold().Draw(t, "hold")
		got, _, err := decodeRecord(h.ID, string(appendRecord(nil, &h)))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, h) {
			t.Fatalf("\n got %+v\nwant %+v", got, h)
		}
		a, b := appendRecord(nil, &h), appendRecord([]byte("before"), &got)
		if string(a) != string(b[6:]) {
			t.Fatal("the same hold has two records: a repeated commit would not find its own")
		}
	})
}

func TestDecodeRecord_MissingFieldsHaveDefaults(t *testing.T) {
	t.Parallel()
	// A missing field has the value that all holds had before the field
	// existed.
	got, _, err := decodeRecord("pi_12345678",
		string(appendRecord(nil, &hold.Hold{State: hold.Waiting,
			ID: "pi_12345678", PaymentIntent: "pi_12345678", OnExpiry: hold.PolicyCancel,
			Generation: 1,
			Revision:   1})))
	if err != nil || got.OnExpiry != hold.PolicyCancel ||
		got.Revision != 1 || got.Generation != 1 ||
		got.PaymentIntent != "pi_12345678" {
		t.Errorf("%+v, %v", got, err)
	}
}

// The records of the first version never change: every later version must read
// them.
func TestDecodeRecord_ReadsEncodingOne(t *testing.T) {
	t.Parallel()
	// These records are from a release that did not mirror terms.
	before := withoutUnknownFields(fullHold())
	before.Mirrored, before.Unmirrorable = false, false
	before.CapturedElsewhere, before.SingleCapture, before.Calls, before.Refusals = 0, false, 0, 0
	before.CancellationReason, before.Renewal, before.PartialCaptures = "", nil, nil
	before.Features, before.MaxCapturable, before.Increment = 0, 0, hold.PendingIncrement{}
	before.CaptureParams, before.Trace = hold.CaptureParams{}, hold.TraceContext{}
	for name, want := range map[string]hold.Hold{"typical": typicalHold(), "full": before,
		"settled": settledHold()} {
		file := filepath.Join("testdata", "record-v1-"+name+".hex")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		rec, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := decodeRecord(want.ID, string(rec))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v\n got %+v\nwant %+v", file, err, got, want)
		}
		if now := appendRecord(nil, &want); encodingVersion == 1 && string(now) != string(rec) {
			t.Errorf("%s: encoding 1 has changed to\n%x", file, now)
		}
	}
}

// A release that does not know increments would not know the operation either,
// and would leave the hold without a next step.
func TestRecord_IncrementsHaveTheirOwnEncoding(t *testing.T) {
	t.Parallel()
	h := typicalHold()
	h.Features = hold.FeaturesKnown
	if rec := appendRecord(nil, &h); rec[encodingOffset] != encodingVersion {
		t.Errorf("a hold without an increment has encoding %d", rec[encodingOffset])
	}
	h.Increment.Amount = 40_000
	if rec := appendRecord(nil, &h); rec[encodingOffset] != incrementRenewalEncoding {
		t.Errorf("a hold with an increment has encoding %d", rec[encodingOffset])
	}
}

// A release that does not know capture parameters reads encoding 1 only. It
// would drop them when it writes the record, and capture without a fee.
func TestRecord_CaptureParamsHaveTheirOwnEncoding(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]hold.CaptureParams{
		"fee":      {ApplicationFeeAmount: 1},
		"transfer": {TransferData: hold.TransferData{Amount: 1}},
		"suffix":   {StatementDescriptorSuffix: "a"},
		"metadata": {CaptureMetadata: map[string]string{"a": "b"}},
	} {
		h := typicalHold()
		plain := appendRecord(nil, &h)
		h.CaptureParams = p
		rec := appendRecord(nil, &h)
		if plain[encodingOffset] != 1 || rec[encodingOffset] != 2 {
			t.Errorf("%s: encoding %d without and %d with it", name, plain[encodingOffset],
				rec[encodingOffset])
		}
		got, _, err := decodeRecord(h.ID, string(rec))
		if err != nil || !reflect.DeepEqual(got, h) {
			t.Errorf("%s: %v, %+v", name, err, got)
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	for _, h := range []hold.Hold{typicalHold(), fullHold(), settledHold()} {
		f.Add(string(appendRecord(nil, &h)))
	}
	f.Add("")
	f.Add("\x01")
	f.Fuzz(func(t *testing.T, rec string) {
		h, _, err := decodeRecord("pi_12345678", rec)
		if err != nil {
			if !strings.Contains(err.Error(), "pi_12345678") {
				t.Errorf("which hold is it? %v", err)
			}
			return
		}
		// Decoding an encoded record gives the same hold.
		again, _, err := decodeRecord(h.ID, string(appendRecord(nil, &h)))
		if err != nil {
			t.Fatal(err)
		}
		third, _, err := decodeRecord(h.ID, string(appendRecord(nil, &again)))
		if err != nil || !reflect.DeepEqual(again, third) {
			t.Fatalf("%v\n%+v\n%+v", err, again, third)
		}
		// values of a later release do not panic
		_ = fmt.Sprint(h.State, h.NextOp, h.Reason, h.OnExpiry,
			h.ExpiresSource, h.StateWithDueAsReady(time.Now()))
	})
}

// settledHold is typicalHold after its capture.
func settledHold() hold.Hold {
	h := typicalHold()
	h.State, h.NextOp, h.NextAt, h.Revision, h.Version = hold.Captured, 0, time.Time{}, 2, 1<<40
	h.SettledAt, h.CapturedAmount = h.CaptureAt.Add(300*time.Millisecond), h.Amount
	h.Sent = hold.IdempotencyKeyUsage{Count: 1, FirstAt: h.CaptureAt.Add(80 * time.Millisecond)}
	h.History = append(h.History,
		hold.HistoryEntry{At: h.SettledAt, Kind: hold.HistoryAttempt, By: "holdd",
			Op: hold.OpCapture, Key: "holdd-" + h.ID + "-capture-0123456789abcdef-1",
			RequestID: "req_BCdEFgHiJkLmNo", Answer: hold.AnswerOK},
		hold.HistoryEntry{At: h.SettledAt, Kind: hold.HistoryOutcome, By: "holdd",
			Cause: hold.CauseSchedule})
	return h
}

// The records of pending and of settled holds have at most these sizes.
func TestRecord_Size(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		hold hold.Hold
		most int
	}{"pending": {typicalHold(), 72}, "settled": {settledHold(), 83}} {
		rec := appendRecord(nil, &tt.hold)
		t.Logf("%s: %d bytes, %d of them header", name, len(rec), headerSize)
		if len(rec) > tt.most {
			t.Errorf("%s: the record has grown to %d bytes, want at most %d", name, len(rec),
				tt.most)
		}
	}
}

// An idempotency key that is not exactly the one of its hold and operation is
// kept as it is.
func TestRecord_KeepsOtherKeys(t *testing.T) {
	t.Parallel()
	h := settledHold()
	attempt := &h.History[1]
	regular := attempt.Key
	for _, key := range []string{
		"", regular, strings.Replace(regular, h.ID, "pi_other", 1),
		strings.Replace(regular, "capture", "cancel", 1), strings.Replace(regular, "abcdef", "ABCDEF", 1),
		regular + "0", regular + "-", regular[:len(regular)-1], regular[:len(regular)-1] + "0",
		regular[:len(regular)-1] + "01", regular[:len(regular)-1] + "4294967295",
		regular[:len(regular)-1] + "4294967296", strings.Replace(regular, "0123", "01", 1),
	} {
		attempt.Key = key
		if got := encodeAndDecode(t, h); !reflect.DeepEqual(got, h) {
			t.Errorf("key %q became %q", key, got.History[1].Key)
		}
	}
}

// TestRecord_ReleaseQueuesByItsBeginning checks that a hold whose second
// authorization is released keeps its deadline, while the scripts order it by
// the beginning of the release.
func TestRecord_ReleaseQueuesByItsBeginning(t *testing.T) {
	t.Parallel()
	h := typicalHold()
	since := h.CreatedAt.Add(time.Hour)
	h.Renewal = &hold.Renewal{Step: hold.RenewalIdle, Releasing: "pi_3old", ReleasingSince: since}
	h.NextOp, h.NextAt = hold.OpRelease, since
	rec := appendRecord(nil, &h)
	if got := fromMillis(uint48(rec, deadlineOffset)); !got.Equal(since) {
		t.Errorf("the header has the deadline %s, want %s", got, since)
	}
	if got := encodeAndDecode(t, h); !got.ExpiresAt.Equal(h.ExpiresAt) {
		t.Errorf("expires at %s, want %s", got.ExpiresAt, h.ExpiresAt)
	}
}

// A settled hold keeps its values exactly, also those that have no short form.
func TestRecord_KeepsUnusualValues(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*hold.Hold){
		"another currency":              func(h *hold.Hold) { h.Currency = "isk" },
		"a currency in capitals":        func(h *hold.Hold) { h.Currency = "EUR" },
		"a part captured":               func(h *hold.Hold) { h.CapturedAmount-- },
		"more captured":                 func(h *hold.Hold) { h.CapturedAmount++ },
		"nothing captured":              func(h *hold.Hold) { h.CapturedAmount = 0 },
		"canceled":                      func(h *hold.Hold) { h.State, h.CapturedAmount = hold.Canceled, 0 },
		"canceled after a capture":      func(h *hold.Hold) { h.State = hold.Canceled },
		"due when it settled":           func(h *hold.Hold) { h.CaptureAt = h.SettledAt },
		"due after it settled":          func(h *hold.Hold) { h.CaptureAt = h.SettledAt.Add(time.Hour) },
		"never due":                     func(h *hold.Hold) { h.CaptureAt = time.Time{} },
		"many attempts and revisions":   func(h *hold.Hold) { h.Sent.Count, h.Revision = 4, 9 },
		"no revision":                   func(h *hold.Hold) { h.Revision = 0 },
		"a source of a later release":   func(h *hold.Hold) { h.ExpiresSource = 200 },
		"a short request id":            func(h *hold.Hold) { h.History[1].RequestID = "req_1" },
		"a request id with a sign":      func(h *hold.Hold) { h.History[1].RequestID = "req_+CdEFgHiJkLmNo" },
		"a negative request id":         func(h *hold.Hold) { h.History[1].RequestID = "req_-CdEFgHiJkLmNo" },
		"zeros in a request id":         func(h *hold.Hold) { h.History[1].RequestID = "req_00000000000000" },
		"the last request id":           func(h *hold.Hold) { h.History[1].RequestID = "req_ZZZZZZZZZZZZZZ" },
		"another cause than the hold's": func(h *hold.Hold) { h.History[2].Cause = hold.CauseTrigger },
		"a reason of a later release":   func(h *hold.Hold) { h.Reason, h.History[2].Cause = 200, 200 },
		"no reason":                     func(h *hold.Hold) { h.Reason, h.History[2].Cause = 0, 0 },
		"an entry without values":       func(h *hold.Hold) { h.History[0] = hold.HistoryEntry{At: h.CreatedAt} },
		"an empty entry":                func(h *hold.Hold) { h.History[0] = hold.HistoryEntry{} },
		"a key without a request id":    func(h *hold.Hold) { h.History[1].RequestID = "" },
		"a request id without a key":    func(h *hold.Hold) { h.History[1].Key = "" },
		"an attempt just before":        func(h *hold.Hold) { h.History[1].At = h.SettledAt.Add(-time.Millisecond) },
		"an entry after settlement":     func(h *hold.Hold) { h.History[2].At = h.SettledAt.Add(time.Hour) },
		"another request id":            func(h *hold.Hold) { h.History[1].RequestID = "REQ_BCdEFgHiJkLmNo" },
	} {
		h := settledHold()
		change(&h)
		if got := encodeAndDecode(t, h); !reflect.DeepEqual(got, h) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, h)
		}
	}
}

// TestRecord_HasEveryState checks that a record can have each state that this release
// knows.
func TestRecord_HasEveryState(t *testing.T) {
	for _, s := range hold.States() {
		if int(s) > lastStateInRecords {
			t.Errorf("no record can have the state %s: see lastStateInRecords", s)
		}
	}
}
