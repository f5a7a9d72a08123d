package stripesim_test

import (
	"testing"

	"github.com/holdd/holdd/worker/stripesim"
)

func TestDashboard_CapturePart(t *testing.T) {
	s := stripesim.New(stripesim.Options{Seed: 1})
	id, err := s.Authorize(stripesim.Hold{Amount: 10_000, Multicapture: true})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Dashboard().CapturePart(id, 2_000); err != nil {
			t.Fatal(err)
		}
	}
	if in, _ := s.Intent(id); in.Status != "requires_capture" || in.Received != 4_000 ||
		in.Capturable != 6_000 {
		t.Errorf("%+v", in)
	}
	if err := s.Dashboard().CapturePart(id, 6_001); err == nil {
		t.Error("more was captured than was left")
	}
	single, err := s.Authorize(stripesim.Hold{Amount: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Dashboard().CapturePart(single, 2_000); err == nil {
		t.Error("the charge can be captured only once, and a part was")
	}
}
