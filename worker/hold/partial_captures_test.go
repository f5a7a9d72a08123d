package hold_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// multicapture is an intent whose charge can be captured in parts.

func multicapture(in *hold.PaymentIntent) {
	in.SingleCapture = false
	in.Features = hold.FeaturesKnown | hold.FeatureMulticapture
}

// received is one of which n were captured.

func received(n int64) func(*hold.PaymentIntent) {
	return func(in *hold.PaymentIntent) {
		multicapture(in)
		in.AmountCapturable, in.AmountReceived = amount-n, n
	}
}

// stagesAt are captures of 10000, 12000 and 15000 of the 42000, two days apart.
var stagesAt = []hold.CaptureStage{{At: t0.Add(day), Amount: 10000},
	{At: t0.Add(3 * day), Amount: 12000}, {At: t0.Add(5 * day), Amount: 15000}}

func withStages(stages ...hold.CaptureStage) func(*hold.ValidRequest) {
	return func(d *hold.ValidRequest) { d.Captures = stages }
}

func stagedHold(t testing.TB) hold.Hold {
	t.Helper()
	return newHold(t, heldIntent(multicapture), withStages(stagesAt...))
}

func part(n int64, key string) hold.CaptureRequest {
	final := false
	return hold.CaptureRequest{Amount: n, Final: &final, RequestKey: key}
}

var unknownAnswer = hold.Answer{Kind: hold.AnswerUnknown}

func TestStaged_CapturesEachStage(t *testing.T) {
	h := stagedHold(t)
	captured := int64(0)
	for i, stage := range stagesAt {
		if !h.NextAt.Equal(stage.At) || h.NextOp != hold.OpCapture {
			t.Fatalf("stage %d: %s at %s", i, h.NextOp, h.NextAt)
		}
		last := i == len(stagesAt)-1
		after := heldIntent(received(captured + stage.Amount))
		if last {
			after = capturedIntent(captured + stage.Amount)
		}
		d, calls := drive(t, h, stage.At, okAnswer(heldIntent(received(captured))), okAnswer(after))
		c := calls[1]
		if calls[0].Op != hold.OpRead || c.Amount != stage.Amount || c.KeepRest == last ||
			c.ReleaseRest {
			t.Fatalf("stage %d: calls %+v", i, calls)
		}
		want := "hold.partly_captured"
		if last {
			want = "hold.captured"
		}
		if e := eventTypes(d); e != want {
			t.Errorf("stage %d: events %s", i, e)
		}
		captured += stage.Amount
		h = d.Hold
		if hold.CapturedSoFar(&h) != captured || h.CapturedElsewhere != 0 {
			t.Errorf("stage %d: %d captured, %d elsewhere", i, hold.CapturedSoFar(&h),
				h.CapturedElsewhere)
		}
	}
	if h.State != hold.Captured || h.Reason != hold.CauseSchedule || h.CapturedAmount != 37000 {
		t.Errorf("%s (%s), %d captured", h.State, h.Reason, h.CapturedAmount)
	}
}

