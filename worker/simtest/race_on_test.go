//go:build race

package simtest

// worlds are fewer with the race detector: it makes each four times as dear.
const worlds = 60
