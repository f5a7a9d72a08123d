package store_test

import (
	"errors"
	"testing"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/store/storetest"
)

// The first account is recorded, also again after Redis was emptied. Another
// one is refused with what to do.
func TestRecordAccount(t *testing.T) {
	t.Parallel()
	r := storetest.Start(t)
	s := mustOpen(t, store.Options{URL: r.URL()})
	for range 2 {
		if err := s.RecordOrCheckAccount(t.Context(), "acct_1"); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		err := mustOpen(t, store.Options{URL: r.URL()}).RecordOrCheckAccount(t.Context(), "acct_2")
		if !errors.Is(err, store.ErrInvalidSetting) || err.Error() !=
			"this Redis keeps holds of the Stripe account acct_1, the Stripe key is of the "+
				"account acct_2: set redis_url to another Redis, or stripe_api_key to a key of that account" {
			t.Errorf("%v", err)
		}
		if err := r.Client().FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.DetectDataLossAndRestoreProperties(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	in, err := store.Inspect(t.Context(), store.Options{URL: r.URL()})
	if err != nil || in.Account != "acct_1" {
		t.Errorf("%q, %v", in.Account, err)
	}
}