func TestStaged_LostReply(t *testing.T) {
	at := stagesAt[0].At
	d, calls := drive(t, stagedHold(t), at, okAnswer(heldIntent(multicapture)), unknownAnswer)
	lost, h := calls[1], d.Hold
	if h.State != hold.Working {
		t.Fatalf("%s", h.State)
	}
	t.Run("captured", func(t *testing.T) {
		d, calls := drive(t, h, at.Add(time.Minute), okAnswer(heldIntent(received(10000))))
		if calls[0].Op != hold.OpRead || eventTypes(d) != "hold.partly_captured" ||
			d.Hold.PartialCaptures.Captured != 10000 || !d.Hold.NextAt.Equal(stagesAt[1].At) {
			t.Errorf("%+v: %s, %+v", calls, eventTypes(d), d.Hold.PartialCaptures)
		}
	})
	t.Run("not captured", func(t *testing.T) {
		d, _ := drive(t, h, at.Add(time.Minute), okAnswer(heldIntent(multicapture)))
		if d.NextStepNow || d.Hold.Sent.Unknown {
			t.Fatalf("again %t, %+v", d.NextStepNow, d.Hold.Sent)
		}
		d, calls := drive(t, d.Hold, d.Hold.NextAt, okAnswer(heldIntent(multicapture)),
			okAnswer(heldIntent(received(10000))))
		if c := calls[1]; c.Key != lost.Key || c.Amount != lost.Amount {
			t.Errorf("call %+v after %+v", c, lost)
		}
		if eventTypes(d) != "hold.partly_captured" {
			t.Error(eventTypes(d))
		}
	})
	t.Run("not captured, and it may still arrive", func(t *testing.T) {
		d, _ := drive(t, h, at.Add(time.Second), okAnswer(heldIntent(multicapture)))
		if d.NextStepNow || d.Hold.NextAt.Before(at.Add(30*time.Second)) {
			t.Errorf("again %t, next at %s", d.NextStepNow, d.Hold.NextAt)
		}
	})
	t.Run("captured, and the rest has expired", func(t *testing.T) {
		late := t0.Add(8 * day)
		d, _ := drive(t, h, late, okAnswer(capturedIntent(10000)))
		if d.Hold.State != hold.Captured || d.Hold.Reason != hold.CauseExpired ||
			d.Hold.CapturedAmount != 10000 || d.Hold.CapturedElsewhere != 0 {
			t.Errorf("%s (%s), %d captured, %d elsewhere", d.Hold.State, d.Hold.Reason,
				d.Hold.CapturedAmount, d.Hold.CapturedElsewhere)
		}
	})
	t.Run("Stripe replays an error", func(t *testing.T) {
		held := okAnswer(heldIntent(multicapture))
		d, _ := drive(t, h, at.Add(time.Minute), held)
		d, _ = drive(t, d.Hold, d.Hold.NextAt, held,
			hold.Answer{Kind: hold.AnswerReplayedError})
		d, _ = drive(t, d.Hold, at.Add(time.Hour), held)
		d, calls := drive(t, d.Hold, at.Add(2*time.Hour), held,
			okAnswer(heldIntent(received(10000))))
		if calls[1].Key == lost.Key || calls[1].Amount != 10000 {
			t.Errorf("call %+v", calls[1])
		}
		if eventTypes(d) != "hold.partly_captured" {
			t.Error(eventTypes(d))
		}
	})
}

func TestStaged_OtherSystemCaptures(t *testing.T) {
	at := stagesAt[0].At
	d, calls := drive(t, stagedHold(t), at, okAnswer(heldIntent(received(4000))),
		okAnswer(heldIntent(received(10000))))
	if calls[1].Amount != 6000 || d.Hold.CapturedElsewhere != 4000 {
		t.Errorf("call %+v, %d elsewhere", calls[1], d.Hold.CapturedElsewhere)
	}
	d, calls = drive(t, d.Hold, stagesAt[1].At, okAnswer(heldIntent(received(25000))))
	if len(calls) != 1 || d.Hold.CapturedElsewhere != 19000 ||
		!d.Hold.NextAt.Equal(stagesAt[2].At) {
		t.Errorf("calls %+v, hold %+v", calls, d.Hold.PartialCaptures)
	}
	d, calls = drive(t, d.Hold, stagesAt[2].At, okAnswer(heldIntent(received(40000))),
		okAnswer(capturedIntent(40000)))
	if c := calls[1]; !c.ReleaseRest || c.Amount != 0 || d.Hold.State != hold.Captured ||
		d.Hold.Reason != hold.CauseSchedule {
		t.Errorf("call %+v, %s (%s)", c, d.Hold.State, d.Hold.Reason)
	}
}

func TestStaged_Refused(t *testing.T) {
	refuse := func(code hold.ProblemCode, in *hold.PaymentIntent, stages ...hold.CaptureStage) {
		t.Helper()
		d := &hold.ValidRequest{ID: testIntentID, OnExpiry: hold.PolicyCancel, Captures: stages}
		_, err := hold.DecideNewHold(d, in, "api", t0)
		wantCode(t, err, code)
	}
	single := heldIntent(func(in *hold.PaymentIntent) { in.Features = hold.FeaturesKnown })
	refuse(hold.MulticaptureUnavailable, single, stagesAt...)
	refuse("", single, stagesAt[0])
	refuse(hold.AmountTooLarge, heldIntent(multicapture), hold.CaptureStage{At: stagesAt[0].At,
		Amount: amount}, hold.CaptureStage{At: stagesAt[1].At, Amount: 1})
	refuse(hold.AfterDeadline, heldIntent(multicapture), stagesAt[0],
		hold.CaptureStage{At: t0.Add(8 * day), Amount: 1})
	refuse("", nil, stagesAt...)
}

