package worker

import (
	"testing"
	"time"
)

func TestCaptureInterval_IsThatOfTheJobThatActsFirst(t *testing.T) {
	for _, tt := range []struct {
		capture, expiry string
		want            time.Duration
	}{
		{"@every 1s", "@every 1s", time.Second},
		{"@every 30s", "@every 10s", 10 * time.Second},
		{"TZ=Europe/Paris */5 9-18 * * *", "@every 1s", time.Second},
		{"TZ=Europe/Paris */5 9-18 * * *", "*/2 * * * *", 2 * time.Minute},
	} {
		s := CronSchedules{Capture: tt.capture, Expiry: tt.expiry}
		if got := s.captureInterval(); got != tt.want {
			t.Errorf("%s and %s: %s, want %s", tt.capture, tt.expiry, got, tt.want)
		}
	}
}
