package store_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/redis/go-redis/v9"
)

// callEveryMethod calls each method of the store once.
func (e *testStore) callRepairAndErasure(id string) {
	e.Helper()
	ctx := e.Context()
	e.rdb.HSet(ctx, "holdd:{0}:holds", "pi_broken", "garbage")
	raw, err := e.store.ReadRawRecord(ctx, "pi_broken")
	if ok, qErr := e.store.QuarantineRecord(ctx, raw, "test"); err != nil || qErr != nil || !ok {
		e.Errorf("quarantine: %v, %v, %v", ok, err, qErr)
	}
	if _, found, err := e.store.ReadQuarantinedRecord(ctx, "pi_broken"); err != nil || !found {
		e.Errorf("quarantined: %v, %v", found, err)
	}
	blank := func(b []byte) []byte { return b }
	nothingDelivered := func(int) (string, error) { return "", nil }
	_, err = e.store.ListSinksWithParkedEvents(ctx, id, []string{"callback"})
	if err := errors.Join(err, e.store.ErasePersonalDataInEvents(ctx, id, blank, nothingDelivered),
		e.store.ErasePersonalDataInDeadLetters(ctx, id, []string{"callback"}, blank),
		e.store.DeleteRequestsAndQuarantinedRecords(ctx, id)); err != nil {
		e.Error(err)
	}
}

func (e *testStore) callEveryMethod() {
	e.Helper()
	w := newReadyWrite("pi_a", 1, "", nearDeadline)
	w.Hold.Reference, w.Events = "BK", [][]byte{[]byte("e")}
	e.mustCommit(w, newScheduledWrite("pi_b", pastDue, secondDeadline))
	e.mustPromoteDue(true)
	c, _ := e.mustClaim(captureLane, 1, time.Minute)
	e.mustCommit(capturedWrite(c[0].Hold, changedTime))
	if n, _, err := tryReserve(e.Context(), e.store, "acct_a", 1, 5); err != nil || n == 0 {
		e.Errorf("reserve: %d, %v", n, err)
	}
	if err := e.store.PauseOpOfAccount(e.Context(), "acct_a", 1, time.Second); err != nil {
		e.Error(err)
	}
	if alive, _, err := e.store.SendHeartbeat(e.Context(), "one", time.Minute); err != nil ||
		len(alive) != 1 {
		e.Errorf("heartbeat: %v, %v", alive, err)
	}
	if err := errors.Join(e.store.DeregisterReplica(e.Context(), "one"),
		e.store.CheckWritable(e.Context())); err != nil {
		e.Error(err)
	}
	if _, err := e.store.AdvanceMilestones(e.Context(), nil); err != nil {
		e.Error(err)
	}
	if _, err := e.store.CountHolds(e.Context()); err != nil {
		e.Error(err)
	}
	if _, err := e.store.ReadNextMilestone(e.Context()); err != nil {
		e.Error(err)
	}
	if _, _, err := e.store.ReadChangeCountsAndInboxLength(e.Context()); err != nil {
		e.Error(err)
	}
	if _, _, err := e.store.ListHoldsSettledBefore(e.Context(), farFuture, &hold.SettledCursor{},
		10); err != nil {
		e.Error(err)
	}
	if _, _, err := e.store.ListDueMilestones(e.Context(), 10); err != nil {
		e.Error(err)
	}
	if _, _, err := e.store.ReadSortedSetPage(e.Context(), hold.SetSettled,
		hold.SortedSetPosition{}, 10); err != nil {
		e.Error(err)
	}
	e.mustRead("pi_b")
	ctx := e.Context()
	e.callRepairAndErasure("pi_a")
	if err := e.rdb.XAdd(ctx, &redis.XAddArgs{Stream: "holdd:inbox",
		Values: []any{"hold", "{}"}}).Err(); err != nil {
		e.Error(err)
	}
	entries, _, err := e.store.ReadInboxEntries(ctx, "one", 10, time.Minute, 100)
	if err != nil || len(entries) != 1 {
		e.Fatalf("inbox: %v, %v", entries, err)
	}
	err = errors.Join(e.store.AckInboxEntries(ctx, []string{entries[0].ID}),
		e.store.AppendRejectedRequest(ctx,
			hold.RejectedRequest{Source: "inbox", ID: entries[0].ID}), e.store.PruneConsumers(ctx),
		e.store.RequestRefresh(ctx, "pi_b", "", false),
		e.store.RequestRefresh(ctx, "pi_c", "", true))
	if _, _, e1 := e.store.ListDueRefreshes(ctx, 10); e1 != nil {
		err = errors.Join(err, e1)
	}
	if _, _, e1 := e.store.ListHoldsDueForMetadataMirror(ctx, 10); e1 != nil {
		err = errors.Join(err, e1)
	}
	if _, e1 := e.store.DetectDataLossAndRestoreProperties(ctx); e1 != nil {
		err = errors.Join(err, e1)
	}
	if _, e1 := e.store.ShareKnownAccounts(ctx, []string{"acct_a"}); e1 != nil {
		err = errors.Join(err, e1)
	}
	if token, _, e1 := e.store.BeginOrResumeReconcileRun(ctx, []byte("{}"), time.Minute, time.Minute,
		0); e1 != nil || token == 0 {
		e.Errorf("reconcile: %d, %v", token, e1)
	} else if _, e1 := e.store.SaveReconcileRunIfLockHeld(ctx, token, []byte("{}"), [][]byte{[]byte("{}")}, 0,
		true); e1 != nil {
		err = errors.Join(err, e1)
	}
	if _, _, _, _, e1 := e.store.ReadReconcileRun(ctx, 1); e1 != nil {
		err = errors.Join(err, e1)
	}
	a := hold.AuthorizationAttempt{ID: "a", Digest: "d", State: hold.AttemptBegun, Generation: 1}
	if _, _, _, e1 := e.store.BeginOrResumeAuthorization(ctx, a, "t", time.Minute, time.Minute); e1 != nil {
		err = errors.Join(err, e1)
	}
	if _, e1 := e.store.SaveAuthorizationIfLeaseHeld(ctx, a, "t", true, farFuture); e1 != nil {
		err = errors.Join(err, e1)
	}
	if _, _, e1 := e.store.ListDueAttemptIDs(ctx, 1); e1 != nil {
		err = errors.Join(err, e1)
	}
	if err = errors.Join(err, e.store.DeleteAuthorizationIfLeaseHeld(ctx, a, "t")); err != nil {
		e.Error(err)
	}
	e.callOutboxMethods()
}

