package api

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // for docs.js
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

const docsCSS = `:root{color-scheme:light dark;--line:#8884;--soft:#8881}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem}
h2{margin-top:2.5rem;border-top:1px solid var(--line);padding-top:1.5rem;font-size:1.2rem}
h3{font-size:1rem;margin-bottom:.3rem}
code,pre{font:14px/1.45 ui-monospace,monospace}
code{background:var(--soft);padding:.1em .3em;border-radius:3px}
pre{background:var(--soft);padding:.8rem;border-radius:6px;overflow-x:auto}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0;
border-bottom:1px solid var(--line)}
nav ul{list-style:none;padding:0}summary{cursor:pointer}
label{display:block;margin:.4rem 0}input,textarea{font:14px/1.45 ui-monospace,monospace;width:100%;
box-sizing:border-box}button{font:inherit;padding:.2rem 1rem}
:target{outline:2px solid Highlight;outline-offset:2px}
@media(max-width:40rem){table,tbody,tr,td{display:block}thead{display:none}}`

// docsScript sends the requests that a reader tries. The page is complete
// without it.
//
//go:embed docs.js
var docsScript string

// docsCSP allows only the page's own style and script, by their digests, and
// requests to this holdd: nothing from another server.
var docsCSP = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"connect-src 'self'; style-src " + cspDigest(docsCSS) + "; script-src " + cspDigest(docsScript)

func cspDigest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func serveDocsPage(w http.ResponseWriter, page []byte) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", docsCSP)
	w.Header().Set("Referrer-Policy", "no-referrer")
	_, _ = w.Write(page) // fails only if the caller has disconnected
}

// renderDocsPage writes the OpenAPI document as a web page. It uses no template
// engine: html/template calls methods by name, so that the linker would keep
// every exported method of every package in the binary.
func renderDocsPage(o *huma.OpenAPI) []byte {
	p := &docsWriter{schemas: o.Components.Schemas.Map()}
	p.writeStrings(`<!doctype html><html lang="en"><head><meta charset="utf-8">`,
		`<meta name="viewport" content="width=device-width, initial-scale=1">`,
		`<title>holdd API</title><style>`, docsCSS, `</style></head><body><main>`)
	p.writeStrings("<h1>holdd API <small>", html.EscapeString(o.Info.Version), `</small></h1><p>`,
		textToHTML(o.Info.Description), `</p>`,
		`<p>Machine-readable: <a href="/openapi.json">/openapi.json</a> (OpenAPI `, o.OpenAPI,
		`).</p>`)
	p.writeStrings("<p>", textToHTML("Where tokens are required, send one with each request: "+
		"`Authorization: Bearer <token>`. The samples read the variables `HOLDD_URL` and "+
		"`HOLDD_TOKEN`."), `</p><p id="token" hidden><label>Token for requests that are tried `,
		`here. The page does not keep it <input type="password" autocomplete="off"></label></p>`)
	p.writeOperations(o.Paths, o.Webhooks)
	for _, name := range slices.Sorted(maps.Keys(p.schemas)) {
		p.writeStrings(`<h2 id="schema-`, name, `">`, name, `</h2>`)
		p.writeSchemaFields(p.schemas[name])
	}
	p.writeProblems()
	p.writeStrings(`</main><script>`, docsScript, `</script></body></html>`)
	return p.Bytes()
}

type docsWriter struct {
	bytes.Buffer
	schemas map[string]*huma.Schema
}

func (p *docsWriter) writeStrings(parts ...string) {
	for _, s := range parts {
		p.WriteString(s)
	}
}

