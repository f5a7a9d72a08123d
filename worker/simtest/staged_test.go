package simtest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// plannedStages is how a hold is captured in parts: by the stages of its terms,
// or by requests.
type plannedStages struct {
	inParts bool
	stages  []plannedStage // empty: only requests capture parts
}

type plannedStage struct {
	at     time.Duration
	amount int64
}

func (s plannedStages) String() string {
	if !s.inParts {
		return ""
	}
	text := ", captured in parts"
	for _, stage := range s.stages {
		text += fmt.Sprintf(" %d at +%s", stage.amount, stage.at.Round(time.Millisecond))
	}
	return text
}

// total is what the stages take in all.
func (s plannedStages) total() (sum int64) {
	for _, stage := range s.stages {
		sum += stage.amount
	}
	return sum
}

// drawStages lets some holds be captured in parts, with faults and requests about
// the times of the parts.
func (p *plan) drawStages() {
	if !newRNG(p.seed, "stages").chance(0.3) {
		return
	}
	for i := range p.holds {
		h := &p.holds[i]
		d := newRNG(p.seed, "stage", fmt.Sprint(h.number))
		if h.intake != "" && h.intake != "inbox" || h.methodType != "" || h.renewal.until > 0 ||
			h.amountError != 0 || h.expiryError != 0 || h.requestedAccount != "" || !d.chance(0.6) {
			continue
		}
		h.authorizationWindow = max(h.authorizationWindow, 5*p.expiryMargin+20*p.jobInterval)
		h.staged.inParts, h.multi, h.captureParams = true, true, hold.CaptureParams{}
		h.actions, h.captureAmount, h.declinesIncrement, h.declaresAmount = nil, 0, false, false
		if d.chance(0.7) {
			p.drawPlan(h, d)
		} else {
			p.drawPartRequests(h, d)
		}
		p.drawStageActions(h, d)
		slices.SortStableFunc(h.actions, func(a, b plannedAction) int { return int(a.at - b.at) })
	}
}

// stageTime is a time before the policy of a hold acts.
func (p *plan) stageTime(h *plannedHold, d rng) time.Duration {
	at := d.durationBetween(h.scheduledAt+time.Second,
		h.placedAt+h.authorizationWindow-p.expiryMargin-2*p.jobInterval)
	if d.chance(0.5) {
		at = p.nearTick(d, at)
	}
	return max(at, h.scheduledAt+time.Second).Truncate(time.Millisecond)
}

// drawPlan draws two to four stages.
func (p *plan) drawPlan(h *plannedHold, d rng) {
	rest := h.amount
	for range 2 + d.IntN(3) {
		amount := 1 + d.Int64N(max(1, rest/2))
		if rest -= amount; rest < 2 {
			break
		}
		h.staged.stages = append(h.staged.stages, plannedStage{p.stageTime(h, d), amount})
	}
	if s := h.staged.stages; d.chance(0.3) && len(s) > 1 {
		s[0].amount = s[1].amount // the keys of equal parts must differ
		if h.staged.total() > h.amount {
			s[0].amount = 1
		}
	}
	slices.SortFunc(h.staged.stages, func(a, b plannedStage) int { return int(a.at - b.at) })
	for i := 1; i < len(h.staged.stages); i++ {
		before := h.staged.stages[i-1].at
		h.staged.stages[i].at = max(h.staged.stages[i].at, before+time.Millisecond)
	}
	h.action, h.dueAt = "capture", h.staged.stages[0].at
	for i, stage := range h.staged.stages {
		p.addStageFault(h, d, i, stage.at)
	}
}

// drawPartRequests lets callers request parts of different amounts.
func (p *plan) drawPartRequests(h *plannedHold, d rng) {
	h.action = pickOne(d, "capture", "none")
	h.dueAt = p.stageTime(h, d)
	for k := range 1 + d.IntN(3) {
		a := plannedAction{number: 300 + k, kind: "part", at: p.stageTime(h, d),
			amount: 1 + d.Int64N(h.amount/4) + int64(k), loseReply: d.chance(0.4)}
		h.actions = append(h.actions, a)
		p.addStageFault(h, d, k, a.at)
	}
}

