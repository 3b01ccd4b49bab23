package log_test

import "time"

// firstWait is how soon a client connects again.
const firstWait = 20 * time.Millisecond
