package hold

// Condition is something that replicas see for a while, such as that Stripe is
// unavailable.
type Condition struct {
	Name     string // small letters
	Active   bool   // this replica sees it
	Severity int    // an episode that gets worse is published anew
	// RaisedEvent and ClearedEvent are the events of the beginning and the end
	// of an episode. An empty ClearedEvent says that the end is not published.
	RaisedEvent, ClearedEvent []byte
}

// ConditionChange is what a [Condition] came to.
type ConditionChange uint8

// Each of these is published once, by the replica whose report made the
// difference.
const (
	ConditionBegan ConditionChange = iota + 1
	ConditionEnded
	ConditionWorsened
)

// StreamEvent is an event in a partition's stream.
type StreamEvent struct {
	ID    string // of the entry: grows
	Event []byte // JSON
}

// SinkProgress is what a sink's deliverer saves, all of it or nothing.
type SinkProgress struct {
	State       []byte            // opaque to the store
	Park        map[string][]byte // what waits beside the stream, by hold
	Unpark      []string
	DeadLetters []DeadLetter // events that were given up
	Requeued    []string     // entries of dead letters that were delivered or given up anew
}

// DeadLetter is an event that a sink did not accept for days.
type DeadLetter struct {
	Sink      string
	Partition int
	ID        string // of the entry
	Reason    string
	Event     []byte
}
