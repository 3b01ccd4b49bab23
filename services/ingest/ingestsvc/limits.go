package ingestsvc

import "time"

// What one request may hold. They are those of the Segment API, so that its libraries split as they do
// elsewhere.
const (
	maxEvent      = 32 << 10
	maxBatch      = 500 << 10
	maxItems      = 2500
	maxMessageID  = 100
	maxJSONDepth  = 32
	maxDeadLetter = 512 << 10
)

// soon is when to come again if there is no better guess.
const soon = 2 * time.Second

// What one stored message may hold.
const (
	maxArrivals     = 1000
	maxArrivalBytes = 512 << 10
)
