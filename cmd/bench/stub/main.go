// Command stub answers every capture with a PaymentIntent, at once or after a
// delay, and records when each capture arrived. It checks nothing, so that it
// costs little and the same for every engine.
package main

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

//go:embed payment_intent.json
var intentJSON []byte

const maxHolds = 10_000_000

// runState counts since the last reset.
type runState struct {
	delay time.Duration
	// Unix nanoseconds of each hold's first capture, 0 if there was none
	arrived       []atomic.Int64
	count         atomic.Int64 // holds that were captured
	repeats       atomic.Int64 // captures beyond a hold's first
	last          atomic.Int64 // Unix nanoseconds
	first         atomic.Int64
	strayRequests atomic.Int64 // captures of a PaymentIntent that is not of this run
}

// server answers calls of Stripe's API, and reports what it counted.
type server struct {
	head, tail []byte // of a PaymentIntent, around its id
	current    atomic.Pointer[runState]
}

func main() {
	head, tail, ok := bytes.Cut(intentJSON, []byte("pi_ID"))
	if !ok {
		exit(errors.New("the fixture has no pi_ID"))
	}
	s := &server{head: head, tail: tail}
	s.current.Store(&runState{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		exit(err)
	}
	fmt.Printf("http://%s\n", l.Addr())
	exit(http.Serve(l, s.routes()))
}

func exit(err error) {
	fmt.Fprintln(os.Stderr, "stub:", err)
	os.Exit(1)
}

func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/payment_intents/{id}/capture", s.capture)
	mux.HandleFunc("GET /v1/payment_intents/{id}", s.retrieve)
	mux.HandleFunc("GET /v1/", s.list)
	mux.HandleFunc("POST /_stub/reset", s.reset)
	mux.HandleFunc("POST /_stub/echo", echo)
	mux.HandleFunc("GET /_stub/count", s.showCounts)
	mux.HandleFunc("GET /_stub/arrivals", s.showArrivals)
	return mux
}

// echo answers with the body of the request: what net/http alone can do.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body)
}

func (s *server) capture(w http.ResponseWriter, r *http.Request) {
	at := time.Now()
	run, id := s.current.Load(), r.PathValue("id")
	_, _ = io.Copy(io.Discard, r.Body)
	run.recordCapture(id, at.UnixNano())
	if run.delay > 0 {
		time.Sleep(run.delay)
	}
	h := w.Header()
	h["Content-Type"] = []string{"application/json"}
	h["Request-Id"] = []string{"req_b7pQ2mXw9ZkLrT"}
	h["Stripe-Version"] = []string{"2023-10-16"}
	body := s.intent(id)
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	_, _ = w.Write(body)
}

// intent renders a captured PaymentIntent.
func (s *server) intent(id string) []byte {
	body := make([]byte, 0, len(intentJSON)+64)
	return append(append(append(body, s.head...), id...), s.tail...)
}

// retrieve shows the PaymentIntent before its capture.
func (s *server) retrieve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	body := bytes.ReplaceAll(s.intent(r.PathValue("id")), []byte(`"status": "succeeded"`),
		[]byte(`"status": "requires_capture"`))
	_, _ = w.Write(bytes.Replace(body, []byte(`"amount_capturable": 0`),
		[]byte(`"amount_capturable": 12000`), 1))
}

func (s *server) list(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(
		w, `{"object":"list","data":[],"has_more":false,"url":"/v1/payment_intents"}`)
}

func (s *server) reset(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.FormValue("n"))
	delay, err2 := time.ParseDuration(r.FormValue("delay"))
	if err != nil || err2 != nil || n < 0 || n > maxHolds {
		http.Error(w, "invalid n or delay", http.StatusBadRequest)
		return
	}
	s.current.Store(&runState{delay: delay, arrived: make([]atomic.Int64, n)})
}

func (s *server) showCounts(w http.ResponseWriter, _ *http.Request) {
	run := s.current.Load()
	_ = json.NewEncoder(w).Encode(map[string]int64{
		"count": run.count.Load(), "again": run.repeats.Load(), "first": run.first.Load(),
		"last": run.last.Load(), "stray": run.strayRequests.Load(),
	})
}

func (s *server) showArrivals(w http.ResponseWriter, _ *http.Request) {
	run := s.current.Load()
	b := make([]byte, 0, 8*len(run.arrived))
	for i := range run.arrived {
		b = binary.LittleEndian.AppendUint64(b, uint64(run.arrived[i].Load()))
	}
	_, _ = w.Write(b)
}

// recordCapture counts a capture. The last digits of an id are the hold's
// number.
func (s *runState) recordCapture(id string, at int64) {
	i, err := strconv.Atoi(strings.TrimLeft(id[max(0, len(id)-8):], "0"))
	if err != nil {
		i = 0
	}
	if i < 0 || i >= len(s.arrived) {
		s.strayRequests.Add(1)
		return
	}
	if !s.arrived[i].CompareAndSwap(0, at) {
		s.repeats.Add(1)
		return
	}
	s.first.CompareAndSwap(0, at)
	s.last.Store(at)
	s.count.Add(1)
}
