package api_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

// Whatever the body, the answer is a hold that says what the body said, or a problem, and what is refused leaves nothing behind.
func FuzzSchedule(f *testing.F) {
	m := newMemory()
	a, err := api.New(api.Options{Holds: m})
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{
		`{"payment_intent":"` + id + `"}`, `{"payment_intent":"` + id + `","amount":12500,"currency":"eur","metadata":{"a":"b"},"on_expiry":"capture"}`,
		`{"payment_intent":"` + id + `","capture_at":"2026-10-25T02:30","time_zone":"Europe/Paris"}`, `{"amount":1e3}`, `null`, `[`, `{"a":1,"a":2}`, "\xff", `{"holds":[{}]}`, `{"payment_intent":"pi_12345678","amount":null}`,
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(`{"holds":[`+s+`]}`), true)
	}
	f.Fuzz(func(t *testing.T, body []byte, batch bool) {
		clear(m.holds)
		path := "/v1/holds"
		if batch {
			path += ":batch"
		}
		r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1"+path, bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		switch {
		case w.Code == 201 && !batch:
			var v hold.View
			var sent hold.Wish
			if json.Unmarshal(w.Body.Bytes(), &v) != nil || json.Unmarshal(body, &sent) != nil || v.ID != sent.PaymentIntent || v.Amount != sent.Amount || len(m.holds) != 1 {
				t.Errorf("%q: %s", body, w.Body)
			}
		case w.Code == 200 && batch:
			var b api.Batch
			if json.Unmarshal(w.Body.Bytes(), &b) != nil || len(b.Results) == 0 || len(b.Results) > api.MaxBatch {
				t.Errorf("%q: %s", body, w.Body)
			}
		case w.Code >= 400 && w.Code < 500:
			codeOf(t, answer{w.Code, w.Header(), w.Body.String()})
			if len(m.holds) != 0 {
				t.Errorf("%q was refused and scheduled", body)
			}
		default:
			t.Errorf("%q: %d %s", body, w.Code, w.Body)
		}
	})
}
