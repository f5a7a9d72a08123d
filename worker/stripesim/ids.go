package stripesim

import (
	"crypto/sha256"
	"encoding/binary"
)

const base62Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// idSpace is 62^8, the number of ids of an account. idMultiplier shares no
// factor with it, so that counting visits every value once, in a scattered
// order.
const (
	idSpace      = 62 * 62 * 62 * 62 * 62 * 62 * 62 * 62
	idMultiplier = 131_273_853_219_413 % idSpace
)

func base62(n uint64, width int) string {
	var b [32]byte
	for i := width - 1; i >= 0; i-- {
		b[i] = base62Alphabet[n%62]
		n /= 62
	}
	return string(b[:width])
}

// seededToken returns width characters that depend on the seed and the words
// only.
func seededToken(seed uint64, width int, words ...string) string {
	h := sha256.New()
	var s [8]byte
	binary.LittleEndian.PutUint64(s[:], seed)
	h.Write(s[:])
	for _, w := range words {
		h.Write([]byte(w))
		h.Write([]byte{0})
	}
	sum := h.Sum(nil)
	b := make([]byte, width)
	for i := range b {
		b[i] = base62Alphabet[int(sum[i])%62]
	}
	return string(b)
}

func scramble(seed, n uint64) uint64 {
	hi := seed % idSpace
	return mulAddMod(n%idSpace, idMultiplier, idSpace, hi)
}

// mulAddMod returns (a*b + c) mod m for m below 2^48, without overflow.
func mulAddMod(a, b, m, c uint64) uint64 {
	var r uint64
	for ; b > 0; b >>= 1 {
		if b&1 == 1 {
			r = (r + a) % m
		}
		a = a * 2 % m
	}
	return (r + c) % m
}
