package stripesim

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

// maxBody bounds the body of a request, in bytes.
const maxBody = 1 << 20

// apiRequest is a request of Handler or of Transport.
type apiRequest struct {
	method, path, query string
	header              http.Header
	body                []byte
	tooLarge            bool
}

// connectionDrop is the point at which the connection of a call is closed.
type connectionDrop int

const (
	dropNone            connectionDrop = iota + 1
	dropBeforeExecution                // before any effect
	dropAfterExecution                 // after the effect, without an answer
	dropMidBody                        // in the middle of the body
)

type apiResponse struct {
	connDrop connectionDrop
	status   int
	header   http.Header
	body     []byte
	err      error // of the caller's context
}

func (c apiRequest) parseParams() (url.Values, *apiError) {
	if c.tooLarge {
		e := validationError("", "", "The request's body is larger than %d bytes.", maxBody)
		e.status = http.StatusRequestEntityTooLarge
		return nil, e
	}
	raw, err := url.ParseQuery(c.query)
	if err != nil {
		return nil, validationError("", "", "Invalid query string: %s", err)
	}
	if len(c.body) == 0 {
		return raw, nil
	}
	if ct := c.header.Get("Content-Type"); !strings.HasPrefix(
		ct, "application/x-www-form-urlencoded") {
		return nil, validationError("", "", "Invalid request (check that your POST content type "+
			"is application/x-www-form-urlencoded). If you have any "+
			"questions, we can help at https://support.stripe.com/.")
	}
	body, err := url.ParseQuery(string(c.body))
	if err != nil {
		return nil, validationError("", "", "Invalid form body: %s", err)
	}
	for k, v := range body {
		raw[k] = append(raw[k], v...)
	}
	return raw, nil
}

func encodeJSON(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // only structs of this package get here
	}
	return b.Bytes()
}
