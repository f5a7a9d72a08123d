package api

import (
	"bytes"
	"fmt"
	"mime"
	"net/http"
	"strings"
)

// decodeRequiredBody decodes the body of a request that must have one.
func (c *requestInfo) decodeRequiredBody(into any) error {
	return c.decodeJSONBodyWith(true, func(b []byte) error {
		return decodeStrict(b, into)
	})
}

// decodeOptionalBody decodes the body of a request that may have none.
func (c *requestInfo) decodeOptionalBody(into any) error {
	return c.decodeJSONBodyWith(false, func(b []byte) error {
		if b == nil {
			return nil
		}
		return decodeStrict(b, into)
	})
}

// decodeJSONBodyWith passes the JSON body, which was read before the request got its
// slot, to use; nil stands for an empty body that is not required.
func (c *requestInfo) decodeJSONBodyWith(required bool, use func(body []byte) error) error {
	if len(bytes.TrimSpace(c.body)) == 0 {
		if required {
			return newProblem(BodyRequired, "", "missing body: send a JSON object")
		}
		return use(nil)
	}
	if p := checkJSONContentType(c.header); p != nil {
		return p
	}
	return use(c.body)
}

// checkJSONContentType rejects a body that is not declared as JSON. A web page
// cannot send this type to another origin without a CORS preflight.
func checkJSONContentType(h http.Header) *Problem {
	given := h.Get("Content-Type")
	kind, params, err := mime.ParseMediaType(given)
	charset := params["charset"]
	if err != nil || kind != "application/json" || charset != "" &&
		!strings.EqualFold(charset, "utf-8") {
		return newProblem(UnsupportedMediaType, "",
			fmt.Sprintf("invalid Content-Type %.60q: want application/json", given))
	}
	if e := h.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return newProblem(UnsupportedMediaType, "",
			fmt.Sprintf("invalid Content-Encoding %.40q: send the body without compression", e))
	}
	return nil
}
