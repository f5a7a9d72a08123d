//go:build !race

package alert_test

const holdsInAWorld = 5000
