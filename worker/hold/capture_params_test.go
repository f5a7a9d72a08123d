package hold_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/holdd/holdd/worker/hold"
)

// allParams has a value in every field.
func allParams() hold.CaptureParams {
	return hold.CaptureParams{ApplicationFeeAmount: 400,
		TransferData:              hold.TransferData{Amount: 300},
		StatementDescriptorSuffix: "BK-2071",
		CaptureMetadata:           map[string]string{"room": "41", "ü": "ß"}}
}

func withParams(p hold.CaptureParams) func(*hold.ValidRequest) {
	return func(d *hold.ValidRequest) { d.CaptureParams = p }
}

func TestCaptureParams_Validated(t *testing.T) {
	many := map[string]string{}
	for i := range 21 {
		many[fmt.Sprint("k", i)] = "v"
	}
	suffix := func(s string) hold.CaptureParams {
		return hold.CaptureParams{StatementDescriptorSuffix: s}
	}
	pairs := func(k, v string) hold.CaptureParams {
		return hold.CaptureParams{CaptureMetadata: map[string]string{k: v}}
	}
	for _, tt := range []struct {
		name  string
		p     hold.CaptureParams
		code  hold.ProblemCode
		field string
	}{
		{"all", allParams(), "", ""},
		{"fee of everything", hold.CaptureParams{ApplicationFeeAmount: 1000}, "", ""},
		{"fee above the capture", hold.CaptureParams{ApplicationFeeAmount: 1001},
			hold.AmountTooLarge, "application_fee_amount"},
		{"negative fee", hold.CaptureParams{ApplicationFeeAmount: -1}, hold.InvalidAmount,
			"application_fee_amount"},
		{"transfer above the capture",
			hold.CaptureParams{TransferData: hold.TransferData{Amount: 1001}}, hold.AmountTooLarge,
			"transfer_data.amount"},
		{"negative transfer", hold.CaptureParams{TransferData: hold.TransferData{Amount: -1}},
			hold.InvalidAmount, "transfer_data.amount"},
		{"suffix", suffix("ROOM 41, NIGHTS 2"), "", ""},
		{"long suffix", suffix(strings.Repeat("a", 23)), hold.InvalidField,
			"statement_descriptor_suffix"},
		{"suffix without a letter", suffix("2071"), hold.InvalidField,
			"statement_descriptor_suffix"},
		{"suffix with a star", suffix("BK*2071"), hold.InvalidField, "statement_descriptor_suffix"},
		{"suffix with a quote", suffix("BK'1"), hold.InvalidField, "statement_descriptor_suffix"},
		{"suffix not in ASCII", suffix("Zürich"), hold.InvalidField, "statement_descriptor_suffix"},
		{"suffix of two lines", suffix("BK\n1"), hold.InvalidField, "statement_descriptor_suffix"},
		{"reserved key", pairs("holdd_capture_at", "x"), hold.InvalidMetadata, "capture_metadata"},
		{"brackets", pairs("a[b]", "x"), hold.InvalidMetadata, "capture_metadata"},
		{"long key", pairs(strings.Repeat("k", 41), "x"), hold.InvalidMetadata, "capture_metadata"},
		{"long value", pairs("k", strings.Repeat("v", 501)),
			hold.InvalidMetadata, "capture_metadata"},
		{"empty value", pairs("k", ""), hold.InvalidMetadata, "capture_metadata"},
		{"many pairs", hold.CaptureParams{CaptureMetadata: many},
			hold.InvalidMetadata, "capture_metadata"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := hold.ScheduleRequest{PaymentIntent: testIntentID,
				CaptureAmount: 1000, CaptureParams: tt.p}
			_, err := req.Validate(t0)
			wantCode(t, err, tt.code)
			if p, ok := err.(*hold.Problem); ok && p.Field != tt.field {
				t.Errorf("field %q, want %q", p.Field, tt.field)
			}
		})
	}
}

// The fee is compared with the amount of the capture as soon as it is known.
func TestCaptureParams_FeeAboveCaptureRefused(t *testing.T) {
	at := withCaptureAt(t0.Add(day))
	refuse := func(in *hold.PaymentIntent, edit ...func(*hold.ValidRequest)) func() error {
		return func() error {
			d := &hold.ValidRequest{ID: testIntentID, OnExpiry: hold.PolicyCancel}
			for _, e := range append(edit, at) {
				e(d)
			}
			_, err := hold.DecideNewHold(d, in, "api", t0)
			return err
		}
	}
	h := newHold(t, heldIntent(), at, withFee(400))
	fee, tooMuch, part := int64(300), amount+1, int64(300)
	for name, do := range map[string]func() error{
		"above what the intent holds": refuse(heldIntent(), withFee(amount+1)),
		"above what others left":      refuse(shared(amount-300), withFee(400)),
		"others have reached the total": refuse(shared(500),
			withCaptureAmount(500), withFee(400)),
		"patch of the fee": errorOf(
			h.ApplyPatch(
				&hold.Patch{CaptureParamsPatch: hold.CaptureParamsPatch{
					ApplicationFeeAmount: &tooMuch}}, "api", t0)),
		"patch of the amount": errorOf(
			h.ApplyPatch(&hold.Patch{CaptureAmount: &part}, "api", t0)),
		"capture of less": errorOf(
			h.RequestCapture(hold.CaptureRequest{Amount: part}, "api", t0)),
		"capture with a fee above the terms": errorOf(
			h.RequestCapture(hold.CaptureRequest{CaptureParamsPatch: hold.CaptureParamsPatch{
				ApplicationFeeAmount: &tooMuch}}, "api", t0)),
	} {
		t.Run(name, func(t *testing.T) { wantCode(t, do(), hold.AmountTooLarge) })
	}
	c := mustAccept(t)(h.RequestCapture(hold.CaptureRequest{Amount: part,
		CaptureParamsPatch: hold.CaptureParamsPatch{ApplicationFeeAmount: &fee}}, "api", t0))
	if c.CaptureAmount != 300 || c.CaptureParams.ApplicationFeeAmount != 300 {
		t.Errorf("captures %d with a fee of %d", c.CaptureAmount,
			c.CaptureParams.ApplicationFeeAmount)
	}
}

