package api

import (
	"bytes"
	"crypto/sha256"
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

const docsStyle = `:root{color-scheme:light dark;--line:#8884;--soft:#8881}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem}
h2{margin-top:2.5rem;border-top:1px solid var(--line);padding-top:1.5rem;font-size:1.2rem}
h3{font-size:1rem;margin-bottom:.3rem}
code,pre{font:14px/1.45 ui-monospace,monospace}code{background:var(--soft);padding:.1em .3em;border-radius:3px}
pre{background:var(--soft);padding:.8rem;border-radius:6px;overflow-x:auto}
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--line)}
nav ul{list-style:none;padding:0}summary{cursor:pointer}:target{outline:2px solid Highlight;outline-offset:2px}
@media(max-width:40rem){table,tbody,tr,td{display:block}thead{display:none}}`

// docsPolicy lets the page load nothing but its own style: no script, no third party.
var docsPolicy = func() string {
	sum := sha256.Sum256([]byte(docsStyle))
	return "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}()

func (a *API) serveDocs(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", docsPolicy)
	w.Header().Set("Referrer-Policy", "no-referrer")
	_, _ = w.Write(a.page) // the caller has gone: nobody is left to tell
}

// docsPage writes the OpenAPI document for people. It is made without a template engine: linking one keeps every exported method of every
// library in the binary.
func docsPage(o *huma.OpenAPI) []byte {
	p := &page{schemas: o.Components.Schemas.Map()}
	p.raw(`<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>holdd API</title><style>`, docsStyle, `</style></head><body><main>`)
	p.raw("<h1>holdd API <small>", html.EscapeString(o.Info.Version), `</small></h1><p>`, prose(o.Info.Description), `</p><p>For programs: <a href="/openapi.json">/openapi.json</a> (OpenAPI `, o.OpenAPI, `).</p>`)
	if o.Components.SecuritySchemes != nil {
		p.raw("<p>", prose("Send a token with each request: `Authorization: Bearer …`."), "</p>")
	}
	paths := slices.Sorted(maps.Keys(o.Paths))
	p.raw(`<nav aria-label="Operations"><ul>`)
	for _, path := range paths {
		for _, op := range operations(o.Paths[path]) {
			p.raw(`<li><a href="#`, op.OperationID, `"><code>`, op.Method, " ", html.EscapeString(path), `</code></a> `, prose(op.Summary), `</li>`)
		}
	}
	p.raw(`<li><a href="#problems">Problems</a></li></ul></nav>`)
	for _, path := range paths {
		for _, op := range operations(o.Paths[path]) {
			p.operation(path, op)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.schemas)) {
		p.raw(`<h2 id="schema-`, name, `">`, name, `</h2>`)
		p.fields(p.schemas[name])
	}
	p.raw(`<h2 id="problems">Problems</h2><table><thead><tr><th>code<th>status<th>means</tr></thead><tbody>`)
	for _, k := range kinds {
		p.raw(`<tr id="`, string(k.code), `"><td><code>`, string(k.code), `</code><td>`, strconv.Itoa(k.status), `<td>`, prose(k.title), `</tr>`)
	}
	p.raw(`</tbody></table></main></body></html>`)
	return p.Bytes()
}

type page struct {
	bytes.Buffer
	schemas map[string]*huma.Schema
}

func (p *page) raw(parts ...string) {
	for _, s := range parts {
		p.WriteString(s)
	}
}

func (p *page) operation(path string, op *huma.Operation) {
	p.raw(`<section><h2 id="`, op.OperationID, `"><code>`, op.Method, " ", html.EscapeString(path), `</code></h2><p><strong>`, prose(op.Summary), `.</strong> `, prose(op.Description), `</p>`)
	if len(op.Parameters) > 0 {
		p.raw(`<h3>Parameters</h3><table><thead><tr><th>name<th>in<th>means</tr></thead><tbody>`)
		for _, q := range op.Parameters {
			p.raw(`<tr><td><code>`, html.EscapeString(q.Name), `</code><td>`, q.In, `<td>`, prose(q.Description), enum(q.Schema), `</tr>`)
		}
		p.raw(`</tbody></table>`)
	}
	if op.RequestBody != nil {
		m := op.RequestBody.Content["application/json"]
		p.raw(`<h3>Body</h3><p>`, p.link(m.Schema))
		if !op.RequestBody.Required {
			p.raw(` (may be left out)`)
		}
		p.raw(`</p>`)
		p.example(m.Example)
	}
	p.raw(`<h3>Answers</h3><table><thead><tr><th>status<th>means</tr></thead><tbody>`)
	statuses := slices.Sorted(maps.Keys(op.Responses))
	for _, status := range statuses {
		p.raw(`<tr><td>`, status, `<td>`, prose(op.Responses[status].Description), `</tr>`)
	}
	p.raw(`</tbody></table>`)
	for _, status := range statuses {
		if m := op.Responses[status].Content["application/json"]; m != nil && m.Example != nil && status[0] == '2' {
			p.raw(`<details><summary>Example, `, status, `</summary>`)
			p.example(m.Example)
			p.raw(`</details>`)
			break
		}
	}
	p.raw(`</section>`)
}

func (p *page) example(v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		p.raw(`<pre>`, html.EscapeString(string(b)), `</pre>`)
	}
}

func (p *page) fields(s *huma.Schema) {
	p.raw(`<table><thead><tr><th>field<th>type<th>means</tr></thead><tbody>`)
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		f := s.Properties[name]
		must := ""
		if slices.Contains(s.Required, name) {
			must = " *"
		}
		p.raw(`<tr><td><code>`, html.EscapeString(name), `</code>`, must, `<td>`, p.link(f), `<td>`, prose(f.Description), enum(f), `</tr>`)
	}
	p.raw(`</tbody></table>`)
}

func (p *page) link(s *huma.Schema) string {
	switch {
	case s == nil:
		return ""
	case s.Ref != "":
		_, name, _ := cutLast(s.Ref, '/')
		return `<a href="#schema-` + name + `">` + name + `</a>`
	case s.Type == huma.TypeArray:
		return "array of " + p.link(s.Items)
	case s.Format != "":
		return html.EscapeString(s.Type + " (" + s.Format + ")")
	}
	return html.EscapeString(s.Type)
}

func enum(s *huma.Schema) string {
	if s == nil || len(s.Enum) == 0 {
		return ""
	}
	names := make([]string, 0, len(s.Enum))
	for _, e := range s.Enum {
		names = append(names, "<code>"+html.EscapeString(fmt.Sprint(e))+"</code>")
	}
	return " " + strings.Join(names, " ")
}

// prose escapes a text and shows `this` as code.
func prose(s string) string {
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
