package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdd/holdd/config"
	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker/hold"
)

const (
	slowRedisRoundTrip   = 25 * time.Millisecond
	lateClaim            = 10 * time.Second
	memoryWarningPercent = 80
	memoryErrorPercent   = 95
	maxListedReplicas    = 5
	maxListedRates       = 5

	notReported = "not reported by this Redis"
)

// checkRedisInspection checks what an inspection of Redis found. err is what
// ended the inspection early.
func checkRedisInspection(s *config.Settings, in store.Inspection, err error) []doctorCheckResult {
	if err != nil && len(in.Servers) == 0 {
		return []doctorCheckResult{errorResult("redis", "", "%v", err)}
	}
	address := in.Address
	if in.Cluster {
		address += fmt.Sprintf(", a Cluster of %d masters", len(in.Servers))
	}
	var out []doctorCheckResult
	for _, check := range []func(*store.RedisServer) doctorCheckResult{
		func(r *store.RedisServer) doctorCheckResult { return checkRedisRoundTrip(r, address) },
		func(r *store.RedisServer) doctorCheckResult {
			return checkRedisProperty("redis version", &r.Version, false)
		},
		func(r *store.RedisServer) doctorCheckResult {
			return checkRedisProperty("redis persistence", &r.Persistence, s.AllowUnsafeRedis)
		},
		func(r *store.RedisServer) doctorCheckResult {
			return checkRedisProperty("redis disk", &r.Disk, false)
		},
		func(r *store.RedisServer) doctorCheckResult {
			return checkRedisProperty("redis eviction", &r.Eviction, s.AllowUnsafeRedis)
		},
		checkRedisMemory, checkRedisRole, checkRedisPermissions,
	} {
		out = append(out, runCheckOnEachRedisServer(in.Servers, check)...)
	}
	if err != nil {
		return append(out, errorResult("redis", "", "%v", err))
	}
	out = append([]doctorCheckResult{checkOldestDue(&in)}, out...) // the first number to look at
	out = append(out, checkRedisMatchesStripeMode(s, in.Mode), checkRedisPartitions(s, &in),
		reportEventStreamSize(s, &in))
	return append(append(out, checkDaemonReplicas(&in)...), checkLoweredRates(in.LoweredRates)...)
}

// runCheckOnEachRedisServer checks each server. It returns the results that are not
// ok, or one result for all servers.
func runCheckOnEachRedisServer(
	servers []store.RedisServer, check func(*store.RedisServer) doctorCheckResult,
) (out []doctorCheckResult) {
	var first *doctorCheckResult
	for i := range servers {
		result := check(&servers[i])
		if first == nil {
			first = &result
		}
		if result.Status == statusOK {
			continue
		}
		if len(servers) > 1 {
			result.Detail = servers[i].Address + ": " + result.Detail
		}
		out = append(out, result)
	}
	if len(out) == 0 && first != nil {
		out = append(out, *first)
	}
	return out
}

func checkRedisRoundTrip(r *store.RedisServer, address string) doctorCheckResult {
	took := r.RoundTrip.Round(10 * time.Microsecond)
	if r.RoundTrip > slowRedisRoundTrip {
		return warningResult("redis",
			"run holdd closer to Redis: each change of a hold takes a round trip",
			"%s takes %s to answer", address, took)
	}
	return okResult("redis", "%s answers in %s", address, took)
}

// checkRedisProperty checks a property of a server. allowed says that
// allow_unsafe_redis permits a fault.
func checkRedisProperty(
	check string, p *store.RedisServerProperty, allowed bool,
) doctorCheckResult {
	switch {
	case p.Fault != "" && allowed:
		return warningResult(check, p.Hint, "%s (allow_unsafe_redis lets holdd start)", p.Fault)
	case p.Fault != "":
		return errorResult(check, p.Hint, "%s", p.Fault)
	case p.Warning != "":
		return warningResult(check, p.Hint, "%s", p.Warning)
	case p.Value == "":
		return okResult(check, notReported)
	}
	return okResult(check, "%s", p.Value)
}

func checkRedisMemory(r *store.RedisServer) doctorCheckResult {
	const check = "redis memory"
	limit, name, hint := r.MaxMemory, "maxmemory",
		"raise maxmemory, or shorten retention: a full Redis accepts no new holds"
	if limit == 0 {
		limit, name, hint = r.MachineMemory, "the machine's memory, without a maxmemory",
			"add memory to the machine: the kernel kills Redis when none is left"
	}
	if r.UsedMemory == 0 || limit == 0 {
		return okResult(check, notReported)
	}
	percent := r.UsedMemory * 100 / limit
	f := errorResult(check, hint, "%s used, %d %% of %s (%s)", formatBytes(r.UsedMemory), percent,
		name, formatBytes(limit))
	switch {
	case percent < memoryWarningPercent:
		f.Status, f.Hint = statusOK, ""
	case percent < memoryErrorPercent:
		f.Status = statusWarning
	}
	return f
}

// reportEventStreamSize reports the size of the streams of events. The streams are
// full in normal operation.
func reportEventStreamSize(s *config.Settings, in *store.Inspection) doctorCheckResult {
	partitions := max(1, int64(s.Partitions))
	return okResult("redis events", "%s in about %s, trimmed at %s (events_max_size)",
		hold.FormatCount(in.Events.Events, "event", "events"), formatBytes(in.Events.Bytes),
		formatBytes(partitions*int64(s.EventsMaxSize)))
}

func formatBytes(bytes int64) string {
	switch {
	case bytes >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
	case bytes >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
	}
	return fmt.Sprintf("%d KiB", bytes>>10)
}