// drawStageActions adds requests and changes at Stripe about the time of a part.
func (p *plan) drawStageActions(h *plannedHold, d rng) {
	if !d.chance(0.4) {
		return
	}
	about := h.dueAt
	if n := len(h.staged.stages); n > 0 {
		about = h.staged.stages[d.IntN(n)].at
	}
	for k := range 1 + d.IntN(2) {
		h.actions = append(h.actions, plannedAction{number: 400 + k,
			kind: pickOne(d, "cancel", "cancel", "capture", "pause", "resume", "again",
				"patch policy", "increment", "dashboard part", "dashboard cancel",
				"dashboard capture"),
			at: max(h.scheduledAt+time.Millisecond, about+d.durationBetween(-2*time.Second,
				4*time.Second)),
			newPolicy: pickOne(d, "cancel", "capture", "alert"), loseReply: d.chance(0.2)})
		switch a := &h.actions[len(h.actions)-1]; a.kind {
		case "dashboard part", "dashboard capture":
			a.amount = 1 + d.Int64N(h.amount/3)
		case "increment":
			a.amount = h.amount + 1
		}
	}
}

// addStageFault may add a fault about the time of a part.
func (p *plan) addStageFault(h *plannedHold, d rng, k int, at time.Duration) {
	f := fault{number: 30_000 + 10*h.number + k, replicaIndex: -1,
		probability: pickOne(d, 0.3, 0.6, 1), from: max(replicasUpAfter, at-time.Second),
		to: at + p.jobInterval*2 + d.durationBetween(time.Second, 20*time.Second)}
	switch d.IntN(4) {
	case 0:
		f.kind, f.atCall = "stripe:"+pickOne(d, stripeFaults...), pickOne(d, "capture", "")
	case 1:
		f.kind, f.atCall = "stripe:late", "capture"
	case 2:
		f.kind, f.atCall, f.afterEffect = "kill at", pickOne(d, "stripe", "commit"), d.chance(0.6)
		f.replicaIndex, f.restartAfter = d.IntN(p.replicas), d.durationBetween(time.Second,
			40*time.Second)
	default:
		return
	}
	p.faults = append(p.faults, f)
}

// stageRequests are the planned captures of a hold's terms.
func (h *plannedHold) stageRequests(w *world) (all []hold.CaptureStageRequest) {
	for _, stage := range h.staged.stages {
		all = append(all, hold.CaptureStageRequest{At: formatTime(w.timeAt(stage.at)),
			Amount: stage.amount})
	}
	return all
}

// partRequest is the request of a part. Its repetitions have the same key.
func partRequest(c *apiRequest) hold.CaptureRequest {
	final := false
	return hold.CaptureRequest{Amount: c.amount, Final: &final, RequestKey: c.requestKey}
}

// drawTips lets some holds be captured above their amount, as the charge allows.
func (p *plan) drawTips() {
	if !newRNG(p.seed, "tips").chance(0.2) {
		return
	}
	for i := range p.holds {
		h := &p.holds[i]
		d := newRNG(p.seed, "tip", fmt.Sprint(h.number))
		if h.intake != "" || h.methodType != "" || h.renewal.until > 0 || h.staged.inParts ||
			h.multi || h.amountError != 0 || h.requestedAccount != "" || h.action != "capture" ||
			strings.HasPrefix(h.currency, "j") || !d.chance(0.5) {
			continue
		}
		h.tip = 1 + d.Int64N(max(1, h.amount/10))
		h.captureAmount = h.amount + h.tip
		h.actions = slices.DeleteFunc(h.actions, func(a plannedAction) bool {
			return strings.Contains(a.kind, "increment")
		})
	}
}
