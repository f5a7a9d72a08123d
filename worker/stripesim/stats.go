package stripesim

import "time"

// CallOutcome is the key by which calls are counted.
type CallOutcome struct {
	Class  EndpointClass
	Status int    // 0: the connection was dropped
	Code   string // the error's code, or empty
}

// Stats are counters of calls and webhooks.
type Stats struct {
	Calls        map[CallOutcome]int64
	Replayed     int64 // answered from a stored idempotency key
	RateLimited  int64 // 429s for a rate
	LockTimeouts int64 // 429s for a lock
	// the most calls of one account in any one second
	MaxPerSecond    map[EndpointClass]int
	MaxOverall      int   // the same, over all classes
	WebhooksSent    int64 // deliveries that were accepted
	WebhooksFailed  int64 // deliveries that failed
	WebhooksDropped int64 // events given up
}

// arrivalWindow finds the most arrivals in any one second.
type arrivalWindow struct {
	arrivals     []time.Time
	head         int
	maxPerSecond int
}

func (w *arrivalWindow) add(t time.Time) {
	for w.head < len(w.arrivals) && t.Sub(w.arrivals[w.head]) >= time.Second {
		w.head++
	}
	if w.head > 64 && w.head*2 > len(w.arrivals) {
		w.arrivals = w.arrivals[:copy(w.arrivals, w.arrivals[w.head:])]
		w.head = 0
	}
	w.arrivals = append(w.arrivals, t)
	w.maxPerSecond = max(w.maxPerSecond, len(w.arrivals)-w.head)
}

// accountStats are the counters of one account.
type accountStats struct {
	calls    map[CallOutcome]int64
	replayed int64
	windows  map[EndpointClass]*arrivalWindow // by class; "" is over all
}

func (st *accountStats) countArrival(c EndpointClass, t time.Time) {
	for _, k := range [2]EndpointClass{c, ""} {
		w := st.windows[k]
		if w == nil {
			w = &arrivalWindow{}
			st.windows[k] = w
		}
		w.add(t)
	}
}

func (st *accountStats) addTo(sum *Stats) {
	for k, n := range st.calls {
		sum.Calls[k] += n
		if k.Status == 429 && k.Code == "rate_limit" {
			sum.RateLimited += n
		}
		if k.Status == 429 && k.Code == "lock_timeout" {
			sum.LockTimeouts += n
		}
	}
	sum.Replayed += st.replayed
	for c, w := range st.windows {
		if c == "" {
			sum.MaxOverall = max(sum.MaxOverall, w.maxPerSecond)
			continue
		}
		sum.MaxPerSecond[c] = max(sum.MaxPerSecond[c], w.maxPerSecond)
	}
}
