package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

// problemCode returns the code of a complete problem, and "" for any other
// response.
func problemCode(t testing.TB, a response) hold.ProblemCode {
	t.Helper()
	if a.status < 400 {
		return ""
	}
	var p api.Problem
	d := json.NewDecoder(strings.NewReader(a.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil ||
		a.header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("no problem document: %d %s %q", a.status, a.header.Get("Content-Type"), a.body)
	}
	if p.Status != a.status || p.Title == "" || p.Detail == "" ||
		p.Type != api.ErrorsURL+"#"+string(p.Code) {
		t.Errorf("%+v with status %d", p, a.status)
	}
	return p.Code
}

func TestInvalidInput_ChangesNothing(t *testing.T) {
	m := newFakeHolds()
	s, _ := startServer(t, api.Options{Holds: holdsOf(m)})
	m.addHold(t, testHoldID)
	other := "pi_00000000other"
	m.stripeIntents["pi_00000000usd"] = &hold.PaymentIntent{ID: "pi_00000000usd",
		Status: hold.StatusRequiresCapture, Amount: 500, AmountCapturable: 500, Currency: "usd",
		CaptureBefore: m.now.Add(48 * time.Hour)}
	m.stripeIntents["pi_00000000gone"] = &hold.PaymentIntent{ID: "pi_00000000gone",
		Status: hold.StatusCanceled, Currency: "usd"}
	before := m.snapshot()
	in := func(d time.Duration) string { return m.now.Add(d).Format(time.RFC3339) }
	w := func(format string, args ...any) string {
		return `{"payment_intent":"` + other + `",` + fmt.Sprintf(format, args...) + `}`
	}
	hold1, many := "/v1/holds/"+testHoldID, `{"payment_intent":"`+other+`"}`

	for _, c := range []struct {
		what, method, path, body string
		status                   int
		code                     hold.ProblemCode
		field                    string
	}{
		{"no body", "POST", "/v1/holds", ``, 400, api.BodyRequired, ""},
		{"blank body", "POST", "/v1/holds", "  \n", 400, api.BodyRequired, ""},
		{"cut JSON", "POST", "/v1/holds", `{"payment_intent":"` + other, 400, api.InvalidJSON, ""},
		{"no JSON", "POST", "/v1/holds", `payment_intent=pi_1`, 400, api.InvalidJSON, ""},
		{"single quotes", "POST", "/v1/holds", `{'a':1}`, 400, api.InvalidJSON, ""},
		{"trailing garbage", "POST", "/v1/holds", many + "x", 400, api.InvalidJSON, ""},
		{"two objects", "POST", "/v1/holds", many + many, 400, api.InvalidJSON, ""},
		{"duplicate key", "POST", "/v1/holds", w(`"amount":1,"amount":2,"currency":"eur"`), 400,
			api.InvalidJSON, "amount"},
		{"duplicate key inside", "POST", "/v1/holds", w(`"metadata":{"a":"1","a":"2"}`), 400,
			api.InvalidJSON, "metadata.a"},
		{"no UTF-8", "POST", "/v1/holds", w(`"reference":"%s"`, "\xff"), 400, api.InvalidJSON, ""},
		{"half a surrogate", "POST", "/v1/holds", w(`"reference":"\ud800"`),
			400, api.InvalidJSON, ""},
		{"a leading zero", "POST", "/v1/holds", w(`"amount":012,"currency":"eur"`),
			400, api.InvalidJSON, ""},
		{"deep nesting", "POST", "/v1/holds", `{"payment_intent":` + strings.Repeat("[", 30000),
			400, api.InvalidJSON, ""},
		{"deep nesting in a batch", "POST", "/v1/holds:batch", `{"holds":[` +
			strings.Repeat("[", 30000), 400, api.InvalidJSON, ""},
		{"null", "POST", "/v1/holds", `null`, 422, api.InvalidType, ""},
		{"an array", "POST", "/v1/holds", `[]`, 422, api.InvalidType, ""},
		{"a string", "POST", "/v1/holds", `"pi_1"`, 422, api.InvalidType, ""},
		{"unknown field", "POST", "/v1/holds", w(`"captureat":"now"`), 422,
			api.UnknownField, "captureat"},
		{"field in capitals", "POST", "/v1/holds", w(`"Capture_At":%q`, in(time.Hour)), 422,
			api.UnknownField, "Capture_At"},
		{"wrong type", "POST", "/v1/holds", w(`"capture_at":5`), 422,
			api.InvalidType, "capture_at"},
		{"amount as a string", "POST", "/v1/holds", w(`"amount":"100","currency":"eur"`), 422,
			api.InvalidType, "amount"},
		{"amount with a point", "POST", "/v1/holds", w(`"amount":12.5,"currency":"eur"`), 422,
			hold.InvalidAmount, "amount"},
		{"amount beyond all", "POST", "/v1/holds",
			w(`"amount":99999999999999999999,"currency":"eur"`), 422, hold.InvalidAmount, "amount"},
		{"metadata with a number", "POST", "/v1/holds", w(`"metadata":{"a":1}`), 422,
			api.InvalidType, "metadata.a"},
		{"metadata as a list", "POST", "/v1/holds", w(`"metadata":[]`), 422,
			api.InvalidType, "metadata"},
		{"malformed id", "POST", "/v1/holds", `{"payment_intent":"12345"}`, 422,
			hold.InvalidID, "payment_intent"},
		{"no id", "POST", "/v1/holds", `{}`, 422, hold.InvalidID, "payment_intent"},
		{"malformed account", "POST", "/v1/holds", w(`"account":"x"`), 422,
			hold.InvalidID, "account"},
		{"negative amount", "POST", "/v1/holds", w(`"amount":-1,"currency":"eur"`), 422,
			hold.InvalidAmount, "amount"},
		{"amount too large", "POST", "/v1/holds", w(`"amount":1000000000000,"currency":"eur"`), 422,
			hold.InvalidAmount, "amount"},
		{"amount without currency", "POST", "/v1/holds", w(`"amount":1`), 422,
			hold.InvalidAmount, "amount"},
		{"more than is held", "POST", "/v1/holds",
			w(`"amount":100,"currency":"eur","capture_amount":101`), 422,
			hold.AmountTooLarge, "capture_amount"},
		{"no currency", "POST", "/v1/holds", w(`"amount":100,"currency":"euro"`), 422,
			hold.InvalidCurrency, "currency"},
		{"currency mismatch", "POST", "/v1/holds",
			`{"payment_intent":"pi_00000000usd","amount":500,"currency":"eur"}`, 422,
			hold.CurrencyMismatch, "currency"},
		{"amount mismatch", "POST", "/v1/holds",
			`{"payment_intent":"pi_00000000usd","amount":501,"currency":"usd"}`, 422,
			hold.AmountMismatch, "amount"},
		{"not capturable", "POST", "/v1/holds", `{"payment_intent":"pi_00000000gone"}`, 422,
			hold.NotCapturable, "payment_intent"},
		{"past", "POST", "/v1/holds", w(`"capture_at":%q`, in(-2*time.Hour)), 422,
			hold.InThePast, "capture_at"},
		{"an impossible day", "POST", "/v1/holds", w(`"capture_at":"2026-02-30T10:00:00Z"`), 422,
			hold.InvalidTime, "capture_at"},
		{"an impossible local day", "POST", "/v1/holds",
			w(`"capture_at":"2026-02-30T10:00","time_zone":"Europe/Paris"`), 422,
			hold.InvalidTime, "capture_at"},
		{"no offset", "POST", "/v1/holds", w(`"capture_at":"2026-02-20T10:00"`), 422,
			hold.InvalidTime, "capture_at"},
		{"a far time", "POST", "/v1/holds", w(`"capture_at":%q`, in(100*24*time.Hour)), 422,
			hold.InvalidTime, "capture_at"},
		{"unknown zone", "POST", "/v1/holds",
			w(`"capture_at":"2026-12-01T10:00","time_zone":"Mars/Olympus"`), 422,
			hold.UnknownTimeZone, "time_zone"},
		{"after the deadline", "POST", "/v1/holds", w(`"capture_at":%q,"expires_at":%q`,
			in(3*time.Hour), in(2*time.Hour)), 422, hold.AfterDeadline, "capture_at"},
		{"released at once", "POST", "/v1/holds", w(`"amount":100,"currency":"eur","expires_at":%q`,
			in(50*time.Minute)), 422, hold.WouldCancelNow, "confirm"},
		{"released at once, not confirmed", "POST", "/v1/holds",
			w(`"amount":100,"currency":"eur","expires_at":%q,"confirm":false`, in(50*time.Minute)),
			422, hold.WouldCancelNow, "confirm"},
		{"captured at once", "POST", "/v1/holds",
			w(`"amount":100,"currency":"eur","expires_at":%q,"on_expiry":"capture"`,
				in(50*time.Minute)), 422, hold.WouldCaptureNow, "confirm"},
		{"confirmed by a word", "POST", "/v1/holds", w(`"confirm":"yes"`), 422,
			api.InvalidType, "confirm"},
		{"two times", "POST", "/v1/holds", w(`"capture_at":%q,"cancel_at":%q`, in(time.Hour),
			in(time.Hour)), 422, hold.ConflictingTimes, "cancel_at"},
		{"unknown policy", "POST", "/v1/holds", w(`"on_expiry":"pray"`), 422,
			hold.InvalidPolicy, "on_expiry"},
		{"long reference", "POST", "/v1/holds", w(`"reference":%q`, strings.Repeat("x", 201)), 422,
			hold.InvalidReference, "reference"},
		{"reference that reads as an id", "POST", "/v1/holds", w(`"reference":"pi_abc"`), 422,
			hold.InvalidReference, "reference"},
		{"reference that no path can name", "POST", "/v1/holds", w(`"reference":".."`), 422,
			hold.InvalidReference, "reference"},
		{"long metadata", "POST", "/v1/holds", w(`"metadata":{"a":%q}`, strings.Repeat("x", 501)),
			422, hold.InvalidMetadata, "metadata"},
		{"fee above the amount", "POST", "/v1/holds",
			w(`"amount":100,"currency":"eur","application_fee_amount":101`), 422,
			hold.AmountTooLarge, "application_fee_amount"},
		{"fee with a point", "POST", "/v1/holds", w(`"application_fee_amount":1.5`), 422,
			hold.InvalidAmount, "application_fee_amount"},
		{"transfer above the amount", "POST", "/v1/holds",
			w(`"amount":100,"currency":"eur","transfer_data":{"amount":101}`), 422,
			hold.AmountTooLarge, "transfer_data.amount"},
		{"transfer as a number", "POST", "/v1/holds", w(`"transfer_data":5`), 422,
			api.InvalidType, "transfer_data"},
		{"transfer elsewhere", "POST", "/v1/holds", w(`"transfer_data":{"destination":"acct_1"}`),
			422, api.UnknownField, "transfer_data.destination"},
		{"wrong suffix", "POST", "/v1/holds", w(`"statement_descriptor_suffix":"2071"`), 422,
			hold.InvalidField, "statement_descriptor_suffix"},
		{"reserved metadata at capture", "POST", "/v1/holds",
			w(`"capture_metadata":{"holdd_waiting":"true"}`), 422,
			hold.InvalidMetadata, "capture_metadata"},
		{"metadata at capture as a list", "POST", "/v1/holds", w(`"capture_metadata":[]`), 422,
			api.InvalidType, "capture_metadata"},
		{"another fee", "POST", "/v1/holds", `{"payment_intent":"` + testHoldID +
			`","application_fee_amount":1}`, 409, hold.HoldExists, ""},
		{"conflicting terms", "POST", "/v1/holds", `{"payment_intent":"` + testHoldID +
			`","reference":"else"}`, 409, hold.HoldExists, ""},
		{"large body", "POST", "/v1/holds", w(`"reference":%q`, strings.Repeat("x", 65<<10)),
			413, api.BodyTooLarge, ""},
		{"10 MB", "POST", "/v1/holds", strings.Repeat(" ", 10<<20), 413, api.BodyTooLarge, ""},
		{"10 MB batch", "POST", "/v1/holds:batch", strings.Repeat(" ", 10<<20),
			413, api.BodyTooLarge, ""},
		{"10 MB patch", "PATCH", hold1, strings.Repeat(" ", 10<<20), 413, api.BodyTooLarge, ""},
		{"10 MB capture", "POST", hold1 + "/capture", strings.Repeat(" ", 10<<20),
			413, api.BodyTooLarge, ""},
		{"10 MB cancel", "POST", hold1 + "/cancel", strings.Repeat(" ", 10<<20),
			413, api.BodyTooLarge, ""},

		{"batch without a body", "POST", "/v1/holds:batch", ``, 400, api.BodyRequired, ""},
		{"batch of nothing", "POST", "/v1/holds:batch", `{}`, 422, api.InvalidBatch, "holds"},
		{"empty batch", "POST", "/v1/holds:batch", `{"holds":[]}`, 422, api.InvalidBatch, "holds"},
		{"long batch", "POST", "/v1/holds:batch", `{"holds":[` + strings.Repeat(many+",", 1000) +
			many + `]}`, 422, api.InvalidBatch, "holds"},
		{"batch with another field", "POST", "/v1/holds:batch", `{"holds":[` + many + `],"mode":1}`,
			422, api.UnknownField, "mode"},
		{"batch with two lists", "POST", "/v1/holds:batch", `{"holds":[` + many + `],"holds":[]}`,
			400, api.InvalidJSON, "holds"},
		{"batch as an array", "POST", "/v1/holds:batch", `[` + many + `]`,
			422, api.InvalidType, ""},
		{"batch with an object", "POST", "/v1/holds:batch", `{"holds":{}}`, 422,
			api.InvalidType, "holds"},
		{"batch with null", "POST", "/v1/holds:batch", `{"holds":null}`, 422,
			api.InvalidType, "holds"},
		{"cut batch", "POST", "/v1/holds:batch", `{"holds":[` + many, 400, api.InvalidJSON, ""},
		{"batch and more", "POST", "/v1/holds:batch", `{"holds":[` + many + `]}]`,
			400, api.InvalidJSON, ""},
		{"batch and comma", "POST", "/v1/holds:batch", `{"holds":[` + many + `,]}`,
			400, api.InvalidJSON, ""},

		{"get a malformed id", "GET", "/v1/holds/pi_", ``, 422, hold.InvalidID, "id"},
		{"get an unknown reference", "GET", "/v1/holds/12345", ``, 404, hold.HoldNotFound, "id"},
		{"get an unknown id", "GET", "/v1/holds/" + other, ``, 404, hold.HoldNotFound, ""},
		{"patch an unknown id", "PATCH", "/v1/holds/" + other, `{"reference":"x"}`,
			404, hold.HoldNotFound, ""},
		{"patch a malformed id", "PATCH", "/v1/holds/pi_", `{"reference":"x"}`,
			422, hold.InvalidID, "id"},
		{"patch an unknown reference", "PATCH", "/v1/holds/x", `{"reference":"x"}`,
			404, hold.HoldNotFound, "id"},
		{"patch nothing", "PATCH", hold1, `{}`, 422, hold.NothingToChange, ""},
		{"patch only a zone", "PATCH", hold1, `{"time_zone":"Europe/Paris"}`, 422,
			hold.NothingToChange, ""},
		{"patch without a body", "PATCH", hold1, ``, 400, api.BodyRequired, ""},
		{"patch null", "PATCH", hold1, `{"reference":"x","capture_at":null}`, 422,
			api.InvalidType, "capture_at"},
		{"patch what can't be", "PATCH", hold1, `{"amount":1}`, 422, api.UnknownField, "amount"},
		{"patch a past time", "PATCH", hold1, fmt.Sprintf(`{"capture_at":%q}`, in(-2*time.Hour)),
			422, hold.InThePast, "capture_at"},
		{"patch beyond the deadline", "PATCH", hold1, fmt.Sprintf(`{"capture_at":%q}`,
			in(80*time.Hour)), 422, hold.AfterDeadline, "capture_at"},
		{"patch too much", "PATCH", hold1, `{"capture_amount":12501}`, 422,
			hold.AmountTooLarge, "capture_amount"},
		{"patch the fee too much", "PATCH", hold1, `{"application_fee_amount":12501}`, 422,
			hold.AmountTooLarge, "application_fee_amount"},
		{"patch an empty transfer", "PATCH", hold1, `{"transfer_data":{}}`, 422,
			hold.InvalidField, "transfer_data"},
		{"capture less than the fee", "POST", hold1 + "/capture",
			`{"amount":5,"application_fee_amount":6}`, 422, hold.AmountTooLarge,
			"application_fee_amount"},
		{"capture with a null fee", "POST", hold1 + "/capture", `{"application_fee_amount":null}`,
			422, api.InvalidType, "application_fee_amount"},
		{"capture an unknown id", "POST", "/v1/holds/" + other + "/capture", ``,
			404, hold.HoldNotFound, ""},
		{"capture a negative amount", "POST", hold1 + "/capture", `{"amount":-5}`, 422,
			hold.InvalidAmount, "amount"},
		{"capture nothing", "POST", hold1 + "/capture", `{"amount":0}`, 422,
			hold.InvalidAmount, "amount"},
		{"capture null", "POST", hold1 + "/capture", `{"amount":null}`, 422,
			hold.InvalidAmount, "amount"},
		{"capture too much", "POST", hold1 + "/capture", `{"amount":12501}`, 422,
			hold.AmountTooLarge, "amount"},
		{"capture by another name", "POST", hold1 + "/capture", `{"capture_amount":1}`, 422,
			api.UnknownField, "capture_amount"},
		{"cancel with an amount", "POST", hold1 + "/cancel", `{"amount":1}`, 422,
			api.UnknownField, "amount"},
		{"pause with null", "POST", hold1 + "/pause", `null`, 422, api.InvalidType, ""},
		{"only a confirmation", "PATCH", hold1, `{"confirm":true}`, 422, hold.NothingToChange, ""},
		{"pause with a word", "POST", hold1 + "/pause", `{"confirm":"yes"}`, 422,
			api.InvalidType, "confirm"},
		{"resume with more", "POST", hold1 + "/resume", `{"confirm":true,"amount":1}`, 422,
			api.UnknownField, "amount"},
		{"resume what isn't paused", "POST", hold1 + "/resume", ``, 409, hold.NotPaused, ""},

		{"unknown state", "GET", "/v1/holds?state=lost", ``, 422, api.InvalidParameter, "state"},
		{"limit 0", "GET", "/v1/holds?limit=0", ``, 422, api.InvalidParameter, "limit"},
		{"limit 201", "GET", "/v1/holds?limit=201", ``, 422, api.InvalidParameter, "limit"},
		{"limit ten", "GET", "/v1/holds?limit=ten", ``, 422, api.InvalidParameter, "limit"},
		{"long cursor", "GET", "/v1/holds?cursor=" + strings.Repeat("x", 1025), ``, 422,
			api.InvalidParameter, "cursor"},
		{"malformed account", "GET", "/v1/holds?account=x", ``, 422, hold.InvalidID, "account"},
		{"no span", "GET", "/v1/holds?expiring_within=soon", ``, 422,
			api.InvalidParameter, "expiring_within"},
		{"negative span", "GET", "/v1/holds?expiring_within=-1h", ``, 422,
			api.InvalidParameter, "expiring_within"},
		{"unknown parameter", "GET", "/v1/holds?stat=ready", ``, 422, api.UnknownParameter, "stat"},
		{"two wrong parameters", "GET", "/v1/holds?state=lost&limit=0", ``, 422,
			api.InvalidParameter, "state"},
		{"long plan", "GET", "/v1/plan?next=91d", ``, 422, api.InvalidParameter, "next"},
		{"unknown route", "GET", "/v1/nothing", ``, 404, api.RouteNotFound, ""},
		{"unknown verb", "POST", hold1 + "/refund", ``, 404, api.RouteNotFound, ""},
		{"wrong method", "DELETE", hold1, ``, 405, api.MethodNotAllowed, ""},
		{"wrong method on a trigger", "GET", hold1 + "/capture", ``, 405, api.MethodNotAllowed, ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			a := sendRequest(t, c.method, s.URL+c.path, c.body)
			if got := problemCode(t, a); a.status != c.status || got != c.code {
				t.Fatalf("%d %s", a.status, a.body)
			}
			var p api.Problem
			if err := json.Unmarshal([]byte(a.body), &p); err != nil || p.Field != c.field {
				t.Errorf("field %q: %s", p.Field, a.body)
			}
			if (c.code == hold.AfterDeadline || c.code == hold.WouldCancelNow ||
				c.code == hold.WouldCaptureNow) && p.Deadline == nil {
				t.Errorf("no deadline: %s", a.body)
			}
			if c.status == 405 && a.header.Get("Allow") == "" {
				t.Error("no Allow")
			}
		})
	}
	if after := m.snapshot(); !reflect.DeepEqual(before, after) {
		t.Errorf("changed: %v", after)
	}
}

