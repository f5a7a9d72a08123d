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

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/holdd/holdd/worker/hold"
)

var bodyBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// readJSONBody reads the request's body, at most limit bytes, and hands it to
// use. The bytes are gone afterwards: what is kept must be copied.
func (c *requestInfo) readJSONBody(limit int64, required bool, use func(body []byte) error) error {
	return c.readRawBody(limit, func(body []byte) error {
		if len(bytes.TrimSpace(body)) == 0 {
			if required {
				return newProblem(BodyRequired, "", "send a JSON object as the body")
			}
			return use(nil)
		}
		if p := checkJSONContentType(c.r.Header); p != nil {
			return p
		}
		return use(body)
	})
}

// readRawBody is withBody for a body of whatever kind.
func (c *requestInfo) readRawBody(limit int64, use func(body []byte) error) error {
	r := c.r
	tooLarge := newProblem(BodyTooLarge, "",
		fmt.Sprintf("the body has more than %d bytes: send less at a time", limit))
	if r.ContentLength > limit { // known before a byte was read
		c.w.Header().Set("Connection", "close")
		return tooLarge
	}
	buf := bodyBuffers.Get().(*bytes.Buffer)
	buf.Reset()
	defer bodyBuffers.Put(buf) // never grows far beyond limit
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
		return newProblem(BodyTimeout, "", "the body did not arrive in time: send it again")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return newProblem(InvalidJSON, "", "the body ended before its announced length")
	case err != nil:
		return newProblem(InvalidJSON, "", "the body could not be read to its end")
	}
	return use(buf.Bytes())
}

// checkJSONContentType refuses what isn't JSON by its own word. A web page
// can't send this type to another origin without asking first.
func checkJSONContentType(h http.Header) *Problem {
	given := h.Get("Content-Type")
	kind, params, err := mime.ParseMediaType(given)
	charset := params["charset"]
	if err != nil || kind != "application/json" || charset != "" &&
		!strings.EqualFold(charset, "utf-8") {
		return newProblem(UnsupportedMediaType, "",
			fmt.Sprintf("Content-Type is %.60q: send application/json", given))
	}
	if e := h.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return newProblem(UnsupportedMediaType, "",
			fmt.Sprintf("Content-Encoding is %.40q: send the JSON as it is", e))
	}
	return nil
}

// decodeStrict reads one JSON object strictly: each field known, once, by its
// exact name and type, and nothing after the object. A typing error in a field
// that holds money's fate must not be ignored.
func decodeStrict(body []byte, into any) error {
	if err := json.Unmarshal(body, into, json.RejectUnknownMembers(true)); err != nil {
		return jsonProblem(err)
	}
	if k := jsontext.Value(body).Kind(); k != '{' { // null, which the library takes for nothing
		return notAnObjectProblem(k)
	}
	return nil
}

// ParseScheduleRequest decodes a request as strictly as the API does, for
// requests from other sources. Errors are *[hold.Problem].
func ParseScheduleRequest(text []byte) (hold.ScheduleRequest, error) {
	var w hold.ScheduleRequest
	err := decodeStrict(text, &w)
	var p *Problem
	if errors.As(err, &p) {
		return hold.ScheduleRequest{}, &hold.Problem{Code: p.Code, Field: p.Field, Detail: p.Detail}
	}
	return w, err
}

func notAnObjectProblem(k jsontext.Kind) *Problem {
	return newProblem(InvalidType, "",
		fmt.Sprintf("the body is %s: send a JSON object", describeJSONKind(k)))
}

// jsonProblem tells people what the JSON library found.
func jsonProblem(err error) *Problem {
	var syntax *jsontext.SyntacticError
	var semantic *json.SemanticError
	switch {
	case errors.As(err, &syntax):
		field := fieldPath(syntax.JSONPointer)
		if errors.Is(err, jsontext.ErrDuplicateName) {
			return newProblem(InvalidJSON, field,
				"stands twice in the same object: which one is meant?")
		}
		return newProblem(InvalidJSON, "", fmt.Sprintf("not valid JSON at byte %d: %.120s",
			syntax.ByteOffset, syntax.Err))
	case errors.As(err, &semantic):
		field := fieldPath(semantic.JSONPointer)
		if errors.Is(err, json.ErrUnknownName) {
			return newProblem(UnknownField, field,
				"is no field that is known here: /docs lists them (names are in lower case)")
		}
		amount := strings.HasSuffix(field, "amount")
		switch kind := semantic.JSONKind; {
		case field == "":
			return notAnObjectProblem(kind)
		case amount && kind == '0':
			return newProblem(hold.InvalidAmount, field,
				fmt.Sprintf(
					"%.40s is no whole number of minor units that can be: send 1250 for 12.50",
					semantic.JSONValue))
		case amount:
			return newProblem(InvalidType, field,
				fmt.Sprintf("is %s: send a whole number of minor units, such as 1250 for 12.50",
					describeJSONKind(kind)))
		case field == "confirm":
			return newProblem(InvalidType, field, fmt.Sprintf("is %s: send true or false",
				describeJSONKind(kind)))
		case field == "metadata":
			return newProblem(InvalidType, field, fmt.Sprintf("is %s: send an object of strings",
				describeJSONKind(kind)))
		case field == "holds":
			return newProblem(InvalidType, field, fmt.Sprintf("is %s: send an array of holds",
				describeJSONKind(kind)))
		default:
			return newProblem(InvalidType, field, fmt.Sprintf("is %s: send a string",
				describeJSONKind(kind)))
		}
	}
	return newProblem(InvalidJSON, "", "the body is not valid JSON")
}

