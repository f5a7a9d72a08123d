package api

import (
	"context"
	"sync"
)

// requestSlots bound the requests that are served at a time, in total and for
// each token, so that one caller cannot keep out the others.
type requestSlots struct {
	total    chan struct{}
	perToken int

	mu      sync.Mutex
	byToken map[string]chan struct{} // by the token's name
}

// newRequestSlots returns n slots. A token has at most three quarters of them.
func newRequestSlots(n int) *requestSlots {
	return &requestSlots{total: make(chan struct{}, n), perToken: max(1, n*3/4),
		byToken: map[string]chan struct{}{}}
}

// waitForSlot waits for a slot of a token; empty for a caller without one. It
// returns nil if ctx ends first.
func (s *requestSlots) waitForSlot(ctx context.Context, token string) (release func()) {
	own := s.slotsOfToken(token)
	if own != nil {
		select {
		case own <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
	}
	select {
	case s.total <- struct{}{}:
		return func() {
			<-s.total
			if own != nil {
				<-own
			}
		}
	case <-ctx.Done():
		if own != nil {
			<-own
		}
		return nil
	}
}

// slotsOfToken returns the slots of a token. Tokens are few: a tokens file has at
// most maxTokens.
func (s *requestSlots) slotsOfToken(token string) chan struct{} {
	if token == "" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byToken[token] == nil {
		s.byToken[token] = make(chan struct{}, s.perToken)
	}
	return s.byToken[token]
}
