package event_test

import (
	"strings"
	"testing"

	"github.com/holdd/holdd/worker/event"
)

func TestBlank(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ text, want string }{
		"event of a hold": {`{"id":"evt_1","data":{"hold":{"id":"pi_1","reference":"Marta",` +
			`"metadata":{"g":"Marta"},"amount":9007199254740993,"later":{"reference":"Marta"}}}}`,
			`{"data":{"hold":{"amount":9007199254740993,"id":"pi_1","later":{}}},"id":"evt_1"}`},
		"rejection": {`{"data":{"rejection":{"id":"1-0","reason":"Marta"}}}`,
			`{"data":{"rejection":{"id":"1-0","reason":""}}}`},
		"nothing to erase": {`{"id": "evt_1", "data": {"hold": {"id": "pi_1"}}}`,
			`{"id": "evt_1", "data": {"hold": {"id": "pi_1"}}}`},
		"no event": {"Marta", "Marta"},
	} {
		got := string(event.ErasePersonalData([]byte(tt.text)))
		if got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
		if again := string(event.ErasePersonalData([]byte(got))); again != got {
			t.Errorf("%s: blank again: %s", name, again)
		}
		if name != "no event" && strings.Contains(got, "Marta") {
			t.Errorf("%s: %s", name, got)
		}
	}
}
