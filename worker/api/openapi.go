package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"go.uber.org/zap"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
)

const apiDescription = "A hold is a Stripe PaymentIntent in `requires_capture`. holdd captures " +
	"or releases it once, at its time, and warns before it expires. " +
	"Amounts are integers in minor units. Times are RFC 3339, or local with `time_zone`. " +
	"`ETag` is the hold's revision: send it as `If-Match` to change only the revision that you " +
	"have read. " +
	"Errors are `application/problem+json` with a stable `code`. Retry a request that got no " +
	"response: a repeated request takes effect once."

// newHumaAPI returns an empty API whose routes are added to mux.
func newHumaAPI(mux *http.ServeMux, version string) huma.API {
	return huma.NewAPI(huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{Title: "holdd", Version: version, Description: apiDescription,
				Contact: &huma.Contact{Name: "holdd", URL: "https://github.com/holdd/holdd"}},
			// The document describes the holdd that sends it.
			Servers: []*huma.Server{{URL: "/", Description: "This holdd"}},
			Tags:    apiTags(),
			Components: &huma.Components{Schemas: huma.NewMapRegistry(
				"#/components/schemas/", schemaName)},
		},
		Formats: map[string]huma.Format{
			"application/json": huma.DefaultJSONFormat,
			"json":             huma.DefaultJSONFormat, // for …+json
		},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{convertHumaError},
	}, humago.NewAdapter(mux, ""))
}

// schemaNames are the names in the document of types that are called otherwise
// in Go.
var schemaNames = map[reflect.Type]string{
	reflect.TypeFor[hold.View]():             "Hold",
	reflect.TypeFor[*hold.View]():            "Hold",
	reflect.TypeFor[hold.HistoryEntryView](): "HistoryEntry",
	reflect.TypeFor[hold.TermsWarning]():     "Warning",
	reflect.TypeFor[hold.CaptureRequest]():   "Capture",
	reflect.TypeFor[cancelRequest]():         "Cancel",
	reflect.TypeFor[hold.IncrementRequest](): "IncrementRequest",
	reflect.TypeFor[hold.IncrementView]():    "Increment",

	reflect.TypeFor[hold.CaptureStageRequest](): "PlannedCaptureRequest",
	reflect.TypeFor[hold.CaptureStageView]():    "PlannedCapture",
	reflect.TypeFor[hold.NextCaptureView]():     "NextCapture",
	reflect.TypeFor[pauseResumeRequest]():       "Confirm",
	reflect.TypeFor[batchRequest]():             "ScheduleRequests",
	reflect.TypeFor[reconcileRequest]():         "Reconcile",
	reflect.TypeFor[event.Envelope]():           "Event",
	reflect.TypeFor[replayRequest]():            "Replay",
}

// requestSchemas are the schemas of bodies, which may have no other fields.
// Responses may gain fields.
var requestSchemas = []string{"ScheduleRequest", "ScheduleRequests", "Patch", "Capture", "Cancel",
	"IncrementRequest", "PlannedCaptureRequest",
	"Confirm",
	"Reconcile", "Replay", "AuthorizeRequest", "ConfirmRequest", "RepairRequest"}

func schemaName(t reflect.Type, hint string) string {
	if name, ok := schemaNames[t]; ok {
		return name
	}
	return huma.DefaultSchemaNamer(t, hint)
}

// documentation serves the OpenAPI document and the documentation page. Both are
// made when they are first read: an idle daemon does not keep a megabyte of
// them.
type documentation struct {
	handlers []routeRegistrar
	version  string
	tokens   bool // required
	log      *zap.Logger

	once           sync.Once
	document, page []byte
	err            error
}

func (d *documentation) register(mux *http.ServeMux) {
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		if d.generateOrWriteProblem(w) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(d.document) // fails only if the caller has disconnected
		}
	})
	mux.HandleFunc("GET /docs", func(w http.ResponseWriter, _ *http.Request) {
		if d.generateOrWriteProblem(w) {
			serveDocsPage(w, d.page)
		}
	})
}

// generateOrWriteProblem makes the documents once. It reports whether they
// exist, and writes a problem otherwise.
func (d *documentation) generateOrWriteProblem(w http.ResponseWriter) bool {
	d.once.Do(func() {
		// The routes of this API are never served.
		api := newHumaAPI(http.NewServeMux(), d.version)
		for _, h := range d.handlers {
			h.register(api)
		}
		if d.document, d.err = completeAndEncodeOpenAPI(api.OpenAPI(), d.tokens); d.err == nil {
			d.page = renderDocsPage(api.OpenAPI())
		}
	})
	if d.err != nil {
		d.log.Error("request failed: the OpenAPI document cannot be written", zap.Error(d.err))
		newInternalProblem().Write(w)
	}
	return d.err == nil
}