func TestStaged_UnverifiedWithoutMulticapture(t *testing.T) {
	h := newHold(t, nil, withStages(stagesAt...))
	single := heldIntent(func(in *hold.PaymentIntent) { in.Features = hold.FeaturesKnown })
	d := h.ApplyPaymentIntent(single, t0)
	if d.Hold.State != hold.Attention || d.Hold.Reason != hold.CauseUnavailable {
		t.Fatalf("%s (%s)", d.Hold.State, d.Hold.Reason)
	}
	// An operator can still capture the total of the stages at once.
	h = mustAccept(t)(d.Hold.RequestCapture(hold.CaptureRequest{}, "api", t0))
	d, calls := drive(t, h, t0, okAnswer(capturedIntent(37000)))
	if calls[0].KeepRest || calls[0].Amount != 37000 || d.Hold.State != hold.Captured {
		t.Errorf("call %+v, %s", calls[0], d.Hold.State)
	}
}

func TestScheduleRequest_ValidateStages(t *testing.T) {
	at := func(d time.Duration) string { return formatTime(t0.Add(d)) }
	for _, tt := range []struct {
		name string
		edit func(*hold.ScheduleRequest)
		code hold.ProblemCode
	}{
		{"two", func(r *hold.ScheduleRequest) {}, ""},
		{"with capture_at", func(r *hold.ScheduleRequest) { r.CaptureAt = at(day) },
			hold.ConflictingTimes},
		{"with cancel_at", func(r *hold.ScheduleRequest) { r.CancelAt = at(day) },
			hold.ConflictingTimes},
		{"with capture_amount", func(r *hold.ScheduleRequest) { r.CaptureAmount = 1 },
			hold.ConflictingTerms},
		{"with renewal", func(r *hold.ScheduleRequest) {
			r.Renewal = &hold.RenewalRequest{Until: at(20 * day)}
		}, hold.ConflictingTerms},
		{"same time", func(r *hold.ScheduleRequest) { r.Captures[1].At = r.Captures[0].At },
			hold.InvalidTime},
		{"no time", func(r *hold.ScheduleRequest) { r.Captures[1].At = "" }, hold.InvalidTime},
		{"past", func(r *hold.ScheduleRequest) { r.Captures[0].At = at(-2 * time.Hour) },
			hold.InThePast},
		{"no amount", func(r *hold.ScheduleRequest) { r.Captures[0].Amount = 0 },
			hold.InvalidAmount},
		{"negative", func(r *hold.ScheduleRequest) { r.Captures[0].Amount = -1 },
			hold.InvalidAmount},
		{"more than the amount", func(r *hold.ScheduleRequest) { r.Amount, r.Currency = 29, "eur" },
			hold.AmountTooLarge},
		{"fee above the smallest", func(r *hold.ScheduleRequest) { r.ApplicationFeeAmount = 11 },
			hold.AmountTooLarge},
		{"51", func(r *hold.ScheduleRequest) {
			r.Captures = make([]hold.CaptureStageRequest, 51)
		}, hold.InvalidField},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := hold.ScheduleRequest{PaymentIntent: testIntentID,
				Captures: []hold.CaptureStageRequest{{At: at(day), Amount: 10},
					{At: at(2 * day), Amount: 20}}}
			tt.edit(&r)
			_, err := r.Validate(t0)
			wantCode(t, err, tt.code)
		})
	}
}

// A last capture never releases what its amount asks for.

// A part that Stripe throttles is pending.

// The request of a part that Stripe refused can be repeated.

// The request of a part whose outcome is unknown does not count as done, and does

// not take the amount again.

func TestStaged_CancelReleasesTheRest(t *testing.T) {
	d, _ := drive(t, stagedHold(t), stagesAt[0].At, okAnswer(heldIntent(multicapture)),
		okAnswer(heldIntent(received(10000))))
	h := mustAccept(t)(d.Hold.RequestCancel("", "api", stagesAt[0].At))
	d, calls := drive(t, h, stagesAt[0].At, okAnswer(capturedIntent(10000)))
	if calls[0].Op != hold.OpCancel || d.Hold.State != hold.Captured ||
		d.Hold.Reason != hold.CauseTrigger || d.Hold.CapturedAmount != 10000 ||
		d.Hold.CapturedElsewhere != 0 {
		t.Errorf("%s: %s (%s), %d captured", calls[0].Op, d.Hold.State, d.Hold.Reason,
			d.Hold.CapturedAmount)
	}
}

