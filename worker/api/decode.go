package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/holdd/holdd/worker/hold"
)

// decodeStrict decodes one JSON object. Each field must be known, appear once
// with its exact name and type, and nothing may follow the object: a misspelled
// amount must not be ignored.
func decodeStrict(body []byte, into any) error {
	if err := json.Unmarshal(body, into, json.RejectUnknownMembers(true)); err != nil {
		return problemFromJSON(err)
	}
	if k := jsontext.Value(body).Kind(); k != '{' { // the library accepts null
		return notAnObjectProblem(k)
	}
	return nil
}

// DecodeScheduleRequest decodes a request from another source, as strictly as
// the API does. Errors are *[hold.Problem].
func DecodeScheduleRequest(text []byte) (hold.ScheduleRequest, error) {
	var req hold.ScheduleRequest
	err := decodeStrict(text, &req)
	var p *Problem
	if errors.As(err, &p) {
		return hold.ScheduleRequest{}, &hold.Problem{Code: p.Code, Field: p.Field, Detail: p.Detail}
	}
	return req, err
}

func notAnObjectProblem(k jsontext.Kind) *Problem {
	return newProblem(InvalidType, "",
		fmt.Sprintf("invalid body: it is %s, want a JSON object", describeJSONKind(k)))
}

// problemFromJSON converts an error of the JSON library to a problem.
func problemFromJSON(err error) *Problem {
	var syntax *jsontext.SyntacticError
	var semantic *json.SemanticError
	switch {
	case errors.As(err, &syntax):
		if errors.Is(err, jsontext.ErrDuplicateName) {
			return newProblem(InvalidJSON, fieldPathFromPointer(syntax.JSONPointer),
				"duplicate field: send it once")
		}
		return newProblem(InvalidJSON, "", fmt.Sprintf("invalid JSON at byte %d: %.120s",
			syntax.ByteOffset, syntax.Err))
	case errors.As(err, &semantic):
		if errors.Is(err, json.ErrUnknownName) {
			return newProblem(UnknownField, fieldPathFromPointer(semantic.JSONPointer),
				"unknown field: see /docs for the fields; their names are in lower case")
		}
		return wrongTypeProblem(semantic)
	}
	return newProblem(InvalidJSON, "", "the body is not valid JSON")
}

// wantedType says what a field takes, if not a string.
var wantedType = map[string]string{
	"confirm":          "true or false",
	"final":            "true or false",
	"captures":         "an array of objects with at and amount",
	"metadata":         "an object of strings",
	"capture_metadata": "an object of strings",
	"transfer_data":    "an object with an amount",
	"holds":            "an array of holds",
	"renewal":          "an object with until",

	"renewal.max_renewals": "a whole number",
}

func wrongTypeProblem(err *json.SemanticError) *Problem {
	field := fieldPathFromPointer(err.JSONPointer)
	want, ok := wantedType[field]
	switch {
	case field == "":
		return notAnObjectProblem(err.JSONKind)
	case strings.HasSuffix(field, "amount") && err.JSONKind == '0':
		return newProblem(hold.InvalidAmount, field, fmt.Sprintf(
			"invalid amount %.40s: want a whole number of minor units, such as 1250 for 12.50",
			err.JSONValue))
	case strings.HasSuffix(field, "amount"):
		want = "a whole number of minor units, such as 1250 for 12.50"
	case !ok:
		want = "a string"
	}
	return newProblem(InvalidType, field,
		fmt.Sprintf("invalid type: it is %s, want %s", describeJSONKind(err.JSONKind), want))
}

