//go:build race

package simtest

// defaultSeedCount is smaller with the race detector: it makes each four times as dear.
const defaultSeedCount = 60