func TestReadBody_ContentTypes(t *testing.T) {
	m := newFakeHolds()
	s, _ := startServer(t, api.Options{Holds: holdsOf(m)})
	b := `{"payment_intent":"` + testHoldID + `"}`
	for _, c := range []struct {
		kind, encoding string
		status         int
	}{
		{"application/json", "", 201}, {"application/json; charset=utf-8", "identity", 200},
		{"application/JSON;charset=UTF-8", "", 200},
		{"text/plain", "", 415}, {"application/x-www-form-urlencoded", "", 415},
		{"application/json; charset=latin1", "", 415}, {"json", "", 415}, {"", "", 415},
		{"application/problem+json", "", 415}, {"application/json", "gzip", 415},
	} {
		a := sendRequest(t, "POST", s.URL+"/v1/holds", b, "Content-Type", c.kind,
			"Content-Encoding", c.encoding)
		if a.status != c.status {
			t.Errorf("%q %q: %d %s", c.kind, c.encoding, a.status, a.body)
		}
		problemCode(t, a)
	}
}

// A body without a Content-Length is bounded as well.
func TestReadBody_ChunkedTooLarge(t *testing.T) {
	m := newFakeHolds()
	s, _ := startServer(t, api.Options{Holds: holdsOf(m)})
	body := io.MultiReader(strings.NewReader(`{"reference":"`),
		strings.NewReader(strings.Repeat("x", 10<<20)))
	req, _ := http.NewRequestWithContext(t.Context(), "POST", s.URL+"/v1/holds", body)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil { // the server may close before all was sent: refused either way
		return
	}
	defer res.Body.Close()
	if res.StatusCode != 413 {
		t.Errorf("%d", res.StatusCode)
	}
}

