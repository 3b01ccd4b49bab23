package run

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"

	"refrain.dev/pkg/failpoint"
)

// parseFailpoints reads places and their probabilities, such as stage.appended=0.001.
func parseFailpoints(list []string) (map[string]float64, error) {
	out := map[string]float64{}
	for _, item := range list {
		name, text, _ := strings.Cut(item, "=")
		probability, err := strconv.ParseFloat(text, 64)
		if err != nil || !(probability > 0 && probability <= 1) || !strings.Contains(name, ".") {
			return nil, fmt.Errorf("failpoints: %q is not a place and its probability, such as stage.appended=0.001", item)
		}
		out[name] = probability
	}
	return out, nil
}

// deadly are points at which this process kills itself with some probability: at once, and without a word, as
// SIGKILL does. Nil if there are none.
func deadly(points map[string]float64) failpoint.Points {
	if len(points) == 0 {
		return nil
	}
	return func(name string) {
		if rand.Float64() < points[name] { //nolint:gosec // chance is all that is asked for
			die()
		}
	}
}

// die does not return.
func die() {
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	if err != nil {
		os.Exit(137)
	}
	select {}
}
