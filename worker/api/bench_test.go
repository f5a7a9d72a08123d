package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
)

// instant grants every wish at no cost of its own but the check.
type instant struct{ *memory }

func (i instant) Schedule(_ context.Context, wishes []hold.ScheduleRequest, by string) []intake.ScheduleResult {
	out := make([]intake.ScheduleResult, len(wishes))
	for n := range wishes {
		d, err := wishes[n].Validate(i.now)
		if err != nil {
			out[n].Err = err
			continue
		}
		c, err := hold.New(d, nil, by, i.now)
		out[n] = intake.ScheduleResult{Hold: c.Hold, Created: true, Err: err}
	}
	return out
}

// BenchmarkBatch is one HTTP connection that schedules batches of 1000; an operation is one hold.
func BenchmarkBatch(b *testing.B) {
	m := newMemory()
	s, _ := serve(b, api.Options{Holds: holdsOf(instant{m})})
	wishes := make([]hold.ScheduleRequest, api.MaxBatch)
	for i := range wishes {
		wishes[i] = hold.ScheduleRequest{PaymentIntent: fmt.Sprintf("pi_3PxYzA2eZvKYlo2C%08d", i), Reference: fmt.Sprintf("BK-%d", i), Amount: 12500, Currency: "eur",
			CaptureAt: m.now.Add(time.Hour).Format(time.RFC3339), ExpiresAt: m.now.Add(72 * time.Hour).Format(time.RFC3339), Metadata: map[string]string{"room": "12", "guest": "7781"}}
	}
	body, err := json.Marshal(map[string]any{"holds": wishes})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += len(wishes) {
		res, err := http.Post(s.URL+"/v1/holds:batch", "application/json", bytes.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != 200 {
			b.Fatal(res.Status, err)
		}
		res.Body.Close()
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "holds/s")
}

// BenchmarkSchedule is one connection that schedules holds one by one.
func BenchmarkSchedule(b *testing.B) {
	m := newMemory()
	s, _ := serve(b, api.Options{Holds: holdsOf(instant{m})})
	c := client(b, s.URL, "")
	w := wish(m, id)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := c.Schedule(b.Context(), w); err != nil {
			b.Fatal(err)
		}
	}
}