// fieldPathFromPointer returns a field's path as callers write it, such as
// metadata.room.
func fieldPathFromPointer(p jsontext.Pointer) string {
	var out []string
	for token := range p.Tokens() {
		out = append(out, cutWithEllipsis(token, 60))
	}
	return strings.ToValidUTF8(cutWithEllipsis(strings.Join(out, "."), 120), "")
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

// findNullField finds a member of a valid object that is null.
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

// decodePatchRejectingNulls decodes a change of terms. It rejects null, which could mean
// "clear it" (RFC 7396) or "leave it".
func decodePatchRejectingNulls(body []byte, p *hold.Patch) error {
	if err := decodeStrict(body, p); err != nil {
		return err
	}
	if field, found := findNullField(body); found {
		return newProblem(InvalidType, field,
			"invalid null: leave the field out to keep its value, "+
				`or send "" (0 for an amount) to clear it`)
	}
	if p.CaptureAt == nil && p.CancelAt == nil && p.CaptureAmount == nil && p.OnExpiry == nil &&
		p.Reference == nil && p.Renewal == nil && p.Captures == nil && len(p.Metadata) == 0 &&
		p.CaptureParamsPatch.IsEmpty() {
		return newProblem(hold.NothingToChange, "", "no term to change: send at least one of "+
			"capture_at, cancel_at, capture_amount, captures, on_expiry, renewal, reference, metadata, "+
			"application_fee_amount, transfer_data, statement_descriptor_suffix, capture_metadata")
	}
	return nil
}

// decodeCaptureRequest decodes a capture; amount 0 means the amount of the
// hold's terms. It rejects an explicit 0 or null: a caller that computed one
// does not mean the whole amount.
func decodeCaptureRequest(body []byte) (req hold.CaptureRequest, err error) {
	if body == nil {
		return req, nil
	}
	var b struct {
		Amount *int64 `json:"amount"`
		Final  *bool  `json:"final"`
		hold.CaptureParamsPatch
	}
	if err := decodeStrict(body, &b); err != nil {
		return req, err
	}
	switch field, found := findNullField(body); {
	case found && field != "amount":
		return req, newProblem(InvalidType, field,
			"invalid null: leave the field out to keep the hold's term")
	case found || b.Amount != nil && *b.Amount == 0:
		return req, newProblem(hold.InvalidAmount, "amount",
			"invalid amount 0 or null: leave it out to capture the amount of the hold's terms")
	}
	req.CaptureParamsPatch, req.Final = b.CaptureParamsPatch, b.Final
	if b.Amount != nil {
		req.Amount = *b.Amount
	}
	return req, nil
}

// batchDecoder decodes the body of POST /v1/holds:batch.
type batchDecoder struct {
	*jsontext.Decoder
	reqs     []hold.ScheduleRequest
	problems []*Problem
}

// decodeScheduleBatch decodes {"holds":[…]}. It returns one request and one
// problem, which may be nil, for each hold. Invalid JSON is an error of the
// whole batch.
func decodeScheduleBatch(
	body []byte,
) (reqs []hold.ScheduleRequest, problems []*Problem, err error) {
	d := &batchDecoder{Decoder: jsontext.NewDecoder(bytes.NewBuffer(body),
		jsontext.AllowDuplicateNames(true))}
	if d.PeekKind() != '{' {
		return nil, nil, decodeStrict(body, &struct{}{}) // returns an error that names the kind
	}
	if err := d.readObject(); err != nil {
		return nil, nil, err
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, nil, newProblem(InvalidJSON, "", "unexpected text after the JSON object")
	}
	if len(d.reqs) == 0 {
		return nil, nil, newProblem(InvalidBatch, "holds",
			fmt.Sprintf("empty batch: send 1 to %d holds", MaxBatchHolds))
	}
	return d.reqs, d.problems, nil
}

func (d *batchDecoder) readObject() error {
	if _, err := d.ReadToken(); err != nil { // {
		return problemFromJSON(err)
	}
	seen := false
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return problemFromJSON(err)
		}
		switch field := name.String(); {
		case field != "holds":
			return newProblem(UnknownField, cutWithEllipsis(field, 60),
				`unknown field: send {"holds":[…]}`)
		case seen:
			return newProblem(InvalidJSON, "holds", "duplicate field: send it once")
		}
		seen = true
		if err := d.readHolds(); err != nil {
			return err
		}
	}
	if _, err := d.ReadToken(); err != nil { // }
		return problemFromJSON(err)
	}
	return nil
}

func (d *batchDecoder) readHolds() error {
	if k := d.PeekKind(); k != '[' {
		if err := d.SkipValue(); err != nil {
			return problemFromJSON(err)
		}
		return newProblem(InvalidType, "holds",
			fmt.Sprintf("invalid type: it is %s, want an array of holds", describeJSONKind(k)))
	}
	if _, err := d.ReadToken(); err != nil { // [
		return problemFromJSON(err)
	}
	for d.PeekKind() != ']' {
		raw, err := d.ReadValue()
		if err != nil {
			return problemFromJSON(err)
		}
		if len(d.reqs) == MaxBatchHolds {
			return newProblem(InvalidBatch, "holds",
				fmt.Sprintf("more than %d holds: send several batches", MaxBatchHolds))
		}
		var req hold.ScheduleRequest
		var p *Problem
		if err := decodeStrict(raw, &req); err != nil {
			errors.As(err, &p)
		}
		d.reqs, d.problems = append(d.reqs, req), append(d.problems, p)
	}
	if _, err := d.ReadToken(); err != nil { // ]
		return problemFromJSON(err)
	}
	return nil
}
