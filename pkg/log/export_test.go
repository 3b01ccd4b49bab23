package log

import "time"

// SetTimeout changes how long the broker may take to answer.
func (j *JetStream) SetTimeout(d time.Duration) { j.timeout = d }
