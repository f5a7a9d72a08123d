package audit

import (
	"bytes"
	_ "embed"
	"fmt"
	"strconv"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/htmldoc"
)

//go:embed page.css
var pageCSS string

// maxPageRows bounds each list of payments in a page.
const maxPageRows = 100

// pageSecurityPolicy allows a page its own styles and nothing else.
const pageSecurityPolicy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; " +
	"base-uri 'none'"

// RenderPage returns the report as one HTML page without scripts and without
// links to other files. Times are in loc; nil is UTC.
func RenderPage(r *Report, loc *time.Location) []byte {
	if loc == nil {
		loc = time.UTC
	}
	p := &reportPageRenderer{r: r, loc: loc}
	title := "Manual captures from " + p.formatDate(r.From) + " to " + p.formatDate(r.Until)
	main := htmldoc.El("main", htmldoc.El("h1", htmldoc.Text(title)), p.renderIntro(),
		p.renderSummary(),
		p.renderExpired(), p.renderLateCaptures(), p.renderHeldNow(), p.renderOverlaps(),
		p.renderTimeToCapture(), p.renderNotes())
	head := htmldoc.El("head", htmldoc.El("meta", htmldoc.A("charset", "utf-8")),
		htmldoc.El("meta", htmldoc.A("http-equiv", "Content-Security-Policy"),
			htmldoc.A("content", pageSecurityPolicy)),
		htmldoc.El("meta", htmldoc.A("name", "viewport"),
			htmldoc.A("content", "width=device-width, initial-scale=1")),
		htmldoc.El("title", htmldoc.Text(title)), styleSheet{})
	var b bytes.Buffer
	b.WriteString("<!doctype html>\n")
	htmldoc.El("html", htmldoc.A("lang", "en"), head, htmldoc.El("body", main)).Write(&b)
	b.WriteByte('\n')
	return b.Bytes()
}

// styleSheet is the page's own styles, whose text is not escaped.
type styleSheet struct{}

func (s styleSheet) AddTo(e *htmldoc.Element) { e.Children = append(e.Children, s) }
func (styleSheet) Write(b *bytes.Buffer)      { b.WriteString("<style>\n" + pageCSS + "</style>") }

// reportPageRenderer writes one report.
type reportPageRenderer struct {
	r   *Report
	loc *time.Location
}

func (p *reportPageRenderer) formatDate(
	t time.Time,
) string {
	return t.In(p.loc).Format("2 January 2006")
}

func (p *reportPageRenderer) formatMinute(t time.Time) string {
	if t.IsZero() {
		return "not known"
	}
	return t.In(p.loc).Format("2006-01-02 15:04 MST")
}

func paragraph(format string, args ...any) *htmldoc.Element {
	return htmldoc.El("p", htmldoc.Text(fmt.Sprintf(format, args...)))
}

func (p *reportPageRenderer) renderIntro() htmldoc.Node {
	mode, account := "test", ""
	if p.r.Livemode {
		mode = "live"
	}
	if p.r.Account != "" {
		account = " of " + p.r.Account
	}
	return paragraph("holdd read %s%s in %s mode and changed none. %s placed in the period, to be "+
		"captured by a separate request.",
		hold.FormatCount(p.r.IntentsRead, "PaymentIntent", "PaymentIntents"), account, mode,
		hold.FormatCount(p.r.Authorized.Count, "authorization was", "authorizations were"))
}

// renderSummary shows what became of the authorizations.
func (p *reportPageRenderer) renderSummary() htmldoc.Node {
	r, body := p.r, htmldoc.El("tbody")
	for _, row := range []struct {
		name string
		t    *Total
	}{{"authorized", &r.Authorized}, {"captured", &r.Captured},
		{"released by a partial capture", &r.ReleasedAtCapture}, {"canceled", &r.Canceled},
		{"expired uncaptured", &r.Expired.Total}, {"still held", &r.StillHeld}} {
		htmldoc.TableRow(htmldoc.Text(row.name), intTextNode(row.t.Count),
			htmldoc.Text(row.t.FormatShareOf(r.Authorized.Count)),
			htmldoc.Text(row.t.FormatMoney())).AddTo(body)
	}
	return table(htmldoc.TableHead("", "payments", "share", "money"), body)
}

