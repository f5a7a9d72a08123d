package console

import "github.com/holdd/holdd/worker/htmldoc"

// The names under which the pages use package htmldoc.
type (
	part    = htmldoc.ElementPart
	node    = htmldoc.Node
	attr    = htmldoc.Attr
	text    = htmldoc.Text
	group   = htmldoc.Group
	element = htmldoc.Element
)

func el(name string, parts ...part) *element { return htmldoc.El(name, parts...) }
func a(name, value string) attr              { return htmldoc.A(name, value) }
func booleanAttr(name string) attr           { return htmldoc.BooleanAttr(name) }
func class(value string) attr                { return htmldoc.Class(value) }
func bdi(s string) *element                  { return htmldoc.IsolateDirection(s) }
func tableRow(cells ...node) *element        { return htmldoc.TableRow(cells...) }
func tableHead(titles ...string) *element    { return htmldoc.TableHead(titles...) }
func replaceControlChars(s string) string    { return htmldoc.ReplaceControlChars(s) }
func link(href, t string) *element           { return el("a", a("href", href), text(t)) }

// hiddenInput returns a hidden field.
func hiddenInput(name, value string) *element {
	return el("input", a("type", "hidden"), a("name", name), a("value", value))
}
