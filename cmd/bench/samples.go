package main

import (
	"slices"
	"sync"
)

// sampleSet holds the measured values, by figure and engine.
type sampleSet struct {
	progress *progressLog
	mu       sync.Mutex
	by       map[figure]map[string][]float64
}

func newSampleSet(progress *progressLog) *sampleSet {
	return &sampleSet{progress: progress, by: map[figure]map[string][]float64{}}
}

func (s *sampleSet) add(f figure, e engine, v float64) { s.addOf(f, e.name(), v) }

// addOf adds a value of an engine by its name.
func (s *sampleSet) addOf(f figure, name string, v float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by[f] == nil {
		s.by[f] = map[string][]float64{}
	}
	s.by[f][name] = append(s.by[f][name], v)
	s.progress.logf("  %-10s %-44s %s", name, f.title(), f.format(v))
}

// median returns the median of a figure. ok is false if there is no value.
func (s *sampleSet) median(f figure, engine string) (v float64, ok bool) {
	all := slices.Clone(s.by[f][engine])
	if len(all) == 0 {
		return 0, false
	}
	slices.Sort(all)
	n := len(all)
	return (all[n/2] + all[(n-1)/2]) / 2, true
}