// writeOperations writes a table of contents, then each operation.
func (p *docsWriter) writeOperations(items, callbacks map[string]*huma.PathItem) {
	paths := slices.Sorted(maps.Keys(items))
	p.writeStrings(`<nav aria-label="Operations"><ul>`)
	for _, path := range paths {
		for _, op := range operationsOfPath(items[path]) {
			p.writeStrings(`<li><a href="#`, op.OperationID, `"><code>`, op.Method, " ",
				html.EscapeString(path), `</code></a> `, textToHTML(op.Summary), `</li>`)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(callbacks)) {
		p.writeStrings(`<li><a href="#`, name, `">`, textToHTML(callbacks[name].Post.Summary),
			`</a> (callback)</li>`)
	}
	p.writeStrings(`<li><a href="#problems">Problems</a></li></ul></nav>`)
	for _, path := range paths {
		for _, op := range operationsOfPath(items[path]) {
			p.writeOperation(path, op)
			p.writeSamples(path, op)
			p.writeTryForm(path, op)
			p.writeStrings(`</section>`)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(callbacks)) {
		p.writeOperation("to callback_url", callbacks[name].Post)
		p.writeStrings(`</section>`)
	}
}

func (p *docsWriter) writeProblems() {
	p.openTableWithHead(`<h2 id="problems">Problems</h2>`, "code", "status", "meaning", "what to do")
	for _, k := range problemCatalog {
		p.writeStrings(`<tr id="`, string(k.code), `"><td><code>`, string(k.code), `</code><td>`,
			strconv.Itoa(k.status), `<td>`, textToHTML(k.title+". "+k.cause), `<td>`,
			textToHTML(k.action), `</tr>`)
	}
	p.writeStrings(`</tbody></table>`)
}

func (p *docsWriter) openTableWithHead(heading string, columns ...string) {
	p.writeStrings(heading, `<table><thead><tr>`)
	for _, c := range columns {
		p.writeStrings(`<th>`, c)
	}
	p.writeStrings(`</tr></thead><tbody>`)
}

func (p *docsWriter) writeOperation(path string, op *huma.Operation) {
	p.writeStrings(`<section><h2 id="`, op.OperationID, `"><code>`, op.Method, " ",
		html.EscapeString(path), `</code></h2><p><strong>`, textToHTML(op.Summary), `.</strong> `,
		textToHTML(op.Description), `</p>`)
	if len(op.Parameters) > 0 {
		p.openTableWithHead(`<h3>Parameters</h3>`, "name", "in", "meaning")
		for _, q := range op.Parameters {
			p.writeStrings(`<tr><td><code>`, html.EscapeString(q.Name), `</code><td>`, q.In, `<td>`,
				textToHTML(q.Description), enumValuesHTML(q.Schema), `</tr>`)
		}
		p.writeStrings(`</tbody></table>`)
	}
	if op.RequestBody != nil {
		m := op.RequestBody.Content["application/json"]
		p.writeStrings(`<h3>Body</h3><p>`, p.schemaTypeHTML(m.Schema))
		if !op.RequestBody.Required {
			p.writeStrings(` (optional)`)
		}
		p.writeStrings(`</p>`)
		p.writeExample(m.Example)
	}
	p.writeResponses(op.Responses)
}

// writeResponses writes the statuses, and the example of the first success.
func (p *docsWriter) writeResponses(responses map[string]*huma.Response) {
	p.openTableWithHead(`<h3>Responses</h3>`, "status", "meaning")
	statuses := slices.Sorted(maps.Keys(responses))
	for _, status := range statuses {
		p.writeStrings(`<tr><td>`, status, `<td>`, textToHTML(responses[status].Description),
			`</tr>`)
	}
	p.writeStrings(`</tbody></table>`)
	for _, status := range statuses {
		if m := responses[status].Content["application/json"]; m != nil &&
			m.Example != nil && status[0] == '2' {
			p.writeStrings(`<details><summary>Example, `, status, `</summary>`)
			p.writeExample(m.Example)
			p.writeStrings(`</details>`)
			break
		}
	}
}

func (p *docsWriter) writeExample(v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		p.writeStrings(`<pre>`, html.EscapeString(string(b)), `</pre>`)
	}
}

func (p *docsWriter) writeSchemaFields(s *huma.Schema) {
	p.openTableWithHead("", "field", "type", "meaning")
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		f := s.Properties[name]
		required := ""
		if slices.Contains(s.Required, name) {
			required = " *"
		}
		p.writeStrings(`<tr><td><code>`, html.EscapeString(name), `</code>`, required, `<td>`,
			p.schemaTypeHTML(f), `<td>`, textToHTML(f.Description), enumValuesHTML(f), `</tr>`)
	}
	p.writeStrings(`</tbody></table>`)
}

func (p *docsWriter) schemaTypeHTML(s *huma.Schema) string {
	switch {
	case s == nil:
		return ""
	case s.Ref != "":
		name := s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]
		return `<a href="#schema-` + name + `">` + name + `</a>`
	case s.Type == huma.TypeArray:
		return "array of " + p.schemaTypeHTML(s.Items)
	case s.Format != "":
		return html.EscapeString(s.Type + " (" + s.Format + ")")
	}
	return html.EscapeString(s.Type)
}

func enumValuesHTML(s *huma.Schema) string {
	if s == nil || len(s.Enum) == 0 {
		return ""
	}
	names := make([]string, 0, len(s.Enum))
	for _, e := range s.Enum {
		names = append(names, "<code>"+html.EscapeString(fmt.Sprint(e))+"</code>")
	}
	return " " + strings.Join(names, " ")
}

// textToHTML escapes a text and formats words in backquotes as code.
func textToHTML(s string) string {
	var b strings.Builder
	for i, part := range strings.Split(html.EscapeString(s), "`") {
		if i%2 == 1 {
			b.WriteString("<code>" + part + "</code>")
		} else {
			b.WriteString(part)
		}
	}
	return b.String()
}
