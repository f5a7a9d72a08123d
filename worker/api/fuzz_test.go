package api_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

// Any body leads either to a hold with the body's terms, or to a problem and no
// hold.
func FuzzSchedule(f *testing.F) {
	m := newFakeHolds()
	a, err := api.New(api.Options{Holds: holdsOf(m)})
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{
		`{"payment_intent":"` + testHoldID + `"}`, `{"payment_intent":"` + testHoldID + `","amount":12500,"currency":"eur","metadata":{"a":"b"},"on_expiry":"capture"}`,
		`{"payment_intent":"` + testHoldID + `","capture_at":"2026-10-25T02:30","time_zone":"Europe/Paris"}`, `{"amount":1e3}`, `null`, `[`, `{"a":1,"a":2}`, "\xff", `{"holds":[{}]}`, `{"payment_intent":"pi_12345678","amount":null}`,
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
			var sent hold.ScheduleRequest
			if json.Unmarshal(w.Body.Bytes(), &v) != nil || json.Unmarshal(body, &sent) != nil || v.ID != sent.PaymentIntent || v.Amount != sent.Amount || len(m.holds) != 1 {
				t.Errorf("%q: %s", body, w.Body)
			}
		case w.Code == 200 && batch:
			var b api.BatchResponse
			if json.Unmarshal(w.Body.Bytes(), &b) != nil || len(b.Results) == 0 || len(b.Results) > api.MaxBatchHolds {
				t.Errorf("%q: %s", body, w.Body)
			}
		case w.Code >= 400 && w.Code < 500:
			problemCode(t, response{w.Code, w.Header(), w.Body.String()})
			if len(m.holds) != 0 {
				t.Errorf("%q was refused and scheduled", body)
			}
		default:
			t.Errorf("%q: %d %s", body, w.Code, w.Body)
		}
	})
}

// Any request to change a hold leaves it unchanged, or returns the stored hold.
func FuzzChangeHold(f *testing.F) {
	m := newFakeHolds()
	a, err := api.New(api.Options{Holds: holdsOf(m)})
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{
		`{"capture_at":"2026-12-01T11:00","time_zone":"Europe/Paris"}`, `{"cancel_at":""}`, `{"capture_amount":1}`, `{"capture_amount":-1}`, `{"application_fee_amount":5,"transfer_data":{"amount":4},"statement_descriptor_suffix":"BK-1","capture_metadata":{"a":"b"}}`, `{"capture_amount":null}`, `{"amount":100}`,
		`{"reference":"x","metadata":{"a":""},"on_expiry":"alert"}`, `{"on_expiry":1}`, `{}`, ``, `null`, `{"amount":1e2}`, "{\"reference\":\"\xff\"}",
	} {
		for _, verb := range []string{"", "capture", "reconcile"} {
			f.Add([]byte(s), verb, `"1"`)
		}
	}
	f.Add([]byte(``), "pause", `W/"1"`)
	f.Fuzz(func(t *testing.T, body []byte, verb, match string) {
		clear(m.holds)
		m.addHold(t, testHoldID)
		before := m.holds[testHoldID]
		method, path := http.MethodPost, "/v1/holds/"+testHoldID+"/"+url.PathEscape(verb)
		if verb == "" {
			method, path = http.MethodPatch, "/v1/holds/"+testHoldID
		}
		r, err := http.NewRequest(method, "http://127.0.0.1"+path, bytes.NewReader(body))
		if err != nil {
			return // nothing that a client could send
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("If-Match", match)
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		after := m.holds[testHoldID]
		switch {
		case w.Code == 200 || w.Code == 202:
			var v hold.View
			if json.Unmarshal(w.Body.Bytes(), &v) != nil || v.Revision != after.Revision || v.CaptureAmount != after.CaptureAmount || v.Reference != after.Reference ||
				after.CaptureAmount > after.Amount || after.CaptureAmount < 0 || after.Version < before.Version {
				t.Errorf("%s %q: %s and %+v", path, body, w.Body, after)
			}
		case w.Code >= 400 && w.Code < 500:
			problemCode(t, response{w.Code, w.Header(), w.Body.String()})
			if after.Version != before.Version || after.Revision != before.Revision {
				t.Errorf("%s %q was refused and changed", path, body)
			}
		case w.Code >= 300 && w.Code < 400: // the mux cleans a path
		default:
			t.Errorf("%s %q: %d %s", path, body, w.Code, w.Body)
		}
	})
}

// Any query returns a page, a plan or a problem.
func FuzzQueryParameters(f *testing.F) {
	m := newFakeHolds()
	a, err := api.New(api.Options{Holds: holdsOf(m)})
	if err != nil {
		f.Fatal(err)
	}
	for _, q := range []string{
		"", "state=scheduled&limit=200", "state=open", "limit=-1", "limit=9223372036854775808", "expiring_within=72h", "expiring_within=-1ns", "expiring_within=1e9h", "cursor=zzz", "cursor=AAAA",
		"reference=%00&account=acct_1", "next=24h", "next=9999999h", "next=%ff", "id=rec_1", "a=1;b=2", "state=scheduled&state=captured", "%",
	} {
		f.Add("/v1/holds", q)
		f.Add("/v1/plan", q)
	}
	f.Fuzz(func(t *testing.T, path, query string) {
		r := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "http", Host: "127.0.0.1", Path: path, RawQuery: query}, Host: "127.0.0.1", Header: http.Header{}, Body: http.NoBody}
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		switch {
		case w.Code == 200:
			if w.Body.Len() == 0 {
				t.Errorf("%q %q: an empty answer", path, query)
			}
		case w.Code >= 400 && w.Code < 500:
			problemCode(t, response{w.Code, w.Header(), w.Body.String()})
		case w.Code >= 300 && w.Code < 400: // the mux cleans a path
		case w.Code == 503 && path == "/readyz", w.Code == 503 && path == "/v1/reconcile":
			// there is none here
		default:
			t.Errorf("%q %q: %d %s", path, query, w.Code, w.Body)
		}
	})
}
