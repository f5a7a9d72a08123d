package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/holdd/holdd/worker/auditread"
)

// Each error after which the checkpoint file is kept says how to continue.
func TestExplainAuditError_NamesResume(t *testing.T) {
	const resume = "continue with: holdd audit --resume"
	for _, cause := range []error{context.Canceled, auditread.ErrUnavailable,
		auditread.ErrForbidden, auditread.ErrKeyRejected, errors.New("any other")} {
		err := fmt.Errorf("cannot read the charges: %w", cause)
		e, ok := errors.AsType[*exitError](explainAuditError(err, resume))
		if !ok || !strings.HasSuffix(e.hint, resume) {
			t.Errorf("%v: hint %q", cause, e.hint)
		}
		e, _ = errors.AsType[*exitError](explainAuditError(err, ""))
		if strings.Contains(e.hint, "then") || strings.Contains(e.hint, "resume") {
			t.Errorf("%v, nothing kept: hint %q", cause, e.hint)
		}
	}
}
