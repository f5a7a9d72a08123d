package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// holdsClient has the methods of [Client] for holds.
type holdsClient struct{ conn *clientConnection }

// Schedule schedules a hold. created is false if the same request was accepted
// before.
func (c holdsClient) Schedule(
	ctx context.Context, req hold.ScheduleRequest,
) (v hold.View, created bool, err error) {
	status, err := c.conn.send(ctx,
		clientRequest{method: http.MethodPost, path: "/v1/holds", body: req}, &v)
	return v, status == http.StatusCreated, err
}

// ScheduleBatch schedules up to [MaxBatchHolds] holds, at most 1 MiB of JSON.
// It returns one result for each, in the order of the requests.
func (c holdsClient) ScheduleBatch(
	ctx context.Context, reqs []hold.ScheduleRequest,
) ([]BatchResult, error) {
	var out BatchResponse
	if _, err := c.conn.send(ctx, clientRequest{method: http.MethodPost, path: "/v1/holds:batch",
		body: BatchRequest{Holds: reqs}}, &out); err != nil {
		return nil, err
	}
	if len(out.Results) != len(reqs) {
		return nil, &UnreachableError{URL: c.conn.address, OutcomeUnknown: true,
			Err: fmt.Errorf("%d results for %d holds", len(out.Results), len(reqs))}
	}
	return out.Results, nil
}

// Get returns one hold with its history. A hold is named by its id or its
// reference, in this and the following methods. If several holds have the
// reference, the error has the code [AmbiguousReference] and their ids.
func (c holdsClient) Get(ctx context.Context, id string) (v hold.View, err error) {
	return c.sendHoldRequest(ctx, id, "", clientRequest{method: http.MethodGet})
}

// CreateCardholderLink returns a link for the cardholder of a hold whose renewal
// requires one.
func (c holdsClient) CreateCardholderLink(
	ctx context.Context, id string) (l CardholderLink, err error,
) {
	_, err = c.conn.send(ctx, clientRequest{method: http.MethodPost,
		path: "/v1/holds/" + url.PathEscape(id) + "/cardholder_link"}, &l)
	return l, err
}

// ListQuery selects holds. Its zero value selects all.
type ListQuery struct {
	State          hold.State    // 0: any
	Reference      string        // a prefix
	Account        string        // exact
	ExpiringWithin time.Duration // only open holds; 0: any
	RequiresAction bool          // only holds whose renewal requires their cardholder
	// Metadata selects holds that have all these pairs. holdd has no index of
	// them: it examines 1,000 holds for each page.
	Metadata map[string]string
	Limit    int    // per page; 0: 50, at most [MaxPageSize]
	Cursor   string // Next of the previous page
}

// List returns one page of holds.
func (c holdsClient) List(ctx context.Context, q ListQuery) (ListPage, error) {
	v := url.Values{}
	set := func(k, s string) {
		if s != "" {
			v.Set(k, s)
		}
	}
	if q.State != 0 {
		set("state", q.State.String())
	}
	set("reference", q.Reference)
	set("account", q.Account)
	set("cursor", q.Cursor)
	if q.ExpiringWithin != 0 {
		set("expiring_within", q.ExpiringWithin.String())
	}
	if q.RequiresAction {
		set("requires_action", "true")
	}
	for key, value := range q.Metadata {
		v.Set("metadata["+key+"]", value)
	}
	if q.Limit != 0 {
		set("limit", strconv.Itoa(q.Limit))
	}
	var page ListPage
	_, err := c.conn.send(ctx,
		clientRequest{method: http.MethodGet, path: appendQuery("/v1/holds", v)}, &page)
	return page, err
}

