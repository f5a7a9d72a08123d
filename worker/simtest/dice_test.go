package simtest

import (
	"encoding/binary"
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// mix makes one number of what it is given, the same one always. It is where all chance in a simulated world comes from: what happens at a place
// depends on the seed and on what is done there, never on which goroutine came first.
func mix(seed uint64, parts ...string) uint64 {
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

// dice are thrown in one goroutine only.
type dice struct{ *rand.Rand }

func throw(seed uint64, parts ...string) dice {
	return dice{rand.New(rand.NewPCG(mix(seed, parts...), seed))}
}

func (d dice) chance(p float64) bool { return d.Float64() < p }

// between is from a to below b, to the nanosecond: two things that begin at such times hardly ever begin at once.
func (d dice) between(a, b time.Duration) time.Duration {
	if b <= a {
		return a
	}
	return a + time.Duration(d.Int64N(int64(b-a)))
}

func pick[T any](d dice, of ...T) T { return of[d.IntN(len(of))] }
