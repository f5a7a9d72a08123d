package hold_test

import (
	"testing"
	"time"
	_ "time/tzdata" // the tests' zones don't depend on the machine

	"github.com/holdd/holdd/worker/hold"
)

func TestParseTime(t *testing.T) {
	for _, tt := range []struct {
		name, in, zone string
		want           string // UTC; empty: refused with code
		code           hold.ProblemCode
	}{
		{"UTC", "2026-12-01T10:00:00Z", "", "2026-12-01T10:00:00Z", ""},
		{"offset", "2026-12-01T11:00:00+01:00", "", "2026-12-01T10:00:00Z", ""},
		{"offset wins over zone", "2026-12-01T11:00:00+01:00", "America/New_York", "2026-12-01T10:00:00Z", ""},
		{"milliseconds", "2026-12-01T10:00:00.123Z", "", "2026-12-01T10:00:00.123Z", ""},
		{"finer is cut", "2026-12-01T10:00:00.123999Z", "", "2026-12-01T10:00:00.123Z", ""},
		{"local", "2026-12-01T11:00:00", "Europe/Paris", "2026-12-01T10:00:00Z", ""},
		{"local without seconds", "2026-12-01T11:00", "Europe/Paris", "2026-12-01T10:00:00Z", ""},
		{"local with a space", "2026-12-01 11:00", "Europe/Paris", "2026-12-01T10:00:00Z", ""},
		{"local with a fraction", "2026-12-01T11:00:00.5", "Europe/Paris", "2026-12-01T10:00:00.5Z", ""},
		{"local in UTC", "2026-12-01T11:00", "UTC", "2026-12-01T11:00:00Z", ""},

		{"Paris, last moment of winter", "2026-03-29T01:59:59", "Europe/Paris", "2026-03-29T00:59:59Z", ""},
		{"Paris, left out: as if it were winter", "2026-03-29T02:30", "Europe/Paris", "2026-03-29T01:30:00Z", ""},
		{"Paris, first left out", "2026-03-29T02:00", "Europe/Paris", "2026-03-29T01:00:00Z", ""},
		{"Paris, first moment of summer", "2026-03-29T03:00", "Europe/Paris", "2026-03-29T01:00:00Z", ""},
		{"Paris, twice: the first", "2026-10-25T02:30", "Europe/Paris", "2026-10-25T00:30:00Z", ""},
		{"Paris, first of what is twice", "2026-10-25T02:00", "Europe/Paris", "2026-10-25T00:00:00Z", ""},
		{"Paris, once again", "2026-10-25T03:00", "Europe/Paris", "2026-10-25T02:00:00Z", ""},
		{"New York, left out", "2026-03-08T02:30", "America/New_York", "2026-03-08T07:30:00Z", ""},
		{"New York, twice", "2026-11-01T01:30", "America/New_York", "2026-11-01T05:30:00Z", ""},
		{"New York, after", "2026-11-01T02:00", "America/New_York", "2026-11-01T07:00:00Z", ""},
		{"Lord Howe, half an hour left out", "2026-10-04T02:15", "Australia/Lord_Howe", "2026-10-03T15:45:00Z", ""},
		{"Lord Howe, half an hour twice", "2026-04-05T01:45", "Australia/Lord_Howe", "2026-04-04T14:45:00Z", ""},
		{"Lord Howe, before it", "2026-04-05T01:15", "Australia/Lord_Howe", "2026-04-04T14:15:00Z", ""},
		{"Apia, the last hour before the day that never was", "2011-12-29T23:59", "Pacific/Apia", "2011-12-30T09:59:00Z", ""},
		{"Apia, the day that never was", "2011-12-30T12:00", "Pacific/Apia", "2011-12-30T22:00:00Z", ""},
		{"Apia, the day after", "2011-12-31T00:00", "Pacific/Apia", "2011-12-30T10:00:00Z", ""},
		{"Apia, in the day after", "2011-12-31T12:00", "Pacific/Apia", "2011-12-30T22:00:00Z", ""},
		{"Kathmandu, three quarters", "2026-12-01T11:00", "Asia/Kathmandu", "2026-12-01T05:15:00Z", ""},
		{"Kiritimati, far east", "2026-12-01T11:00", "Pacific/Kiritimati", "2026-11-30T21:00:00Z", ""},
		{"Samoa, far west", "2026-12-01T11:00", "Pacific/Pago_Pago", "2026-12-01T22:00:00Z", ""},
		{"Dublin, whose winter is the exception", "2026-10-25T01:30", "Europe/Dublin", "2026-10-25T00:30:00Z", ""},
		{"leap day", "2028-02-29T11:00", "Europe/Paris", "2028-02-29T10:00:00Z", ""},

		{"empty", "", "", "", hold.InvalidTime},
		{"no offset", "2026-12-01T11:00:00", "", "", hold.InvalidTime},
		{"a date", "2026-12-01", "Europe/Paris", "", hold.InvalidTime},
		{"Unix seconds", "1780000000", "", "", hold.InvalidTime},
		{"no such day", "2026-02-29T11:00", "Europe/Paris", "", hold.InvalidTime},
		{"no such day with offset", "2026-02-30T11:00:00Z", "", "", hold.InvalidTime},
		{"no such hour", "2026-12-01T24:00", "Europe/Paris", "", hold.InvalidTime},
		{"leap second", "2026-12-31T23:59:60Z", "", "", hold.InvalidTime},
		{"blanks around", " 2026-12-01T11:00:00Z ", "", "", hold.InvalidTime},
		{"more after it", "2026-12-01T11:00:00Z; DROP", "", "", hold.InvalidTime},
		{"long", "2026-12-01T11:00:00." + string(make([]byte, 100)) + "Z", "", "", hold.InvalidTime},
		{"no such zone", "2026-12-01T11:00", "Europe/Atlantis", "", hold.UnknownTimeZone},
		{"no such zone, offset given", "2026-12-01T11:00:00Z", "Europe/Atlantis", "", hold.UnknownTimeZone},
		{"the daemon's own zone", "2026-12-01T11:00", "Local", "", hold.UnknownTimeZone},
		{"a path", "2026-12-01T11:00", "../../etc/passwd", "", hold.UnknownTimeZone},
		{"a root", "2026-12-01T11:00", "/etc/localtime", "", hold.UnknownTimeZone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := hold.ParseTime("capture_at", tt.in, tt.zone)
			wantCode(t, err, tt.code)
			if err == nil && got.UTC().Format(time.RFC3339Nano) != tt.want {
				t.Errorf("%s, want %s", got.UTC().Format(time.RFC3339Nano), tt.want)
			}
		})
	}
}

