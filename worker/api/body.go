package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"
	"sync"
)

var bodyBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// decodeRequiredBody decodes the body of a request that must have one.
func (c *requestInfo) decodeRequiredBody(into any) error {
	return c.readJSONBody(maxSingleBodyBytes, true, func(b []byte) error {
		return decodeStrict(b, into)
	})
}

// decodeOptionalBody decodes the body of a request that may have none.
func (c *requestInfo) decodeOptionalBody(into any) error {
	return c.readJSONBody(maxSingleBodyBytes, false, func(b []byte) error {
		if b == nil {
			return nil
		}
		return decodeStrict(b, into)
	})
}

// readJSONBody passes a JSON body of at most limit bytes to use; nil stands for
// an empty body that is not required. The bytes are reused afterwards.
func (c *requestInfo) readJSONBody(limit int64, required bool, use func(body []byte) error) error {
	return c.readRawBody(limit, func(body []byte) error {
		if len(bytes.TrimSpace(body)) == 0 {
			if required {
				return newProblem(BodyRequired, "", "missing body: send a JSON object")
			}
			return use(nil)
		}
		if p := checkJSONContentType(c.r.Header); p != nil {
			return p
		}
		return use(body)
	})
}

// readRawBody is readJSONBody for a body of any type.
func (c *requestInfo) readRawBody(limit int64, use func(body []byte) error) error {
	r := c.r
	tooLarge := newProblem(BodyTooLarge, "",
		fmt.Sprintf("the body is larger than %d bytes: split the request", limit))
	if r.ContentLength > limit {
		c.w.Header().Set("Connection", "close")
		return tooLarge
	}
	buf := bodyBuffers.Get().(*bytes.Buffer)
	buf.Reset()
	defer bodyBuffers.Put(buf) // its size is bounded by limit
	if r.ContentLength > 0 {
		buf.Grow(int(min(r.ContentLength, 64<<10)) + bytes.MinRead)
	}
	_, err := buf.ReadFrom(http.MaxBytesReader(c.w, r.Body, limit))
	var over *http.MaxBytesError
	var slow net.Error
	switch {
	case errors.As(err, &over):
		return tooLarge
	case errors.As(err, &slow) && slow.Timeout():
		return newProblem(BodyTimeout, "", "timeout while reading the body: send it again")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return newProblem(InvalidJSON, "", "the body is shorter than its Content-Length")
	case err != nil:
		return newProblem(InvalidJSON, "", "the body could not be read to its end")
	}
	return use(buf.Bytes())
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
