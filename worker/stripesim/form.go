package stripesim

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// paramKind determines how a parameter is checked before execution.
type paramKind int

const (
	kindString paramKind = iota + 1
	kindInteger
	kindBoolean
	kindEnum
	kindMap  // metadata[key]; the empty string clears it
	kindList // name[] or name[0]
	kindAny  // accepted with all that is nested in it, and ignored
)

type param struct {
	kind         paramKind
	enum         []string
	maxLength    int
	required     bool
	emptyAllowed bool // the empty string unsets it
}

type paramSpec map[string]param

var (
	stringParam  = param{kind: kindString, maxLength: 5000}
	integerParam = param{kind: kindInteger}
	booleanParam = param{kind: kindBoolean}
	mapParam     = param{kind: kindMap, emptyAllowed: true}
	listParam    = param{kind: kindList}
	anyParam     = param{kind: kindAny}
)

func stringUpTo(max int) param {
	return param{kind: kindString, maxLength: max, emptyAllowed: true}
}
func enumParam(values ...string) param { return param{kind: kindEnum, enum: values} }
func (p param) require() param         { p.required = true; return p }
func (p param) allowEmpty() param      { p.emptyAllowed = true; return p }
func mergeSpecs(specs ...paramSpec) paramSpec {
	out := paramSpec{}
	for _, s := range specs {
		maps.Copy(out, s)
	}
	return out
}

// form is the checked parameters of a call.
type form struct {
	scalars  map[string]string
	lists    map[string][]string
	metadata map[string]string
}

func (f *form) has(name string) bool    { _, ok := f.scalars[name]; return ok }
func (f *form) get(name string) string  { return f.scalars[name] }
func (f *form) isTrue(name string) bool { return f.scalars[name] == "true" }
func (f *form) int(name string) int64 {
	n, _ := strconv.ParseInt(f.scalars[name], 10, 64)
	return n
}
func (f *form) optionalInt(name string) *int64 {
	if !f.has(name) {
		return nil
	}
	n := f.int(name)
	return &n
}

// parse checks raw parameters by a spec. It finds every error before execution
// begins.
func (spec paramSpec) parse(raw url.Values) (*form, *apiError) {
	f := &form{scalars: make(map[string]string, len(raw))}
	// The same wrong call gets the same answer.
	for _, key := range slices.Sorted(maps.Keys(raw)) {
		p, ok := spec[key]
		if !ok {
			nested, err := spec.parseNested(f, key, raw[key])
			if err != nil {
				return nil, err
			}
			if nested {
				continue
			}
			return nil, validationError("parameter_unknown", key, "Received unknown parameter: %s",
				key)
		}
		v := raw[key][len(raw[key])-1]
		if err := p.validate(key, &v); err != nil {
			return nil, err
		}
		f.scalars[key] = v
	}
	for name, p := range spec {
		if p.required && !f.has(name) {
			return nil, validationError("parameter_missing", name, "Missing required param: %s.",
				name)
		}
	}
	return f, nil
}

// parseNested parses a key such as metadata[k] or expand[]. It reports whether
// the key is one.
func (spec paramSpec) parseNested(f *form, key string, values []string) (bool, *apiError) {
	name, rest, _ := strings.Cut(key, "[")
	top, ok := spec[name]
	if !ok || rest == "" {
		return false, nil
	}
	inner := strings.TrimSuffix(rest, "]")
	switch top.kind {
	case kindAny:
		return true, nil
	case kindMap:
		return true, f.addMetadata(name, key, inner, values[0])
	case kindList:
		if _, err := strconv.Atoi(inner); err == nil || inner == "" {
			return true, f.addToList(name, values)
		}
	}
	return false, nil
}

func (f *form) addMetadata(name, key, inner, value string) *apiError {
	if inner == "" || strings.ContainsAny(inner, "[]") {
		return validationError("", key,
			"Invalid %s: metadata keys are at most 40 characters without square brackets", name)
	}
	if len(inner) > 40 {
		return validationError("", key,
			"Invalid metadata key: '%s'. Metadata keys can have up to 40 characters.", inner)
	}
	if len(value) > 500 {
		return validationError("", key,
			"Metadata values can have up to 500 characters, but you passed in a value that is %d "+
				"characters.", len(value))
	}
	if f.metadata == nil {
		f.metadata = map[string]string{}
	}
	f.metadata[inner] = value
	if len(f.metadata) > 50 {
		return validationError("", name, "Metadata can have up to 50 keys.")
	}
	return nil
}

func (f *form) addToList(name string, values []string) *apiError {
	if f.lists == nil {
		f.lists = map[string][]string{}
	}
	f.lists[name] = append(f.lists[name], values...)
	if len(f.lists[name]) > 100 {
		return validationError("", name, "Too many values for %s", name)
	}
	return nil
}

func (p param) validate(key string, v *string) *apiError {
	if *v == "" {
		if p.emptyAllowed {
			return nil
		}
		return validationError("parameter_invalid_empty", key,
			"You passed an empty string for '%s'. We assume empty values are an attempt to "+
				"unset a "+
				"parameter; however '%s' cannot be unset. You should remove '%s' from your "+
				"request or supply a non-empty value.", key, key, key)
	}
	switch p.kind {
	case kindInteger:
		if _, err := strconv.ParseInt(*v, 10, 64); err != nil {
			return validationError("parameter_invalid_integer", key, "Invalid integer: %s", *v)
		}
	case kindBoolean:
		switch *v {
		case "true", "false":
		case "1", "True": // stripe-python sends Python's
			*v = "true"
		case "0", "False":
			*v = "false"
		default:
			return validationError("", key, "Invalid boolean: %s", *v)
		}
	case kindEnum:
		if *v == "True" || *v == "False" {
			*v = strings.ToLower(*v)
		}
		if !slices.Contains(p.enum, *v) {
			return validationError("", key, "Invalid %s: must be one of %s", key,
				strings.Join(p.enum, ", "))
		}
	case kindString:
		if p.maxLength > 0 && len(*v) > p.maxLength {
			return validationError("parameter_invalid_string_too_long", key,
				"Invalid string: %s…; must be at most %d characters", (*v)[:10], p.maxLength)
		}
	case kindList, kindAny:
		return validationError("parameter_invalid_string", key,
			"Invalid %s: it is a list or an object", key)
	}
	return nil
}
