package main

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/holdd/holdd/worker/audit"
	"github.com/holdd/holdd/worker/hold"
)

// maxAuditRows bounds each list of payments in the text.
const maxAuditRows = 10

// outputAuditReportAndHTMLPage prints the report and writes the page.
func outputAuditReportAndHTMLPage(
	out *terminal,
	r *audit.Report,
	times timeFormatter,
	f *auditFlags,
) error {
	if f.asJSON {
		if err := out.printJSONLine(r); err != nil {
			return err
		}
	} else {
		printAuditReport(out, r, times)
	}
	if f.htmlPath == "" {
		return nil
	}
	if err := writeFileAtomically(f.htmlPath, audit.RenderPage(r, times.location),
		0o600); err != nil {
		return fmt.Errorf("cannot write the page: %w", err)
	}
	out.printNote("the page is in %s", f.htmlPath)
	return nil
}

func printAuditReport(out *terminal, r *audit.Report, times timeFormatter) {
	out.printLiveModeNotice(r.Livemode)
	account := ""
	if r.Account != "" {
		account = " of " + r.Account
	}
	printSentence(out, "%s%s read, none changed. Manual captures from %s to %s:",
		hold.FormatCount(r.IntentsRead, "PaymentIntent", "PaymentIntents"), account, times.formatMinute(r.From), times.formatMinute(r.Until))
	fmt.Fprintln(out.stdout)
	printAuditOutcomes(out, r)
	printAuditExpired(out, r, times)
	printAuditLateCaptures(out, r, times)
	printAuditHeldNow(out, r, times)
	printAuditOverlaps(out, r, times)
	printAuditTimeToCapture(out, r)
	printHeading(out, "What is known and what is assumed")
	for _, n := range r.DescribeLimitations() {
		printSentence(out, "%s", n)
	}
}

func printSentence(out *terminal, format string, args ...any) {
	fmt.Fprintln(out.stdout, wrapText(fmt.Sprintf(format, args...), auditTextWidth))
}

// auditMoneyWidth is the columns of money in a table. Longer sums have a line
// for each currency.
const auditMoneyWidth = 30

func formatMoneyCell(t *audit.Total) string {
	if s := t.FormatMoney(); len(s) <= auditMoneyWidth {
		return s
	}
	return strings.ReplaceAll(t.FormatMoney(), ", ", "\n")
}

// auditTextWidth is the columns of sentences.
const auditTextWidth = 78

// auditReferenceWidth is the most characters of a booking beside an id, an amount and a time.
const auditReferenceWidth = 14

// wordPattern matches a word. An amount with its currency is one, and a number with a unit of time.
var wordPattern = regexp.MustCompile(`\d[\d.]* (?:[A-Z]{3}|d|h|min|s)\b\S*|\S+`)

// wrapText breaks a sentence between words, and a word that is longer than a line.
func wrapText(s string, width int) string {
	var b strings.Builder
	column := 0
	for i, word := range wordPattern.FindAllString(s, -1) {
		w := []rune(word)
		switch {
		case i == 0:
		case column+1+len(w) > width:
			b.WriteString("\n")
			column = 0
		default:
			b.WriteString(" ")
			column++
		}
		for ; len(w) > width; w = w[width:] {
			b.WriteString(string(w[:width]) + "\n")
		}
		b.WriteString(string(w))
		column += len(w)
	}
	return b.String()
}

func printHeading(out *terminal, title string) {
	fmt.Fprintf(out.stdout, "\n%s\n", out.colorTextForStdout(bold, wrapText(title, auditTextWidth)))
}

func printAuditOutcomes(out *terminal, r *audit.Report) {
	t := out.newTable("authorizations", "payments", "share", "money")
	for _, row := range []struct {
		name string
		t    *audit.Total
	}{{"authorized", &r.Authorized}, {"captured", &r.Captured},
		{"partly released", &r.ReleasedAtCapture}, {"canceled", &r.Canceled},
		{"expired uncaptured", &r.Expired.Total}, {"still held", &r.StillHeld}} {
		t.AppendRow([]any{row.name, row.t.Count, row.t.FormatShareOf(r.Authorized.Count),
			formatMoneyCell(row.t)})
	}
	t.Render()
}

