package hold

// SortedSet is one of the orders in which the store keeps holds.
type SortedSet uint8

const (
	SetScheduled  SortedSet = iota + 1 // by the time that they become ready
	SetExpiring                        // open ones, by the next milestone of their deadline
	SetWorking                         // by the end of their lease
	SetAttention                       // by their deadline
	SetSettled                         // by their end, newest first
	SetReferences                      // by reference
	SetReady                           // due and not claimed, by deadline
)

// Position is a place in a set: after the hold with this score and name. Its
// zero value is the beginning.
type Position struct {
	Score  int64  `json:"s,omitempty"`
	Member string `json:"n,omitempty"`
}

// ListedHold is a hold in a set, and its place there.
type ListedHold struct {
	Hold     Hold
	Position Position
}
