package profile

import (
	"slices"
	"strconv"
	"time"

	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
)

// DedupeDays is how many days before the day of an arrival are searched for a repeat: 72 hours. The days are those
// of the stage's recorded time, which never goes back, and never of a publisher's or ingest's clock.
const DedupeDays = 3

// Day is a UTC day as a number, YYYYMMDD.
type Day uint32

// DayOf is the day of t in UTC.
func DayOf(t time.Time) Day {
	y, m, d := t.UTC().Date()
	return Day(y*10000 + int(m)*100 + d) //nolint:gosec // years have four digits
}

// SeenDays lists the days on which an event that is judged at t may have come before, t's own day first.
func SeenDays(t time.Time) []Day {
	days := make([]Day, 0, DedupeDays+1)
	for n := range DedupeDays + 1 {
		days = append(days, DayOf(t.UTC().AddDate(0, 0, -n)))
	}
	return days
}

// SeenSet names the set of event ids seen at an identifier on a day.
func SeenSet(identifierKey string, d Day) string {
	return identifierKey + "/seen/" + strconv.FormatUint(uint64(d), 10)
}

// see notes in row that an event is judged at t and returns the days whose sets are no longer needed: those before
// the horizon and, once a chain that was ahead of the time was mended, those that are still to come.
func see(row *profilev1.IdentifierRow, t time.Time) (dropped []Day) {
	today, oldest, newest := DayOf(t), DayOf(t.UTC().AddDate(0, 0, -DedupeDays)), DayOf(t.UTC().AddDate(0, 0, 1))
	kept := make([]uint32, 0, len(row.GetSeenDays())+1)
	for _, d := range row.GetSeenDays() {
		if Day(d) < oldest || Day(d) > newest {
			dropped = append(dropped, Day(d))
			continue
		}
		kept = append(kept, d)
	}
	if !slices.Contains(kept, uint32(today)) {
		kept = append(kept, uint32(today))
		slices.Sort(kept)
	}
	row.SeenDays = kept
	return dropped
}
