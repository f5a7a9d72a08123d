package stripesim

import (
	"sync/atomic"
	"time"
)

// settings is what may change while calls are in flight.
type settings struct {
	endpointRate, overallRate, searchRate float64
	authorizationWindow                   func(Card) time.Duration
	serviceTime, searchLag                time.Duration
	alreadyCapturedCode, expiredCode      string
}

// Settings holds the current settings.
type Settings struct{ current atomic.Pointer[settings] }

func newSettings(o Options) *Settings {
	s := &Settings{}
	s.current.Store(&settings{
		endpointRate: o.EndpointRate, overallRate: o.OverallRate, searchRate: o.SearchRate,
		authorizationWindow: o.AuthorizationWindow,
		serviceTime:         o.ServiceTime, searchLag: o.SearchLag,
		alreadyCapturedCode: o.AlreadyCapturedCode, expiredCode: o.ExpiredCode,
	})
	return s
}

func (s *Settings) load() *settings { return s.current.Load() }

func (s *Settings) update(change func(*settings)) {
	for {
		old := s.current.Load()
		t := *old
		change(&t)
		if s.current.CompareAndSwap(old, &t) {
			return
		}
	}
}

// SetRateLimits changes the limits: calls a second for each endpoint class and
// over all classes. Negative means no limit.
func (s *Settings) SetRateLimits(endpoint, overall float64) {
	s.update(func(t *settings) { t.endpointRate, t.overallRate = endpoint, overall })
}

// SetServiceTime changes how long a change holds the lock of its intent.
func (s *Settings) SetServiceTime(d time.Duration) {
	s.update(func(t *settings) { t.serviceTime = d })
}

// SetCaptureErrorCodes changes the error codes for capturing an intent that is
// captured and one that has expired. An empty code changes nothing.
func (s *Settings) SetCaptureErrorCodes(alreadyCapturedCode, expiredCode string) {
	s.update(func(t *settings) {
		if alreadyCapturedCode != "" {
			t.alreadyCapturedCode = alreadyCapturedCode
		}
		if expiredCode != "" {
			t.expiredCode = expiredCode
		}
	})
}
