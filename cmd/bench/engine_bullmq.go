package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// bullmqEngine is BullMQ on Node with a delayed job for each hold.
type bullmqEngine struct {
	launcher  *launcher
	node      string // path of the program
	scriptDir string
}

// newBullMQEngine returns nil if Node or the packages are not installed.
func newBullMQEngine(l *launcher) *bullmqEngine {
	node, err := exec.LookPath("node")
	if err != nil {
		return nil
	}
	if _, err := os.Stat(l.binPath("bullmq/node_modules/bullmq")); err != nil {
		return nil
	}
	dir, err := filepath.Abs("bullmq")
	if err != nil {
		return nil
	}
	return &bullmqEngine{l, node, dir}
}

func (bullmqEngine) name() string { return "BullMQ" }

func (e bullmqEngine) env(s *redisServer, stripe string) []string {
	return append(workerEnv(s, stripe), "BENCH_MODULES="+e.launcher.binPath("bullmq"),
		"NODE_ENV=production")
}

func (e bullmqEngine) seed(_ context.Context, s *redisServer, all []task) (time.Duration, error) {
	type job struct {
		At   int64       `json:"at"` // Unix milliseconds
		Data taskPayload `json:"data"`
	}
	jobs := make([]job, len(all))
	for i := range all {
		jobs[i] = job{all[i].captureAt.UnixMilli(), all[i].payload()}
	}
	b, err := json.Marshal(jobs)
	if err != nil {
		return 0, err
	}
	file := filepath.Join(e.launcher.tempDir, "jobs.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		return 0, err
	}
	p, err := e.launcher.startProcess("bullmq-seed", e.env(s, ""), e.node,
		filepath.Join(e.scriptDir, "seed.mjs"), file)
	if err != nil {
		return 0, err
	}
	defer p.stop()
	line, err := p.readLineWithin(10 * processTimeout)
	if err != nil {
		return 0, err
	}
	ms, err := strconv.ParseFloat(line, 64)
	if err != nil {
		return 0, p.withLog(fmt.Errorf("printed %q, want milliseconds", line))
	}
	return time.Duration(ms * float64(time.Millisecond)), nil
}

func (e bullmqEngine) start(_ context.Context, s *redisServer, stripe string) (*process, error) {
	p, err := e.launcher.startProcess("bullmq", e.env(s, stripe), e.node,
		filepath.Join(e.scriptDir, "worker.mjs"))
	if err != nil {
		return nil, err
	}
	if err := p.waitReady(); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}
