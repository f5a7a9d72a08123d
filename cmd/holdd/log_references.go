package main

import (
	"slices"

	"go.uber.org/zap/zapcore"
)

// referenceField is the field of the log with the reference of a hold.
const referenceField = "reference"

// referenceRemover is a core that writes an empty reference in place of each
// one. It is in one place, so that no line of the log is forgotten.
type referenceRemover struct{ zapcore.Core }

// With implements zapcore.Core, as do the methods below.
func (r referenceRemover) With(fields []zapcore.Field) zapcore.Core {
	return referenceRemover{r.Core.With(removeReferences(fields))}
}

func (r referenceRemover) Check(
	e zapcore.Entry, checked *zapcore.CheckedEntry,
) *zapcore.CheckedEntry {
	if r.Enabled(e.Level) {
		return checked.AddCore(e, r)
	}
	return checked
}

func (r referenceRemover) Write(e zapcore.Entry, fields []zapcore.Field) error {
	return r.Core.Write(e, removeReferences(fields))
}

// removeReferences returns the fields with empty references. The caller's slice
// does not change.
func removeReferences(fields []zapcore.Field) []zapcore.Field {
	isReference := func(f zapcore.Field) bool { return f.Key == referenceField && f.String != "" }
	if !slices.ContainsFunc(fields, isReference) {
		return fields
	}
	fields = slices.Clone(fields)
	for i := range fields {
		if isReference(fields[i]) {
			fields[i].String = ""
		}
	}
	return fields
}
