package telemetry

import "go.opentelemetry.io/otel/metric"

// Seconds are the bucket boundaries of every histogram of seconds, from a quarter of a millisecond, which an
// append in the same process takes, to ten seconds, which a provider's call may take.
func Seconds() metric.HistogramOption {
	return metric.WithExplicitBucketBoundaries(.00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10)
}
