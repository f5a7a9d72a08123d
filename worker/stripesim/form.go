package stripesim

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// paramKind is how a parameter is checked before execution begins.
type paramKind int

const (
	kindString paramKind = iota + 1
	kindInteger
	kindBoolean
	kindEnum
	kindMap  // metadata[testAPIKey]; the empty string clears it
	kindList // name[] or name[0]
	kindAny  // taken with whatever is below, and ignored
)

type param struct {
	kind         paramKind
	enum         []string
	maxLength    int
	required     bool
	emptyAllowed bool // may be the empty string, which unsets it
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
		for k, v := range s {
			out[k] = v
		}
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

// parse reads raw parameters by a spec. Every error is found before execution
// begins.
func (spec paramSpec) parse(raw url.Values) (*form, *apiError) {
	f := &form{scalars: make(map[string]string, len(raw))}
	keys := make([]string, 0, len(raw))
	for k := range raw {
		keys = append(keys, k)
	}
	slices.Sort(keys) // so that the same wrong call gets the same answer
	for _, key := range keys {
		values := raw[key]
		name, rest, _ := strings.Cut(key, "[")
		if top, ok := spec[name]; ok && rest != "" {
			switch top.kind {
			case kindAny:
				continue
			case kindMap:
				inner := strings.TrimSuffix(rest, "]")
				if inner == "" || strings.ContainsAny(inner, "[]") {
					return nil, validationError("", key, "Invalid %s: metadata keys are at most 40 characters without square brackets", name)
				}
				if len(inner) > 40 {
					return nil, validationError("", key, "Invalid metadata key: '%s'. Metadata keys can have up to 40 characters.", inner)
				}
				if len(values[0]) > 500 {
					return nil, validationError("", key, "Metadata values can have up to 500 characters, but you passed in a value that is %d characters.", len(values[0]))
				}
				if f.metadata == nil {
					f.metadata = map[string]string{}
				}
				f.metadata[inner] = values[0]
				if len(f.metadata) > 50 {
					return nil, validationError("", name, "Metadata can have up to 50 keys.")
				}
				continue
			case kindList:
				inner := strings.TrimSuffix(rest, "]")
				if _, err := strconv.Atoi(inner); err == nil || inner == "" {
					if f.lists == nil {
						f.lists = map[string][]string{}
					}
					f.lists[name] = append(f.lists[name], values...)
					if len(f.lists[name]) > 100 {
						return nil, validationError("", name, "Too many values for %s", name)
					}
					continue
				}
			}
		}
		p, ok := spec[key]
		if !ok {
			return nil, validationError("parameter_unknown", key, "Received unknown parameter: %s",
				key)
		}
		v := values[len(values)-1]
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

func (p param) validate(key string, v *string) *apiError {
	if *v == "" {
		if p.emptyAllowed {
			return nil
		}
		return validationError("parameter_invalid_empty", key,
			"You passed an empty string for '%s'. We assume empty values are an attempt to unset a "+
				"parameter; however '%s' cannot be unset. You should remove '%s' from your request or supply a non-empty value.", key, key, key)
	}
	switch p.kind {
	case kindInteger:
		if _, err := strconv.ParseInt(*v, 10, 64); err != nil {
			return validationError("parameter_invalid_integer", key, "Invalid integer: %s", *v)
		}
	case kindBoolean:
		switch *v {
		case "true", "false":
		case "1":
			*v = "true"
		case "0":
			*v = "false"
		default:
			return validationError("", key, "Invalid boolean: %s", *v)
		}
	case kindEnum:
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
