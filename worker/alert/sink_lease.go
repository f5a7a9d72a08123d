package alert

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/holdd/holdd/worker/hold"
)

// minLeaseLeft is what is left of a lease when a round starts. It is longer
// than a round.
const minLeaseLeft = 45 * time.Second

// SinkLeaseStore gives one replica at a time the right to deliver a partition's
// events to a sink, and saves its progress. store.Outbox implements it.
type SinkLeaseStore interface {
	// AcquireSinkLease returns token 0 if another replica has the lease. state
	// is nil for a new sink, which begins after the entry start.
	AcquireSinkLease(ctx context.Context, sink string, partition int, holder string,
		lease time.Duration) (token int64, state []byte, start string, parked map[string][]byte,
		err error)
	// SaveSinkProgressIfLeaseHeld saves all of p or nothing, and extends the lease; a
	// lease of 0 ends it. ok is false if another replica has the lease.
	SaveSinkProgressIfLeaseHeld(ctx context.Context, sink string, partition int, token int64,
		p hold.SinkProgressWrite, lease time.Duration) (ok bool, err error)
}

var errLeaseLost = errors.New("another replica delivers to this sink")

// sinkLease is the lease of one sink and partition, as this replica knows it.
type sinkLease struct {
	store     SinkLeaseStore
	sink      string
	partition int
	replica   string
	duration  time.Duration

	token int64     // 0: this replica does not have it
	until time.Time // by this machine's clock, counted from before the request
}

// savedProgress is what an earlier holder of the lease saved.
type savedProgress struct {
	state  []byte // nil for a new sink
	start  string // where a new sink begins
	parked map[string][]byte
}

func (l *sinkLease) acquireAndLoadProgress(ctx context.Context) (saved savedProgress, err error) {
	asked := time.Now()
	l.token, saved.state, saved.start, saved.parked, err = l.store.AcquireSinkLease(ctx,
		l.sink, l.partition, l.replica, l.duration)
	if err != nil {
		l.token = 0
	}
	l.until = asked.Add(l.duration)
	return saved, err
}

func (l *sinkLease) isHeld() bool { return l.token != 0 }

func (l *sinkLease) hasExpired() bool { return time.Now().After(l.until) }

// expiresWithin reports whether the lease must be extended before a round.
func (l *sinkLease) expiresWithin(d time.Duration) bool { return time.Until(l.until) < d }

func (l *sinkLease) setLost() { l.token = 0 }

// saveProgressAndExtend writes p and extends the lease.
func (l *sinkLease) saveProgressAndExtend(ctx context.Context, p hold.SinkProgressWrite) error {
	return l.saveProgressWithLeaseTime(ctx, p, l.duration)
}

// saveProgressAndRelease writes p and ends the lease.
func (l *sinkLease) saveProgressAndRelease(ctx context.Context, p hold.SinkProgressWrite) error {
	return l.saveProgressWithLeaseTime(ctx, p, 0)
}

func (l *sinkLease) saveProgressWithLeaseTime(
	ctx context.Context, p hold.SinkProgressWrite, d time.Duration,
) error {
	asked := time.Now()
	ok, err := l.store.SaveSinkProgressIfLeaseHeld(ctx, l.sink, l.partition, l.token, p, d)
	if err != nil {
		return err
	}
	if !ok {
		return errLeaseLost
	}
	l.until = asked.Add(d)
	return nil
}

// deliveryState is what is saved of a sink in a partition, as JSON.
type deliveryState struct {
	streamPosition
	sinkHealth
	OldestPending time.Time `json:"oldest_pending,omitzero"`
	ParkedHolds   int       `json:"parked_holds,omitempty"`
	DeadLetters   int64     `json:"dead_letters,omitempty"` // ever
}

// restoreProgress continues from what the last holder of the lease saved.
func (d *deliverer) restoreProgress(ctx context.Context, saved savedProgress) {
	state := deliveryState{streamPosition: streamPosition{Cursor: saved.start, EntriesRead: -1}}
	if saved.state == nil {
		state.EntriesRead = d.backlog.reader.countEntriesEverAdded(ctx)
	} else if err := json.Unmarshal(saved.state, &state); err != nil {
		d.log.Error("saved progress unreadable: delivery starts anew", zap.Error(err))
		state = deliveryState{streamPosition: streamPosition{Cursor: saved.start, EntriesRead: -1}}
	}
	d.backlog.restoreFromState(&state, saved.parked)
	d.health, d.oldestPending = state.sinkHealth, state.OldestPending
	if d.health.DisabledAddress != d.sink.addressDigest {
		d.health.DisabledAddress = ""
	}
}

func (d *deliverer) hasUnsavedChanges() bool { return d.healthChanged || d.backlog.hasUnsavedChanges() }

func (d *deliverer) saveProgressAndExtendLease(ctx context.Context) error {
	p, err := d.unsavedProgress()
	if err != nil {
		return err
	}
	if err := d.lease.saveProgressAndExtend(ctx, p); err != nil {
		return err
	}
	d.healthChanged = false
	d.backlog.clearUnsavedChanges()
	return nil
}

// unsavedProgress returns what to save.
func (d *deliverer) unsavedProgress() (p hold.SinkProgressWrite, err error) {
	b := d.backlog
	p = hold.SinkProgressWrite{Park: b.parked.park, Unpark: b.parked.unpark, DeadLetters: b.dead.given,
		Requeued: b.dead.finished}
	p.State, err = json.Marshal(d.snapshotDeliveryState())
	return p, err
}

func (d *deliverer) snapshotDeliveryState() deliveryState {
	return deliveryState{streamPosition: d.backlog.reader.currentPosition(), sinkHealth: d.health,
		OldestPending: d.oldestPending, ParkedHolds: len(d.backlog.parked.holds),
		DeadLetters: d.backlog.dead.total}
}