// ListAll iterates over the holds of all pages from q.Cursor on. It ends after
// the first error.
func (c holdsClient) ListAll(ctx context.Context, q ListQuery) iter.Seq2[hold.View, error] {
	return func(yield func(hold.View, error) bool) {
		for {
			page, err := c.List(ctx, q)
			if err != nil {
				yield(hold.View{}, err)
				return
			}
			for _, v := range page.Holds {
				if !yield(v, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			if page.Next == q.Cursor {
				yield(hold.View{}, fmt.Errorf("holdd at %s sent the same page twice",
					c.conn.address))
				return
			}
			q.Cursor = page.Next
		}
	}
}

// Patch changes a hold's terms. A revision other than 0 requires that the hold
// still has it, in this and the following methods; otherwise the error has the
// code [hold.RevisionMismatch].
func (c holdsClient) Patch(
	ctx context.Context, id string, p hold.Patch, revision uint64,
) (hold.View, error) {
	return c.sendHoldRequest(ctx, id, "",
		clientRequest{method: http.MethodPatch, revision: revision, body: p})
}

// Capture requests to capture the money now. Amount 0 means the amount of the
// hold's terms. The worker captures it afterwards: the hold's state shows the
// outcome. A capture that keeps the rest needs a revision or a RequestKey, with
// which it can be repeated.
func (c holdsClient) Capture(
	ctx context.Context, id string, req hold.CaptureRequest, revision uint64,
) (hold.View, error) {
	return c.sendHoldRequest(ctx, id, "/capture", clientRequest{method: http.MethodPost,
		revision: revision, idempotencyKey: req.RequestKey, body: req})
}

// Cancel requests to release the money now. Once it is accepted, nothing
// captures the hold any more. The worker releases it afterwards. reason is the
// cancellation reason; empty means the setting.
func (c holdsClient) Cancel(
	ctx context.Context, id, reason string, revision uint64,
) (hold.View, error) {
	return c.sendHoldRequest(ctx, id, "/cancel", clientRequest{method: http.MethodPost,
		revision: revision, body: CancelRequest{CancellationReason: reason}})
}

// Increment asks the bank to authorize a higher total, and waits for its
// answer. The error has the code [hold.Declined] if the bank declined. A hold
// that still has an increment is not raised yet.
func (c holdsClient) Increment(
	ctx context.Context, id string, req hold.IncrementRequest, revision uint64,
) (hold.View, error) {
	return c.sendHoldRequest(ctx, id, "/increment", clientRequest{method: http.MethodPost,
		revision: revision, body: req})
}

// Pause suspends the hold's own time until it is resumed. Its deadline stays.
// With confirm the deadline's policy may act at once.
func (c holdsClient) Pause(
	ctx context.Context, id string, revision uint64, confirm bool,
) (hold.View, error) {
	return c.sendHoldRequest(ctx, id, "/pause", clientRequest{method: http.MethodPost,
		revision: revision, body: PauseResumeRequest{Confirm: confirm}})
}

// Resume returns a paused hold to its own time. With confirm the deadline's
// policy may act at once.
func (c holdsClient) Resume(
	ctx context.Context, id string, revision uint64, confirm bool,
) (hold.View, error) {
	return c.sendHoldRequest(ctx, id, "/resume", clientRequest{method: http.MethodPost,
		revision: revision, body: PauseResumeRequest{Confirm: confirm}})
}

// AcknowledgeWarnings silences the remaining warnings about the hold's deadline.
func (c holdsClient) AcknowledgeWarnings(
	ctx context.Context, id string, revision uint64,
) (hold.View, error) {
	return c.sendHoldRequest(ctx, id, "/acknowledge",
		clientRequest{method: http.MethodPost, revision: revision})
}

// RepairUnreadableRecord replaces the unreadable record of a hold.
func (c holdsClient) RepairUnreadableRecord(
	ctx context.Context, id string, req RepairRequest,
) (out RepairResult, err error) {
	if err := validateIntentID(id); err != nil {
		return out, err
	}
	_, err = c.conn.send(ctx, clientRequest{method: http.MethodPost, body: req,
		path: "/v1/holds/" + url.PathEscape(id) + "/repair"}, &out)
	return out, err
}

// ErasePersonalData erases the personal data of a settled hold.
func (c holdsClient) ErasePersonalData(ctx context.Context, id string) (hold.View, error) {
	return c.sendHoldRequest(ctx, id, "/personal_data", clientRequest{method: http.MethodDelete})
}

// sendHoldRequest sends a request about one hold. It checks the name, which
// becomes part of the path.
func (c holdsClient) sendHoldRequest(
	ctx context.Context, id, action string, r clientRequest,
) (v hold.View, err error) {
	if id == "" || strings.HasPrefix(id, "pi_") {
		if err := validateIntentID(id); err != nil {
			return v, err
		}
	}
	r.path = "/v1/holds/" + url.PathEscape(id) + action
	_, err = c.conn.send(ctx, r, &v)
	return v, err
}

func validateIntentID(id string) error {
	var invalid *hold.Problem
	if errors.As(hold.CheckPaymentIntentID(id), &invalid) {
		return newRequestProblem(invalid)
	}
	return nil
}

func appendQuery(path string, v url.Values) string {
	if len(v) == 0 {
		return path
	}
	return path + "?" + v.Encode()
}