// callOutboxMethods calls each method of Outbox once.
func (e *testStore) callOutboxMethods() {
	e.Helper()
	ctx := e.Context()
	did := func(what string, err error) {
		e.Helper()
		if err != nil {
			e.Errorf("%s: %v", what, err)
		}
	}
	_, err := e.store.PublishOnce(ctx, "about", []byte("{}"))
	did("publish", err)
	for _, active := range []bool{true, false} {
		_, err = e.store.ReportConditions(ctx, "one", time.Minute, 0,
			[]hold.DaemonConditionReport{{Name: "stripe_unavailable", Active: active,
				RaisedEvent:  []byte("{}"),
				ClearedEvent: []byte("{}")}})
		did("conditions", err)
	}
	_, err = e.store.AcquireLock(ctx, "capacity", time.Minute)
	did("lock", err)
	_, err = e.store.CountDueByWindow(ctx, time.Now(), time.Hour, 2)
	did("due histogram", err)
	_, err = e.store.ReadLanePage(ctx, hold.ReadyHoldLane{Op: hold.OpCapture},
		hold.SortedSetPosition{}, 10)
	did("page of a lane", err)
	token, _, _, _, err := e.store.AcquireSinkLease(ctx, "callback", 0, "one", time.Minute)
	did("begin", err)
	events, _, err := e.store.ReadEvents(ctx, 0, "0-0", 10)
	did("events", err)
	_, _, err = e.store.ReadStreamLengthAndEntriesAdded(ctx, 0)
	did("stream", err)
	ok, err := e.store.SaveSinkProgressIfLeaseHeld(ctx, "callback", 0, token,
		hold.SinkProgressWrite{State: []byte("{}"),
			Park:        map[string][]byte{"pi_a": []byte("{}")},
			DeadLetters: []hold.DeadLetter{{Event: []byte("{}"), Reason: "HTTP 500"}}}, time.Minute)
	did("save", err)
	if !ok || len(events) == 0 {
		e.Errorf("saved: %t, with %d events", ok, len(events))
	}
	list, _, err := e.store.ListDeadLetters(ctx, "callback", 10)
	did("dead letters", err)
	if len(list) != 1 {
		e.Fatalf("%d dead letters", len(list))
	}
	n, err := e.store.RequeueDeadLetters(ctx, "callback", []string{list[0].ID})
	did("requeue", err)
	_, err = e.store.RequeueDeadLetters(ctx, "callback", nil)
	did("requeue all", err)
	again, err := e.store.ReadRequeuedDeadLetters(ctx, "callback", 0, 10)
	did("requeued", err)
	if n != 1 || len(again) != 1 {
		e.Fatalf("%d were requeued, %d wait", n, len(again))
	}
	_, err = e.store.SaveSinkProgressIfLeaseHeld(ctx, "callback", 0, token,
		hold.SinkProgressWrite{State: []byte("{}"),
			Unpark: []string{"pi_a"}, Requeued: []string{again[0].ID}}, 0)
	did("save", err)
	_, err = e.store.ReadSinkPartitionStates(ctx, "callback")
	did("states", err)
}

