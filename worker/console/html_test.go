package console

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/holdd/holdd/worker/hold"
)

func render(n node) string {
	var b bytes.Buffer
	n.Write(&b)
	return b.String()
}

func TestNode_EscapesTextsAndAttributes(t *testing.T) {
	got := render(el("p", a("title", `"><script>`), text(`<b>&"'`), el("br"), booleanAttr("hidden")))
	want := `<p title="&#34;&gt;&lt;script&gt;" hidden>&lt;b&gt;&amp;&#34;&#39;<br></p>`
	if got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestClean_ReplacesWhatCouldDeceive(t *testing.T) {
	for in, want := range map[string]string{
		"BK-1": "BK-1", "حجز 🏨": "حجز 🏨", "a\x00b\nc": "a�b�c", "x\u202eTUO": "x�TUO",
		"\xff": "�",
	} {
		if got := replaceControlChars(in); got != want {
			t.Errorf("%q is shown as %q, want %q", in, got, want)
		}
	}
}

func TestFormulaSafe(t *testing.T) {
	for in, want := range map[string]string{"=1+1": "'=1+1", "@x": "'@x", "BK-1": "BK-1", "": ""} {
		if got := escapeSpreadsheetFormula(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

func TestAuditCSV_HasAmountAndCurrencyInColumns(t *testing.T) {
	h := &hold.Hold{ID: "pi_audit0001", Reference: "BK-1", Amount: 12000, Currency: "eur"}
	got := formatAuditCSV(&request{}, []holdHistoryEntry{{hold: h}})
	if !strings.HasPrefix(got, "time,by,what,reference,hold,amount,currency,note\n") ||
		!strings.HasSuffix(got, ",BK-1,pi_audit0001,120.00,EUR,\n") {
		t.Error(got)
	}
}

func TestSafeNext_StaysInTheConsole(t *testing.T) {
	for in, want := range map[string]string{
		"/console/holds?tab=due": "/console/holds?tab=due", "": "/console/",
		"https://example.com/console/": "/console/", "//example.com/console/": "/console/",
		`/\example.com`: "/console/", "/v1/holds": "/console/", "javascript:alert(1)": "/console/",
	} {
		if got := sanitizeNextURL(in); got != want {
			t.Errorf("%q leads to %q, want %q", in, got, want)
		}
	}
}

// Every key in the code has a text, and every text is used.
func TestTexts_AreComplete(t *testing.T) {
	var code strings.Builder
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f == "texts.go" || strings.HasSuffix(f, "_test.go") {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(b)
	}
	keys := regexp.MustCompile(`\bt\("([a-z0-9_.]+)"[,)]`)
	for _, m := range keys.FindAllStringSubmatch(code.String(), -1) {
		if !english.has(m[1]) && m[1] != "source.unknown" {
			t.Errorf("no text for %s", m[1])
		}
	}
	for key, s := range english {
		prefix, _, _ := strings.Cut(key, ".")
		if !strings.Contains(code.String(), `"`+key+`"`) &&
			!strings.Contains(code.String(), `"`+prefix+".") {
			t.Errorf("no page shows %s", key)
		}
		if strings.Contains(s, "<") {
			t.Errorf("%s has markup: %s", key, s)
		}
	}
}
