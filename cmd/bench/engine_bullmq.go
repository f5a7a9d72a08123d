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

// bullmq is BullMQ on Node with a delayed job for each hold.
type bullmq struct {
	b    *bench
	node string // the program
	dir  string // of the scripts
}

// newBullMQ is nil where there is no Node or the packages were not installed.
func newBullMQ(b *bench) *bullmq {
	node, err := exec.LookPath("node")
	if err != nil {
		return nil
	}
	if _, err := os.Stat(b.bin("bullmq/node_modules/bullmq")); err != nil {
		return nil
	}
	dir, err := filepath.Abs("bullmq")
	if err != nil {
		return nil
	}
	return &bullmq{b, node, dir}
}

func (bullmq) name() string { return "BullMQ" }

func (e bullmq) env(s *server, stripe string) []string {
	return append(workerEnv(s, stripe), "BENCH_MODULES="+e.b.bin("bullmq"), "NODE_ENV=production")
}

func (e bullmq) seed(_ context.Context, s *server, all []task) (time.Duration, error) {
	type job struct {
		At   int64   `json:"at"` // Unix milliseconds
		Data payload `json:"data"`
	}
	jobs := make([]job, len(all))
	for i := range all {
		jobs[i] = job{all[i].at.UnixMilli(), all[i].payload()}
	}
	b, err := json.Marshal(jobs)
	if err != nil {
		return 0, err
	}
	file := filepath.Join(e.b.dir, "jobs.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		return 0, err
	}
	p, err := e.b.start("bullmq-seed", e.env(s, ""), e.node, filepath.Join(e.dir, "seed.mjs"), file)
	if err != nil {
		return 0, err
	}
	defer p.stop()
	line, err := p.lineWithin(10 * patience)
	if err != nil {
		return 0, err
	}
	ms, err := strconv.ParseFloat(line, 64)
	if err != nil {
		return 0, p.failed(fmt.Errorf("it said %q", line))
	}
	return time.Duration(ms * float64(time.Millisecond)), nil
}

func (e bullmq) start(_ context.Context, s *server, stripe string) (*proc, error) {
	p, err := e.b.start("bullmq", e.env(s, stripe), e.node, filepath.Join(e.dir, "worker.mjs"))
	if err != nil {
		return nil, err
	}
	if err := p.ready(); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}
