//go:build !race

package simtest

const defaultSeedCount = 1000
