package check

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// hostCommands are commands of the machines that holdd runs on, which a test
// can't have.
var hostCommands = regexp.MustCompile(`^(systemctl|journalctl|kubectl|ss) |https://api\.stripe\.com`)

// confirmedCommands are the commands that ask before they move money. Nobody is
// there to answer a test.
var confirmedCommands = regexp.MustCompile(`^holdd (capture|cancel|resume|repair) `)

// TestRunbook_Commands runs them line by line as they stand, each block on a
// hold of its own: only the booking's name is another one each time.
func TestRunbook_Commands(t *testing.T) {
	w := newEnvironment(t)
	blocks := regexp.MustCompile("(?ms)^```sh\n(.*?)^```").FindAllStringSubmatch(string(readFile(t, deployDir, "runbook.md")), -1)
	run := 0
	for i, b := range blocks {
		booking, other := fmt.Sprintf("BK-%04d", i), w.authorize(t)
		if strings.Contains(b[1], "BK-2071") && !strings.Contains(b[1], "holdd schedule") {
			w.mustRunShell(t, "holdd schedule "+w.authorize(t)+" --reference "+booking+" --capture-at +20h")
		}
		for _, line := range strings.Split(strings.TrimSpace(b[1]), "\n") {
			line = strings.ReplaceAll(line, "BK-2071", booking)
			line = strings.ReplaceAll(line, "pi_3PxYzA2eZvKYlo2C1gQmT0aB", other)
			if hostCommands.MatchString(line) {
				continue
			}
			if strings.HasPrefix(line, "holdd repair ") {
				w.mustRunShell(t, `redis-cli -u "$REDIS_URL" hset "holdd:{0}:holds" `+other+` garbage`)
			}
			if confirmedCommands.MatchString(line) {
				if out, err := w.runShell(t, line); err == nil {
					t.Errorf("%s: it moved money and asked nobody\n%s", line, out)
				}
				line += " --yes"
			}
			run++
			if out, err := w.runShell(t, line); err != nil {
				t.Errorf("%s: %v\n%s", line, err, out)
			}
		}
	}
	if run < 30 {
		t.Errorf("only %d commands of %d blocks were run", run, len(blocks))
	}
	t.Logf("%d commands of %d blocks were run", run, len(blocks))
}
