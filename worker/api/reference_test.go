package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

func TestGet_ByReference(t *testing.T) {
	m := newFakeHolds()
	s, _ := startServer(t, api.Options{Holds: holdsOf(m)})
	add := func(id, reference string, settled bool) {
		t.Helper()
		req := newScheduleRequest(m, id)
		req.Reference = reference
		d, err := req.Validate(m.now)
		if err != nil {
			t.Fatal(err)
		}
		created, err := hold.New(d, nil, "api", m.now)
		if err != nil {
			t.Fatal(err)
		}
		if h := created.Hold; settled {
			h.State, h.SettledAt = hold.Canceled, m.now
			m.holds[id] = h
		} else {
			m.holds[id] = h
		}
	}
	add("pi_open00001", "BK-1", false)
	add("pi_past00001", "BK-1", true)
	add("pi_longer001", "BK-10", false)
	add("pi_past00002", "BK-2", true)
	add("pi_twice0001", "BK-3", false)
	add("pi_twice0002", "BK-3", false)
	add("pi_slash0001", "room/12 é", false)
	for _, tt := range []struct {
		path   string
		status int
		want   string
	}{
		{"BK-1", http.StatusOK, `"id":"pi_open00001"`},
		{"BK-10", http.StatusOK, `"id":"pi_longer001"`},
		{"BK-2", http.StatusOK, `"id":"pi_past00002"`},
		{"BK-3", http.StatusConflict, `"code":"ambiguous_reference"`},
		{"BK", http.StatusNotFound, `"code":"hold_not_found"`},
		{"room%2F12%20%C3%A9", http.StatusOK, `"id":"pi_slash0001"`},
		{"pi_open00001", http.StatusOK, `"id":"pi_open00001"`},
	} {
		r := sendRequest(t, http.MethodGet, s.URL+"/v1/holds/"+tt.path, "")
		if r.status != tt.status || !strings.Contains(r.body, tt.want) {
			t.Errorf("%s: %d %s", tt.path, r.status, r.body)
		}
	}
	// A change names its hold by the id alone.
	if r := sendRequest(t, http.MethodPost, s.URL+"/v1/holds/BK-1/cancel", ""); r.status != 422 {
		t.Errorf("%v", r)
	}
}
