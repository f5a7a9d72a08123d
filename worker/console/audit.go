package console

import (
	"encoding/csv"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
)

const (
	// auditedEvents and auditedHolds bound what one page reads.
	auditedEvents = 500
	auditedHolds  = 100
)

// holdHistoryEntry is what was done to a hold.
type holdHistoryEntry struct {
	hold  *hold.Hold
	entry hold.HistoryEntry
}

// recentHistoryPages show who did what.
type recentHistoryPages struct{ o *Options }

// auditPage lists who did what to the holds with the newest events. The history
// of a hold says who; its events say which holds to read.
func (pages *recentHistoryPages) auditPage(q *request) (pageView, error) {
	entries, err := pages.readRecentHistoryEntries(q)
	if err != nil {
		return pageView{}, err
	}
	if q.r.FormValue("format") == "csv" {
		return pageView{csv: formatAuditCSV(q, entries)}, nil
	}
	by, ref := q.r.FormValue("by"), q.r.FormValue("q")
	form := el("form", class("search"), a("action", "/console/audit"),
		el("label", a("for", "by"), text(q.t("col.by"))),
		el("input", a("id", "by"), a("name", "by"), a("value", by), a("maxlength", "40")),
		el("label", a("for", "search"), text(q.t("col.booking"))),
		el("input", a("id", "search"), a("name", "q"), a("value", ref), a("maxlength", "200")),
		el("button", text(q.t("audit.filter"))),
		link("/console/audit?"+url.Values{"by": {by}, "q": {ref}, "format": {"csv"}}.Encode(),
			q.t("audit.csv")))
	body := group{el("p", text(q.t("audit.intro"))), form}
	if len(entries) == 0 {
		body = append(body, el("p", class("empty"), text(q.t("audit.none"))))
	} else {
		rows := el("tbody")
		for i := range entries {
			e := &entries[i]
			tableRow(q.renderTime(e.entry.At), text(e.entry.By),
				text(formatHistoryEntryTitle(q, &e.entry)),
				holdLink(q, e.hold), bdi(replaceControlChars(e.entry.Note))).AddTo(rows)
		}
		body = append(body, el("div", class("scroll"), a("tabindex", "0"), a("role", "region"),
			a("aria-label", q.t("nav.audit")), el("table", tableHead(q.t("col.time"), q.t("col.by"),
				q.t("col.what"), q.t("col.booking"), q.t("col.note")), rows)))
	}
	return pageView{title: q.t("nav.audit"), tab: "audit", body: body, live: true}, nil
}

// readRecentHistoryEntries returns the entries that match the page's filter, newest
// first.
func (pages *recentHistoryPages) readRecentHistoryEntries(q *request) ([]holdHistoryEntry, error) {
	events, err := pages.o.Store.ReadNewestEvents(q.ctx(), auditedEvents)
	if err != nil {
		return nil, wrapAsUnavailable(err)
	}
	seen := map[string]bool{}
	var entries []holdHistoryEntry
	for _, raw := range events {
		var e event.Envelope
		if json.Unmarshal(raw.Event, &e) != nil || e.Data.Hold.ID == "" || seen[e.Data.Hold.ID] {
			continue
		}
		if seen[e.Data.Hold.ID] = true; len(seen) > auditedHolds {
			break
		}
		h, _, err := pages.o.Reader.Get(q.ctx(), e.Data.Hold.ID)
		if err != nil {
			if isNotFound(err) { // purged
				continue
			}
			return nil, err
		}
		for _, entry := range h.History {
			x := holdHistoryEntry{hold: &h, entry: entry}
			if x.matchesFilter(q.r.FormValue("by"), q.r.FormValue("q")) {
				entries = append(entries, x)
			}
		}
	}
	slices.SortStableFunc(entries, func(a, b holdHistoryEntry) int {
		return b.entry.At.Compare(a.entry.At)
	})
	return entries[:min(len(entries), auditedEvents)], nil
}

func (x *holdHistoryEntry) matchesFilter(by, reference string) bool {
	return (by == "" || x.entry.By == by) &&
		(reference == "" || strings.HasPrefix(x.hold.Reference, reference) || x.hold.ID == reference)
}

// formatAuditCSV writes entries for a spreadsheet.
func formatAuditCSV(q *request, entries []holdHistoryEntry) string {
	var b strings.Builder
	w := csv.NewWriter(&b)
	_ = w.Write([]string{"time", "by", "what", "reference", "hold", "amount",
		"currency", "note"})
	for i := range entries {
		e := &entries[i]
		_ = w.Write([]string{e.entry.At.UTC().Format(time.RFC3339),
			escapeSpreadsheetFormula(e.entry.By),
			formatHistoryEntryTitle(q, &e.entry),
			escapeSpreadsheetFormula(replaceControlChars(e.hold.Reference)), e.hold.ID,
			hold.FormatMajor(e.hold.Amount, e.hold.Currency), strings.ToUpper(e.hold.Currency),
			escapeSpreadsheetFormula(replaceControlChars(e.entry.Note))})
	}
	w.Flush() // a strings.Builder accepts every write
	return b.String()
}

// escapeSpreadsheetFormula keeps a spreadsheet from taking a text for a formula.
func escapeSpreadsheetFormula(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}
