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
	slowRedis      = 25 * time.Millisecond // a round trip; each change of a hold takes one
	memoryWarning  = 80                    // per cent
	memoryWrong    = 95
	replicasListed = 5
)

// judgeRedis turns what was seen of a Redis into findings. problem is what kept the rest from being seen.
func judgeRedis(s *config.Settings, in store.Inspection, problem error) (out []finding) {
	if problem != nil && len(in.Servers) == 0 {
		return []finding{ill("redis", "", "%v", problem)}
	}
	where := in.Address
	if in.Cluster {
		where += fmt.Sprintf(", a Cluster of %d masters", len(in.Servers))
	}
	// One line for all servers where all is well, and one for each that isn't.
	each := func(judge func(*store.Server) finding) {
		var first *finding
		bad := false
		for i := range in.Servers {
			f := judge(&in.Servers[i])
			if f.Status != verdictOK {
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
	trait := func(check string, of func(*store.Server) store.ServerProperty, ok string) {
		each(func(r *store.Server) finding {
			t := of(r)
			switch {
			case t.Fault != "" && s.AllowUnsafeRedis && check != "redis version" && check != "redis disk":
				return doubtful(check, t.Hint, "%s (allow_unsafe_redis lets holdd start)", t.Fault)
			case t.Fault != "":
				return ill(check, t.Hint, "%s", t.Fault)
			case t.Warning != "":
				return doubtful(check, t.Hint, "%s", t.Warning)
			case t.Value == "":
				return fine(check, "not told by this Redis")
			}
			return fine(check, ok, t.Value)
		})
	}
	each(func(r *store.Server) finding {
		took := r.RoundTrip.Round(10 * time.Microsecond)
		if r.RoundTrip > slowRedis {
			return doubtful("redis", "run holdd nearer to it: each change of a hold takes a round trip", "%s answers, and takes %s for it", where, took)
		}
		return fine("redis", "%s answers in %s", where, took)
	})
	trait("redis version", func(r *store.Server) store.ServerProperty { return r.Version }, "%s")
	trait("redis persistence", func(r *store.Server) store.ServerProperty { return r.Persistence }, "%s")
	trait("redis disk", func(r *store.Server) store.ServerProperty { return r.Disk }, "%s")
	trait("redis eviction", func(r *store.Server) store.ServerProperty { return r.Eviction }, "%s")
	each(judgeMemory)
	each(judgeRole)
	each(judgeRights)
	if problem != nil {
		return append(out, ill("redis", "", "%v", problem))
	}
	out = append(out, judgeMode(s, in.Mode), judgePartitions(s, &in))
	return append(out, judgeReplicas(&in)...)
}

func judgeMemory(r *store.Server) finding {
	const check = "redis memory"
	limit, name, mend := r.Limit, "maxmemory", "raise maxmemory, or keep settled holds for less long with retention: a full Redis takes no changes"
	if limit == 0 {
		limit, name, mend = r.Machine, "the machine's memory, without a maxmemory", "give the machine more memory: without any left the kernel kills Redis"
	}
	if r.Used == 0 || limit == 0 {
		return fine(check, "not told by this Redis")
	}
	percent := r.Used * 100 / limit
	f := ill(check, mend, "%s used, %d %% of %s (%s)", size(r.Used), percent, name, size(limit))
	switch {
	case percent < memoryWarning:
		f.Status, f.Mend = verdictOK, ""
	case percent < memoryWrong:
		f.Status = verdictWarning
	}
	return f
}

func size(bytes int64) string {
	switch {
	case bytes >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
	case bytes >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
	}
	return fmt.Sprintf("%d KiB", bytes>>10)
}

func judgeRole(r *store.Server) finding {
	const check = "redis role"
	switch {
	case r.Role == "slave":
		return ill(check, "set redis_url to the master, or to the sentinels with redis+sentinel://", "this is a read-only replica of another Redis")
	case r.Role == "":
		return fine(check, "not told by this Redis")
	}
	return fine(check, "%s with %d replicas", r.Role, r.Followers)
}

func judgeRights(r *store.Server) finding {
	const check = "redis rights"
	switch {
	case !r.PermissionsKnown:
		return fine(check, "not to be found out: only Redis 7.0 and newer tell")
	case len(r.MissingCommands) == 0:
		return fine(check, "the user %s may do what holdd needs", r.User)
	}
	var rules strings.Builder
	for _, c := range r.MissingCommands {
		rules.WriteString(" +" + strings.ToLower(c))
	}
	return ill(check, fmt.Sprintf("ACL SETUSER %s ~holdd:*%s", r.User, rules.String()),
		"the user %s may not use %s on the keys holdd:*", r.User, strings.Join(r.MissingCommands, ", "))
}

func judgeMode(s *config.Settings, recorded string) finding {
	const check = "mode"
	mode := "test"
	if s.Live() {
		mode = "live"
	}
	switch recorded {
	case "":
		return fine(check, "the Stripe key is for %s mode, and this Redis is not in use yet", mode)
	case mode:
		return fine(check, "the Stripe key and this Redis are for %s mode", mode)
	}
	return ill(check, "set stripe_api_key to a key of "+recorded+" mode, or redis_url to another Redis",
		"this Redis keeps holds of %s mode, and the Stripe key is for %s mode", clean(recorded), mode)
}

func judgePartitions(s *config.Settings, in *store.Inspection) finding {
	const check = "partitions"
	switch {
	case in.Partitions != "" && in.Partitions != strconv.Itoa(s.Partitions):
		return ill(check, "set partitions to "+clean(in.Partitions), "this Redis is divided into %s, and the setting says %d", clean(in.Partitions), s.Partitions)
	case in.Partitions == "" && s.Partitions < len(in.Servers):
		return doubtful(check, fmt.Sprintf("set partitions to a multiple of %d before the first hold: it can't be changed later", len(in.Servers)),
			"%d, fewer than the Cluster has masters (%d), so that some would have nothing to do", s.Partitions, len(in.Servers))
	case in.Partitions == "":
		return fine(check, "%d by the setting, and this Redis is not in use yet", s.Partitions)
	}
	return fine(check, "%d, as this Redis is divided", s.Partitions)
}

func judgeReplicas(in *store.Inspection) (out []finding) {
	const check = "replicas"
	var alive []string
	for _, r := range in.Replicas {
		if r.Until.After(in.Now) {
			alive = append(alive, clean(r.Name))
		} else if len(out) < replicasListed {
			out = append(out, doubtful(check, "start it again if nothing else runs in its place, and see its log",
				"%s stopped without taking its leave, at %s at the latest", clean(r.Name), r.Until.UTC().Format(time.RFC3339)))
		}
	}
	names := strings.Join(alive[:min(len(alive), replicasListed)], ", ")
	switch {
	case len(alive) > replicasListed:
		names += ", …"
		fallthrough
	case len(alive) > 0:
		out = append(out, fine(check, "%d at work: %s", len(alive), names))
	case len(out) == 0:
		out = append(out, fine(check, "none is at work on this Redis"))
	}
	return out
}
