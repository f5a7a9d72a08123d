package api_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/query"
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
		created, err := hold.DecideNewHold(d, nil, "api", m.now)
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
	add("pi_folder001", "../BK-4", false)
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
		{"..%2FBK-4", http.StatusOK, `"id":"pi_folder001"`},
		{"pi_open00001", http.StatusOK, `"id":"pi_open00001"`},
	} {
		r := sendRequest(t, http.MethodGet, s.URL+"/v1/holds/"+tt.path, "")
		if r.status != tt.status || !strings.Contains(r.body, tt.want) {
			t.Errorf("%s: %d %s", tt.path, r.status, r.body)
		}
	}
	for _, reference := range []string{"pi_abc", ".."} { // of terms in metadata; not in a path
		add("pi_list00001", "BK-5", false)
		h := m.holds["pi_list00001"]
		h.Reference = reference
		m.holds[h.ID] = h
		r := sendRequest(t, http.MethodGet, s.URL+"/v1/holds/"+reference, "")
		if r.status == http.StatusOK {
			t.Errorf("%s in a path: %s", reference, r.body)
		}
		r = sendRequest(t, http.MethodGet, s.URL+"/v1/holds?reference="+reference, "")
		if !strings.Contains(r.body, `"id":"pi_list00001"`) {
			t.Errorf("%s in the filter: %d %s", reference, r.status, r.body)
		}
	}
}

