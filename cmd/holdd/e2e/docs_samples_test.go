package e2e_test

import (
	"html"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/stripesim"
)

// TestDocs_SamplesRun runs samples of /docs as they are, with the PaymentIntent
// and the time of this test. Python and TypeScript need no package.
func TestDocs_SamplesRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripesim.Options{Seed: 4})
	r := w.startReplica(binaryPath(t, buildRelease))
	res, err := http.Get(r.url + "/docs")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04")
	for language, runner := range map[string]string{"curl": "sh", "TypeScript": "js",
		"Python": "python"} {
		id := w.authorizeBookings(1)[0].id
		for _, s := range []struct{ operation, want string }{
			{"scheduleHold", `"state":"scheduled"`},
			{"getHold", `"kind":"scheduled"`},
			{"listHolds", id},
			{"pauseHold", `"state":"paused"`},
			{"resumeHold", `"state":"scheduled"`},
			{"cancelHold", `"next":"cancel"`},
			{"getReadiness", `"ready":true`},
		} {
			text := readSample(t, string(page), s.operation, language)
			text = strings.NewReplacer("pi_3PxYzA2eZvKYlo2C1gQmT0aB", id, "2026-12-01T11:00", at,
				"Europe/Paris", "UTC", "0b1f8a52-6c1e-4c33-9a6e-3f1d1c9e7a10",
				language+"-"+s.operation).Replace(text)
			out := readmeSnippet{s.operation, runner, text}.run(t, "HOLDD_URL="+r.url,
				"HOLDD_TOKEN=none")
			if !strings.Contains(out, s.want) {
				t.Errorf("%s in %s: the output has no %s:\n%s", s.operation, language, s.want, out)
			}
		}
	}
}

func readSample(t *testing.T, page, operation, language string) string {
	t.Helper()
	_, section, _ := strings.Cut(page, `<h2 id="`+operation+`">`)
	section, _, _ = strings.Cut(section, "</section>")
	m := regexp.MustCompile(`(?s)data-language="` + language + `">.*?<pre>(.*?)</pre>`).
		FindStringSubmatch(section)
	if m == nil {
		t.Fatalf("%s has no sample in %s", operation, language)
	}
	return html.UnescapeString(m[1])
}
