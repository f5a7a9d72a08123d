//go:build race

package alert_test

// holdsInAWorld is few under the race detector, which makes each some ten times as dear.
const holdsInAWorld = 300
