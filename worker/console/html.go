package console

import (
	"bytes"
	"html"
	"slices"
)

// part is a part of an element: an attribute or a child.
type part interface{ addTo(e *element) }

// node writes itself as HTML.
type node interface {
	part
	write(b *bytes.Buffer)
}

// attr is an attribute. A flag, such as disabled, has no value.
type attr struct {
	name, value string
	flag        bool
}

func (a attr) addTo(e *element) { e.attrs = append(e.attrs, a) }

// text is escaped when it is written.
type text string

func (t text) addTo(e *element)      { e.children = append(e.children, t) }
func (t text) write(b *bytes.Buffer) { b.WriteString(html.EscapeString(string(t))) }

// group is nodes without an element around them.
type group []node

func (g group) addTo(e *element) { e.children = append(e.children, g) }

func (g group) write(b *bytes.Buffer) {
	for _, n := range g {
		n.write(b)
	}
}

// element is an HTML element. Names come from the code only.
type element struct {
	name     string
	attrs    []attr
	children []node
}

func (e *element) addTo(parent *element) { parent.children = append(parent.children, e) }

// voidElements have no children and no end tag.
var voidElements = []string{"br", "hr", "input", "link", "meta"}

func (e *element) write(b *bytes.Buffer) {
	b.WriteString("<" + e.name)
	for _, a := range e.attrs {
		b.WriteString(" " + a.name)
		if !a.flag {
			b.WriteString(`="` + html.EscapeString(a.value) + `"`)
		}
	}
	b.WriteByte('>')
	if slices.Contains(voidElements, e.name) {
		return
	}
	for _, c := range e.children {
		c.write(b)
	}
	b.WriteString("</" + e.name + ">")
}

// el returns an element. Parts that are nil are left out.
func el(name string, parts ...part) *element {
	e := &element{name: name}
	for _, p := range parts {
		if p != nil {
			p.addTo(e)
		}
	}
	return e
}

func a(name, value string) attr    { return attr{name: name, value: value} }
func flag(name string) attr        { return attr{name: name, flag: true} }
func class(value string) attr      { return a("class", value) }
func link(href, t string) *element { return el("a", a("href", href), text(t)) }

// isolate keeps the direction of a text from outside away from what surrounds
// it.
func isolate(s string) *element { return el("bdi", text(s)) }

// hidden returns a hidden field.
func hidden(name, value string) *element {
	return el("input", a("type", "hidden"), a("name", name), a("value", value))
}

// row returns a table's row with a cell for each node.
func row(cells ...node) *element {
	tr := el("tr")
	for _, c := range cells {
		tr.children = append(tr.children, el("td", c))
	}
	return tr
}

// head returns a table's head with a column for each title.
func head(titles ...string) *element {
	tr := el("tr")
	for _, t := range titles {
		tr.children = append(tr.children, el("th", a("scope", "col"), text(t)))
	}
	return el("thead", tr)
}
