//go:build !nextrelease

package store

import "github.com/holdd/holdd/worker/hold"

// This release writes only what is described in record.go. The tests build a
// later release with the tag nextrelease: see release_next.go.

// lastStateInRecords is the last state that a record can have.
const lastStateInRecords = int(hold.Expired)

func encodeState(s hold.State) byte { return byte(s) }

func decodeState(b byte) hold.State { return hold.State(b) }

func appendTestFieldOfNextRelease(b []byte, _ *hold.Hold) []byte { return b }
