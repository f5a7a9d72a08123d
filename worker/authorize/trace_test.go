package authorize_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/tracing"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/zap"
)

// Wherever the process of a traced request dies, the process that finishes its
// authorization goes on with its trace.
func TestAttemptResumer_ContinuesTrace(t *testing.T) {
	const traceID = "0af7651916cd43dd8448eb211c80319c"
	resumed := 0
	for dieAt := 1; ; dieAt++ {
		finished := false
		inWorld(t, func(w *world) {
			spans := tracetest.NewInMemoryExporter()
			tracer, err := tracing.New(w.Ctx, tracing.Options{Logger: zap.NewNop(), Exporter: spans})
			if err != nil {
				t.Fatal(err)
			}
			defer tracer.Close()
			w.tracer = tracer
			r := httptest.NewRequest(http.MethodPost, "/v1/authorizations", nil)
			r.Header.Set("Traceparent", "00-"+traceID+"-b7ad6b7169203331-01")
			ctx, end := tracer.StartRequest(w.Ctx, r, "POST /v1/authorizations")
			first := w.start(dieAt)
			a, err := first.Authorize(ctx, callerKey, booking(card("pm_card_visa")), "api")
			end(http.StatusCreated)
			finished = err == nil && a.Hold != nil && !first.IsKilled()
			first.SimulateSIGKILL()
			second := w.start(0)
			time.Sleep(5 * time.Minute)
			if id := w.authorizedIntent(); id != "" {
				if got := w.holdOf(second, id).Trace; got.TraceIDText() != traceID {
					t.Errorf("dies at %d: the hold has the trace %s", dieAt, got.Traceparent())
				}
			}
			time.Sleep(10 * time.Second) // the queue is sent
			for _, s := range spans.GetSpans() {
				if s.Name != "resume authorization" {
					continue
				}
				resumed++
				if s.SpanContext.TraceID().String() != traceID || len(s.Links) != 1 {
					t.Errorf("dies at %d: %+v", dieAt, s)
				}
			}
		})
		if finished {
			break
		}
	}
	if resumed == 0 {
		t.Error("no attempt was resumed")
	}
}
