// Package htmldoc builds HTML and SVG as a tree of elements.
//
// Texts and values of attributes are escaped when they are written, so that a
// page cannot forget to. Names of elements and attributes come from the code
// only. html/template would do the same and keep every method of the binary
// alive, which costs 8 MB.
package htmldoc

import (
	"bytes"
	"html"
	"slices"
	"strings"
	"unicode"
)

// ElementPart is a part of an element: an attribute or a child.
type ElementPart interface{ AddTo(e *Element) }

// Node writes itself as HTML.
type Node interface {
	ElementPart
	Write(b *bytes.Buffer)
}

// Attr is an attribute. A flag, such as disabled, has no value.
type Attr struct {
	Name, Value string
	Flag        bool
}

// AddTo implements [ElementPart].
func (a Attr) AddTo(e *Element) { e.Attrs = append(e.Attrs, a) }

// Text is escaped when it is written.
type Text string

// AddTo implements [ElementPart].
func (t Text) AddTo(e *Element) { e.Children = append(e.Children, t) }

// Write implements [Node].
func (t Text) Write(b *bytes.Buffer) { b.WriteString(html.EscapeString(string(t))) }

// Group is nodes without an element around them.
type Group []Node

// AddTo implements [ElementPart].
func (g Group) AddTo(e *Element) { e.Children = append(e.Children, g) }

// Write implements [Node].
func (g Group) Write(b *bytes.Buffer) {
	for _, n := range g {
		n.Write(b)
	}
}

// Element is an element of HTML or SVG.
type Element struct {
	Name     string
	Attrs    []Attr
	Children []Node
}

// AddTo implements [ElementPart].
func (e *Element) AddTo(parent *Element) { parent.Children = append(parent.Children, e) }

// voidElements have no children and no end tag.
var voidElements = []string{"br", "hr", "input", "link", "meta"}

// Write implements [Node].
func (e *Element) Write(b *bytes.Buffer) {
	b.WriteString("<" + e.Name)
	for _, a := range e.Attrs {
		b.WriteString(" " + a.Name)
		if !a.Flag {
			b.WriteString(`="` + html.EscapeString(a.Value) + `"`)
		}
	}
	b.WriteByte('>')
	if slices.Contains(voidElements, e.Name) {
		return
	}
	for _, c := range e.Children {
		c.Write(b)
	}
	b.WriteString("</" + e.Name + ">")
}

// El returns an element. Parts that are nil are left out.
func El(name string, parts ...ElementPart) *Element {
	e := &Element{Name: name}
	for _, p := range parts {
		if p != nil {
			p.AddTo(e)
		}
	}
	return e
}

// A returns an attribute with a value.
func A(name, value string) Attr { return Attr{Name: name, Value: value} }

// BooleanAttr returns an attribute without a value.
func BooleanAttr(name string) Attr { return Attr{Name: name, Flag: true} }

// Class returns the attribute class.
func Class(value string) Attr { return A("class", value) }

// IsolateDirection keeps the direction of a text from outside away from what
// surrounds it.
func IsolateDirection(s string) *Element { return El("bdi", Text(s)) }

// ReplaceControlChars replaces control characters and those that reverse the
// direction of the text around them.
func ReplaceControlChars(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return '\ufffd'
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
}

// TableRow returns a table's row with a cell for each node.
func TableRow(cells ...Node) *Element {
	tr := El("tr")
	for _, c := range cells {
		tr.Children = append(tr.Children, El("td", c))
	}
	return tr
}

// TableHead returns a table's head with a column for each title.
func TableHead(titles ...string) *Element {
	tr := El("tr")
	for _, t := range titles {
		tr.Children = append(tr.Children, El("th", A("scope", "col"), Text(t)))
	}
	return El("thead", tr)
}
