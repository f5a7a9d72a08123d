package worker

import "errors"

// ErrUnavailable is wrapped by every error that means "nothing was decided, the same again may work in a moment": Redis is away, a time-out.
var ErrUnavailable = errors.New("the hold store does not answer")
