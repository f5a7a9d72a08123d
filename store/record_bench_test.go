package store

import "testing"

func BenchmarkEncodeRecord(b *testing.B) {
	h := typicalHold()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = appendRecord(buf[:0], &h)
	}
	b.ReportMetric(float64(len(buf)), "B/record")
}

func BenchmarkDecodeRecord(b *testing.B) {
	h := typicalHold()
	rec := string(appendRecord(nil, &h))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := decodeRecord(h.ID, rec); err != nil {
			b.Fatal(err)
		}
	}
}
