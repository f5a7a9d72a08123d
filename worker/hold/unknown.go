package hold

// UnknownFields are the parts of a record that a later release wrote and that
// this release does not know. No decision depends on them. The store writes
// them back with the hold, so that the later release finds them again.
type UnknownFields struct {
	Fields string // as they are in the record
	Flags  uint64 // bits
	Packed uint64 // values behind the known ones that share a field
}

// IsEmpty reports whether the record had only known fields.
func (u *UnknownFields) IsEmpty() bool { return *u == UnknownFields{} }

// HasUnknownValues reports whether a later release has put the hold into a
// state, planned an operation or set a policy that this release does not know.
// This release must not act on such a hold, and must not write it.
func HasUnknownValues(h *Hold) bool {
	r := h.Renewal
	return h.State == 0 || h.State > lastState || h.PreviousState > lastState ||
		h.NextOp > lastOp || h.OnExpiry > lastPolicy ||
		r != nil && (r.Step > lastRenewalStep || r.OnFailure > lastPolicy)
}

// The last known value of each.
const (
	lastState       = Expired
	lastOp          = OpRelease
	lastPolicy      = PolicyAlert
	lastRenewalStep = RenewalReleaseFirst
)
