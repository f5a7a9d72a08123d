package store

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/holdd/holdd/worker/hold"
)

// scriptArgNames names the arguments that a script gets for each item of a
// list. Go indexes them with constants. A script uses PREFIX_NAME for the
// offset of an argument, and PREFIX_SIZE for their number.
type scriptArgNames struct {
	prefix string
	names  []string
}

func (a scriptArgNames) luaConstants() []luaConstant {
	out := []luaConstant{{a.prefix + "_SIZE", len(a.names)}}
	for i, name := range a.names {
		out = append(out, luaConstant{a.prefix + "_" + name, i})
	}
	return out
}

// luaConstant is a number that Go defines for the scripts.
type luaConstant struct {
	name  string
	value int
}

// resultConstants are results that scripts return as numbers.
var resultConstants = []luaConstant{
	{"COMMIT_CONFLICT", int(hold.CommitConflict)},
	{"COMMIT_WRITTEN", int(hold.CommitWritten)},
	{"COMMIT_REPEATED", int(hold.CommitRepeated)},
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

// luaDefinition is a Lua constant or function that scripts use by its name.
type luaDefinition struct{ name, source string }

// luaDefinitions are in an order in which each uses only earlier ones.
var luaDefinitions = slices.Concat(
	luaConstantDefinitions(), splitLuaFunctions(readLuaFile("shared/functions")))

func luaConstantDefinitions() []luaDefinition {
	var out []luaDefinition
	for _, list := range [][]luaConstant{
		recordLayoutConstants(),
		resultConstants,
		chunkConstants,
		promoteConstants,
		streamConstants,
		writeArgs.luaConstants(),
		commitScriptKeyConstants(),
		advanceArgs.luaConstants(),
		shareArgs.luaConstants(),
		budgetConstants,
		conditionArgs.luaConstants(),
	} {
		for _, c := range list {
			source := "local " + c.name + " = " + strconv.Itoa(c.value)
			out = append(out, luaDefinition{c.name, source})
		}
	}
	return out
}

// localPattern finds the name that a block of Lua defines.
var localPattern = regexp.MustCompile(`(?m)^local (?:function )?(\w+)`)

// splitLuaFunctions splits a Lua file at its empty lines.
func splitLuaFunctions(src string) []luaDefinition {
	var out []luaDefinition
	for block := range strings.SplitSeq(src, "\n\n") {
		if m := localPattern.FindStringSubmatch(block); m != nil {
			out = append(out, luaDefinition{m[1], strings.TrimSpace(block)})
		}
	}
	return out
}

// prependLuaDefinitions puts the definitions that a script needs before the
// script. It leaves out the others, because Redis creates each function again
// for every call.
func prependLuaDefinitions(script string) string {
	for i := len(luaDefinitions) - 1; i >= 0; i-- {
		if d := luaDefinitions[i]; strings.Contains(script, d.name) {
			script = d.source + "\n" + script
		}
	}
	return script
}
