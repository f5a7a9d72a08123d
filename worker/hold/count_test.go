package hold_test

import (
	"testing"

	"github.com/holdd/holdd/worker/hold"
)

func TestFormatCount(t *testing.T) {
	for n, want := range map[int]string{0: "0 holds were", 1: "1 hold was", 2: "2 holds were"} {
		if got := hold.FormatCount(n, "hold was", "holds were"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