func mustInspect(t *testing.T, o store.Options) store.Inspection {
	t.Helper()
	in, err := store.Inspect(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func TestInspect_Findings(t *testing.T) {
	t.Parallel()
	r := storetest.Start(t, "--maxmemory", "100mb", "--requirepass", testPassword)
	url := "redis://:" + testPassword + "@" + r.Addr()
	in := mustInspect(t, store.Options{URL: url})
	if len(in.Servers) != 1 || in.Cluster || in.Partitions != "" || in.Mode != "" ||
		len(in.Replicas) != 0 || strings.Contains(in.Address, testPassword) {
		t.Fatalf("%+v", in)
	}
	s := in.Servers[0]
	for _, trait := range []store.RedisServerProperty{s.Version, s.Eviction, s.Persistence,
		s.Disk} {
		if trait.Value == "" || trait.Fault != "" || trait.Warning != "" {
			t.Errorf("%+v", trait)
		}
	}
	if s.Role != "master" || s.ConnectedReplicas != 0 || s.UsedMemory < 100_000 ||
		s.MaxMemory != 100<<20 ||
		s.MachineMemory < s.UsedMemory || s.User != "default" || !s.PermissionsKnown ||
		len(s.MissingCommands) != 0 {
		t.Errorf("%+v", s)
	}
	if !s.ClockOffsetKnown || s.ClockOffsetMin > 0 || s.ClockOffsetMax < 0 || s.RoundTrip <= 0 ||
		s.ClockOffsetMax-s.ClockOffsetMin > s.RoundTrip+time.Millisecond {
		t.Errorf("the clock of the same machine: %s to %s in %s", s.ClockOffsetMin,
			s.ClockOffsetMax, s.RoundTrip)
	}

	st := mustOpen(t, store.Options{URL: url, Partitions: 3, Livemode: true})
	for name, ttl := range map[string]time.Duration{"alive": time.Hour,
		"stopped": time.Millisecond} {
		if _, _, err := st.SendHeartbeat(t.Context(), name, ttl); err != nil {
			t.Fatal(err)
		}
	}
	in = mustInspect(t, store.Options{URL: url})
	if in.Partitions != "3" || in.Mode != "live" || len(in.Replicas) != 2 ||
		in.Replicas[0].Name != "alive" || in.Replicas[0].HeartbeatEndsAt.Before(in.Now) ||
		in.Replicas[1].Name != "stopped" ||
		in.Replicas[1].HeartbeatEndsAt.After(in.Now.Add(time.Second)) {
		t.Errorf("%+v", in)
	}
}

// Inspect examines a Redis that Open refuses, and changes nothing.
func TestInspect_ChangesNothing(t *testing.T) {
	t.Parallel()
	r := storetest.Start(t, "--appendonly", "no", "--maxmemory-policy", "allkeys-lru")
	raw := r.Client()
	defer raw.Close()
	s := mustInspect(t, store.Options{URL: r.URL()}).Servers[0]
	if s.Eviction.Fault == "" || s.Persistence.Fault == "" || s.Eviction.Hint == "" ||
		s.Persistence.Hint == "" {
		t.Errorf("%+v", s)
	}
	if n, err := raw.DBSize(t.Context()).Result(); err != nil || n != 0 {
		t.Errorf("%d keys, %v", n, err)
	}
	stats := raw.Info(t.Context(), "persistence").Val()
	if !strings.Contains(stats, "rdb_changes_since_last_save:0") {
		t.Error("it wrote")
	}
}

// A Redis user needs exactly the commands in the list.
func TestRequiredRedisCommands_AreSufficientAndNecessary(t *testing.T) {
	t.Parallel()
	r := storetest.Start(t)
	raw := r.Client()
	defer raw.Close()
	allow := func(rules ...any) {
		t.Helper()
		if err := raw.Do(t.Context(), append([]any{"ACL", "SETUSER", "holdd", "reset", "on",
			">" + testPassword}, rules...)...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	var exactly []any
	for _, c := range store.RequiredRedisCommands() {
		exactly = append(exactly, "+"+c)
	}
	url := "redis://holdd:" + testPassword + "@" + r.Addr()
	allow(append(exactly, "~holdd:*")...)
	if s := mustInspect(t, store.Options{URL: url}).Servers[0]; !s.PermissionsKnown ||
		len(s.MissingCommands) != 0 || s.User != "holdd" {
		t.Errorf("%+v", s)
	}
	(&testStore{TB: t, store: mustOpen(t, store.Options{URL: url,
		Rates: store.RateLimitOptions{Write: 10, Read: 10,
			Total: 15}}), rdb: raw}).callEveryMethod()

	allow(append(exactly, "~holdd:*", "-ZREM", "-XADD")...)
	if s := mustInspect(t, store.Options{URL: url}).Servers[0]; !s.PermissionsKnown ||
		!slices.Equal(s.MissingCommands, []string{"XADD", "ZREM"}) {
		t.Errorf("%+v", s)
	}
	allow(append(exactly, "~holdd:*", "-EVAL", "-EVALSHA")...)
	if s := mustInspect(t, store.Options{URL: url}).Servers[0]; !s.PermissionsKnown ||
		!slices.Equal(s.MissingCommands, []string{"EVAL", "EVALSHA"}) {
		t.Errorf("%+v", s)
	}
	allow(append(exactly, "~holdd:{0}*", "~holdd:replicas", "~holdd:partitions", "~holdd:mode",
		"~holdd:account", "~holdd:lowered")...)
	if s := mustInspect(t, store.Options{URL: url}).Servers[0]; !s.PermissionsKnown ||
		!slices.Contains(s.MissingCommands, "SET") || !slices.Contains(s.MissingCommands, "GET") {
		t.Errorf("a user who lacks keys: %+v", s)
	}
}

func TestInspect_Cluster(t *testing.T) {
	t.Parallel()
	in := mustInspect(t, store.Options{URL: storetest.StartCluster(t, 2).URL()})
	if !in.Cluster || len(in.Servers) != 2 {
		t.Fatalf("%+v", in)
	}
	for _, s := range in.Servers {
		if !s.PermissionsKnown || len(s.MissingCommands) != 0 ||
			s.Role != "master" || !s.ClockOffsetKnown {
			t.Errorf("%+v", s)
		}
	}
}

func TestInspect_RedisUnavailable(t *testing.T) {
	t.Parallel()
	r := storetest.Start(t)
	r.Pause()
	defer r.Resume()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	in, err := store.Inspect(ctx, store.Options{URL: "redis://:" + testPassword + "@" + r.Addr()})
	if err == nil || !strings.Contains(err.Error(), "does not answer") ||
		strings.Contains(err.Error()+in.Address, testPassword) {
		t.Errorf("%+v, %v", in, err)
	}
	_, err = store.Inspect(t.Context(), store.Options{URL: "no url"})
	if !errors.Is(err, store.ErrInvalidSetting) {
		t.Errorf("%v", err)
	}
}
