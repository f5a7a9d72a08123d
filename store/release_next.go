//go:build nextrelease

package store

import (
	"strings"

	"github.com/holdd/holdd/worker/hold"
)

// A later release, for the tests of rolling upgrades and rollbacks: it has one
// state and one field that this release does not know. No build for users has
// this file.

// laterState takes the place of Paused.
const laterState = byte(hold.Expired) + 1

const lastStateInRecords = int(laterState)

func encodeState(s hold.State) byte {
	if s == hold.Paused {
		return laterState
	}
	return byte(s)
}

func decodeState(b byte) hold.State {
	if b == laterState {
		return hold.Paused
	}
	return hold.State(b)
}

// fieldOfLaterRelease has a text that this release writes once into each record.
const fieldOfLaterRelease = 1000

// appendTestFieldOfNextRelease appends the later release's field, if the record does not
// have it among the fields that decodeRecord keeps.
func appendTestFieldOfNextRelease(b []byte, h *hold.Hold) []byte {
	const text = "of the next release"
	if strings.Contains(h.Unknown.Fields, text) {
		return b
	}
	return appendTextField(b, fieldOfLaterRelease, text)
}