func checkRedisRole(r *store.RedisServer) doctorCheckResult {
	const check = "redis role"
	switch {
	case r.Role == "slave":
		return errorResult(check,
			"set redis_url to the master, or to the sentinels with redis+sentinel://",
			"this is a read-only replica of another Redis")
	case r.Role == "":
		return okResult(check, notReported)
	}
	return okResult(check, "%s with %s", r.Role,
		hold.FormatCount(r.ConnectedReplicas, "replica", "replicas"))
}

func checkRedisPermissions(r *store.RedisServer) doctorCheckResult {
	const check = "redis rights"
	switch {
	case !r.PermissionsKnown:
		return okResult(check, "unknown: only Redis 7.0 and newer report them")
	case len(r.MissingCommands) == 0 && len(r.MissingCheckCommands) == 0:
		return okResult(check, "the user %s may do what holdd needs", r.User)
	}
	rule := "ACL SETUSER " + r.User + " ~holdd:*"
	granted := slices.Concat(r.MissingCommands, r.MissingCheckCommands)
	if slices.Contains(granted, "EVAL") { // without it the others are unknown
		granted = slices.Concat(store.RequiredRedisCommands(), store.OptionalRedisCommands())
	}
	for _, c := range granted {
		rule += " +" + strings.ToLower(c)
	}
	if len(r.MissingCommands) == 0 {
		return warningResult(check, rule, "the user %s may not use %s: holdd cannot check all "+
			"settings of Redis, or not repartition", r.User,
			strings.Join(r.MissingCheckCommands, ", "))
	}
	return errorResult(check, rule, "the user %s may not use %s on the keys holdd:*", r.User,
		strings.Join(r.MissingCommands, ", "))
}

// checkOldestDue checks for how long a hold has been due that no replica has
// claimed. Outside the window of schedule_capture that is no fault.
func checkOldestDue(in *store.Inspection) doctorCheckResult {
	const check = "oldest due"
	age := in.OldestDue.Round(time.Second)
	switch {
	case !in.OldestDueKnown:
		return okResult(check, "unknown: this Redis is unused or rejects the question")
	case in.OldestDue == 0:
		return okResult(check, "every hold that is due has been claimed")
	case in.OldestDue < lateClaim:
		return okResult(check, "a hold has been due for %s and is not claimed yet", age)
	}
	return warningResult(check, "read /readyz of the replicas; holdd plan shows what is late",
		"a hold has been due for %s, and no replica has claimed it", age)
}

func checkRedisMatchesStripeMode(s *config.Settings, recorded string) doctorCheckResult {
	const check = "mode"
	mode := stripeModeName(s)
	switch recorded {
	case "":
		return okResult(check, "the Stripe key is for %s mode, and this Redis is unused",
			mode)
	case mode:
		return okResult(check, "the Stripe key and this Redis are for %s mode", mode)
	}
	return errorResult(check, "set stripe_api_key to a key of "+recorded+
		" mode, or redis_url to another Redis",
		"this Redis keeps holds of %s mode, and the Stripe key is for %s mode",
		sanitize(recorded), mode)
}

func checkRedisPartitions(s *config.Settings, in *store.Inspection) doctorCheckResult {
	const check = "partitions"
	switch {
	case in.Partitions != "" && in.Partitions != strconv.Itoa(s.Partitions):
		return errorResult(check, "set partitions to "+sanitize(in.Partitions),
			"this Redis has %s, and the setting is %d",
			sanitize(in.Partitions), s.Partitions)
	case in.Partitions == "" && s.Partitions < len(in.Servers):
		return warningResult(check,
			fmt.Sprintf(
				"set partitions to a multiple of %d before the first hold: only holdd repartition changes it later",
				len(in.Servers),
			),
			"%d, fewer than the Cluster's masters (%d): some would have no work",
			s.Partitions, len(in.Servers))
	case in.Partitions == "":
		return okResult(check, "%d by the setting, and this Redis is unused", s.Partitions)
	}
	return okResult(check, "%d, as in this Redis", s.Partitions)
}

func checkDaemonReplicas(in *store.Inspection) (out []doctorCheckResult) {
	const check = "replicas"
	var alive []string
	for _, r := range in.Replicas {
		if r.HeartbeatEndsAt.After(in.Now) {
			alive = append(alive, sanitize(r.Name))
		} else if len(out) < maxListedReplicas {
			out = append(out, warningResult(check,
				"read its log, and restart it unless another replica replaces it",
				"%s stopped unexpectedly, not later than %s", sanitize(r.Name),
				r.HeartbeatEndsAt.UTC().Format(time.RFC3339)))
		}
	}
	names := strings.Join(alive[:min(len(alive), maxListedReplicas)], ", ")
	switch {
	case len(alive) > maxListedReplicas:
		names += ", …"
		fallthrough
	case len(alive) > 0:
		out = append(out, okResult(check, "%d running: %s", len(alive), names))
	case len(out) == 0:
		out = append(out, okResult(check, "none is running on this Redis"))
	}
	return out
}

// checkLoweredRates lists the rates that a 429 lowered.
func checkLoweredRates(rates []hold.LoweredRate) (out []doctorCheckResult) {
	const check = "stripe rate"
	for _, r := range rates[:min(len(rates), maxListedRates)] {
		account := "the own account"
		if r.Account != "" {
			account = sanitize(r.Account)
		}
		kind := "requests to " + r.Kind
		if r.Kind == hold.AllKinds {
			kind = "requests"
		}
		out = append(out, warningResult(check,
			"Stripe answered 429: find out what else uses this account's limit, "+
				"or lower the rate in the settings; holdd raises it again as Stripe accepts more",
			"%.1f %s a second for %s", r.PerSecond, kind, account))
	}
	if len(out) == 0 {
		return []doctorCheckResult{okResult(check, "as configured: no 429 has lowered it")}
	}
	return out
}
