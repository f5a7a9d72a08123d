package main

import (
	"slices"

	"go.uber.org/zap/zapcore"
)

// referenceField is the field of the log with the reference of a hold.
const referenceField = "reference"

// referenceRemovingCore is a core that writes an empty reference in place of each
// one. It is in one place, so that no line of the log is forgotten.
type referenceRemovingCore struct{ zapcore.Core }

// With implements zapcore.Core, as do the methods below.
func (r referenceRemovingCore) With(fields []zapcore.Field) zapcore.Core {
	return referenceRemovingCore{r.Core.With(blankReferencesInLogFields(fields))}
}

func (r referenceRemovingCore) Check(
	e zapcore.Entry, checked *zapcore.CheckedEntry,
) *zapcore.CheckedEntry {
	if r.Enabled(e.Level) {
		return checked.AddCore(e, r)
	}
	return checked
}

func (r referenceRemovingCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	return r.Core.Write(e, blankReferencesInLogFields(fields))
}

// blankReferencesInLogFields returns the fields with empty references. The caller's
// slice does not change.
func blankReferencesInLogFields(fields []zapcore.Field) []zapcore.Field {
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