func TestStaged_NoIncrementAfterAPart(t *testing.T) {
	both := func(in *hold.PaymentIntent) { in.Features |= hold.FeatureIncremental }
	h := newHold(t, heldIntent(multicapture, both), withStages(stagesAt...))
	d, _ := drive(t, h, stagesAt[0].At, okAnswer(heldIntent(multicapture, both)),
		okAnswer(heldIntent(received(10000), both)))
	_, err := d.Hold.RequestIncrement(hold.IncrementRequest{Amount: amount + 1}, "api",
		stagesAt[0].At, testRules)
	wantCode(t, err, hold.IncrementUnavailable)
}

func TestApplyPatch_Stages(t *testing.T) {
	d, _ := drive(t, stagedHold(t), stagesAt[0].At, okAnswer(heldIntent(multicapture)),
		okAnswer(heldIntent(received(10000))))
	h, now := d.Hold, stagesAt[0].At
	at := formatTime(t0.Add(4 * day))
	for name, p := range map[string]*hold.Patch{
		"capture_at":     {CaptureAt: &at},
		"capture_amount": {CaptureAmount: new(int64)},
	} {
		if _, err := h.ApplyPatch(p, "api", now); err == nil {
			t.Errorf("%s was accepted beside planned captures", name)
		}
	}
	later := mustAccept(t)(h.ApplyPatch(&hold.Patch{
		Captures: []hold.CaptureStageRequest{{At: at, Amount: 32000}}}, "api", now))
	if !later.NextAt.Equal(t0.Add(4*day)) || later.CaptureAmount != amount {
		t.Errorf("next at %s, %d in all", later.NextAt, later.CaptureAmount)
	}
	_, err := h.ApplyPatch(&hold.Patch{
		Captures: []hold.CaptureStageRequest{{At: at, Amount: 32001}}}, "api", now)
	wantCode(t, err, hold.AmountTooLarge)
	ended := mustAccept(t)(h.ApplyPatch(&hold.Patch{Captures: []hold.CaptureStageRequest{}}, "api",
		now))
	if ended.State != hold.Waiting || ended.CaptureAmount != 0 || hold.CapturedSoFar(&ended) != 10000 {
		t.Errorf("%s, %d in all, %d so far", ended.State, ended.CaptureAmount,
			hold.CapturedSoFar(&ended))
	}
}

// The plan survives a loss of Redis by the intent's metadata, and goes on where

// Stripe shows that it was.

