package window

import "time"

// inhabited returns the offsets from UTC, in minutes, of every place where people live, in winter and in
// summer. It is what an unknown zone may be.
func inhabited() [39]int {
	return [39]int{
		-660, -600, -570, -540, -480, -420, -360, -300, -240, -210, -180, -150, -120, -60, 0, 60, 120, 180, 210, 240, 270,
		300, 330, 345, 360, 390, 420, 480, 525, 540, 570, 600, 630, 660, 720, 765, 780, 825, 840,
	}
}

// NextAllowedAnywhere is the smallest instant not before t that is quiet in no inhabited zone, for a
// recipient whose zone is unknown. It is false if there is none: as soon as the window is longer than the
// distance of two neighbouring offsets it is always quiet somewhere.
func (q Quiet) NextAllowedAnywhere(t time.Time) (time.Time, bool) {
	// With fixed offsets every day is like the one before: what is not found within one is never found.
	for limit := t.Add(day); !t.After(limit); {
		end, quiet := q.endAnywhere(t)
		if !quiet {
			return t, true
		}
		t = end
	}
	return time.Time{}, false
}

func (q Quiet) endAnywhere(t time.Time) (end time.Time, quiet bool) {
	for _, minutes := range inhabited() {
		if into := q.into(t, time.Duration(minutes)*time.Minute); into < q.length {
			if e := t.Add(q.length - into); e.After(end) {
				end, quiet = e, true
			}
		}
	}
	return end, quiet
}

// NextStartAnywhere is the smallest instant not before t that is quiet in some inhabited zone.
func (q Quiet) NextStartAnywhere(t time.Time) time.Time {
	next := t.Add(day)
	for _, minutes := range inhabited() {
		into := q.into(t, time.Duration(minutes)*time.Minute)
		if into < q.length {
			return t
		}
		if s := t.Add(day - into); s.Before(next) {
			next = s
		}
	}
	return next
}

// LatestEnd is the end of the unit's window that holds t in the inhabited zone where it ends last: the
// most restrictive reading of a calendar window for a recipient whose zone is unknown.
func (u Unit) LatestEnd(t time.Time) time.Time {
	var latest time.Time
	for _, minutes := range inhabited() {
		offset := time.Duration(minutes) * time.Minute
		begin := u.begin(midnight(t.UTC().Add(offset)))
		if end := u.next(begin).Add(-offset); end.After(latest) {
			latest = end
		}
	}
	return latest
}

// AlwaysSomewhere reports whether at every instant the window holds in some inhabited zone: then there is no instant at
// which a recipient whose zone is unknown is certainly outside of it.
func (q Quiet) AlwaysSomewhere() bool {
	_, allowed := q.NextAllowedAnywhere(time.Unix(0, 0).UTC())
	return !allowed
}
