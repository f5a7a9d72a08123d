package hold

import (
	"errors"
	"time"
)

// ErrUnreadableRecord is wrapped by the store's errors about records that it
// cannot read. The store still returns the other records.
var ErrUnreadableRecord = errors.New(
	"unreadable record: written by another program or by a newer holdd")

// UnreadableRecordError names a hold whose record the store cannot read. It
// wraps [ErrUnreadableRecord].
type UnreadableRecordError struct{ HoldID string }

func (e *UnreadableRecordError) Error() string {
	return "hold " + e.HoldID + ": " + ErrUnreadableRecord.Error()
}

// Unwrap returns [ErrUnreadableRecord].
func (e *UnreadableRecordError) Unwrap() error { return ErrUnreadableRecord }

// NewUnreadableProblem refuses a request for a hold whose record is unreadable.
func NewUnreadableProblem(id string) *Problem {
	return newProblem(RecordUnreadable, "", "the record of hold %s in Redis is unreadable: a newer "+
		"holdd or another program wrote it. Upgrade holdd again, or run holdd repair %s", id, id)
}

// UnreadableHoldIDsInError returns the ids of the holds whose records err says are
// unreadable, in the order of the errors.
func UnreadableHoldIDsInError(err error) []string {
	switch e := err.(type) { //nolint:errorlint // it walks the tree of errors itself
	case *UnreadableRecordError:
		return []string{e.HoldID}
	case interface{ Unwrap() []error }:
		var ids []string
		for _, one := range e.Unwrap() {
			ids = append(ids, UnreadableHoldIDsInError(one)...)
		}
		return ids
	case interface{ Unwrap() error }:
		return UnreadableHoldIDsInError(e.Unwrap())
	}
	return nil
}

// RawRecord is the record of a hold as the store has it.
type RawRecord struct {
	ID       string
	Exists   bool
	Readable bool
	Later    bool   // a later release seems to have written it
	Account  string // in the record; empty if it has none that is valid
	// Unmirrored says that the last terms were not yet written to the intent's
	// metadata.
	Unmirrored bool
	Digest     string // of the whole record
	Size       int    // in bytes
	Bytes      []byte // cut if the record is larger than any of a hold
}

// QuarantinedRecord is a record that was unreadable and was replaced.
type QuarantinedRecord struct {
	HoldID     string
	At         time.Time
	By         string // who asked for the repair
	Account    string
	Unmirrored bool
	Size       int    // in bytes
	Record     []byte // at most its first 32 KiB
}