func errorOf(_ hold.Decision, err error) func() error { return func() error { return err } }

// A fee that no longer fits what is left to capture requires attention. It is
// neither sent nor lowered.
func TestCaptureParams_FeeAboveWhatIsLeftRequiresAttention(t *testing.T) {
	due := t0.Add(day)
	h := newHold(t, heldIntent(multi), withCaptureAt(due), withFee(400))
	taken := shared(amount - 399)
	seen := h.ApplyPaymentIntent(taken, t0).Hold
	c := claimHold(h, due)
	if got := c.NextCall(due).Op; got != opRead {
		t.Fatalf("first %s, want a read", got)
	}
	read := c.ApplyAnswer(c.NextCall(due), hold.Answer{Kind: hold.AnswerOK, Intent: taken}, due)
	recovered := &hold.ValidRequest{ID: testIntentID, OnExpiry: hold.PolicyCancel, CaptureAt: due,
		FromMetadata: true, CaptureParams: hold.CaptureParams{ApplicationFeeAmount: 400}}
	adopted, err := hold.DecideNewHold(recovered, taken, "stripe", t0)
	if err != nil {
		t.Fatal(err)
	}
	for name, h := range map[string]hold.Hold{"seen before": seen, "at the capture": read.Hold,
		"found at Stripe": adopted.Hold} {
		if h.State != hold.Attention || h.Reason != hold.CauseFeeTooLarge ||
			h.CaptureParams.ApplicationFeeAmount != 400 {
			t.Errorf("%s: %s, %s, fee %d", name, h.State, h.Reason,
				h.CaptureParams.ApplicationFeeAmount)
		}
	}
	canceled := claimHold(mustAccept(t)(seen.RequestCancel("", "api", due)), due)
	if got := canceled.NextCall(due).Op; got != opCancel {
		t.Errorf("a release needs no fee: %s", got)
	}
}

func TestNextCall_CaptureParams(t *testing.T) {
	due := t0.Add(day)
	capture := func(h hold.Hold) hold.Call {
		h = claimHold(h, due)
		c := h.NextCall(due)
		if c.Op == opRead {
			d := h.ApplyAnswer(c, hold.Answer{Kind: hold.AnswerOK, Intent: heldIntent(multi)}, due)
			c = d.Hold.NextCall(due)
		}
		return c
	}
	for _, tt := range []struct {
		name string
		in   *hold.PaymentIntent
		want int64
	}{
		{"captured once: everything", heldIntent(), 0},
		{"where others may take a part: what was read", heldIntent(multi), amount},
	} {
		c := capture(newHold(t, tt.in, withCaptureAt(due), withParams(allParams())))
		if c.Op != opCapture || c.Amount != tt.want ||
			!reflect.DeepEqual(c.CaptureParams, allParams()) {
			t.Errorf("%s: %+v", tt.name, c)
		}
	}

	keys := map[string]string{}
	for name, edit := range map[string]func(p *hold.CaptureParams){
		"none":     func(p *hold.CaptureParams) { *p = hold.CaptureParams{} },
		"all":      func(*hold.CaptureParams) {},
		"fee":      func(p *hold.CaptureParams) { p.ApplicationFeeAmount++ },
		"transfer": func(p *hold.CaptureParams) { p.TransferData.Amount++ },
		"suffix":   func(p *hold.CaptureParams) { p.StatementDescriptorSuffix += "x" },
		"metadata": func(p *hold.CaptureParams) { p.CaptureMetadata["room"] = "42" },
	} {
		p := allParams()
		edit(&p)
		in := heldIntent()
		key := capture(newHold(t, in, withCaptureAt(due), withParams(p))).Key
		again := capture(newHold(t, in, withCaptureAt(due), withParams(p))).Key
		if other, there := keys[key]; there || again != key {
			t.Errorf("%s and %s have the key %s, and again %s", name, other, key, again)
		}
		keys[key] = name
	}
}

