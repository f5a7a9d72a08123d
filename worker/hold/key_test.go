package hold

import "testing"

// Stripe does not scope keys by endpoint, so one key for two operations would
// get the stored answer of the other.
func TestIdempotencyKey_NamesTheOperation(t *testing.T) {
	h := &Hold{ID: "pi_1", PaymentIntent: "pi_1"}
	capture := idempotencyKey(h, Call{Op: OpCapture, CancellationReason: ReasonAbandoned})
	cancel := idempotencyKey(h, Call{Op: OpCancel, CancellationReason: ReasonAbandoned})
	if capture == cancel {
		t.Errorf("capture and cancel have the key %s", capture)
	}
}
