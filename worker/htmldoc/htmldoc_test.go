package htmldoc_test

import (
	"bytes"
	"testing"

	"github.com/holdd/holdd/worker/htmldoc"
)

func TestElement_EscapesTextsAndAttributes(t *testing.T) {
	var b bytes.Buffer
	htmldoc.El("p", htmldoc.A("title", `"><script>`), htmldoc.Text(`<b>&"'`), htmldoc.El("br"),
		htmldoc.BooleanAttr("hidden")).Write(&b)
	want := `<p title="&#34;&gt;&lt;script&gt;" hidden>&lt;b&gt;&amp;&#34;&#39;<br></p>`
	if b.String() != want {
		t.Errorf("%s, want %s", b.String(), want)
	}
}

func TestClean_ReplacesWhatCouldDeceive(t *testing.T) {
	for in, want := range map[string]string{
		"BK-1": "BK-1", "حجز 🏨": "حجز 🏨", "a\x00b\nc": "a�b�c", "x\u202eTUO": "x�TUO",
		"\xff": "�",
	} {
		if got := htmldoc.ReplaceControlChars(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}
