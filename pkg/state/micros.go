package state

import "time"

// Times are kept as microseconds since 1970. Wake-ups are scores of a Redis sorted set, which are exact
// up to 2^53; a wake-up beyond that (the year 2255) is indexed there, early, and found again by its row.
const maxMicros = 1<<53 - 1

// wakeMicros rounds up, so that an entry is never due before its wake-up is.
func wakeMicros(t time.Time) int64 {
	us := t.UnixMicro()
	if t.Nanosecond()%1000 != 0 {
		us++
	}
	return max(min(us, maxMicros), -maxMicros)
}

// untilMicros rounds down, for the same reason.
func untilMicros(t time.Time) int64 {
	return max(min(t.UnixMicro(), maxMicros), -maxMicros)
}

// fromMicros is the time in UTC.
func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }

// toMicro keeps the zero time and cuts every other one to the microsecond.
func toMicro(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return fromMicros(t.UnixMicro())
}
