// Command stub answers every capture at once, or after a while, with a
// PaymentIntent such as Stripe's, and remembers when each arrived. It checks
// nothing: it is there to cost little and the same for every engine.
package main

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"encoding/json"
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

// runState is what was counted since the last reset.
type runState struct {
	delay time.Duration
	// Unix nanoseconds of each hold's first capture, 0 if there was none
	arrived       []atomic.Int64
	count         atomic.Int64 // holds that were captured
	repeats       atomic.Int64 // captures beyond a hold's first
	last          atomic.Int64 // Unix nanoseconds
	first         atomic.Int64
	strayRequests atomic.Int64 // requests that were no capture of a hold of this run
}

func main() {
	head, tail, ok := bytes.Cut(intentJSON, []byte("pi_ID"))
	if !ok {
		fmt.Fprintln(os.Stderr, "stub: the fixture has no place for an id")
		os.Exit(1)
	}
	var current atomic.Pointer[runState]
	current.Store(&runState{})
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/payment_intents/{id}/capture",
		func(w http.ResponseWriter, r *http.Request) {
			at := time.Now()
			s, id := current.Load(), r.PathValue("id")
			_, _ = io.Copy(io.Discard, r.Body) // a body that breaks off is the client's matter
			s.recordCapture(id, at.UnixNano())
			if s.delay > 0 {
				time.Sleep(s.delay)
			}
			h := w.Header()
			h["Content-Type"] = []string{"application/json"}
			h["Request-Id"] = []string{"req_b7pQ2mXw9ZkLrT"}
			h["Stripe-Version"] = []string{"2023-10-16"}
			body := make([]byte, 0, len(intentJSON)+64)
			body = append(append(append(body, head...), id...), tail...)
			h["Content-Length"] = []string{strconv.Itoa(len(body))}
			_, _ = w.Write(body)
		})
	mux.HandleFunc("GET /v1/payment_intents/{id}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		body := append(append(append([]byte{}, head...), r.PathValue("id")...), tail...)
		body = bytes.ReplaceAll(body, []byte(`"status": "succeeded"`),
			[]byte(`"status": "requires_capture"`))
		_, _ = w.Write(bytes.Replace(body, []byte(`"amount_capturable": 0`),
			[]byte(`"amount_capturable": 12000`), 1))
	})
	mux.HandleFunc("GET /v1/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(
			w, `{"object":"list","data":[],"has_more":false,"url":"/v1/payment_intents"}`)
	})
	mux.HandleFunc("POST /_stub/reset", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.FormValue("n"))
		delay, err2 := time.ParseDuration(r.FormValue("delay"))
		if err != nil || err2 != nil || n < 0 || n > maxHolds {
			http.Error(w, "n or delay", http.StatusBadRequest)
			return
		}
		current.Store(&runState{delay: delay, arrived: make([]atomic.Int64, n)})
	})
	mux.HandleFunc("GET /_stub/count", func(w http.ResponseWriter, _ *http.Request) {
		s := current.Load()
		_ = json.NewEncoder(w).Encode(map[string]int64{
			"count": s.count.Load(), "again": s.repeats.Load(), "first": s.first.Load(),
			"last": s.last.Load(), "stray": s.strayRequests.Load(),
		})
	})
	mux.HandleFunc("GET /_stub/arrivals", func(w http.ResponseWriter, _ *http.Request) {
		s := current.Load()
		b := make([]byte, 0, 8*len(s.arrived))
		for i := range s.arrived {
			b = binary.LittleEndian.AppendUint64(b, uint64(s.arrived[i].Load()))
		}
		_, _ = w.Write(b)
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, "stub:", err)
		os.Exit(1)
	}
	fmt.Printf("http://%s\n", l.Addr())
	fmt.Fprintln(os.Stderr, "stub:", http.Serve(l, mux))
	os.Exit(1)
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
