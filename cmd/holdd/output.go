package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	pages "github.com/holdd/holdd/worker/console"
	"github.com/holdd/holdd/worker/hold"
)

// outputFormat is how a command prints its answer.
type outputFormat string

// The formats. Tables fit 80 columns. JSON and YAML have everything.
const (
	formatTable outputFormat = "table"
	formatWide  outputFormat = "wide"
	formatJSON  outputFormat = "json"
	formatYAML  outputFormat = "yaml"
	formatCSV   outputFormat = "csv"
)

var outputFormats = []string{"table", "wide", "json", "yaml", "csv"}

// String implements pflag.Value.
func (f *outputFormat) String() string { return string(*f) }

// Type implements pflag.Value.
func (f *outputFormat) Type() string { return "format" }

// Set implements pflag.Value.
func (f *outputFormat) Set(s string) error {
	if !slices.Contains(outputFormats, s) {
		return fmt.Errorf("want one of %s", strings.Join(outputFormats, ", "))
	}
	*f = outputFormat(s)
	return nil
}

// isText reports whether the format is for people.
func (f outputFormat) isText() bool { return f == formatTable || f == formatWide }

// addOutputFlag adds -o to a command that prints a list or an object.
func (c *connectionFlags) addOutputFlag(cmd *cobra.Command) {
	c.format = formatTable
	cmd.Flags().VarP(&c.format, "output", "o", strings.Join(outputFormats, ", ")+
		"; wide and csv have more than table, json and yaml everything")
	cmd.MarkFlagsMutuallyExclusive("output", "json")
	_ = cmd.RegisterFlagCompletionFunc("output",
		cobra.FixedCompletions(outputFormats, cobra.ShellCompDirectiveNoFileComp))
}

// outputFormat returns the format of the flags.
func (c *connectionFlags) outputFormat() outputFormat {
	switch {
	case c.asJSON:
		return formatJSON
	case c.format == "":
		return formatTable
	}
	return c.format
}

// column is a column of a list. A column without a value in one kind of output
// is left out there.
type column[T any] struct {
	title  string
	table  func(v *T) string
	wide   func(v *T) string
	csv    func(v *T) string
	color  func(v *T) string // of the cell in tables; nil is none
	narrow int               // the most characters in a table, fewer if it is too wide; 0 is no limit
	wraps  bool              // at narrow, instead of being cut
}

// everywhere returns a column that all outputs have.
func everywhere[T any](title string, value func(v *T) string) column[T] {
	return column[T]{title: title, table: value, wide: value, csv: value}
}

// wrapped returns a column that all outputs have, and that wraps in tables.
func wrapped[T any](title string, value func(v *T) string) column[T] {
	c := everywhere(title, value)
	c.narrow, c.wraps = 40, true
	return c
}

// wideOnly returns a column that tables leave out.
func wideOnly[T any](title string, value func(v *T) string) column[T] {
	return column[T]{title: title, wide: value, csv: value}
}

// csvOnly returns a column that tables leave out, wide ones as well.
func csvOnly[T any](title string, value func(v *T) string) column[T] {
	return column[T]{title: title, csv: value}
}

// amountColumns returns the columns of an amount: one with its currency in tables, and two in CSV,
// so that a spreadsheet can add the amounts. They are empty without a currency.
func amountColumns[T any](of func(v *T) (minor int64, currency string)) []column[T] {
	inCurrency := func(format func(minor int64, currency string) string) func(v *T) string {
		return func(v *T) string {
			minor, currency := of(v)
			if currency == "" {
				return ""
			}
			return format(minor, currency)
		}
	}
	withCurrency := inCurrency(hold.FormatAmount)
	return []column[T]{{title: "amount", table: withCurrency, wide: withCurrency,
		csv: inCurrency(hold.FormatMajor)},
		csvOnly("currency", inCurrency(func(_ int64, currency string) string {
			return strings.ToUpper(currency)
		}))}
}

// timeColumn returns a column with the distance from now in tables, the time as
// well in wide ones, and RFC 3339 in CSV.
func timeColumn[T any](title string, times timeFormatter, at func(v *T) *time.Time) column[T] {
	write := func(format func(t time.Time) string) func(v *T) string {
		return func(v *T) string {
			if t := at(v); t != nil {
				return format(*t)
			}
			return ""
		}
	}
	return column[T]{title: title,
		table: write(func(t time.Time) string { return formatRelative(t.Sub(times.now)) }),
		wide:  write(times.formatWithRelative),
		csv:   write(func(t time.Time) string { return t.UTC().Format(time.RFC3339) })}
}

