package health

import (
	"context"
	"errors"
	"strings"
	"unicode"
)

// maxCauseSize bounds the text of a cause, in bytes.
const maxCauseSize = 200

// redisReplyError is an error that Redis answered with. The errors of go-redis
// implement it.
type redisReplyError interface {
	error
	RedisError()
}

// temporaryReplies are the first words of replies with which Redis is as good
// as unavailable: it starts, fails over, or another server has the key.
var temporaryReplies = []string{
	"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK", "NOREPLICAS",
}

// redisRejectionReply returns the reply with which Redis rejected an operation.
// It returns "" for an error of the connection and for a temporary reply.
func redisRejectionReply(err error) string {
	var reply redisReplyError
	if !errors.As(err, &reply) {
		return ""
	}
	text := sanitizeFirstLine(reply.Error())
	word, _, _ := strings.Cut(text, " ")
	for _, w := range temporaryReplies {
		if word == w {
			return ""
		}
	}
	return text
}

// DescribeCause says why an operation on Redis failed, for operators and
// alerts. It has no addresses and no secrets: only what Redis itself answered
// is quoted.
func DescribeCause(err error) string {
	var reply redisReplyError
	switch {
	case errors.As(err, &reply):
		return sanitizeFirstLine(reply.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return "Redis does not answer in time"
	case errors.Is(err, errPanic):
		return "internal error; the log has the stack"
	}
	return CauseNoAnswer
}

// CauseNoAnswer is the cause of every error of the connection.
const CauseNoAnswer = "Redis does not answer"

// errPanic is the error of a run that panicked.
var errPanic = errors.New("panic")

// IsMemoryLimit reports whether Redis refused a write because it has reached
// maxmemory. It has then written nothing.
func IsMemoryLimit(err error) bool {
	var reply redisReplyError
	return errors.As(err, &reply) && strings.Contains(reply.Error(), "OOM command not allowed")
}

// RecordPanic makes the run fail because it panicked.
func (r *StageRun) RecordPanic() { r.RecordFailure("run", errPanic) }

func sanitizeFirstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	s = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return -1
		}
		return c
	}, s)
	if len(s) > maxCauseSize {
		s = strings.ToValidUTF8(s[:maxCauseSize], "") + "…"
	}
	return s
}

// causeHints say what to do about a cause that contains a text.
var causeHints = []struct{ text, hint string }{
	{"NOPERM", "grant the Redis user the commands that holdd doctor lists"},
	{"no permissions", "grant the Redis user the commands that holdd doctor lists"},
	{"can't run this command", "grant the Redis user the commands that holdd doctor lists"},
	{"can't access at least one of the keys", "grant the Redis user the keys holdd:*"},
	{"WRONGTYPE", "another program has written a key holdd:*: see the runbook, stage_stalled"},
	{"OOM", "Redis is full: raise maxmemory"},
	{"out of memory", "Redis is full: raise maxmemory"},
	{"MISCONF", "Redis cannot write to its disk: free space"},
	{"NOAUTH", "set redis_url to a valid user and password"},
	{"WRONGPASS", "set redis_url to a valid user and password"},
	{"max number of clients", "raise maxclients of Redis"},
}

// HintForCause says what to do about a cause.
func HintForCause(cause string) string {
	for _, h := range causeHints {
		if strings.Contains(cause, h.text) {
			return h.hint
		}
	}
	return "read the logs of holdd and Redis"
}