func printAuditExpired(out *terminal, r *audit.Report, times timeFormatter) {
	e := &r.Expired
	printHeading(out, "Expired uncaptured: "+e.FormatMoney())
	if e.Count == 0 {
		return
	}
	t := out.newTable("brand", "authorized", "expired", "share", "money")
	for _, b := range e.ByBrand {
		t.AppendRow([]any{sanitize(b.Brand), b.Authorized, b.Count, b.FormatShareOf(b.Authorized),
			formatMoneyCell(&b.Total)})
	}
	t.Render()
	fmt.Fprintln(out.stdout)
	t = out.newTable("week from", "expired", "money")
	shown := 0
	for i := len(e.ByWeek) - 1; i >= 0 && shown < maxAuditRows; i-- {
		if w := &e.ByWeek[i]; w.Count > 0 {
			t.AppendRow([]any{w.Monday, w.Count, formatMoneyCell(&w.Total)})
			shown++
		}
	}
	t.Render()
	fmt.Fprintln(out.stdout)
	printAuditPayments(out, e.Payments, times, "expired", func(p *audit.Payment) string {
		return times.formatMinute(p.EndedAt)
	})
}

func printAuditLateCaptures(out *terminal, r *audit.Report, times timeFormatter) {
	l := &r.LateCaptures
	printHeading(out, "Captured in the last 24 hours of the authorization: "+l.FormatMoney())
	if l.Count == 0 {
		return
	}
	printAuditBuckets(out, "left", l.Buckets)
	fmt.Fprintln(out.stdout)
	printAuditPayments(out, l.Payments, times, "left", func(p *audit.Payment) string {
		return audit.FormatDuration(int64(p.ExpiresAt.Sub(p.EndedAt).Seconds()))
	})
}

func printAuditHeldNow(out *terminal, r *audit.Report, times timeFormatter) {
	h := &r.HeldNow
	printHeading(out, "Held now: "+h.FormatMoney())
	if h.Count == 0 {
		return
	}
	printAuditBuckets(out, "ends in", h.Buckets)
	fmt.Fprintln(out.stdout)
	printAuditPayments(out, h.Payments, times, "ends", func(p *audit.Payment) string {
		return times.formatMinute(p.ExpiresAt)
	})
}

func printAuditOverlaps(out *terminal, r *audit.Report, times timeFormatter) {
	h := &r.HeldTwice
	printHeading(out, "Held twice for one customer: "+h.FormatMoney())
	if h.Count == 0 {
		return
	}
	printSentence(out, "%s placed while an earlier one of the same customer "+
		"held money, %d of them with the same amount, for %s. At most %d at once.",
		hold.FormatCount(h.Count, "authorization was", "authorizations were"), h.SameAmount, h.FormatCustomers(), h.MostAtOnce)
	t := out.newTable("intent", "amount", "beside", "for")
	for i := range h.Overlaps[:min(len(h.Overlaps), maxAuditRows)] {
		v := &h.Overlaps[i]
		// Two ids leave room for the largest unit: 22 h of 22 h 53 min.
		overlap := strings.Fields(audit.FormatDuration(v.Overlapped))[:2]
		t.AppendRow([]any{v.ID, hold.FormatAmount(v.Amount, v.Currency), v.Earlier,
			strings.Join(overlap, " ")})
	}
	t.Render()
	printAuditOmittedRows(out, len(h.Overlaps))
}

func printAuditTimeToCapture(out *terminal, r *audit.Report) {
	c := &r.TimeToCapture
	printHeading(out, "Time to capture")
	if c.Count == 0 {
		fmt.Fprintln(out.stdout, "No capture has a known time.")
		return
	}
	printSentence(out, "Half of %s came within %s, nine in ten within %s, the last "+
		"after %s.", hold.FormatCount(c.Count, "capture", "captures"), audit.FormatDuration(c.Median), audit.FormatDuration(c.P90),
		audit.FormatDuration(c.Longest))
	printAuditBuckets(out, "took", c.Buckets)
}

func printAuditBuckets(out *terminal, column string, all []audit.DurationBucket) {
	t := out.newTable(column, "payments", "money")
	for i := range all {
		t.AppendRow([]any{audit.FormatBucketRange(all, i), all[i].Count,
			formatMoneyCell(&all[i].Total)})
	}
	t.Render()
}

func printAuditPayments(
	out *terminal, all []audit.Payment, times timeFormatter, column string,
	cell func(*audit.Payment) string,
) {
	t := out.newTable("booking", "intent", "amount", column)
	for i := range all[:min(len(all), maxAuditRows)] {
		p := &all[i]
		t.AppendRow([]any{shortenText(sanitize(p.Reference), auditReferenceWidth), p.ID,
			hold.FormatAmount(p.Amount, p.Currency), cell(p)})
	}
	t.Render()
	printAuditOmittedRows(out, len(all))
}

func printAuditOmittedRows(out *terminal, n int) {
	if n > maxAuditRows {
		out.printNote("%d of %d: --json has all", maxAuditRows, n)
	}
}