// fieldPath is the path of a field as callers write it: metadata.room.
func fieldPath(p jsontext.Pointer) string {
	var out []string
	for token := range p.Tokens() {
		out = append(out, truncate(token, 60))
	}
	return strings.ToValidUTF8(truncate(strings.Join(out, "."), 120), "")
}

func describeJSONKind(k jsontext.Kind) string {
	switch k {
	case 'n':
		return "null"
	case 't', 'f':
		return "a boolean"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case '{':
		return "an object"
	case '[':
		return "an array"
	}
	return "something else"
}

// findNullField finds a member of the object that is null. body is known to be
// a valid object.
func findNullField(body []byte) (field string, found bool) {
	d := jsontext.NewDecoder(bytes.NewReader(body))
	if _, err := d.ReadToken(); err != nil {
		return "", false
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return "", false
		}
		field := name.String()
		if d.PeekKind() == 'n' {
			return field, true
		}
		if err := d.SkipValue(); err != nil {
			return "", false
		}
	}
	return "", false
}

// decodePatch reads a change of terms. A null may mean "clear it" (RFC 7396) or
// "I have nothing to say"; a program that means the one and gets the other
// loses money, so it is refused.
func decodePatch(body []byte, p *hold.Patch) error {
	if err := decodeStrict(body, p); err != nil {
		return err
	}
	if field, found := findNullField(body); found {
		return newProblem(InvalidType, field,
			`is null: leave it out to keep what is, send "" (or 0 for capture_amount) to clear it`)
	}
	if p.CaptureAt == nil && p.CancelAt == nil && p.CaptureAmount == nil && p.OnExpiry == nil &&
		p.Reference == nil && len(p.Metadata) == 0 {
		return newProblem(hold.NothingToChange, "",
			"send at least one of capture_at, cancel_at, capture_amount, on_expiry, reference, metadata")
	}
	return nil
}

// decodeCapture reads how much to take; 0: what the terms say. An amount that
// is there must say something: a caller that reckoned 0 or null does not mean
// all.
func decodeCapture(body []byte) (int64, error) {
	if body == nil {
		return 0, nil
	}
	var b struct {
		Amount *int64 `json:"amount"`
	}
	if err := decodeStrict(body, &b); err != nil {
		return 0, err
	}
	if field, found := findNullField(body); found || b.Amount != nil && *b.Amount == 0 {
		if field == "" {
			field = "amount"
		}
		return 0, newProblem(hold.InvalidAmount, field,
			"names no money: leave it out to take what the hold's terms say")
	}
	if b.Amount == nil {
		return 0, nil
	}
	return *b.Amount, nil
}

// decodeConfirm reads whether the caller has confirmed; an empty body has not.
func decodeConfirm(body []byte) (bool, error) {
	if body == nil {
		return false, nil
	}
	var b confirmBody
	err := decodeStrict(body, &b)
	return b.Confirm, err
}

// decodeEmpty accepts an empty body or an empty object, where there is nothing
// to say.
func decodeEmpty(body []byte) error {
	if body == nil {
		return nil
	}
	return decodeStrict(body, &struct{}{})
}

// decodeBatch reads {"holds":[…]}. What is wrong with one hold is that hold's
// problem; what is wrong with the JSON is everybody's.
func decodeBatch(body []byte) (reqs []hold.ScheduleRequest, problems []*Problem, err error) {
	d := jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowDuplicateNames(true))
	if d.PeekKind() != '{' {
		return nil, nil, decodeStrict(body, &struct{}{}) // says what it is instead
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, nil, jsonProblem(err)
	}
	seen := false
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return nil, nil, jsonProblem(err)
		}
		switch field := name.String(); {
		case field != "holds":
			return nil, nil, newProblem(UnknownField, truncate(field, 60),
				`is no field that is known here: send {"holds":[…]}`)
		case seen:
			return nil, nil, newProblem(InvalidJSON, "holds",
				"stands twice in the same object: which one is meant?")
		}
		seen = true
		if k := d.PeekKind(); k != '[' {
			if err := d.SkipValue(); err != nil {
				return nil, nil, jsonProblem(err)
			}
			return nil, nil, newProblem(InvalidType, "holds",
				fmt.Sprintf("is %s: send an array of holds", describeJSONKind(k)))
		}
		if _, err := d.ReadToken(); err != nil {
			return nil, nil, jsonProblem(err)
		}
		for d.PeekKind() != ']' {
			raw, err := d.ReadValue()
			if err != nil {
				return nil, nil, jsonProblem(err)
			}
			if len(reqs) == MaxBatchHolds {
				return nil, nil, newProblem(InvalidBatch, "holds",
					fmt.Sprintf("has more than %d holds: send several batches", MaxBatchHolds))
			}
			var req hold.ScheduleRequest
			var p *Problem
			if err := decodeStrict(raw, &req); err != nil {
				errors.As(err, &p)
			}
			reqs, problems = append(reqs, req), append(problems, p)
		}
		if _, err := d.ReadToken(); err != nil {
			return nil, nil, jsonProblem(err)
		}
	}
	if _, err := d.ReadToken(); err != nil { // the closing brace
		return nil, nil, jsonProblem(err)
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, nil,
			newProblem(InvalidJSON, "", "there is something after the end of the object")
	}
	if len(reqs) == 0 {
		return nil, nil, newProblem(InvalidBatch, "holds",
			fmt.Sprintf("is empty: send 1 to %d holds", MaxBatchHolds))
	}
	return reqs, problems, nil
}