// listPrinter prints rows, in one block or in several.
type listPrinter[T any] struct {
	out     *terminal
	format  outputFormat
	columns []column[T]
	printed bool // the head of the CSV
}

// print prints a block of rows. Without rows CSV has its head, and YAML an empty list.
func (p *listPrinter[T]) print(rows []T) error {
	switch p.format {
	case formatJSON:
		for i := range rows {
			if err := p.out.printJSONLine(&rows[i]); err != nil {
				return err
			}
		}
		return nil
	case formatYAML:
		return p.out.printYAML(append([]T{}, rows...)) // not null
	case formatCSV:
		return p.printCSV(rows)
	}
	for block := range slices.Chunk(rows, rowsPerTable) {
		p.printTable(block)
	}
	return nil
}

func (p *listPrinter[T]) printTable(rows []T) {
	var shown []column[T]
	var head []any
	for _, c := range p.columns {
		if c.cellFuncForFormat(p.format) != nil {
			shown, head = append(shown, c), append(head, c.title)
		}
	}
	texts := make([][]string, len(rows))
	for i := range rows {
		for _, c := range shown {
			texts[i] = append(texts[i], sanitize(c.cellFuncForFormat(p.format)(&rows[i])))
		}
	}
	limits := fitColumns(shown, texts)
	t := p.out.newTable(head...)
	for i := range rows {
		cells := make([]any, len(shown))
		for n, c := range shown {
			s := texts[i][n]
			switch {
			case c.narrow == 0 || p.format != formatTable:
			case c.wraps:
				s = wrapText(s, limits[n])
			default:
				s = shortenText(s, limits[n])
			}
			if c.color != nil {
				s = p.out.colorTextForStdout(c.color(&rows[i]), s)
			}
			cells[n] = s
		}
		t.AppendRow(cells)
	}
	t.Render()
}

// cellFuncForFormat returns how the column is written in a format, nil if it is not.
func (c *column[T]) cellFuncForFormat(f outputFormat) func(v *T) string {
	switch f {
	case formatWide:
		return c.wide
	case formatCSV:
		return c.csv
	}
	return c.table
}

func (p *listPrinter[T]) printCSV(rows []T) error {
	w := csv.NewWriter(p.out.stdout)
	var head []string
	for _, c := range p.columns {
		if c.csv != nil {
			head = append(head, strings.ReplaceAll(c.title, " ", "_"))
		}
	}
	if !p.printed {
		p.printed = true
		_ = w.Write(head) // Flush keeps the error
	}
	for i := range rows {
		var cells []string
		for _, c := range p.columns {
			if c.csv != nil {
				// A spreadsheet would run a reference that begins like a formula.
				cells = append(cells, pages.EscapeSpreadsheetFormula(sanitize(c.csv(&rows[i]))))
			}
		}
		_ = w.Write(cells)
	}
	w.Flush()
	return w.Error()
}

// printObject prints v as one object in JSON or YAML. Otherwise it calls
// printText.
func (c *connectionFlags) printObject(
	v any, printText func(times timeFormatter, format outputFormat) error,
) error {
	switch f := c.outputFormat(); f {
	case formatJSON:
		return c.out.printJSONLine(v)
	case formatYAML:
		return c.out.printYAML(v)
	default:
		times, err := c.newTimeFormatter(time.Now())
		if err != nil {
			return err
		}
		return printText(times, f)
	}
}

// printYAML writes v as YAML, with the fields of its JSON in their order.
func (c *terminal) printYAML(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var node yaml.Node
	if err := yaml.Unmarshal(b, &node); err != nil { // JSON is YAML
		return err
	}
	setReadableYAMLStyle(&node)
	var text bytes.Buffer
	e := yaml.NewEncoder(&text)
	e.SetIndent(2)
	if err := e.Encode(&node); err != nil {
		return err
	}
	_, err = c.stdout.Write(text.Bytes())
	return err
}

// setReadableYAMLStyle writes collections over several lines, and strings
// without quotes where they need none.
func setReadableYAMLStyle(n *yaml.Node) {
	n.Style = 0
	for _, child := range n.Content {
		setReadableYAMLStyle(child)
	}
}

// shortenText cuts a text to at most n characters.
func shortenText(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
