package retryafter_test

import (
	"testing"
	"time"

	"github.com/holdd/holdd/worker/retryafter"
)

func TestParse(t *testing.T) {
	now := time.Date(1994, 11, 6, 8, 49, 30, 0, time.UTC)
	for header, want := range map[string]struct {
		wait time.Duration
		ok   bool
	}{
		"":                               {0, false},
		"0":                              {0, true},
		"120":                            {2 * time.Minute, true},
		"86401":                          {24 * time.Hour, true},
		"99999999999999999999999":        {24 * time.Hour, true},
		"-1":                             {0, false},
		"+1":                             {0, false},
		"1.5":                            {0, false},
		"0x10":                           {0, false},
		"soon":                           {0, false},
		"Sun, 06 Nov 1994 08:49:37 GMT":  {7 * time.Second, true},
		"Sunday, 06-Nov-94 08:49:37 GMT": {7 * time.Second, true},
		"Sun Nov  6 08:49:37 1994":       {7 * time.Second, true},
		"Sun, 06 Nov 1994 08:49:30 GMT":  {0, true},
		"Sun, 06 Nov 1994 08:49:29 GMT":  {0, true},
		"Fri, 31 Dec 9999 23:59:59 GMT":  {24 * time.Hour, true},
		"Sun, 06 Nov 1994 08:49:37 CET":  {0, false},
		"1994-11-06T08:49:37Z":           {0, false},
	} {
		if wait, ok := retryafter.Parse(header, now); wait != want.wait || ok != want.ok {
			t.Errorf("%q: %s %t, want %s %t", header, wait, ok, want.wait, want.ok)
		}
	}
}
