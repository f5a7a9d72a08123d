package store

import (
	"github.com/holdd/holdd/worker/hold"
	"google.golang.org/protobuf/encoding/protowire"
)

func appendIncrement(b []byte, i *hold.PendingIncrement) []byte {
	b = appendNumberField(b, fieldIncrementAmount, uint64(i.Amount))
	b = appendNumberField(b, fieldIncrementUntil, toMillis(i.Until))
	b = appendNumberField(b, fieldIncrementPaused, flagOrZero(1, i.Paused))
	return appendNumberField(b, fieldIncrementPauseCause, uint64(i.PauseCause))
}

// decodeIncrementField reports whether the field is of an increment.
func decodeIncrementField(i *hold.PendingIncrement, f protowire.Number, n uint64) (known bool) {
	switch f {
	case fieldIncrementAmount:
		i.Amount = int64(n)
	case fieldIncrementUntil:
		i.Until = fromMillis(n)
	case fieldIncrementPaused:
		i.Paused = n != 0
	case fieldIncrementPauseCause:
		i.PauseCause = hold.Cause(n)
	default:
		return false
	}
	return true
}
