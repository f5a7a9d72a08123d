package store

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/holdd/holdd/worker/hold"
)

// argNames names the arguments that a script gets for each item of a list. Go
// indexes them with constants; a script sees NAME as PREFIX_NAME and their
// number as PREFIX_SIZE.
type argNames struct {
	prefix string
	names  []string
}

func (a argNames) constants() []luaConstant {
	out := []luaConstant{{a.prefix + "_SIZE", len(a.names)}}
	for i, name := range a.names {
		out = append(out, luaConstant{a.prefix + "_" + name, i})
	}
	return out
}

// luaConstant is a number that Go and the scripts share.
type luaConstant struct {
	name  string
	value int
}

// resultConstants are the results that scripts return as numbers.
var resultConstants = []luaConstant{
	{"LOOKUP_CREATED", int(hold.LookupCreated)},
	{"LOOKUP_RESUMED", int(hold.LookupResumed)},
	{"LOOKUP_FINISHED", int(hold.LookupFinished)},
	{"LOOKUP_BUSY", int(hold.LookupBusy)},
	{"LOOKUP_KEY_REUSED", int(hold.LookupKeyReused)},
	{"LOOKUP_NOT_FOUND", int(hold.LookupNotFound)},
	{"CHANGE_BEGAN", int(hold.ConditionBegan)},
	{"CHANGE_ENDED", int(hold.ConditionEnded)},
	{"CHANGE_WORSENED", int(hold.ConditionWorsened)},
}

// luaDefinition is a local of Lua, a constant or a function, that scripts use by
// its name.
type luaDefinition struct{ name, source string }

// luaDefinitions come in an order in which each uses only earlier ones.
var luaDefinitions = append(constantDefinitions(), functionDefinitions(readLua("shared/functions"))...)

func constantDefinitions() []luaDefinition {
	var out []luaDefinition
	for _, list := range [][]luaConstant{
		recordConstants(), resultConstants, writeArgs.constants(), commitKeyConstants(),
		advanceArgs.constants(),
		conditionArgs.constants(),
	} {
		for _, c := range list {
			out = append(out, luaDefinition{c.name, "local " + c.name + " = " + strconv.Itoa(c.value)})
		}
	}
	return out
}

// localPattern finds the name that a block of Lua defines.
var localPattern = regexp.MustCompile(`(?m)^local (?:function )?(\w+)`)

// functionDefinitions splits a file of Lua locals at its empty lines.
func functionDefinitions(src string) []luaDefinition {
	var out []luaDefinition
	for block := range strings.SplitSeq(src, "\n\n") {
		if m := localPattern.FindStringSubmatch(block); m != nil {
			out = append(out, luaDefinition{m[1], strings.TrimSpace(block)})
		}
	}
	return out
}

// addDefinitions puts the definitions that a script names, and those that these
// name, before the script. The rest is left out, because Redis would create
// each function again with every call.
func addDefinitions(script string) string {
	for i := len(luaDefinitions) - 1; i >= 0; i-- {
		if d := luaDefinitions[i]; strings.Contains(script, d.name) {
			script = d.source + "\n" + script
		}
	}
	return script
}
