//go:build !race

package simtest

const worlds = 1000
