package hold_test

import (
	"strings"
	"testing"

	"github.com/holdd/holdd/worker/hold"
)

// A reference that no path can name is refused, but terms that have one already keep it.
func TestReference_NotInPath(t *testing.T) {
	t.Parallel()
	for _, reference := range []string{".", "..", "pi_3PxYz", "pi_3PxYzA2eZvKYlo2C_secret_x"} {
		req := newRequest(func(w *hold.ScheduleRequest) { w.Reference = reference })
		err := errOf(req.Validate(t0))
		wantCode(t, err, hold.InvalidReference)
		if strings.Contains(err.Error(), "_secret") {
			t.Errorf("a secret is quoted: %v", err)
		}
		h := newHold(t, heldIntent())
		_, err = h.ApplyPatch(&hold.Patch{Reference: &reference}, "api", t0)
		wantCode(t, err, hold.InvalidReference)
		authorize := hold.AuthorizeRequest{PaymentMethod: "pm_card_visa", Amount: 500,
			Currency: "eur", Reference: reference}
		_, _, err = authorize.ValidateAndBuildParams("auth_1", t0)
		wantCode(t, err, hold.InvalidReference)

		in := heldIntent()
		in.Metadata = map[string]string{hold.MetaReference: reference}
		d, err := hold.NewFromMetadata(in, "", "stripe", t0)
		if err != nil || d.Hold.Reference != reference {
			t.Errorf("terms in metadata: reference %q, %v", d.Hold.Reference, err)
		}
		d, why := hold.RebuildFromIntent(in, "", true, "desk", t0)
		if why != "" || d.Hold.Reference != reference {
			t.Errorf("rebuilt: reference %q, %s", d.Hold.Reference, why)
		}
		in.Metadata = map[string]string{"order": reference, "order_id": "17"}
		if got := in.GuessReference(); got != "17" {
			t.Errorf("guessed %q from %q", got, reference)
		}
	}
}