func (p *reportPageRenderer) renderExpired() htmldoc.Node {
	e := &p.r.Expired
	out := section("Expired uncaptured", paragraph("%s expired "+
		"uncaptured (%s of all): %s.",
		hold.FormatCount(e.Count, "authorization", "authorizations"), e.FormatShareOf(p.r.Authorized.Count),
		e.FormatMoney()))
	if e.Count == 0 {
		return out
	}
	var labels []string
	var counts []int
	weeks := htmldoc.El("tbody")
	for _, w := range e.ByWeek {
		labels, counts = append(labels, w.Monday), append(counts, w.Count)
		if w.Count > 0 {
			htmldoc.TableRow(htmldoc.Text(w.Monday), intTextNode(w.Count),
				htmldoc.Text(w.FormatMoney())).AddTo(weeks)
		}
	}
	columnChart("Expired authorizations by week", labels, counts).AddTo(out)
	detailsElement("By week",
		table(htmldoc.TableHead("week from", "payments", "money"), weeks)).AddTo(out)
	var names []string
	counts = nil
	brands := htmldoc.El("tbody")
	for _, b := range e.ByBrand {
		names, counts = append(names, htmldoc.ReplaceControlChars(b.Brand)), append(counts, b.Count)
		htmldoc.TableRow(htmldoc.Text(htmldoc.ReplaceControlChars(b.Brand)),
			intTextNode(b.Authorized), intTextNode(b.Count),
			htmldoc.Text(b.FormatShareOf(b.Authorized)),
			htmldoc.Text(b.FormatMoney())).AddTo(brands)
	}
	barChart("Expired authorizations by card brand", names, counts).AddTo(out)
	table(htmldoc.TableHead("brand", "authorized", "expired", "share", "money"), brands).AddTo(out)
	p.renderPayments("Each of them", e.Payments, "expired", func(x *Payment) htmldoc.Node {
		return htmldoc.Text(p.formatMinute(x.EndedAt))
	}).AddTo(out)
	return out
}

func (p *reportPageRenderer) renderLateCaptures() htmldoc.Node {
	l := &p.r.LateCaptures
	out := section("Captured in the last hours", paragraph("%s in the last 24 hours "+
		"of the authorization: %s.", hold.FormatCount(l.Count, "capture came", "captures came"),
		l.FormatMoney()))
	if l.Count == 0 {
		return out
	}
	bucketChart("Time that was left", l.Buckets).AddTo(out)
	bucketTable("left", l.Buckets).AddTo(out)
	p.renderPayments("Each of them", l.Payments, "left", func(x *Payment) htmldoc.Node {
		left := FormatDuration(int64(x.ExpiresAt.Sub(x.EndedAt).Seconds()))
		return htmldoc.Text(left + assumedDeadlineSuffix(x))
	}).AddTo(out)
	return out
}

func (p *reportPageRenderer) renderHeldNow() htmldoc.Node {
	h := &p.r.HeldNow
	out := section("Held now", paragraph("%s %s.",
		hold.FormatCount(h.Count, "authorization holds", "authorizations hold"), h.FormatMoney()))
	if h.Count == 0 {
		return out
	}
	bucketChart("Time until they end", h.Buckets).AddTo(out)
	bucketTable("ends in", h.Buckets).AddTo(out)
	p.renderPayments("The first to end", h.Payments, "ends", func(x *Payment) htmldoc.Node {
		return htmldoc.Text(p.formatMinute(x.ExpiresAt) + assumedDeadlineSuffix(x))
	}).AddTo(out)
	return out
}

