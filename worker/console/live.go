package console

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	maxStreams     = 64
	livePoll       = time.Second
	livePing       = 15 * time.Second
	liveLength     = 5 * time.Minute // then the browser connects again and shows its cookie
	livePollLimit  = 3 * time.Second
	liveWriteLimit = 10 * time.Second
)

// liveUpdates tells open pages that holds have changed. It polls the newest
// event while a page is open, once for all pages.
type liveUpdates struct {
	store   StoreReader
	closed  chan struct{}
	closing sync.Once

	mu       sync.Mutex
	streams  map[chan struct{}]bool
	stopPoll context.CancelFunc // nil: no page is open
}

func newLiveUpdates(s StoreReader) *liveUpdates {
	return &liveUpdates{store: s, closed: make(chan struct{}), streams: map[chan struct{}]bool{}}
}

func (l *liveUpdates) closeStreams() { l.closing.Do(func() { close(l.closed) }) }

// subscribe registers a stream. Its channel receives after each change. ok is
// false if there are too many.
func (l *liveUpdates) subscribe() (changed chan struct{}, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.streams) >= maxStreams {
		return nil, false
	}
	changed = make(chan struct{}, 1)
	l.streams[changed] = true
	if l.stopPoll == nil {
		ctx, cancel := context.WithCancel(context.Background())
		l.stopPoll = cancel
		go l.pollNewestEvent(ctx)
	}
	return changed, true
}

func (l *liveUpdates) unsubscribe(changed chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.streams, changed)
	if len(l.streams) == 0 && l.stopPoll != nil {
		l.stopPoll()
		l.stopPoll = nil
	}
}

// pollNewestEvent announces each change of the newest event until ctx ends.
func (l *liveUpdates) pollNewestEvent(ctx context.Context) {
	tick := time.NewTicker(livePoll)
	defer tick.Stop()
	last, known := "", false
	for {
		if newest, err := l.readNewestEventID(ctx); err == nil {
			if known && newest != last {
				l.notifySubscribers()
			}
			last, known = newest, true
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (l *liveUpdates) readNewestEventID(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, livePollLimit)
	defer cancel()
	events, err := l.store.ReadNewestEvents(ctx, 1)
	if err != nil || len(events) == 0 {
		return "", err
	}
	return events[0].ID, nil
}

func (l *liveUpdates) notifySubscribers() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for changed := range l.streams {
		select {
		case changed <- struct{}{}:
		default: // one is waiting already
		}
	}
}

// streamLiveUpdates sends an event after each change, as Server-Sent Events.
func (c *Console) streamLiveUpdates(w http.ResponseWriter, r *http.Request) {
	if _, ok := c.authenticateVisitor(r); !ok {
		http.Error(w, english.t("signin.title"), http.StatusUnauthorized)
		return
	}
	changed, ok := c.live.subscribe()
	if !ok {
		http.Error(w, english.t("live.full"), http.StatusServiceUnavailable)
		return
	}
	defer c.live.unsubscribe(changed)
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	_ = out.SetReadDeadline(time.Time{}) // the stream outlives the server's limit of a request
	send := func(s string) bool {
		_ = out.SetWriteDeadline(time.Now().Add(liveWriteLimit))
		_, err := fmt.Fprint(w, s)
		return err == nil && out.Flush() == nil
	}
	ping, end := time.NewTicker(livePing), time.NewTimer(liveLength)
	defer ping.Stop()
	defer end.Stop()
	for ok := send("retry: 2000\n\n"); ok; {
		select {
		case <-changed:
			ok = send("event: change\ndata: 1\n\n")
		case <-ping.C:
			ok = send(": ping\n\n")
		case <-r.Context().Done():
			return
		case <-c.live.closed:
			return
		case <-end.C:
			return
		}
	}
}
