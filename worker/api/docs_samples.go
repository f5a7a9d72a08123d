package api

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// sampleRequest is a request as the samples send it.
type sampleRequest struct {
	method, path string
	key          string // Idempotency-Key; empty: none
	body         any    // nil: none
}

// newSampleRequest returns a request of an operation with its examples.
func newSampleRequest(path string, op *huma.Operation) sampleRequest {
	r := sampleRequest{method: op.Method, path: path}
	separator := "?"
	for _, p := range op.Parameters {
		value := exampleOfParameter(p)
		switch {
		case p.In == "path":
			r.path = strings.ReplaceAll(r.path, "{"+p.Name+"}", value)
		case p.In == "query" && p.Required:
			r.path += separator + p.Name + "=" + value
			separator = "&"
		case p.Name == "Idempotency-Key":
			r.key = value
		}
	}
	if op.RequestBody != nil {
		r.body = op.RequestBody.Content["application/json"].Example
	}
	return r
}

// exampleOfParameter returns the example of a parameter, or else its first value.
func exampleOfParameter(p *huma.Param) string {
	switch {
	case p.Example != nil:
		return fmt.Sprint(p.Example)
	case p.Schema != nil && len(p.Schema.Examples) > 0:
		return fmt.Sprint(p.Schema.Examples[0])
	case p.Schema != nil && len(p.Schema.Enum) > 0:
		return fmt.Sprint(p.Schema.Enum[0])
	}
	return ""
}

// curl returns the request as a command of a POSIX shell.
func (r sampleRequest) curl() string {
	var b strings.Builder
	b.WriteString("curl -sS --fail-with-body")
	if r.method != http.MethodGet {
		b.WriteString(" -X " + r.method)
	}
	fmt.Fprintf(&b, ` "$HOLDD_URL"'%s'`, r.path)
	b.WriteString(" \\\n  -H \"Authorization: Bearer $HOLDD_TOKEN\"")
	if r.key != "" {
		b.WriteString(" \\\n  -H 'Idempotency-Key: " + r.key + "'")
	}
	if r.body != nil {
		text := strings.ReplaceAll(indentJSON(r.body, ""), "'", `'\''`)
		b.WriteString(" \\\n  -H 'Content-Type: application/json' \\\n  -d '" + text + "'")
	}
	return b.String()
}

// typeScript returns the request as a module for Node, Deno, Bun or a browser's
// bundler.
func (r sampleRequest) typeScript() string {
	var b strings.Builder
	fmt.Fprintf(&b, "const response = await fetch(process.env.HOLDD_URL + %s, {\n  method: %s,\n",
		quoteJSON(r.path), quoteJSON(r.method))
	b.WriteString("  headers: {\n    Authorization: `Bearer ${process.env.HOLDD_TOKEN}`,\n")
	if r.key != "" {
		fmt.Fprintf(&b, "    \"Idempotency-Key\": %s,\n", quoteJSON(r.key))
	}
	if r.body != nil {
		b.WriteString("    \"Content-Type\": \"application/json\",\n")
	}
	b.WriteString("  },\n")
	if r.body != nil {
		b.WriteString("  body: JSON.stringify(" + indentJSON(r.body, "  ") + "),\n")
	}
	b.WriteString("});\nif (!response.ok) throw new Error(await response.text());\n" +
		"console.log(await response.text());")
	return b.String()
}

// python returns the request for the standard library of Python. A JSON text in
// quotes stays JSON: Python has other words for true and null.
func (r sampleRequest) python() string {
	var b strings.Builder
	b.WriteString("import os, urllib.request\n\n")
	data := ""
	if r.body != nil {
		b.WriteString("body = \"\"\"" + strings.ReplaceAll(indentJSON(r.body, ""), `\`, `\\`) +
			"\"\"\"\n")
		data = "    data=body.encode(),\n"
	}
	fmt.Fprintf(&b, "request = urllib.request.Request(\n    os.environ[\"HOLDD_URL\"] + %s,\n%s"+
		"    method=%s,\n    headers={\n"+
		"        \"Authorization\": \"Bearer \" + os.environ.get(\"HOLDD_TOKEN\", \"\"),\n",
		quoteJSON(r.path), data, quoteJSON(r.method))
	if r.key != "" {
		fmt.Fprintf(&b, "        \"Idempotency-Key\": %s,\n", quoteJSON(r.key))
	}
	if r.body != nil {
		b.WriteString("        \"Content-Type\": \"application/json\",\n")
	}
	b.WriteString("    },\n)\nwith urllib.request.urlopen(request, timeout=30) as response:\n" +
		"    print(response.read().decode())")
	return b.String()
}

func indentJSON(v any, prefix string) string {
	b, err := json.MarshalIndent(v, prefix, "  ")
	if err != nil {
		panic(err) // an example that was decoded from JSON
	}
	return string(b)
}

func quoteJSON(s string) string { return indentJSON(s, "") }

// writeSamples writes an operation's request in three languages.
func (p *docsWriter) writeSamples(path string, op *huma.Operation) {
	r := newSampleRequest(path, op)
	for _, s := range []struct{ language, text string }{
		{"curl", r.curl()}, {"TypeScript", r.typeScript()}, {"Python", r.python()},
	} {
		p.writeStrings(`<details class="sample" data-language="`, s.language, `"><summary>`,
			s.language, `</summary><pre>`, html.EscapeString(s.text), `</pre></details>`)
	}
}

// writeTryForm writes a form that docs.js sends. It is hidden without the
// script.
func (p *docsWriter) writeTryForm(path string, op *huma.Operation) {
	p.writeStrings(`<details class="try" hidden><summary>Try it</summary><form data-method="`,
		op.Method, `" data-path="`, html.EscapeString(path), `">`)
	for _, q := range op.Parameters {
		hint, deep := q.In, ""
		if q.Style == "deepObject" {
			hint, deep = hint+", as key=value&key=value", ` data-deep="true"`
		}
		required := ""
		if q.In == "path" {
			required = " required"
		}
		p.writeStrings(`<label><code>`, html.EscapeString(q.Name), `</code> (`,
			html.EscapeString(hint), `) <input name="`, html.EscapeString(q.Name), `" data-in="`,
			q.In, `"`, deep, required, `></label>`)
	}
	if op.RequestBody != nil {
		text := indentJSON(op.RequestBody.Content["application/json"].Example, "")
		rows := strconv.Itoa(min(strings.Count(text, "\n")+1, 20))
		p.writeStrings(`<label>Body <textarea rows="`, rows, `" spellcheck="false">`,
			html.EscapeString(text), `</textarea></label>`)
	}
	p.writeStrings(`<button>Send `, op.Method, `</button><pre><output></output></pre></form>`,
		`</details>`)
}