// completeAndEncodeOpenAPI completes the document that huma derived from Go
// types, and encodes it.
func completeAndEncodeOpenAPI(o *huma.OpenAPI, tokens bool) ([]byte, error) {
	if err := addOperationDocs(o); err != nil {
		return nil, err
	}
	if err := addNonHumaRouteDocs(o); err != nil {
		return nil, err
	}
	if err := addCallbackDocs(o); err != nil {
		return nil, err
	}
	schemas := o.Components.Schemas.Map()
	for name, s := range schemas {
		if !slices.Contains(requestSchemas, name) {
			s.AdditionalProperties = nil
		}
	}
	delete(schemas, "ErrorModel") // convertHumaError replaces it in every response
	delete(schemas, "ErrorDetail")
	addSecurity(o, tokens)
	return json.Marshal(o)
}

// apiTags are the groups of operations.
func apiTags() []*huma.Tag {
	return []*huma.Tag{
		{Name: "holds", Description: "Schedule holds, read them and change their terms."},
		{Name: "actions", Description: "Act on one hold now."},
		{Name: "authorizations", Description: "Let holdd authorize a card and schedule its hold."},
		{Name: "deliveries", Description: "See which events were delivered, and replay others."},
		{Name: "reconcile", Description: "Compare the schedule with Stripe."},
		{Name: "process", Description: "Supervise one process."},
		{Name: "callbacks", Description: callbackDescription},
	}
}

// addSecurity adds the tokens. Where none are required, a request may still
// have one: the document is then the same apart from that.
func addSecurity(o *huma.OpenAPI, required bool) {
	o.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", Description: "A token of the tokens file. " +
			"The role read allows only GET. Without a tokens file, callers on this machine " +
			"need no token"}}
	o.Security = []map[string][]string{{"token": {}}}
	if !required {
		o.Security = append(o.Security, map[string][]string{})
	}
	for path, item := range o.Paths {
		if isPublicPath(path) {
			item.Get.Security = []map[string][]string{}
		}
	}
}

// addOperationDocs adds bodies, examples and problems. Each operation must have
// an entry in the table, and each entry an operation.
func addOperationDocs(o *huma.OpenAPI) error {
	docs := operationDocs()
	schemas := o.Components.Schemas
	problem := schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")
	for _, item := range o.Paths {
		for _, op := range operationsOfPath(item) {
			d, ok := docs[op.OperationID]
			if !ok {
				return fmt.Errorf("operation %s has no operationDoc", op.OperationID)
			}
			if err := d.addToOperation(op, schemas, problem); err != nil {
				return fmt.Errorf("operation %s: %w", op.OperationID, err)
			}
			delete(docs, op.OperationID)
		}
	}
	if len(docs) > 0 {
		return fmt.Errorf("no operations %v", slices.Collect(maps.Keys(docs)))
	}
	return nil
}

// addNonHumaRouteDocs adds the routes that huma does not serve.
func addNonHumaRouteDocs(o *huma.OpenAPI) error {
	problem := o.Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")
	for _, r := range []struct{ path, operationID, summary, description, contentType string }{
		{"/metrics", "getMetrics", "Prometheus metrics",
			"The metrics of this process in the text format of Prometheus.", "text/plain"},
		{"/openapi.json", "getOpenAPI", "This document",
			"This API as an OpenAPI 3.1 document.", "application/json"},
		{"/docs", "getDocs", "This document as a web page",
			"The page loads nothing from other servers.", "text/html"},
	} {
		op := &huma.Operation{OperationID: r.operationID, Method: http.MethodGet,
			Path: r.path, Summary: r.summary, Description: r.description,
			Tags: []string{"process"},
			Responses: map[string]*huma.Response{"200": {Description: "OK",
				Content: map[string]*huma.MediaType{r.contentType: {}}}}}
		o.AddOperation(op)
		if err := (&operationDoc{}).addProblems(op, problem, accessProblems); err != nil {
			return err
		}
	}
	return nil
}

// freeOpenAPIMemory frees what huma has derived for the document and does not need to
// serve requests.
func freeOpenAPIMemory(o *huma.OpenAPI) {
	for _, item := range o.Paths {
		for _, op := range operationsOfPath(item) {
			op.Responses, op.RequestBody, op.Parameters = nil, nil, nil
		}
	}
	o.Paths = nil
	clear(o.Components.Schemas.Map())
}

// operationDoc documents what an operation's Go types do not say.
type operationDoc struct {
	body          any // example of the request's body; nil: none
	bodyRequired  bool
	response      any                // example of the response
	otherStatuses map[int]string     // further statuses with the same response
	problems      []hold.ProblemCode // beside those of every operation
	noProblems    bool               // apart from those of access: supervisors call it
}

// commonProblems are possible in every operation.
var commonProblems = []hold.ProblemCode{TokenRequired, TokenInvalid, TokenReadOnly, HostNotAllowed,
	CrossOriginRefused, InternalError, Unavailable}

