package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/holdd/holdd/config"
	"github.com/holdd/holdd/store"
)

const (
	slowRedisRoundTrip   = 25 * time.Millisecond // a round trip; each change of a hold takes one
	memoryWarningPercent = 80                    // per cent
	memoryErrorPercent   = 95
	maxListedReplicas    = 5
)

// checkRedis turns what was seen of a Redis into findings. problem is what kept
// the rest from being seen.
func checkRedis(s *config.Settings, in store.Inspection, problem error) (out []checkResult) {
	if problem != nil && len(in.Servers) == 0 {
		return []checkResult{errorResult("redis", "", "%v", problem)}
	}
	where := in.Address
	if in.Cluster {
		where += fmt.Sprintf(", a Cluster of %d masters", len(in.Servers))
	}
	// One line for all servers where all is well, and one for each that isn't.
	checkServers := func(checkServer func(*store.Server) checkResult) {
		var first *checkResult
		bad := false
		for i := range in.Servers {
			f := checkServer(&in.Servers[i])
			if f.Status != statusOK {
				if len(in.Servers) > 1 {
					f.Detail = in.Servers[i].Address + ": " + f.Detail
				}
				out, bad = append(out, f), true
			} else if first == nil {
				first = &f
			}
		}
		if first != nil && !bad {
			out = append(out, *first)
		}
	}
	checkProperty := func(check string, of func(*store.Server) store.ServerProperty, ok string) {
		checkServers(func(r *store.Server) checkResult {
			t := of(r)
			switch {
			case t.Fault != "" && s.AllowUnsafeRedis && check != "redis version" &&
				check != "redis disk":
				return warningResult(check, t.Hint, "%s (allow_unsafe_redis lets holdd start)",
					t.Fault)
			case t.Fault != "":
				return errorResult(check, t.Hint, "%s", t.Fault)
			case t.Warning != "":
				return warningResult(check, t.Hint, "%s", t.Warning)
			case t.Value == "":
				return okResult(check, "not told by this Redis")
			}
			return okResult(check, ok, t.Value)
		})
	}
	checkServers(func(r *store.Server) checkResult {
		took := r.RoundTrip.Round(10 * time.Microsecond)
		if r.RoundTrip > slowRedisRoundTrip {
			return warningResult("redis",
				"run holdd nearer to it: each change of a hold takes a round trip",
				"%s answers, and takes %s for it", where, took)
		}
		return okResult("redis", "%s answers in %s", where, took)
	})
	checkProperty("redis version", func(r *store.Server) store.ServerProperty { return r.Version },
		"%s")
	checkProperty("redis persistence", func(r *store.Server) store.ServerProperty {
		return r.Persistence
	}, "%s")
	checkProperty("redis disk", func(r *store.Server) store.ServerProperty { return r.Disk }, "%s")
	checkProperty("redis eviction", func(r *store.Server) store.ServerProperty {
		return r.Eviction
	}, "%s")
	checkServers(checkRedisMemory)
	checkServers(checkRedisRole)
	checkServers(checkRedisPermissions)
	if problem != nil {
		return append(out, errorResult("redis", "", "%v", problem))
	}
	out = append(out, checkMode(s, in.Mode), checkPartitions(s, &in))
	return append(out, checkReplicas(&in)...)
}

func checkRedisMemory(r *store.Server) checkResult {
	const check = "redis memory"
	limit, name, hint := r.MaxMemory, "maxmemory",
		"raise maxmemory, or keep settled holds for less long with retention: a full Redis takes no changes"
	if limit == 0 {
		limit, name, hint = r.MachineMemory, "the machine's memory, without a maxmemory",
			"give the machine more memory: without any left the kernel kills Redis"
	}
	if r.UsedMemory == 0 || limit == 0 {
		return okResult(check, "not told by this Redis")
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

func formatBytes(bytes int64) string {
	switch {
	case bytes >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
	case bytes >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
	}
	return fmt.Sprintf("%d KiB", bytes>>10)
}

func checkRedisRole(r *store.Server) checkResult {
	const check = "redis role"
	switch {
	case r.Role == "slave":
		return errorResult(check,
			"set redis_url to the master, or to the sentinels with redis+sentinel://",
			"this is a read-only replica of another Redis")
	case r.Role == "":
		return okResult(check, "not told by this Redis")
	}
	return okResult(check, "%s with %d replicas", r.Role, r.ConnectedReplicas)
}

func checkRedisPermissions(r *store.Server) checkResult {
	const check = "redis rights"
	switch {
	case !r.PermissionsKnown:
		return okResult(check, "not to be found out: only Redis 7.0 and newer tell")
	case len(r.MissingCommands) == 0:
		return okResult(check, "the user %s may do what holdd needs", r.User)
	}
	var rules strings.Builder
	for _, c := range r.MissingCommands {
		rules.WriteString(" +" + strings.ToLower(c))
	}
	return errorResult(check, fmt.Sprintf("ACL SETUSER %s ~holdd:*%s", r.User, rules.String()),
		"the user %s may not use %s on the keys holdd:*", r.User,
		strings.Join(r.MissingCommands, ", "))
}

func checkMode(s *config.Settings, recorded string) checkResult {
	const check = "mode"
	mode := "test"
	if s.Livemode() {
		mode = "live"
	}
	switch recorded {
	case "":
		return okResult(check, "the Stripe key is for %s mode, and this Redis is not in use yet",
			mode)
	case mode:
		return okResult(check, "the Stripe key and this Redis are for %s mode", mode)
	}
	return errorResult(check, "set stripe_api_key to a key of "+recorded+
		" mode, or redis_url to another Redis",
		"this Redis keeps holds of %s mode, and the Stripe key is for %s mode",
		sanitize(recorded), mode)
}

func checkPartitions(s *config.Settings, in *store.Inspection) checkResult {
	const check = "partitions"
	switch {
	case in.Partitions != "" && in.Partitions != strconv.Itoa(s.Partitions):
		return errorResult(check, "set partitions to "+sanitize(in.Partitions),
			"this Redis is divided into %s, and the setting says %d",
			sanitize(in.Partitions), s.Partitions)
	case in.Partitions == "" && s.Partitions < len(in.Servers):
		return warningResult(check,
			fmt.Sprintf(
				"set partitions to a multiple of %d before the first hold: it can't be changed later", len(in.Servers)),
			"%d, fewer than the Cluster has masters (%d), so that some would have nothing to do",
			s.Partitions, len(in.Servers))
	case in.Partitions == "":
		return okResult(check, "%d by the setting, and this Redis is not in use yet", s.Partitions)
	}
	return okResult(check, "%d, as this Redis is divided", s.Partitions)
}

func checkReplicas(in *store.Inspection) (out []checkResult) {
	const check = "replicas"
	var alive []string
	for _, r := range in.Replicas {
		if r.HeartbeatEndsAt.After(in.Now) {
			alive = append(alive, sanitize(r.Name))
		} else if len(out) < maxListedReplicas {
			out = append(
				out, warningResult(check, "start it again if nothing else runs in its place, and see its log",
					"%s stopped without taking its leave, at %s at the latest", sanitize(r.Name),
					r.HeartbeatEndsAt.UTC().Format(time.RFC3339)))
		}
	}
	names := strings.Join(alive[:min(len(alive), maxListedReplicas)], ", ")
	switch {
	case len(alive) > maxListedReplicas:
		names += ", …"
		fallthrough
	case len(alive) > 0:
		out = append(out, okResult(check, "%d at work: %s", len(alive), names))
	case len(out) == 0:
		out = append(out, okResult(check, "none is at work on this Redis"))
	}
	return out
}
