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

// alwaysAcceptHolds accepts every valid request at no further cost.
type alwaysAcceptHolds struct{ *fakeHolds }

func (i alwaysAcceptHolds) Schedule(_ context.Context, reqs []hold.ScheduleRequest, by string) []intake.ScheduleResult {
	out := make([]intake.ScheduleResult, len(reqs))
	for n := range reqs {
		d, err := reqs[n].Validate(i.now)
		if err != nil {
			out[n].Err = err
			continue
		}
		c, err := hold.DecideNewHold(d, nil, by, i.now)
		out[n] = intake.ScheduleResult{Hold: c.Hold, Created: true, Err: err}
	}
	return out
}

// BenchmarkScheduleBatch schedules batches of 1000 over one HTTP connection. An
// operation is one hold.
func BenchmarkScheduleBatch(b *testing.B) {
	m := newFakeHolds()
	s, _ := startServer(b, api.Options{Holds: holdsOf(alwaysAcceptHolds{m})})
	reqs := make([]hold.ScheduleRequest, api.MaxBatchHolds)
	for i := range reqs {
		reqs[i] = hold.ScheduleRequest{PaymentIntent: fmt.Sprintf("pi_3PxYzA2eZvKYlo2C%08d", i), Reference: fmt.Sprintf("BK-%d", i), Amount: 12500, Currency: "eur",
			CaptureAt: m.now.Add(time.Hour).Format(time.RFC3339), ExpiresAt: m.now.Add(72 * time.Hour).Format(time.RFC3339), Metadata: map[string]string{"room": "12", "guest": "7781"}}
	}
	body, err := json.Marshal(map[string]any{"holds": reqs})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += len(reqs) {
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

// BenchmarkSchedule schedules holds one by one over one connection.
func BenchmarkSchedule(b *testing.B) {
	m := newFakeHolds()
	s, _ := startServer(b, api.Options{Holds: holdsOf(alwaysAcceptHolds{m})})
	c := newTestClient(b, s.URL, "")
	req := newScheduleRequest(m, testHoldID)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := c.Schedule(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
}