// A change by a reference concerns one hold or none.
func TestChange_ByReference(t *testing.T) {
	m := newFakeHolds()
	s, _ := startServer(t, api.Options{Holds: holdsOf(m)})
	for id, reference := range map[string]string{"pi_once00001": "BK-1", "pi_longer001": "BK-10",
		"pi_twice0001": "BK-2", "pi_twice0002": "BK-2"} {
		req := newScheduleRequest(m, id)
		req.Reference = reference
		if r := m.scheduleOne(&req, "test"); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	before := m.snapshot()
	r := sendRequest(t, http.MethodPost, s.URL+"/v1/holds/BK-2/cancel", "")
	var p api.Problem
	if err := json.Unmarshal([]byte(r.body), &p); err != nil || r.status != http.StatusConflict ||
		p.Code != api.AmbiguousReference ||
		!slices.Equal(p.IDs, []string{"pi_twice0001", "pi_twice0002"}) {
		t.Errorf("%v %s", err, r.body)
	}
	if r := sendRequest(t, http.MethodPost, s.URL+"/v1/holds/BK/capture", ""); r.status != 404 {
		t.Errorf("%d %s", r.status, r.body)
	}
	if !reflect.DeepEqual(m.snapshot(), before) {
		t.Error("a hold was changed")
	}
	c := newTestClient(t, s.URL, "")
	if v, err := c.Pause(t.Context(), "BK-1", 0, false); err != nil || v.ID != "pi_once00001" {
		t.Errorf("%v %v", v.ID, err)
	}
	if v, err := c.Cancel(t.Context(), "BK-1", "", 0); err != nil || v.ID != "pi_once00001" {
		t.Errorf("%v %v", v.ID, err)
	}
	if m.snapshot()["pi_longer001"].Revision != before["pi_longer001"].Revision {
		t.Error("the other hold was changed")
	}
}

// More holds than a search reads cannot be told apart.
func TestChange_ByReference_OfTooManyHolds(t *testing.T) {
	m := newFakeHolds()
	s, _ := startServer(t, api.Options{Holds: holdsOf(m)})
	for i := range 2001 {
		req := newScheduleRequest(m, fmt.Sprintf("pi_many%06d", i))
		req.Reference = "BK-1"
		if r := m.scheduleOne(&req, "test"); r.Err != nil {
			t.Fatal(r.Err)
		}
		if h := m.holds[req.PaymentIntent]; i > 0 {
			h.State, h.SettledAt = hold.Canceled, m.now
			m.holds[h.ID] = h
		}
	}
	if r := sendRequest(t, http.MethodPost, s.URL+"/v1/holds/BK-1/cancel", ""); r.status != 409 {
		t.Errorf("%d %s", r.status, r.body)
	}
}

func TestList_Metadata(t *testing.T) {
	m := newFakeHolds()
	s, _ := startServer(t, api.Options{Holds: holdsOf(m)})
	path := s.URL + "/v1/holds?" + url.Values{"metadata[room]": {"12"},
		"metadata[a key]": {"a=b&c"}}.Encode()
	if r := sendRequest(t, http.MethodGet, path, ""); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	want := map[string]string{"room": "12", "a key": "a=b&c"}
	if !maps.Equal(m.lastQuery.Metadata, want) {
		t.Errorf("%v", m.lastQuery.Metadata)
	}
	m.lastQuery = query.HoldQuery{}
	q := api.ListQuery{Metadata: want}
	if _, err := newTestClient(t, s.URL, "").List(t.Context(), q); err != nil ||
		!maps.Equal(m.lastQuery.Metadata, want) {
		t.Errorf("%v %v", m.lastQuery.Metadata, err)
	}
	tooMany := url.Values{}
	for i := range hold.MaxMetadataPairs + 1 {
		tooMany.Set(fmt.Sprintf("metadata[%d]", i), "x")
	}
	r := sendRequest(t, http.MethodGet, s.URL+"/v1/holds?"+tooMany.Encode(), "")
	if r.status != 422 || !strings.Contains(r.body, `"field":"metadata"`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := sendRequest(t, http.MethodGet, s.URL+"/v1/holds?metadata=x", ""); r.status != 422 {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// TestList_EveryFilterIsUsed checks that each parameter of the list reaches the query,
// from a request and from the Go client. A filter that does not would list all holds.
func TestList_EveryFilterIsUsed(t *testing.T) {
	m := newFakeHolds()
	s, _ := startServer(t, api.Options{Holds: holdsOf(m)})
	var doc struct {
		Paths map[string]map[string]struct{ Parameters []struct{ Name string } }
	}
	if a := sendRequest(t, http.MethodGet, s.URL+"/openapi.json", ""); json.Unmarshal(
		[]byte(a.body), &doc) != nil {
		t.Fatal(a.body)
	}
	parameters := doc.Paths["/v1/holds"]["get"].Parameters
	values := map[string]string{"state": "captured", "account": "acct_filter000001",
		"expiring_within": "3h", "requires_action": "true", "limit": "7"}
	unfiltered := query.HoldQuery{Limit: 50}
	for _, p := range parameters {
		name, value := p.Name, cmp.Or(values[p.Name], "x")
		if name == "metadata" {
			name = "metadata[room]"
		}
		m.lastQuery = query.HoldQuery{}
		path := s.URL + "/v1/holds?" + url.Values{name: {value}}.Encode()
		if r := sendRequest(t, http.MethodGet, path, ""); r.status != http.StatusOK ||
			reflect.DeepEqual(m.lastQuery, unfiltered) {
			t.Errorf("%s=%s: %d, the query is %+v", name, value, r.status, m.lastQuery)
		}
	}
	fields := reflect.TypeFor[api.ListQuery]()
	if fields.NumField() != len(parameters) {
		t.Errorf("the Go client has %d filters, the API %d", fields.NumField(), len(parameters))
	}
	for i := range fields.NumField() {
		var q api.ListQuery
		setToAnyValue(t, reflect.ValueOf(&q).Elem().Field(i))
		m.lastQuery = query.HoldQuery{}
		if _, err := newTestClient(t, s.URL, "").List(t.Context(), q); err != nil &&
			!isProblemOf(err, "account") || err == nil && reflect.DeepEqual(m.lastQuery, unfiltered) {
			t.Errorf("%s of the Go client: %v, the query is %+v", fields.Field(i).Name, err,
				m.lastQuery)
		}
	}
}

// setToAnyValue sets a field of a list's query to a value that is not zero.
func setToAnyValue(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"room": "12"}))
	case reflect.Uint8:
		v.SetUint(1)
	case reflect.Int:
		v.SetInt(7)
	case reflect.Int64: // a duration
		v.SetInt(int64(3 * time.Hour))
	default:
		t.Fatalf("no value for a field of kind %s", v.Kind())
	}
}

func isProblemOf(err error, field string) bool {
	p, ok := errors.AsType[*api.Problem](err)
	return ok && p.Field == field
}