func TestStaged_RebuiltFromMetadata(t *testing.T) {
	var many []hold.CaptureStage
	for i := range 40 {
		many = append(many, hold.CaptureStage{At: t0.Add(time.Duration(i+1) * time.Hour),
			Amount: 1000})
	}
	h := newHold(t, heldIntent(multicapture), withStages(many...))
	pairs, ok := hold.MetadataDiff(&h, nil)
	if !ok || pairs[hold.MetaCaptures] == "" || pairs[hold.MetaCaptures+"_2"] == "" ||
		pairs[hold.MetaCaptureAt] != "" {
		t.Fatalf("metadata %v, fits %t", pairs, ok)
	}
	in := heldIntent(received(3000), func(in *hold.PaymentIntent) { in.Metadata = pairs })
	d, err := hold.NewFromMetadata(in, "", "reconcile", t0.Add(4*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if d.Hold.PartialCaptures.Done != 3 || !d.Hold.NextAt.Equal(many[3].At) ||
		!hold.HaveSameTerms(&d.Hold, &h) {
		t.Errorf("%d done, next at %s", d.Hold.PartialCaptures.Done, d.Hold.NextAt)
	}
	d, err = hold.NewFromMetadata(in, "", "reconcile", many[3].At.Add(25*time.Hour))
	if err != nil || d.Hold.State != hold.Attention || d.Hold.Reason != hold.CauseOverdue {
		t.Errorf("%s (%s), %v", d.Hold.State, d.Hold.Reason, err)
	}
}

// The authorization of a renewal allows no overcapture.

// The planned captures of a hold that needs attention are confirmed as they are.
func TestApplyPatch_ConfirmsStages(t *testing.T) {
	now := stagesAt[0].At
	d, _ := drive(t, stagedHold(t), now, okAnswer(heldIntent(multicapture)),
		hold.Answer{Kind: hold.AnswerDeclined, Code: "do_not_honor"})
	if d.Hold.State != hold.Attention {
		t.Fatalf("%s", d.Hold.State)
	}
	same := &hold.Patch{}
	for _, stage := range stagesAt {
		same.Captures = append(same.Captures, hold.CaptureStageRequest{At: formatTime(stage.At),
			Amount: stage.Amount})
	}
	d, err := d.Hold.ApplyPatch(same, "api", now)
	if err != nil || d.Unchanged || d.Hold.State != hold.Scheduled {
		t.Errorf("%v, unchanged %t, %s", err, d.Unchanged, d.Hold.State)
	}
}

// TestStaged_SettledWithLostPart checks that a part whose reply was lost counts as
// holdd's if the hold has ended by the time of the read, and is published, and what
// another system took beside it is not.
func TestStaged_SettledWithLostPart(t *testing.T) {
	for name, tt := range map[string]struct {
		received, elsewhere, published int64
		metadata                       map[string]string
	}{
		"alone":                 {10000, 0, 10000, map[string]string{hold.MetaParts: "10000 1"}},
		"without metadata":      {10000, 0, 10000, nil},
		"beside another system": {15000, 5000, 10000, map[string]string{hold.MetaParts: "10000 1"}},
		"another system alone":  {15000, 15000, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			at := stagesAt[0].At
			d, _ := drive(t, stagedHold(t), at, okAnswer(heldIntent(multicapture)), unknownAnswer)
			ended := capturedIntent(tt.received)
			ended.Metadata = tt.metadata
			d, _ = drive(t, d.Hold, d.Hold.NextAt, okAnswer(ended))
			h := d.Hold
			if h.State != hold.Captured || h.CapturedAmount != tt.received ||
				h.CapturedElsewhere != tt.elsewhere || h.Reason != hold.CauseElsewhere {
				t.Errorf("%s (%s), %d captured, %d elsewhere", h.State, h.Reason, h.CapturedAmount,
					h.CapturedElsewhere)
			}
			want := []hold.Event{{Type: hold.EventCaptured, Cause: hold.CauseElsewhere}}
			if tt.published > 0 {
				want = append([]hold.Event{{Type: hold.EventPartlyCaptured,
					Cause: hold.CauseSchedule, Amount: tt.published}}, want...)
			}
			if !slices.Equal(d.Events, want) {
				t.Errorf("events %+v, want %+v", d.Events, want)
			}
		})
	}
}

// TestStaged_PartOfLostReplica checks a part that a replica captured before it was
// lost, with what it had read: the replica that takes over reads the hold for the
// first time.
func TestStaged_PartOfLostReplica(t *testing.T) {
	h := newHold(t, nil, withStages(stagesAt...))
	h = claimHold(h, stagesAt[0].At)
	after := heldIntent(multicapture, received(10000),
		withMetadata(map[string]string{hold.MetaParts: "10000 1"}))
	d, _ := drive(t, h, stagesAt[0].At.Add(time.Minute), okAnswer(after))
	want := []hold.Event{{Type: hold.EventPartlyCaptured, Cause: hold.CauseSchedule, Amount: 10000}}
	if !slices.Equal(d.Events, want) || d.Hold.CapturedElsewhere != 0 ||
		!d.Hold.NextAt.Equal(stagesAt[1].At) {
		t.Errorf("events %+v, %d elsewhere, next at %s", d.Events, d.Hold.CapturedElsewhere,
			d.Hold.NextAt)
	}
}

// TestStaged_RepeatedAfterLoss checks that a request which Redis has lost, and is
// repeated, does not take a captured part again. What another system captured
// before is not in the plan.
func TestStaged_RepeatedAfterLoss(t *testing.T) {
	h := newHold(t, heldIntent(multicapture, received(10000),
		withMetadata(map[string]string{hold.MetaParts: "10000 1"})), withStages(stagesAt...))
	if next, _ := hold.NextCaptureAmount(&h); !h.NextAt.Equal(stagesAt[1].At) ||
		next != stagesAt[1].Amount {
		t.Errorf("next %d at %s, want %+v", next, h.NextAt, stagesAt[1])
	}
	h = newHold(t, heldIntent(multicapture, received(3000)), withStages(stagesAt...))
	if next, _ := hold.NextCaptureAmount(&h); !h.NextAt.Equal(stagesAt[0].At) ||
		next != stagesAt[0].Amount {
		t.Errorf("next %d at %s, want %+v", next, h.NextAt, stagesAt[0])
	}
}

// TestStaged_TwoLostParts checks a read that shows two parts at once, because Redis
// has lost the record of the first while the second was on its way. Both count,
// and both requests are known.
func TestStaged_TwoLostParts(t *testing.T) {
	at := stagesAt[0].At
	d, calls := drive(t, stagedHold(t), at, okAnswer(heldIntent(multicapture)), unknownAnswer)
	first := calls[1].CaptureParams.CaptureMetadata[hold.MetaParts]
	if first != "10000 1" {
		t.Fatalf("sends %q", first)
	}
	d, _ = drive(t, d.Hold, d.Hold.NextAt, okAnswer(heldIntent(multicapture, received(14500),
		withMetadata(map[string]string{hold.MetaParts: "14500 2 AAAAAAAB"}))))
	if s := d.Hold.PartialCaptures; s.Captured != 14500 || s.Count != 2 ||
		!slices.Equal(s.Requests, []uint64{1}) {
		t.Errorf("%+v", s)
	}
}

// TestStaged_SameKeyAfterLoss checks that a part has one key, whether Redis has lost
// what was sent before it or not: the request of before may still be on its way.
func TestStaged_SameKeyAfterLoss(t *testing.T) {
	after := heldIntent(multicapture, received(10000),
		withMetadata(map[string]string{hold.MetaParts: "10000 1"}))
	d, _ := drive(t, stagedHold(t), stagesAt[0].At, okAnswer(heldIntent(multicapture)),
		okAnswer(after))
	at := stagesAt[1].At
	keyOf := func(h hold.Hold) string {
		d, _ := drive(t, h, at, okAnswer(after))
		return d.Hold.NextCall(at).Key
	}
	rebuilt := newHold(t, after, withStages(stagesAt...))
	if got, want := keyOf(rebuilt), keyOf(d.Hold); got == "" || got != want {
		t.Errorf("the rebuilt hold sends %s, the hold of before %s", got, want)
	}
}

// TestStaged_RepeatedAfterOtherSystem checks that the amount which another system
// captured in place of a planned capture is not taken again if Redis has lost the
// plan, and it is requested again: the metadata has it.
func TestStaged_RepeatedAfterOtherSystem(t *testing.T) {
	plan := func(from string) func(*hold.PaymentIntent) {
		var text []string
		for _, stage := range stagesAt {
			text = append(text, stage.At.Format(time.RFC3339)+"="+
				strconv.FormatInt(stage.Amount, 10))
		}
		m := map[string]string{hold.MetaCaptures: strings.Join(text, ",")}
		if from != "" {
			m[hold.MetaCapturesFrom] = from
		}
		return withMetadata(m)
	}
	for name, tc := range map[string]struct {
		mirrored func(*hold.PaymentIntent)
		received int64
		next     int
	}{
		"captured since then":        {plan(""), 10000, 1},
		"captured before":            {plan("3000"), 3000, 0},
		"some before and some since": {plan("3000"), 13000, 1},
		"of another intent":          {plan("30000"), 3000, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHold(t, heldIntent(multicapture, received(tc.received), tc.mirrored),
				withStages(stagesAt...))
			amount, _ := hold.NextCaptureAmount(&h)
			if want := stagesAt[tc.next]; !h.NextAt.Equal(want.At) || amount != want.Amount {
				t.Errorf("next %d at %s, want %+v", amount, h.NextAt, want)
			}
		})
	}
}

// TestStaged_OtherSystemBesidePart checks that what another system captured at the
// time of a part whose reply was lost is published.
func TestStaged_OtherSystemBesidePart(t *testing.T) {
	d, _ := drive(t, stagedHold(t), stagesAt[0].At, okAnswer(heldIntent(multicapture)),
		unknownAnswer)
	d, _ = drive(t, d.Hold, d.Hold.NextAt, okAnswer(heldIntent(received(15000),
		withMetadata(map[string]string{hold.MetaParts: "10000 1"}))))
	if h := d.Hold; h.CapturedElsewhere != 5000 || len(d.Events) != 2 ||
		d.Events[0].Amount != 10000 || d.Events[1].Type != hold.EventChanged ||
		d.Events[1].Cause != hold.CauseElsewhere {
		t.Errorf("%d elsewhere, events %v", h.CapturedElsewhere, d.Events)
	}
}
