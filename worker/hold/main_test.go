package hold_test

import (
	"flag"
	"os"
	"testing"
)

// TestMain asks for more random runs than rapid's hundred. -rapid.checks on the
// command line wins: make prove asks for 10,000.
func TestMain(m *testing.M) {
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "rapid.checks" })
	if !asked {
		if err := flag.Set("rapid.checks", "2000"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
