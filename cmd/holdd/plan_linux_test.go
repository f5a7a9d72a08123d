package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/holdd/holdd/worker/hold"
)

// A chart is drawn on a terminal only, and fits its width.
func TestPlan_ChartOnTerminalOnly(t *testing.T) {
	store, env := startFakeAPI(t)
	env = append(env, "HOLDD_TIME_ZONE=UTC")
	at := time.Now().Truncate(time.Hour).Add(2 * time.Hour)
	for i := range 9 { // in two hours, and in five
		when := at
		if i == 8 {
			when = at.Add(3 * time.Hour)
		}
		store.Schedule(t.Context(), []hold.ScheduleRequest{{PaymentIntent: fmt.Sprintf("pi_chart%04d", i), Amount: 1200, Currency: "eur",
			ExpiresAt: at.Add(100 * time.Hour).UTC().Format(time.RFC3339), CaptureAt: when.UTC().Format(time.RFC3339)}}, "api")
	}
	_, screen := runOnTerminal(t, append(env, "COLUMNS=60"), "", "plan")
	if !strings.Contains(screen, "captures  \x1b[32m  █  ▁\x1b[0m\r\n") || !strings.Contains(screen, "holds an hour, at most 8\r\n") ||
		!strings.Contains(screen, "          "+time.Now().UTC().Format("15:00")) {
		t.Errorf("%q", screen)
	}
	for _, span := range []string{"1h", "24h", "3d", "30d", "90d"} {
		for _, width := range []int{20, 25, 60, 200} {
			_, screen := runOnTerminal(t, append(env, fmt.Sprint("COLUMNS=", width), "NO_COLOR=1"), "", "plan", "--next", span)
			chart, _, drawn := strings.Cut(screen, "holds ")
			if drawn != (span != "1h") {
				t.Errorf("%s on %d columns: no chart in %q", span, width, screen)
			}
			_, chart, _ = strings.Cut(chart, "\ncaptures  ")
			for line := range strings.Lines("captures  " + chart) {
				if n := utf8.RuneCountInString(strings.TrimRight(line, "\r\n")); n >= width {
					t.Errorf("%s on %d columns: a line of %d: %q", span, width, n, line)
				}
			}
		}
	}
	for name, env := range map[string][]string{"dumb": append(env, "TERM=dumb"), "no UTF-8": append(env, "LC_ALL=C"), "too narrow": append(env, "COLUMNS=15")} {
		if _, screen := runOnTerminal(t, env, "", "plan"); strings.ContainsAny(screen, "▁█") || !strings.Contains(screen, "EUR") {
			t.Errorf("%s: %q", name, screen)
		}
	}
	if _, screen := runOnTerminal(t, env, "", "plan", "--json"); strings.ContainsAny(screen, "▁█") {
		t.Errorf("a chart in JSON: %q", screen)
	}
	if _, out, _ := runCommand(t, env, "plan"); strings.ContainsAny(out, "▁█") || !strings.Contains(out, "\nall ") {
		t.Errorf("%q", out)
	}
}

func TestDrawBars(t *testing.T) {
	for _, row := range []struct {
		numbers []int
		want    string
	}{
		{[]int{0, 0}, ""}, {[]int{1, 0, 1}, "█ █"}, {[]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 0}, " ▁▂▃▄▅▆▇█"}, {[]int{1, 1000, 999, 500}, "▁██▄"}, {[]int{1, 100}, "▁█"},
	} {
		top := 0
		for _, n := range row.numbers {
			top = max(top, n)
		}
		if got := formatSparkline(row.numbers, top); got != row.want {
			t.Errorf("%v: %q, want %q", row.numbers, got, row.want)
		}
	}
}

func TestDrawTimeAxis(t *testing.T) {
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	first := time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC)
	for _, row := range []struct {
		each, columns int
		want          string
	}{
		{1, 25, "10:00   18:00 00:00 06:00"}, {1, 3, "10:00"}, {3, 24, "Dec 1        Dec 3"}, {24, 14, "Dec 1 Dec 7"},
	} {
		if got := formatTimeAxis(first, row.each, row.columns, timeFormatter{location: paris}); got != row.want {
			t.Errorf("%d h in each of %d: %q, want %q", row.each, row.columns, got, row.want)
		}
	}
}