func (p *reportPageRenderer) renderOverlaps() htmldoc.Node {
	h := &p.r.HeldTwice
	out := section("Held twice for one customer", paragraph("%s (%s) began "+
		"while an earlier one of the same customer held money, for %s. %d of them held "+
		"the same amount again. At most %d were held at once.",
		hold.FormatCount(h.Count, "authorization", "authorizations"), h.FormatMoney(),
		h.FormatCustomers(), h.SameAmount, h.MostAtOnce))
	rows := htmldoc.El("tbody")
	for i := range h.Overlaps[:min(len(h.Overlaps), maxPageRows)] {
		v := &h.Overlaps[i]
		same := "another amount"
		if v.SameAmount {
			same = "the same amount"
		}
		htmldoc.TableRow(htmldoc.El("code", htmldoc.Text(v.Customer)), htmldoc.El("code",
			htmldoc.Text(v.ID)), htmldoc.El("code", htmldoc.Text(v.Earlier)),
			htmldoc.Text(hold.FormatAmount(v.Amount, v.Currency)), htmldoc.Text(same),
			htmldoc.Text(p.formatMinute(v.AuthorizedAt)),
			htmldoc.Text(FormatDuration(v.Overlapped))).AddTo(rows)
	}
	if h.Count > 0 {
		detailsElement(listTitle("Each of them", len(h.Overlaps)),
			table(htmldoc.TableHead("customer",
				"PaymentIntent", "beside", "amount", "", "from", "for"), rows)).AddTo(out)
	}
	return out
}

func (p *reportPageRenderer) renderTimeToCapture() htmldoc.Node {
	t := &p.r.TimeToCapture
	out := section("Time to capture", paragraph("Of %s with a known time, half came within "+
		"%s and nine in ten within %s. The longest took %s.",
		hold.FormatCount(t.Count, "capture", "captures"), FormatDuration(t.Median),
		FormatDuration(t.P90), FormatDuration(t.Longest)))
	if t.Count > 0 {
		bucketChart("Time from authorization to capture", t.Buckets).AddTo(out)
		bucketTable("took", t.Buckets).AddTo(out)
	}
	return out
}

func (p *reportPageRenderer) renderNotes() htmldoc.Node {
	list := htmldoc.El("ul")
	for _, n := range p.r.DescribeLimitations() {
		htmldoc.El("li", htmldoc.Text(n)).AddTo(list)
	}
	return section("What is known and what is assumed", list)
}

// renderPayments lists payments with one more column.
func (p *reportPageRenderer) renderPayments(
	title string, all []Payment, column string, cell func(*Payment) htmldoc.Node,
) htmldoc.Node {
	rows := htmldoc.El("tbody")
	for i := range all[:min(len(all), maxPageRows)] {
		x := &all[i]
		htmldoc.TableRow(htmldoc.IsolateDirection(htmldoc.ReplaceControlChars(x.Reference)),
			htmldoc.El("code", htmldoc.Text(x.ID)),
			htmldoc.Text(htmldoc.ReplaceControlChars(x.cardBrandName())),
			htmldoc.Text(hold.FormatAmount(x.Amount, x.Currency)),
			htmldoc.Text(p.formatMinute(x.AuthorizedAt)), cell(x)).AddTo(rows)
	}
	return detailsElement(listTitle(title, len(all)),
		table(htmldoc.TableHead("booking", "PaymentIntent",
			"brand",
			"amount", "authorized", column), rows))
}

func listTitle(title string, n int) string {
	if n <= maxPageRows {
		return title
	}
	return fmt.Sprintf("%s: %d of %d; --json has all", title, maxPageRows, n)
}

func assumedDeadlineSuffix(x *Payment) string {
	if x.ExpiresSource == Assumed {
		return " (assumed)"
	}
	return ""
}

func section(title string, parts ...htmldoc.ElementPart) *htmldoc.Element {
	s := htmldoc.El("section", htmldoc.El("h2", htmldoc.Text(title)))
	for _, x := range parts {
		x.AddTo(s)
	}
	return s
}

func detailsElement(title string, body htmldoc.Node) *htmldoc.Element {
	return htmldoc.El("details", htmldoc.El("summary", htmldoc.Text(title)), body)
}

func table(head, body *htmldoc.Element) *htmldoc.Element {
	return htmldoc.El("div", htmldoc.Class("scroll"), htmldoc.El("table", head, body))
}

func bucketTable(column string, all []DurationBucket) *htmldoc.Element {
	body := htmldoc.El("tbody")
	for i := range all {
		htmldoc.TableRow(htmldoc.Text(FormatBucketRange(all, i)), intTextNode(all[i].Count),
			htmldoc.Text(all[i].FormatMoney())).AddTo(body)
	}
	return table(htmldoc.TableHead(column, "payments", "money"), body)
}

func intTextNode(n int) htmldoc.Node { return htmldoc.Text(strconv.Itoa(n)) }
