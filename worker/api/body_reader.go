package api

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// bodyReadTimeout is the time for a body to arrive. Nothing waits for a slow
	// body: it has no slot yet.
	bodyReadTimeout = 2 * time.Second
	// maxBodyMemory bounds the memory of all bodies that are being read or used.
	// Bodies above smallBodyBytes leave smallBodyMemory to the others, so that a
	// few large ones keep out no event of Stripe.
	maxBodyMemory   = 24 << 20
	smallBodyMemory = 8 << 20
	smallBodyBytes  = 64 << 10
	// firstBodyBytes is the memory that a body has at first. It doubles while
	// the body arrives, whatever length was announced.
	firstBodyBytes = 4 << 10
)

// bodyReader reads the bodies of requests under a common bound of memory.
type bodyReader struct {
	mu   sync.Mutex
	used int64
}

// bufferedBody is the body of a request. releaseReservedBytes gives its memory
// back.
type bufferedBody struct {
	bytes  []byte
	memory int64
	reader *bodyReader
}

func (b *bufferedBody) releaseReservedBytes() {
	b.reader.mu.Lock()
	defer b.reader.mu.Unlock()
	b.reader.used -= b.memory
	b.memory, b.bytes = 0, nil
}

// reserveBytes reserves memory, and reports whether there is room.
func (r *bodyReader) reserveBytes(b *bufferedBody, n int64) bool {
	limit := int64(maxBodyMemory)
	if b.memory+n > smallBodyBytes {
		limit -= smallBodyMemory
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.used+n > limit {
		return false
	}
	r.used += n
	b.memory += n
	return true
}

// readBody reads a body of at most limit bytes within bodyReadTimeout. w is
// net/http's own writer. The caller must release the body, also after an error.
func (r *bodyReader) readBody(
	w http.ResponseWriter, req *http.Request, limit int64,
) (*bufferedBody, *Problem) {
	b := &bufferedBody{reader: r}
	if req.Body == nil || req.Body == http.NoBody {
		return b, nil
	}
	// Writers without a connection have no deadline to set. net/http reads on
	// during the request, so the deadline must not outlast the body.
	deadline := http.NewResponseController(w)
	_ = deadline.SetReadDeadline(time.Now().Add(bodyReadTimeout))
	if req.ContentLength > limit {
		w.Header().Set("Connection", "close")
		return b, newBodyTooLargeProblem(limit)
	}
	err := r.readAllIntoReservedMemory(b, http.MaxBytesReader(w, req.Body, limit))
	if err != nil {
		// net/http would read the rest of the body before it answers.
		w.Header().Set("Connection", "close")
		return b, problemFromBodyError(err, limit)
	}
	_ = deadline.SetReadDeadline(time.Time{})
	return b, nil
}

var errNoBodyMemory = errors.New("no memory for the body")

func (r *bodyReader) readAllIntoReservedMemory(b *bufferedBody, from io.Reader) error {
	for {
		if len(b.bytes) == cap(b.bytes) {
			grown := max(firstBodyBytes, 2*cap(b.bytes))
			if !r.reserveBytes(b, int64(grown-cap(b.bytes))) {
				return errNoBodyMemory
			}
			b.bytes = append(make([]byte, 0, grown), b.bytes...)
		}
		n, err := from.Read(b.bytes[len(b.bytes):cap(b.bytes)])
		b.bytes = b.bytes[:len(b.bytes)+n]
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

func newBodyTooLargeProblem(limit int64) *Problem {
	return newProblem(BodyTooLarge, "",
		fmt.Sprintf("the body is larger than %d bytes: split the request", limit))
}

// problemFromBodyError returns the problem of a body that could not be read.
func problemFromBodyError(err error, limit int64) *Problem {
	var over *http.MaxBytesError
	var slow net.Error
	switch {
	case errors.Is(err, errNoBodyMemory):
		return newProblem(Unavailable, "",
			"too many large requests in flight: retry in a few seconds")
	case errors.As(err, &over):
		return newBodyTooLargeProblem(limit)
	case errors.As(err, &slow) && slow.Timeout():
		return newProblem(BodyTimeout, "", "timeout while reading the body: send it again")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return newProblem(InvalidJSON, "", "the body is shorter than its Content-Length")
	}
	return newProblem(InvalidJSON, "", "the body could not be read to its end")
}
