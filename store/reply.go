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

// reply reads the items of the list that a script returns. After an error every
// item is zero.
type reply struct {
	items []any
	err   error
}

func newReply(cmd *redis.Cmd) *reply {
	items, err := cmd.Slice()
	if err != nil {
		return &reply{err: err}
	}
	return &reply{items: items}
}

func (r *reply) hasMore() bool { return r.err == nil && len(r.items) > 0 }

func (r *reply) next() any {
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

// str returns the next item as a string; nil is empty.
func (r *reply) str() string {
	switch v := r.next().(type) {
	case string:
		return v
	case nil:
		return ""
	default:
		r.err = errUnexpectedReply
		return ""
	}
}

// flag reports whether the next item is "1".
func (r *reply) flag() bool { return r.str() == "1" }

// int returns the next item, a number or a score.
func (r *reply) int() int64 {
	switch v := r.next().(type) {
	case int64:
		return v
	case string:
		return r.scoreToInt(v)
	default:
		if r.err == nil {
			r.err = errUnexpectedReply
		}
		return 0
	}
}

func (r *reply) scoreToInt(s string) int64 {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		r.err = fmt.Errorf("%w (score %q)", errUnexpectedReply, s)
	}
	return int64(f)
}

// time returns the next item, in milliseconds, as a time. A number that is not
// positive is the zero time.
func (r *reply) time() time.Time {
	n := r.int()
	if n <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(n).UTC()
}

// optionalTime returns the next item, in milliseconds, as a time. An empty
// string is the zero time.
func (r *reply) optionalTime() time.Time {
	s := r.str()
	if s == "" || r.err != nil {
		return time.Time{}
	}
	return time.UnixMilli(r.scoreToInt(s)).UTC()
}

// micros returns the next item, in microseconds, as a duration.
func (r *reply) micros() time.Duration { return time.Duration(r.int()) * time.Microsecond }
