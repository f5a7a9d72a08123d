package gateway

import (
	"encoding/json"
	"regexp"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// thinEventObject is the object of a thin event.
const thinEventObject = "v2.core.event"

// thinEventTypePattern accepts types such as
// v2.core.account[requirements].updated.
var thinEventTypePattern = maxLengthPattern{regexp.MustCompile(`^[a-z][a-z0-9_.\[\]-]*$`), 200}

// thinEventJSON has the fields that the gateway reads from a thin event. The
// event names its object and does not contain it.
type thinEventJSON struct {
	ID            string    `json:"id"`
	Type          string    `json:"type"`
	Context       string    `json:"context"`
	Created       time.Time `json:"created"`
	Livemode      bool      `json:"livemode"`
	RelatedObject struct {
		ID   string `json:"id"`
		Type string `json:"type"`
	} `json:"related_object"`
}

// parseThinEvent converts a thin event. v1.payment_intent.succeeded becomes
// payment_intent.succeeded without an Intent, so that holdd reads the intent.
// An event about a charge or a review does not name the intent. Each event of a
// charge that concerns a hold comes with one of its intent.
func parseThinEvent(body []byte, ownAccount string) (hold.StripeEvent, error) {
	var raw thinEventJSON
	if json.Unmarshal(body, &raw) != nil || !eventIDPattern.matches(raw.ID) ||
		!thinEventTypePattern.matches(raw.Type) || raw.Created.Unix() <= 0 {
		return hold.StripeEvent{}, ErrNotAnEvent
	}
	account, known := thinEventAccount(raw.Context, ownAccount)
	e := hold.StripeEvent{
		ID:       raw.ID,
		Type:     strings.TrimPrefix(raw.Type, "v1."),
		Account:  account,
		Created:  raw.Created.UTC(),
		Livemode: raw.Livemode,
	}
	if !known || !strings.HasPrefix(raw.Type, "v1.payment_intent.") {
		return e, nil
	}
	o := raw.RelatedObject
	if o.Type != "payment_intent" || o.ID == "" || hold.CheckPaymentIntentID(o.ID) != nil {
		return hold.StripeEvent{}, ErrNotAnEvent
	}
	e.PaymentIntent = o.ID
	return e, nil
}

// thinEventAccount returns the connected account of a thin event, or "" for the
// account that the key acts for. The context is a path from the account or the
// organization that receives the event to the account of the object. known is
// false if the key does not act for that account. The account is then the last
// one of the path.
func thinEventAccount(path, ownAccount string) (account string, known bool) {
	if ownAccount == "" { // the path begins at the account of the key
		account = lastContextAccount(path)
		return account, account == path
	}
	switch rest, connected := strings.CutPrefix(path, ownAccount+"/"); {
	case path == "", path == ownAccount:
		return "", true
	case connected && rest == lastContextAccount(path):
		return rest, true
	}
	return lastContextAccount(path), false
}

// snapshotEventAccount returns the connected account of a snapshot event like
// [thinEventAccount]. The event names its connected account itself. Its context
// matters for the events of an organization only.
func snapshotEventAccount(
	connected, path, ownAccount string,
) (account string, known bool) {
	switch {
	case ownAccount == "", path == "":
		return connected, true
	case path == connected && path != ownAccount:
		return connected, true // an endpoint of the platform, not of the organization
	}
	return thinEventAccount(path, ownAccount)
}

// lastContextAccount returns the last account of a context, or "" if that is no
// account's id.
func lastContextAccount(path string) string {
	id := path[strings.LastIndexByte(path, '/')+1:]
	if hold.CheckAccountID(id) != nil {
		return ""
	}
	return id
}
