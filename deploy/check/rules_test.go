package check

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/holdd/holdd/worker/alert"
	"sigs.k8s.io/yaml"
)

// headingAnchors are what GitHub makes of a page's headings, and those that it
// has by itself.
func headingAnchors(page string) (all []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		text := regexp.MustCompile(`[^\p{L}\p{N}\- _]`).ReplaceAllString(strings.ToLower(m[1]), "")
		all = append(all, strings.ReplaceAll(text, " ", "-"))
	}
	for _, m := range regexp.MustCompile(`<a id="(\w+)"></a>`).FindAllStringSubmatch(page, -1) {
		all = append(all, m[1])
	}
	return all
}

func TestAlertRules_TestedAndDocumented(t *testing.T) {
	var cases struct {
		Tests []struct {
			Name     string
			AlertsBy []struct {
				Alertname string
				ExpAlerts []any `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		}
	}
	if err := yaml.Unmarshal(readFile(t, deployDir, "prometheus/holdd.rules.test.yaml"), &cases); err != nil {
		t.Fatal(err)
	}
	fires, notFires := map[string]bool{}, map[string]bool{}
	for _, c := range cases.Tests {
		for _, a := range c.AlertsBy {
			if len(a.ExpAlerts) > 0 {
				fires[a.Alertname] = true
			} else {
				notFires[a.Alertname] = true
			}
		}
	}
	chapters := headingAnchors(string(readFile(t, deployDir, "runbook.md")))
	n := 0
	for _, g := range readRules(t).Groups {
		for _, r := range g.Rules {
			n++
			if !fires[r.Alert] || !notFires[r.Alert] {
				t.Errorf("%s has no case in which it fires, or none in which it does not", r.Alert)
			}
			const page = "https://github.com/holdd/holdd/blob/main/deploy/runbook.md#"
			anchor, ok := strings.CutPrefix(r.Annotations["runbook_url"], page)
			if !ok || !slices.Contains(chapters, anchor) {
				t.Errorf("%s: the runbook has no chapter %q", r.Alert, r.Annotations["runbook_url"])
			}
			if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
				t.Errorf("%s lacks a summary, a description or a severity", r.Alert)
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d alerts were found", n)
	}
}

// Messages link to the page by the name of their kind.
func TestRunbook_CoversAlertKinds(t *testing.T) {
	page := string(readFile(t, deployDir, "runbook.md"))
	for _, k := range alert.AlertKinds() {
		if anchor := fmt.Sprintf("<a id=%q></a>\n", k); strings.Count(page, anchor) != 1 {
			t.Errorf("the runbook has not one %s", anchor)
		} else if _, after, _ := strings.Cut(page, anchor); !regexp.MustCompile(`^(<a id="\w+"></a>\n)*\n## \w`).MatchString(after) {
			t.Errorf("%s stands before no chapter", anchor)
		}
		if !strings.Contains(page, fmt.Sprintf("| [`%s`](#%s) |", k, k)) {
			t.Errorf("the table at its beginning does not tell of %s", k)
		}
	}
}

func TestPrometheusFiles_Promtool(t *testing.T) {
	promtool := requireTool(t, "promtool")
	for _, args := range [][]string{{"check", "rules", "holdd.rules.yaml"}, {"test", "rules", "holdd.rules.test.yaml"}} {
		cmd := exec.Command(promtool, args...)
		cmd.Dir = filepath.Join(deployDir, "prometheus")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	dir := t.TempDir() // the example names a file with a token, which is not in the repository
	for _, name := range []string{"prometheus.example.yaml", "holdd.rules.yaml"} {
		writeFile(t, filepath.Join(dir, name), string(readFile(t, deployDir, "prometheus", name)))
	}
	writeFile(t, filepath.Join(dir, "holdd_token"), operatorToken)
	cmd := exec.Command(promtool, "check", "config", "prometheus.example.yaml")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool check config: %v\n%s", err, out)
	}
}

// linkedPages are all pages for readers, wherever they are.
var linkedPages = []string{
	"../../README.md", "../../.github/CONTRIBUTING.md", "../../.github/CHANGELOG.md",
	"../README.md", "../runbook.md",
	"../docs/README.md", "../docs/requests.md", "../docs/settings.md", "../docs/operations.md",
	"../docs/guarantees.md", "../docs/performance.md", "../docs/stripe.md", "../docs/redis.md",
}

func TestDocs_Links(t *testing.T) {
	links := 0
	for _, page := range linkedPages {
		text := string(readFile(t, page))
		for _, m := range regexp.MustCompile(`\]\(([^)#\s]*)(#[^)\s]*)?\)`).FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			links++
			path := page
			if m[1] != "" {
				path = filepath.Join(filepath.Dir(page), m[1])
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s: %s: %v", page, m[0], err)
			} else if m[2] != "" && !slices.Contains(headingAnchors(string(readFile(t, path))), m[2][1:]) {
				t.Errorf("%s: %s: there is no such heading", page, m[0])
			}
		}
	}
	if links < 20 {
		t.Errorf("only %d links were found", links)
	}
}
