package ingestsvc

import (
	"strings"
	"testing"
)

// A lane that is closed must be able to open again: streams are trimmed to a share, and not further with certainty.
func TestALaneClosesNoSoonerThanItCanOpenAgain(t *testing.T) {
	for name, test := range map[string]struct {
		live, bulk float64
		problem    string
	}{
		"the standard":    {0.8, 0.7, ""},
		"the least":       {0.65, 0.65, ""},
		"bulk too soon":   {0.8, 0.64, "bulk_full_at: want at least 0.65"},
		"both too soon":   {0.5, 0.5, "bulk_full_at: want at least 0.65"},
		"live too late":   {0.96, 0.7, "full_at: want more than 0 and at most 0.95"},
		"bulk after live": {0.7, 0.8, "at most full_at"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Default()
			cfg.FullAt, cfg.BulkFullAt = test.live, test.bulk
			err := cfg.Validate()
			if test.problem == "" && err != nil || test.problem != "" && (err == nil || !strings.Contains(err.Error(), test.problem)) {
				t.Errorf("got %v, want %q", err, test.problem)
			}
		})
	}
}
