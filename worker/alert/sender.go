package alert

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	sendTimeout        = 15 * time.Second // of one attempt
	roundTimeout       = 20 * time.Second // a round starts no attempt after it
	maxConcurrentSends = 8                // holds of a batch
)

// sinkSender makes attempts to deliver messages to one sink, and records each.
type sinkSender struct {
	sink *sink
	// ctx bounds the requests. It ends some seconds after the deliverer's, so
	// that a request under way is not cut off when holdd stops.
	ctx      context.Context
	observer DeliveryObserver // may be nil
	log      *zap.Logger
}

// sendGroups delivers several groups at once, each in order up to its first
// failure.
func (s *sinkSender) sendGroups(ctx context.Context, groups []*messageGroup) {
	end := time.Now().Add(roundTimeout)
	slots := make(chan struct{}, max(1, s.sink.maxConcurrent))
	var sending sync.WaitGroup
	for _, g := range groups {
		slots <- struct{}{}
		sending.Go(func() {
			defer func() { <-slots }()
			for i := range g.messages {
				if ctx.Err() != nil || time.Now().After(end) {
					return
				}
				g.attempted = true
				g.lastOutcome = s.sendOneAttempt(g.messages[i : i+1])
				if g.lastOutcome.result != resultDelivered {
					return
				}
				g.delivered++
			}
		})
	}
	sending.Wait()
}

// sendDigests delivers the groups as messages of up to [maxDigestAlerts]
// alerts, up to the first failure.
func (s *sinkSender) sendDigests(ctx context.Context, groups []*messageGroup) {
	end := time.Now().Add(roundTimeout)
	var digest []sinkMessage
	var groupOf []*messageGroup // of each message in digest
	flush := func() bool {
		if len(digest) == 0 {
			return true
		}
		out := s.sendOneAttempt(digest)
		for _, g := range groupOf {
			g.attempted, g.lastOutcome = true, out
			if out.result == resultDelivered {
				g.delivered++
			}
		}
		digest, groupOf = nil, nil
		return out.result == resultDelivered && time.Now().Before(end) && ctx.Err() == nil
	}
	for _, g := range groups {
		for i := range g.messages {
			alone := s.sink.tracksIncidents && g.messages[i].alert.HoldID == ""
			if alone && !flush() {
				return
			}
			digest, groupOf = append(digest, g.messages[i]), append(groupOf, g)
			if (alone || len(digest) >= maxDigestAlerts) && !flush() {
				return
			}
		}
	}
	flush()
}

// sendOneAttempt makes one attempt.
func (s *sinkSender) sendOneAttempt(messages []sinkMessage) deliveryOutcome {
	ctx, cancel := context.WithTimeout(s.ctx, sendTimeout)
	defer cancel()
	out := s.sink.send(ctx, messages)
	for i := range messages {
		s.reportAttemptToObserver(&messages[i], out)
	}
	return out
}

func (s *sinkSender) reportAttemptToObserver(m *sinkMessage, out deliveryOutcome) {
	kind := "event"
	if m.alert != nil {
		kind = string(m.alert.Kind)
	}
	if s.observer != nil {
		s.observer.DeliveryAttempted(s.sink.name, kind, resultNames[out.result])
	}
	if out.result != resultDelivered {
		s.log.Debug("event not accepted", zap.String("id", m.eventID),
			zap.String("kind", kind), zap.String("reason", out.reason))
	}
}
