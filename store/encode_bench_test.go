package store

import "testing"

func BenchmarkEncode(b *testing.B) {
	h := typical()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = encodeRecord(buf[:0], &h)
	}
	b.ReportMetric(float64(len(buf)), "B/record")
}

func BenchmarkDecode(b *testing.B) {
	h := typical()
	rec := string(encodeRecord(nil, &h))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := decodeRecord(h.ID, rec); err != nil {
			b.Fatal(err)
		}
	}
}
