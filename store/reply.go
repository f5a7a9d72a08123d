package store

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

var errUnexpectedReply = errors.New(
	"unexpected reply from Redis: check that no other program uses the keys holdd:*")

// scriptReply reads the items of the list that a script returns. After an error
// every item is zero.
type scriptReply struct {
	items []any
	err   error
}

func newScriptReply(cmd *redis.Cmd) *scriptReply {
	items, err := cmd.Slice()
	if err != nil {
		return &scriptReply{err: err}
	}
	return &scriptReply{items: items}
}

func (r *scriptReply) hasMore() bool { return r.err == nil && len(r.items) > 0 }

func (r *scriptReply) nextItem() any {
	if r.err != nil {
		return nil
	}
	if len(r.items) == 0 {
		r.err = errUnexpectedReply
		return nil
	}
	v := r.items[0]
	r.items = r.items[1:]
	return v
}

// nextString returns the next item as a string; nil is empty.
func (r *scriptReply) nextString() string {
	switch v := r.nextItem().(type) {
	case string:
		return v
	case nil:
		return ""
	default:
		r.err = errUnexpectedReply
		return ""
	}
}

// nextOptionalString returns the next item as a string. ok is false for nil.
func (r *scriptReply) nextOptionalString() (s string, ok bool) {
	item := r.nextItem()
	if item == nil {
		return "", false
	}
	s, ok = item.(string)
	if !ok {
		r.err = errUnexpectedReply
	}
	return s, ok
}

// nextFlag reports whether the next item is "1".
func (r *scriptReply) nextFlag() bool { return r.nextString() == "1" }

// nextInt returns the next item, a number or a score.
func (r *scriptReply) nextInt() int64 {
	switch v := r.nextItem().(type) {
	case int64:
		return v
	case string:
		return r.parseScoreAsInt(v)
	default:
		if r.err == nil {
			r.err = errUnexpectedReply
		}
		return 0
	}
}

func (r *scriptReply) parseScoreAsInt(s string) int64 {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		r.err = fmt.Errorf("%w (score %q)", errUnexpectedReply, s)
	}
	return int64(f)
}

// nextTime returns the next item, in milliseconds, as a time. A number that is
// not positive is the zero time.
func (r *scriptReply) nextTime() time.Time {
	n := r.nextInt()
	if n <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(n).UTC()
}

// nextOptionalTime returns the next item, in milliseconds, as a time. An empty
// string is the zero time.
func (r *scriptReply) nextOptionalTime() time.Time {
	s := r.nextString()
	if s == "" || r.err != nil {
		return time.Time{}
	}
	return time.UnixMilli(r.parseScoreAsInt(s)).UTC()
}

// nextMicrosDuration returns the next item, in microseconds, as a duration.
func (r *scriptReply) nextMicrosDuration() time.Duration {
	return time.Duration(r.nextInt()) * time.Microsecond
}