func TestParseTime_LocalTimesRoundTrip(t *testing.T) {
	// Over the two changes of a year: what clocks show leads back to the
	// instant, or to its first occurrence.
	for _, zone := range []string{"Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "America/St_Johns", "Pacific/Chatham"} {
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		for m := range 365 * 24 * 2 {
			at := start.Add(time.Duration(m) * 30 * time.Minute)
			got, err := hold.ParseTime("capture_at", at.In(loc).Format("2006-01-02T15:04"), zone)
			if err != nil {
				t.Fatalf("%s at %v: %v", zone, at, err)
			}
			if !got.Equal(at) && (got.After(at) || got.In(loc).Format("15:04") != at.In(loc).Format("15:04") || at.Sub(got) > time.Hour) {
				t.Fatalf("%s: %v read as %v", zone, at.In(loc), got.In(loc))
			}
		}
	}
}

func TestFormatAmount(t *testing.T) {
	for _, tt := range []struct {
		n    int64
		cur  string
		want string
	}{
		{1250, "eur", "12.50 EUR"}, {5, "usd", "0.05 USD"}, {0, "eur", "0.00 EUR"}, {100, "gbp", "1.00 GBP"},
		{1250, "jpy", "1250 JPY"}, {1250, "krw", "1250 KRW"}, {0, "vnd", "0 VND"},
		{1250, "kwd", "1.250 KWD"}, {7, "bhd", "0.007 BHD"},
		{-1250, "eur", "-12.50 EUR"}, {-5, "eur", "-0.05 EUR"}, {-5, "jpy", "-5 JPY"},
		{999_999_999_999, "idr", "9999999999.99 IDR"},
		{0, "", "unknown"}, {1250, "", "1250"},
	} {
		if got := hold.FormatAmount(tt.n, tt.cur); got != tt.want {
			t.Errorf("%d %q: %q, want %q", tt.n, tt.cur, got, tt.want)
		}
	}
}
