package hold_test

import (
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// TestRenewal_Rebuilt checks that a schedule which is rebuilt from Stripe keeps
// the intent of the higher generation and releases the other one.
func TestRenewal_Rebuilt(t *testing.T) {
	in := renewedIntent(hold.StatusRequiresCapture, startOfRenewal)
	in.Metadata[hold.MetaRenewalUntil] = formatTime(t0.Add(20 * day))
	in.Metadata[hold.MetaWaiting] = "true"
	t.Run("from the new intent", func(t *testing.T) {
		d, err := hold.NewFromMetadata(in, "", "reconcile", startOfRenewal)
		if err != nil {
			t.Fatal(err)
		}
		h := plan(d, startOfRenewal)
		if h.ID != testIntentID || h.PaymentIntent != newIntentID || h.NextOp != hold.OpRelease ||
			h.Renewal.Generation != 1 {
			t.Fatalf("%+v, %+v", h, h.Renewal)
		}
		d, _ = answerCall(t, h, startOfRenewal, hold.OpRead, testIntentID,
			answerOK(heldIntent(renewable)))
		d, _ = answerCall(t, d.Hold, d.Hold.NextAt, hold.OpCancel, testIntentID,
			answerOK(oldCanceled()))
		if d.Hold.Renewal.Releasing != "" || d.Hold.State != hold.Waiting {
			t.Errorf("%s, %+v", d.Hold.State, d.Hold.Renewal)
		}
	})
	t.Run("metadata names an intent of another hold", func(t *testing.T) {
		other := *in
		other.Metadata = map[string]string{hold.MetaReplaces: "pi_3SomebodyElsesIntent01",
			hold.MetaHold: testIntentID, hold.MetaGeneration: "1", hold.MetaWaiting: "true"}
		d, err := hold.NewFromMetadata(&other, "", "reconcile", startOfRenewal)
		if err != nil {
			t.Fatal(err)
		}
		strange := heldIntent(renewable) // of the same customer
		strange.ID = "pi_3SomebodyElsesIntent01"
		d, _ = answerCall(t, plan(d, startOfRenewal), startOfRenewal, hold.OpRead, strange.ID,
			answerOK(strange))
		if d.Hold.Renewal.Releasing != "" {
			t.Error("the intent of another hold is released")
		}
	})
	t.Run("from the old intent", func(t *testing.T) {
		h := longStay(t)
		h.CreatedAt = startOfRenewal.Add(time.Minute) // rebuilt
		d := h.ApplyPaymentIntent(in, startOfRenewal)
		d.SetNextRenewalOp(startOfRenewal)
		if h = d.Hold; h.PaymentIntent != newIntentID || h.Renewal.Releasing != testIntentID ||
			h.NextOp != hold.OpRelease {
			t.Errorf("%+v, %+v", h, h.Renewal)
		}
	})
	t.Run("an older intent is still held", func(t *testing.T) {
		d, _ := answerCall(t, toRelease(t), startOfRenewal, hold.OpCancel, testIntentID,
			answerOK(oldCanceled()))
		d = d.Hold.ApplyPaymentIntent(heldIntent(renewable), startOfRenewal)
		if d.Hold.NextOp != hold.OpRelease || d.Hold.Renewal.Releasing != testIntentID {
			t.Errorf("next %s, %+v", d.Hold.NextOp, d.Hold.Renewal)
		}
	})
}

// TestRenewal_CopiedMetadata checks that an intent whose metadata was copied
// from a renewal's is neither released nor made the hold's.
func TestRenewal_CopiedMetadata(t *testing.T) {
	const copied = "pi_3CopyOfMetadataOfAHold1"
	at := startOfRenewal.Add(time.Hour)
	renewed := func(t *testing.T) hold.Hold {
		d, _ := answerCall(t, toRelease(t), startOfRenewal, hold.OpCancel, testIntentID,
			answerOK(oldCanceled()))
		return d.Hold
	}
	mirrored := func(h *hold.Hold, in *hold.PaymentIntent) *hold.PaymentIntent {
		pairs, ok := hold.MetadataDiff(h, in.Metadata)
		if !ok || pairs[hold.MetaIntent] != h.PaymentIntent {
			t.Fatalf("the mirror writes %v", pairs)
		}
		for k, v := range pairs {
			in.Metadata[k] = v
		}
		return in
	}
	other := func(in *hold.PaymentIntent) *hold.PaymentIntent {
		c := *in
		c.ID, c.Created = copied, at
		return &c
	}
	held := func() *hold.PaymentIntent {
		return renewedIntent(hold.StatusRequiresCapture, startOfRenewal)
	}
	t.Run("of the newest intent", func(t *testing.T) {
		h := renewed(t)
		if d := h.ApplyPaymentIntent(other(held()), at); !d.Unchanged {
			t.Errorf("%+v", d.Hold.Renewal)
		}
	})
	t.Run("after the mirror wrote it", func(t *testing.T) {
		h := renewed(t)
		in := mirrored(&h, held())
		if owner := hold.OwnerOfIntent(in); owner != h.ID {
			t.Errorf("the renewal's own intent belongs to %s", owner)
		}
		if owner := hold.OwnerOfIntent(other(in)); owner != copied {
			t.Errorf("the copy belongs to %s", owner)
		}
		d, err := hold.NewFromMetadata(other(in), "", "reconcile", at)
		if err != nil || d.Hold.ID != copied || d.Hold.Renewal.Releasing != "" {
			t.Errorf("%+v, %v", d.Hold, err)
		}
	})
	t.Run("of a later generation", func(t *testing.T) {
		h := renewed(t)
		in := other(held())
		in.Metadata[hold.MetaGeneration], in.Metadata[hold.MetaReplaces] = "2", newIntentID
		if d := h.ApplyPaymentIntent(in, at); !d.Unchanged {
			t.Errorf("%+v", d.Hold.Renewal)
		}
	})
	t.Run("of another customer, after Redis lost its data", func(t *testing.T) {
		h := longStay(t)
		h.CreatedAt = at.Add(time.Hour)
		in := other(held())
		in.Customer = "cus_2"
		if d := h.ApplyPaymentIntent(in, at); !d.Unchanged {
			t.Errorf("%+v", d.Hold.Renewal)
		}
	})
	t.Run("found in a search for a lost creation", func(t *testing.T) {
		d, _ := answerCall(t, toCreate(t), startOfRenewal, hold.OpCreate, "",
			hold.Answer{Kind: hold.AnswerReplayedError})
		d, _ = answerCall(t, d.Hold, startOfRenewal.Add(time.Minute), hold.OpList, "",
			hold.Answer{Kind: hold.AnswerOK, Page: &hold.IntentListPage{
				Intents: []hold.PaymentIntent{*other(held())}}})
		if d.Hold.Renewal.Intent != "" {
			t.Errorf("%+v", d.Hold.Renewal)
		}
	})
	t.Run("rebuilt from a copy: the first intent is of another customer", func(t *testing.T) {
		h := renewed(t)
		first := heldIntent(renewable)
		first.Customer = "cus_2"
		if d := h.ApplyPaymentIntent(first, at); !d.Unchanged {
			t.Errorf("%+v", d.Hold.Renewal)
		}
	})
	t.Run("an older intent that the mirror marked", func(t *testing.T) {
		h := renewed(t)
		in := mirrored(&h, held())
		h.PaymentIntent, h.Renewal.Generation = "pi_3TheSecondRenewalOfIt01", 2
		if d := h.ApplyPaymentIntent(in, at); d.Hold.Renewal.Releasing != newIntentID {
			t.Errorf("%+v", d.Hold.Renewal)
		}
	})
}

// TestRenewal_RebuiltCount checks that increments and failed tries do not count
// as renewals after a rebuild.
func TestRenewal_RebuiltCount(t *testing.T) {
	_, create := answerCall(t, toCreate(t), startOfRenewal, hold.OpCreate, "", hold.Answer{})
	if n := create.Authorize.Metadata[hold.MetaRenewals]; n != "1" {
		t.Errorf("created as renewal %q", n)
	}
	_, create = answerCall(t, toReplace(t), t0, hold.OpCreate, "", hold.Answer{})
	if n := create.Authorize.Metadata[hold.MetaRenewals]; n != "0" {
		t.Errorf("an increment is created as renewal %q", n)
	}
	for renewals, want := range map[string]uint32{"2": 2, "": 5, "x": 5, "9": 5} {
		in := renewedIntent(hold.StatusRequiresCapture, startOfRenewal)
		in.Metadata[hold.MetaWaiting], in.Metadata[hold.MetaGeneration] = "true", "5"
		in.Metadata[hold.MetaRenewals] = renewals
		d, err := hold.NewFromMetadata(in, "", "reconcile", startOfRenewal)
		if err != nil {
			t.Fatal(err)
		}
		if n := d.Hold.Renewal.Completed; n != want {
			t.Errorf("%q: %d renewals, want %d", renewals, n, want)
		}
	}
}

// listed is the answer to a search of the customer's intents.
func listed(intents ...hold.PaymentIntent) hold.Answer {
	return hold.Answer{Kind: hold.AnswerOK, Page: &hold.IntentListPage{Intents: intents}}
}

// TestRenewal_KeyOfLostRecord checks that a record which was rebuilt does not
// give up because the lost one used the key of its generation.
func TestRenewal_KeyOfLostRecord(t *testing.T) {
	conflict := hold.Answer{Kind: hold.AnswerIdempotencyError}
	d, first := answerCall(t, toCreate(t), startOfRenewal, hold.OpCreate, "", conflict)
	d, _ = answerCall(t, d.Hold, d.Hold.NextAt, hold.OpList, "", listed())
	d, _ = answerCall(t, d.Hold, d.Hold.NextAt, hold.OpList, "", listed())
	d, _ = answerCall(t, d.Hold, d.Hold.NextAt, hold.OpRead, testIntentID,
		answerOK(heldIntent(renewable)))
	d, second := answerCall(t, d.Hold, d.Hold.NextAt, hold.OpCreate, "",
		hold.Answer{Kind: hold.AnswerUnknown})
	if first.Key == second.Key {
		t.Errorf("the key %s is used again", first.Key)
	}
	// A conflict with a request of this record is a bug, and an intent may exist.
	d, _ = answerCall(t, d.Hold, d.Hold.NextAt, hold.OpCreate, "", conflict)
	_, _ = answerCall(t, d.Hold, d.Hold.NextAt, hold.OpList, "", listed())
}

// TestRenewal_RefusedWhileUnknown checks that a refusal says nothing of an earlier
// request with the same key, which may arrive later: a search finds its intent.
func TestRenewal_RefusedWhileUnknown(t *testing.T) {
	d, _ := answerCall(t, toCreate(t), startOfRenewal, hold.OpCreate, "",
		hold.Answer{Kind: hold.AnswerUnknown})
	d, _ = answerCall(t, d.Hold, d.Hold.NextAt, hold.OpCreate, "",
		hold.Answer{Kind: hold.AnswerNotFound})
	created := renewedIntent(hold.StatusRequiresConfirmation, startOfRenewal)
	d, _ = answerCall(t, d.Hold, d.Hold.NextAt, hold.OpList, "", listed(*created))
	if r := d.Hold.Renewal; r.Step != hold.RenewalConfirm || r.Intent != newIntentID {
		t.Errorf("%s of %q", r.Step, r.Intent)
	}
}

// TestRenewal_LostRecordHolds checks that the intent of a lost renewal, which
// holds the money, takes its place: no third authorization is placed.
func TestRenewal_LostRecordHolds(t *testing.T) {
	at := startOfRenewal
	lost := func(n int64) *hold.PaymentIntent {
		in := renewedIntent(hold.StatusRequiresCapture, at.Add(-2*time.Hour))
		in.Amount, in.AmountCapturable = n, n
		return in
	}
	h := toCreate(t, withMaxAmount(raisedTo))
	h.CreatedAt = at.Add(-time.Hour)
	d, _ := answerCall(t, h, at, hold.OpCreate, "", hold.Answer{Kind: hold.AnswerIdempotencyError})
	d, _ = answerCall(t, d.Hold, at, hold.OpList, "", listed(*lost(raisedTo)))
	if d.Hold.PaymentIntent != newIntentID || d.Hold.Renewal.Releasing != testIntentID ||
		d.Hold.Amount != raisedTo {
		t.Errorf("%s holds %d: %+v", d.Hold.PaymentIntent, d.Hold.Amount, d.Hold.Renewal)
	}
	h = longStay(t, withMaxAmount(raisedTo))
	h.CreatedAt = at
	if d := h.ApplyPaymentIntent(lost(raisedTo), at); d.Hold.PaymentIntent != newIntentID ||
		d.Hold.Amount != raisedTo {
		t.Errorf("an event: %s holds %d", d.Hold.PaymentIntent, d.Hold.Amount)
	}
	for _, n := range []int64{raisedTo + 1, amount - 1} {
		if d := h.ApplyPaymentIntent(lost(n), at); !d.Unchanged {
			t.Errorf("%d is taken for a renewal of %d", n, amount)
		}
	}
}