// The key of a capture without parameters is that of earlier releases, so that
// both can run side by side.
func TestKey_CaptureWithoutParamsIsUnchanged(t *testing.T) {
	due := t0.Add(day)
	h := claimHold(newHold(t, heldIntent(), withCaptureAt(due)), due)
	if want := "holdd-" + testIntentID + "-capture-" + keyDigestBefore +
		"-1"; h.NextCall(due).Key != want {
		t.Errorf("%s, want %s", h.NextCall(due).Key, want)
	}
}

// keyDigestBefore is the digest that releases before capture parameters made.
const keyDigestBefore = "0eb1eaef46651361"

func TestSameTerms_CaptureParams(t *testing.T) {
	h := newHold(t, heldIntent(), withParams(allParams()))
	request := func(edit func(p *hold.CaptureParams)) *hold.ValidRequest {
		p := allParams()
		edit(&p)
		return &hold.ValidRequest{ID: testIntentID, OnExpiry: hold.PolicyCancel, CaptureParams: p}
	}
	if !request(func(*hold.CaptureParams) {}).HasSameTermsAs(&h) {
		t.Error("the same request has other terms")
	}
	for name, edit := range map[string]func(p *hold.CaptureParams){
		"fee":      func(p *hold.CaptureParams) { p.ApplicationFeeAmount = 0 },
		"transfer": func(p *hold.CaptureParams) { p.TransferData.Amount++ },
		"suffix":   func(p *hold.CaptureParams) { p.StatementDescriptorSuffix = "" },
		"metadata": func(p *hold.CaptureParams) { delete(p.CaptureMetadata, "room") },
	} {
		if request(edit).HasSameTermsAs(&h) {
			t.Errorf("%s: other terms count as the same", name)
		}
	}
}

func TestApplyPatch_CaptureParams(t *testing.T) {
	h := newHold(t, heldIntent(), withCaptureAt(t0.Add(day)), withParams(allParams()))
	zero, empty := int64(0), ""
	got := mustAccept(t)(h.ApplyPatch(&hold.Patch{CaptureParamsPatch: hold.CaptureParamsPatch{
		CaptureMetadata: map[string]string{"room": "", "ü": "x", "new": "y"}}}, "api", t0))
	want := allParams()
	want.CaptureMetadata = map[string]string{"ü": "x", "new": "y"}
	if !reflect.DeepEqual(got.CaptureParams, want) || got.Revision != h.Revision+1 {
		t.Errorf("revision %d, %+v", got.Revision, got.CaptureParams)
	}
	got = mustAccept(t)(got.ApplyPatch(&hold.Patch{CaptureParamsPatch: hold.CaptureParamsPatch{
		ApplicationFeeAmount: &zero, TransferData: &hold.TransferDataPatch{Amount: &zero},
		StatementDescriptorSuffix: &empty, CaptureMetadata: map[string]string{"ü": "", "new": ""}}},
		"api", t0))
	if !reflect.DeepEqual(got.CaptureParams, hold.CaptureParams{}) {
		t.Errorf("cleared: %+v", got.CaptureParams)
	}
	_, err := h.ApplyPatch(
		&hold.Patch{CaptureParamsPatch: hold.CaptureParamsPatch{
			TransferData: &hold.TransferDataPatch{}}}, "api", t0)
	wantCode(t, err, hold.InvalidField)
	if !reflect.DeepEqual(h.CaptureParams, allParams()) {
		t.Errorf("a patch changed the hold that it was applied to: %+v", h.CaptureParams)
	}
}

// What the mirror writes is what a rebuilt hold reads.
func TestMetadata_CaptureParamsSurvive(t *testing.T) {
	p := allParams()
	for i := range 18 {
		p.CaptureMetadata[fmt.Sprint("long", i)] = strings.Repeat("ü", 300)
	}
	h := newHold(t, heldIntent(), withCaptureAt(t0.Add(day)), withParams(p))
	pairs, fits := hold.MetadataDiff(&h, nil)
	if !fits {
		t.Fatal("the terms do not fit")
	}
	in := heldIntent(func(in *hold.PaymentIntent) { in.Metadata = pairs })
	valid, err := hold.ValidRequestFromMetadata(in, "", t0)
	if err != nil || !reflect.DeepEqual(valid.CaptureParams, p) {
		t.Errorf("%v, %+v", err, valid)
	}
	if again, _ := hold.MetadataDiff(&h, pairs); len(again) != 0 {
		t.Errorf("written again: %v", again)
	}
	others := map[string]string{}
	for i := range 50 - len(pairs) {
		others[fmt.Sprint("other", i)] = "x"
	}
	if _, fits := hold.MetadataDiff(&h, others); fits {
		t.Error("the terms leave no room for the pairs of the capture")
	}
	for key, value := range map[string]string{hold.MetaApplicationFee: "4.00",
		hold.MetaTransferAmount:  "-1",
		hold.MetaCaptureMetadata: "[]", hold.MetaDescriptorSuffix: "1*2"} {
		in.Metadata = map[string]string{key: value}
		if _, err := hold.ValidRequestFromMetadata(in, "", t0); err == nil || err == hold.ErrNoTerms {
			t.Errorf("%s=%s: %v", key, value, err)
		}
	}
}
