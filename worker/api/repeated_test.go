package api_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

// A repeated request for a settled hold is answered with the hold, unless it
// asks for something else.
func TestChange_RepeatedAfterSettlement(t *testing.T) {
	m := newFakeHolds()
	s, _ := startServer(t, api.Options{Holds: holdsOf(m)})
	settle := func(id string, change func(h *hold.Hold)) {
		req := newScheduleRequest(m, id)
		d, err := req.Validate(m.now)
		if err != nil {
			t.Fatal(err)
		}
		created, err := hold.DecideNewHold(d, nil, "api", m.now)
		if err != nil {
			t.Fatal(err)
		}
		h := created.Hold
		h.Amount, h.Currency, h.SettledAt = 5000, "eur", m.now.Add(time.Minute)
		change(&h)
		m.holds[id] = h
	}
	const captured, canceled = "pi_3Captured000000000001", "pi_3Canceled000000000001"
	settle(captured, func(h *hold.Hold) { h.State, h.CapturedAmount = hold.Captured, 5000 })
	settle(canceled, func(h *hold.Hold) {
		h.State, h.CancellationReason = hold.Canceled, hold.ReasonDuplicate
	})
	for _, tt := range []struct {
		name, path, body string
		status           int
		code             hold.ProblemCode
	}{
		{"the same capture", captured + "/capture", `{"amount":5000}`, http.StatusOK, ""},
		{"a capture of all", captured + "/capture", "", http.StatusOK, ""},
		{"another amount", captured + "/capture", `{"amount":4999}`, http.StatusConflict, hold.AlreadyCaptured},
		{"a cancel of a captured hold", captured + "/cancel", "", http.StatusConflict, hold.AlreadyCaptured},
		{"the same cancel", canceled + "/cancel", "", http.StatusOK, ""},
		{"the same reason", canceled + "/cancel", `{"cancellation_reason":"duplicate"}`, http.StatusOK, ""},
		{"another reason", canceled + "/cancel", `{"cancellation_reason":"fraudulent"}`,
			http.StatusConflict, hold.AlreadyCanceled},
		{"a capture of a canceled hold", canceled + "/capture", "", http.StatusConflict, hold.AlreadyCanceled},
	} {
		r := sendRequest(t, http.MethodPost, s.URL+"/v1/holds/"+tt.path, tt.body)
		var v struct {
			ID   string           `json:"id"`
			Code hold.ProblemCode `json:"code"`
		}
		if err := json.Unmarshal([]byte(r.body), &v); err != nil {
			t.Fatal(err)
		}
		if r.status != tt.status || v.Code != tt.code || (v.Code == "") == (v.ID == "") {
			t.Errorf("%s: %d %s", tt.name, r.status, r.body)
		}
	}
}
