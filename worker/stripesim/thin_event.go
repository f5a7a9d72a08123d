package stripesim

import (
	"encoding/json"
	"fmt"
	"time"
)

type thinEventJSON struct {
	ID            string            `json:"id"`
	Object        string            `json:"object"`
	Type          string            `json:"type"`
	Livemode      bool              `json:"livemode"`
	Created       string            `json:"created"`
	Context       string            `json:"context,omitempty"`
	RelatedObject relatedObjectJSON `json:"related_object"`
	Reason        *eventReasonJSON  `json:"reason"`
}

type relatedObjectJSON struct {
	ID   string `json:"id"`
	Type string `json:"type"`
	URL  string `json:"url"`
}

type eventReasonJSON struct {
	Type    string           `json:"type"`
	Request eventRequestJSON `json:"request"`
}

// ThinPayload returns the body of a thin event about the same change. It names
// the object and does not contain it. An event for a destination of an
// organization names its account by a path that begins at own, the platform's
// account. For the account's own destinations own is empty.
func (e Event) ThinPayload(own string) []byte {
	var snapshot struct {
		Account string `json:"account"`
		Data    struct {
			Object struct {
				ID     string `json:"id"`
				Object string `json:"object"`
			} `json:"object"`
		} `json:"data"`
		Request eventRequestJSON `json:"request"`
	}
	if err := json.Unmarshal(e.Payload, &snapshot); err != nil {
		panic(fmt.Sprintf("event %s: %v", e.ID, err)) // the simulator encoded it
	}
	accountPath := snapshot.Account
	switch {
	case own != "" && accountPath != "":
		accountPath = own + "/" + accountPath
	case own != "":
		accountPath = own
	}
	o := snapshot.Data.Object
	j := thinEventJSON{ID: e.ID, Object: "v2.core.event", Type: "v1." + e.Type,
		Created: e.Created.UTC().Format(time.RFC3339Nano), Context: accountPath,
		RelatedObject: relatedObjectJSON{ID: o.ID, Type: o.Object,
			URL: "/v1/" + o.Object + "s/" + o.ID}}
	if snapshot.Request.ID != nil {
		j.Reason = &eventReasonJSON{Type: "request", Request: snapshot.Request}
	}
	return encodeJSON(j)
}
