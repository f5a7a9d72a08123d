package hold

import (
	"fmt"
	"strings"
	"time"
)

// parseActionTime parses a time to act. Up to PastTolerance in the past means
// now and is kept as it was sent, so that a repeated request is the same
// request.
func parseActionTime(field, s, zone string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := ParseTime(field, s, zone)
	if err != nil {
		return time.Time{}, err
	}
	if t.Before(now.Add(-PastTolerance)) {
		return time.Time{}, newProblem(InThePast, field, "%s is more than %s ago; it is %s", s,
			formatDuration(PastTolerance), now.UTC().Format(time.RFC3339))
	}
	if t.After(now.Add(MaxAhead)) {
		return time.Time{}, newProblem(InvalidTime, field,
			"%s is more than %d days ahead: no authorization lasts that long", s,
			int(MaxAhead.Hours()/24))
	}
	return t, nil
}

// ParseTime parses RFC 3339 with an offset, or a local time in an IANA zone. A
// local time that occurs twice means the first. One that a change of clocks
// skips has the offset from before the change (RFC 5545, section 3.3.5).
func ParseTime(field, s, zone string) (time.Time, error) {
	if len(s) > 64 {
		return time.Time{}, newProblem(InvalidTime, field,
			"invalid time %.64q…: want RFC 3339, such as 2026-12-01T11:00:00+01:00", s)
	}
	var loc *time.Location
	if zone != "" {
		var err error
		if zone == "Local" { // Go's name for the daemon's own zone
			err = fmt.Errorf("not an IANA zone")
		} else {
			loc, err = time.LoadLocation(zone)
		}
		if err != nil {
			return time.Time{}, newProblem(UnknownTimeZone, "time_zone",
				"unknown time_zone %.64q: want an IANA name, such as Europe/Paris", zone)
		}
	}
	if !localTimePattern.MatchString(s) {
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			return time.Time{}, newProblem(InvalidTime, field,
				"invalid time %q: want RFC 3339, such as 2026-12-01T11:00:00+01:00, "+
					"or a local time with time_zone", s)
		}
		return t.UTC().Truncate(time.Millisecond), nil
	}
	if loc == nil {
		return time.Time{}, newProblem(InvalidTime, field,
			"%q has no offset: add one, such as +01:00, or send time_zone", s)
	}
	layout := "2006-01-02T15:04:05"
	if strings.Count(s, ":") == 1 {
		layout = "2006-01-02T15:04"
	}
	wall, err := time.Parse(layout, strings.Replace(s, " ", "T", 1))
	if err != nil {
		return time.Time{}, newProblem(InvalidTime, field, "invalid time %q: no calendar has it", s)
	}
	return resolveLocalTime(wall, loc).Truncate(time.Millisecond), nil
}

// resolveLocalTime returns the instant at which clocks in loc show wall. The
// zone of wall is ignored.
func resolveLocalTime(wall time.Time, loc *time.Location) time.Time {
	_, before := wall.Add(-24 * time.Hour).In(loc).Zone()
	_, after := wall.Add(24 * time.Hour).In(loc).Zone()
	first := wall.Add(-time.Duration(before) * time.Second)
	second := wall.Add(-time.Duration(after) * time.Second)
	shows := func(t time.Time) bool {
		_, off := t.In(loc).Zone()
		return t.Add(time.Duration(off) * time.Second).Equal(wall)
	}
	switch {
	case shows(first) && shows(second) && second.Before(first):
		return second
	case shows(first):
		return first
	case shows(second):
		return second
	default: // skipped by a change of clocks
		return first
	}
}

// formatDuration formats a duration without zero units: 1h, 30m, 72h.
func formatDuration(d time.Duration) string {
	s := d.String()
	s = strings.TrimSuffix(s, "0s")
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	if s == "" {
		return "0s"
	}
	return s
}