// declaredCodes returns the codes that a file declares, so that the test covers
// new ones.
func declaredCodes(t *testing.T, file string) map[string]hold.ProblemCode {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]hold.ProblemCode{}
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || v.Type == nil || len(v.Values) != 1 {
			return true
		}
		kind := fmt.Sprint(v.Type)
		if sel, ok := v.Type.(*ast.SelectorExpr); ok {
			kind = sel.Sel.Name
		}
		if lit, ok := v.Values[0].(*ast.BasicLit); ok && kind == "ProblemCode" {
			s, _ := strconv.Unquote(lit.Value)
			out[v.Names[0].Name] = hold.ProblemCode(s)
		}
		return true
	})
	if len(out) == 0 {
		t.Fatalf("no codes in %s", file)
	}
	return out
}

func TestProblemCatalog_CoversEveryCode(t *testing.T) {
	want := map[int][]hold.ProblemCode{
		400: {hold.InvalidIdempotencyKey},
		402: {hold.CardDeclined},
		404: {hold.HoldNotFound, hold.IntentNotFound, hold.AuthorizationNotFound},
		500: {hold.RecordUnreadable},
		503: {hold.OutcomeUnknown},
		409: {hold.IdempotencyKeyReused, hold.InProgress, hold.AuthorizationAbandoned,
			hold.HoldExists, hold.TooLate, hold.AlreadyCaptured, hold.AlreadyCanceled,
			hold.AlreadyExpired, hold.AlreadyPaused, hold.NotPaused, hold.HoldPaused,
			hold.CancelAccepted, hold.Declined,
			hold.RecordReadable, hold.RecordOfLaterRelease, hold.NoActionRequired,
			hold.CapturesPlanned, hold.NotSettled, hold.EventsUndelivered,
			hold.AmountAlreadyCaptured},
		412: {hold.RevisionMismatch},
	}
	status := map[hold.ProblemCode]int{}
	for s, codes := range want {
		for _, c := range codes {
			status[c] = s
		}
	}
	m := newFakeHolds()
	s, _ := startServer(t, api.Options{Holds: holdsOf(m)})
	docs := sendRequest(t, "GET", s.URL+"/docs", "").body
	for name, code := range declaredCodes(t, "../hold/problem.go") {
		m.err = fmt.Errorf("intake: %w", &hold.Problem{Code: code, Field: "f", Detail: "d"})
		expect := status[code]
		if expect == 0 {
			expect = 422
		}
		a := sendRequest(t, "GET", s.URL+"/v1/holds/"+testHoldID, "")
		if got := problemCode(t, a); got != code || a.status != expect {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		if strings.Contains(a.body, "The request cannot be accepted") ||
			!strings.Contains(docs, `<tr id="`+string(code)+`">`) {
			t.Errorf("%s has no entry in the catalog", name)
		}
	}
	for name, code := range declaredCodes(t, "client/problem_codes.go") {
		if code != api.UnexpectedResponse && !strings.Contains(docs, `<tr id="`+string(code)+`">`) {
			t.Errorf("%s has no entry in the catalog", name)
		}
	}
}

func TestProblem_ListsEveryFieldError(t *testing.T) {
	s, _ := startServer(t, api.Options{Holds: holdsOf(newFakeHolds())})
	var p api.Problem
	a := sendRequest(t, "GET", s.URL+"/v1/holds?state=lost&limit=0", "")
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || len(p.Errors) != 2 ||
		p.Errors[1].Field != "limit" {
		t.Errorf("%s", a.body)
	}
	c := newTestClient(t, s.URL, "")
	_, err := c.Get(t.Context(), "pi_../../healthz")
	if !errors.Is(err, &api.Problem{Code: hold.InvalidID}) {
		t.Errorf("%v", err)
	}
}
