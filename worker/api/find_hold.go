package api

import (
	"context"
	"fmt"
	"strings"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/query"
)

const (
	// maxReferencePages bounds the pages that a search for a reference reads. A
	// reference that 2,000 holds have names none of them.
	maxReferencePages = 10
	// maxAmbiguousIDs bounds the ids in a problem.
	maxAmbiguousIDs = 10
)

// findHoldID returns the id of the hold that a request names by its id or its
// reference. Errors are *[Problem].
func (b responseBuilder) findHoldID(
	ctx context.Context, reader HoldReader, name string,
) (string, error) {
	if !strings.HasPrefix(name, "pi_") {
		id, err := findHoldIDByReference(ctx, reader, name)
		if err != nil {
			return "", b.logAndConvertError(ctx, err)
		}
		return id, nil
	}
	if err := validatePathID(name); err != nil {
		return "", err
	}
	return name, nil
}

// findHoldIDByReference returns the id of the hold with this reference. Open holds
// have precedence, because a booking may have had others before. The list is
// ordered by reference, so the holds with the reference itself come first.
func findHoldIDByReference(
	ctx context.Context,
	reader HoldReader,
	reference string,
) (string, error) {
	var open, settled []string
	q := query.HoldQuery{Reference: reference, Limit: MaxPageSize}
	complete := false
	for range maxReferencePages {
		page, err := reader.List(ctx, q)
		if err != nil {
			return "", err
		}
		for i := range page.Holds {
			found := &page.Holds[i]
			if found.Reference != reference { // it only begins so
				complete = true
				break
			}
			if found.State.IsFinal() {
				settled = append(settled, found.ID)
			} else {
				open = append(open, found.ID)
			}
		}
		complete = complete || page.Next == ""
		if complete || len(open) > 1 {
			break
		}
		q.Cursor = page.Next
	}
	ids := open
	if len(ids) == 0 {
		ids = settled
	}
	switch {
	case len(ids) == 0 && complete:
		return "", newProblem(hold.HoldNotFound, "id",
			fmt.Sprintf("no hold has the id or the reference %.100q", reference))
	case len(ids) == 1 && complete:
		return ids[0], nil
	}
	p := newProblem(AmbiguousReference, "id", fmt.Sprintf(
		"several holds have the reference %.100q: use the id of one", reference))
	p.IDs = ids[:min(len(ids), maxAmbiguousIDs)]
	return "", p
}
