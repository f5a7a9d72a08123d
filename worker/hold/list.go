package hold

// SortedSet is one of the orders in which the store keeps holds.
type SortedSet uint8

// The sorted sets.
const (
	SetScheduled  SortedSet = iota + 1 // by the time when they become ready
	SetExpiring                        // open holds, by the next milestone of their deadline
	SetWorking                         // by the end of their lease
	SetAttention                       // by deadline
	SetSettled                         // by settlement, newest first
	SetReferences                      // by reference
	SetReady                           // due and not claimed, by deadline
	SetDoubleHeld                      // two intents may hold money, longest first
)

// SortedSetPosition is a place in a set: after the hold with this score and
// member. The zero value is the beginning.
type SortedSetPosition struct {
	Score  int64  `json:"s,omitempty"`
	Member string `json:"n,omitempty"`
}

// SettledCursor is a place in a walk over the settled holds of all partitions.
// The zero value is the beginning.
type SettledCursor struct{ Partitions []SortedSetPosition }

// HoldAtPosition is a hold in a set with its position.
type HoldAtPosition struct {
	Hold     Hold
	Position SortedSetPosition
}
