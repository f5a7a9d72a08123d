package hold

import "time"

// AuditLogEntry says who changed a hold, or did something else as an operator.
type AuditLogEntry struct {
	At       time.Time `json:"at"`
	By       string    `json:"by"`
	Act      string    `json:"act"`          // kind of the history entry, or one of the acts below
	Op       string    `json:"op,omitempty"` // capture or cancel, of a request to act
	Hold     string    `json:"hold,omitempty"`
	Account  string    `json:"account,omitempty"`
	Revision uint64    `json:"revision,omitempty"` // after the change
	Detail   string    `json:"detail,omitempty"`   // never a secret and never personal data
}

// Acts that are in no history of a hold.
const (
	ActBulk                = "bulk" // of the console; each hold has its own entry as well
	ActDeadLettersReplayed = "dead_letters_replayed"
	ActLogLevelChanged     = "log_level_changed"
	ActPersonalDataErased  = "personal_data_erased"
	ActRecordRepaired      = "record_repaired"
	ActRepartitioned       = "repartitioned"
	ActSettingsReloaded    = "settings_reloaded"
)

// newHistoryEntries returns the entries that a decision adds to the history of the
// hold. before is the hold that it was made on.
func newHistoryEntries(d *Decision, before *Hold) []HistoryEntry {
	list := d.Hold.History
	added := len(list) + int(d.Hold.HistoryDropped) - len(before.History) - int(before.HistoryDropped)
	return list[len(list)-max(0, min(added, len(list))):]
}

// By says who made the decision: the author of the newest entry that it adds to
// the history, or holdd.
func (d *Decision) By(before *Hold) string {
	added := newHistoryEntries(d, before)
	for i := len(added) - 1; i >= 0; i-- {
		if added[i].By != "" {
			return added[i].By
		}
	}
	return byHoldd
}

// byHoldd is the author of what holdd does by itself.
const byHoldd = "holdd"

// AuditEntries returns the changes of a decision that a caller or Stripe requested,
// and none of holdd itself.
func (d *Decision) AuditEntries(before *Hold) (entries []AuditLogEntry) {
	for _, e := range newHistoryEntries(d, before) {
		if e.By == byHoldd || e.Kind > HistoryAcknowledged {
			continue
		}
		entry := AuditLogEntry{At: e.At.UTC(), By: e.By, Act: e.Kind.String(), Hold: d.Hold.ID,
			Account: d.Hold.Account, Revision: d.Hold.Revision}
		if e.Op != 0 {
			entry.Op = e.Op.String()
		}
		entries = append(entries, entry)
	}
	return entries
}
