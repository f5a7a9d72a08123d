package e2e_test

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

// Every line that the daemon writes is JSON, also those of its Redis client and
// the last one.
func TestServe_EveryLineIsJSON(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{
		"no server":    "redis://127.0.0.1:1/0",
		"no sentinel":  "redis+sentinel://127.0.0.1:1,127.0.0.1:2?master_name=m",
		"no cluster":   "redis+cluster://127.0.0.1:1,127.0.0.1:2",
		"no such host": "redis://holdd.invalid:6379/0",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), binaryPath(t, buildRelease), "serve", "--log-level", "debug")
			cmd.Env = []string{"STRIPE_API_KEY=sk_test_000000000000000000000000", "REDIS_URL=" + url}
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			if err := cmd.Run(); err == nil {
				t.Fatal("the daemon runs without a Redis")
			}
			lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
			for _, line := range lines {
				var fields map[string]any
				if err := json.Unmarshal([]byte(line), &fields); err != nil || fields["message"] == "" {
					t.Errorf("%v: %s", err, line)
				}
			}
			if last := lines[len(lines)-1]; !strings.Contains(last, `"level":"error"`) ||
				!strings.Contains(last, "does not answer") {
				t.Errorf("the last line: %s", last)
			}
		})
	}
}
