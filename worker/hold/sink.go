package hold

// DaemonConditionReport is what one replica reports of a state of the daemon that lasts, such as
// Stripe being unavailable.
type DaemonConditionReport struct {
	Name     string // lower case
	Active   bool   // as this replica sees it
	Severity int    // a higher severity is published again
	// RaisedEvent and ClearedEvent are the events of the beginning and the end
	// of an episode. With an empty ClearedEvent the end is not published.
	RaisedEvent, ClearedEvent []byte
}

// DaemonConditionChange is the effect of a [DaemonConditionReport].
type DaemonConditionChange uint8

// The changes of a condition. The replica whose report made the change
// publishes it, once.
const (
	ConditionBegan DaemonConditionChange = iota + 1
	ConditionEnded
	ConditionWorsened
)

// StreamEvent is an event in a partition's stream.
type StreamEvent struct {
	ID    string // of the entry; increasing
	Event []byte // JSON
}

// SinkProgressWrite is the progress of a sink's delivery. The store saves all of it
// or nothing.
type SinkProgressWrite struct {
	State       []byte            // opaque to the store
	Park        map[string][]byte // held back behind a failed event, by hold
	Unpark      []string          // holds that are no longer parked
	DeadLetters []DeadLetter      // new ones
	Requeued    []string          // dead letters whose retry has ended
}

// DeadLetter is an event that a sink did not accept for days.
type DeadLetter struct {
	Sink      string
	Partition int
	ID        string // of the entry
	Reason    string
	Event     []byte
}