// accessProblems are possible in every operation, even in those that need no
// token: a request that has one must have a valid one.
var accessProblems = []hold.ProblemCode{TokenInvalid, HostNotAllowed}

func (d *operationDoc) addToOperation(
	op *huma.Operation, schemas huma.Registry, problem *huma.Schema,
) error {
	if d.body != nil {
		example, err := toJSONValue(d.body)
		if err != nil {
			return err
		}
		op.RequestBody = &huma.RequestBody{Required: d.bodyRequired,
			Content: map[string]*huma.MediaType{"application/json": {
				Schema: schemas.Schema(reflect.TypeOf(d.body), true, ""), Example: example}}}
	}
	example, err := toJSONValue(d.response)
	if err != nil {
		return err
	}
	d.addIdempotencyKey(op)
	addTraceparent(op)
	delete(op.Responses, "default")
	success := op.Responses[strconv.Itoa(op.DefaultStatus)]
	success.Content["application/json"].Example = example
	for status, description := range d.otherStatuses {
		other := *success
		other.Description = description
		op.Responses[strconv.Itoa(status)] = &other
	}
	if d.noProblems {
		return d.addProblems(op, problem, accessProblems)
	}
	return d.addProblems(op, problem, commonProblems)
}

// addIdempotencyKey adds the header to a POST that does not name it itself.
func (d *operationDoc) addIdempotencyKey(op *huma.Operation) {
	if op.Method != http.MethodPost || slices.ContainsFunc(op.Parameters,
		func(p *huma.Param) bool { return p.Name == "Idempotency-Key" }) {
		return
	}
	least, most := 8, 128
	op.Parameters = append(op.Parameters, &huma.Param{Name: "Idempotency-Key", In: "header",
		Description: "A new key for each request, and the same key for its retries: 8 to 128 " +
			"visible ASCII characters, such as a UUID. For 24 hours a retry returns the first " +
			"successful response, with `" + replayedHeader + ": true`",
		Example: "0b1f8a52-6c1e-4c33-9a6e-3f1d1c9e7a10",
		Schema:  &huma.Schema{Type: huma.TypeString, MinLength: &least, MaxLength: &most}})
	d.problems = slices.Concat(d.problems, []hold.ProblemCode{hold.InvalidIdempotencyKey,
		hold.IdempotencyKeyReused, hold.InProgress})
}

// addTraceparent adds the header to the operations that change something.
func addTraceparent(op *huma.Operation) {
	if op.Method != http.MethodPost && op.Method != http.MethodPatch {
		return
	}
	op.Parameters = append(op.Parameters, &huma.Param{Name: "traceparent", In: "header",
		Description: "The caller's span, as W3C Trace Context. If traces are on, the request, " +
			"what holdd does later because of it, and its callbacks belong to this trace. " +
			"An invalid value is ignored",
		Example: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		Schema:  &huma.Schema{Type: huma.TypeString}})
}

// addProblems adds one response for each status, with an example of each code.
func (d *operationDoc) addProblems(
	op *huma.Operation, problem *huma.Schema, common []hold.ProblemCode,
) error {
	byStatus := map[int][]hold.ProblemCode{}
	for _, code := range slices.Concat(d.problems, common) {
		if op.Method == http.MethodGet && (code == TokenReadOnly || code == CrossOriginRefused) {
			continue
		}
		k := problemKindByCode[code]
		byStatus[k.status] = append(byStatus[k.status], code)
	}
	for status, codes := range byStatus {
		examples, names := map[string]*huma.Example{}, make([]string, 0, len(codes))
		for _, code := range codes {
			title := problemKindByCode[code].title
			example := newProblem(code, "", title)
			if code == AmbiguousReference {
				example.IDs = []string{exampleHold().ID, "pi_3PxYzA2eZvKYlo2C1gQmT0aC"}
			}
			value, err := toJSONValue(example)
			if err != nil {
				return err
			}
			examples[string(code)] = &huma.Example{Summary: title, Value: value}
			names = append(names, "`"+string(code)+"`")
		}
		op.Responses[strconv.Itoa(status)] = &huma.Response{
			Description: http.StatusText(status) + ": " + strings.Join(names, ", "),
			Content: map[string]*huma.MediaType{"application/problem+json": {
				Schema: problem, Examples: examples}}}
	}
	return nil
}

// operationsOfPath returns the operations of a path.
func operationsOfPath(p *huma.PathItem) []*huma.Operation {
	var out []*huma.Operation
	for _, op := range []*huma.Operation{p.Get, p.Post, p.Put, p.Patch, p.Delete} {
		if op != nil {
			out = append(out, op)
		}
	}
	return out
}

// toJSONValue encodes and decodes v, so that an example has the form of its
// JSON.
func toJSONValue(v any) (any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var out any
	err = json.Unmarshal(b, &out)
	return out, err
}
