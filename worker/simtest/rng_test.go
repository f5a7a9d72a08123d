package simtest

import (
	"encoding/binary"
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// hashSeed makes one number of what it is given, the same one always. It is
// where all chance in a simulated world comes from: what happens at a place
// depends on the seed and on what is done there, never on which goroutine came
// first.
func hashSeed(seed uint64, parts ...string) uint64 {
	f := fnv.New64a()
	f.Write(binary.BigEndian.AppendUint64(nil, seed))
	for _, p := range parts {
		f.Write([]byte(p))
		f.Write([]byte{0})
	}
	x := f.Sum64()
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// rng is a source of random values for one goroutine.
type rng struct{ *rand.Rand }

func newRNG(seed uint64, parts ...string) rng {
	return rng{rand.New(rand.NewPCG(hashSeed(seed, parts...), seed))}
}

func (d rng) chance(p float64) bool { return d.Float64() < p }

// durationBetween is from a to below b, to the nanosecond: two things that
// begin at such times hardly ever begin at once.
func (d rng) durationBetween(a, b time.Duration) time.Duration {
	if b <= a {
		return a
	}
	return a + time.Duration(d.Int64N(int64(b-a)))
}

func pickOne[T any](d rng, of ...T) T { return of[d.IntN(len(of))] }
