package snapshot

import "time"

// Settings says how often snapshots are taken and what of the log is kept. A zero value is replaced by the
// default.
type Settings struct {
	// Every is how old a chain's newest snapshot may become while there are records after it; default 1 h.
	// Partitions are spread over the last eighth of it, by their number.
	Every time.Duration
	// Records is after about how many records a snapshot is taken whatever its age; default 100,000.
	Records int
	// Keep is how many snapshots of a chain are kept; default and least 3.
	Keep int
	// Margin says below which snapshot, counted from the newest, records may go; default 2, so that a damaged
	// newest one can be survived. It is at most Keep.
	Margin int
	// History is how old a record must be before it may go; default 72 h. The records are what timelines and
	// explanations are told from. It is less while the stream is more than EasyUntil full.
	History time.Duration
	// Inputs is how old an event or letter must be before it may go; default 72 h, the horizon of dedupe. It
	// is at least twice Every, and less while the stream is more than EasyUntil full.
	Inputs time.Duration
	// Audit is how often a part of the states of one partition is compared with its snapshot; default 1 min.
	Audit time.Duration
	// Look is how often requests of operators are looked for; default 2 s.
	Look time.Duration
	// Grace is how old an object must be before it is removed because no manifest leads to it; default 6 h. A
	// build takes no more than half of it.
	Grace time.Duration
	// Unused is how long a catalog must have been neither in force nor named by any state before it is removed;
	// default 72 h.
	Unused time.Duration
	// Part is about how large the parts of a snapshot are in bytes; default 1 MiB.
	Part int
	// Changes is about how many bytes of changes are held in memory; what is more takes several snapshots.
	// Default 64 MiB.
	Changes int
}

// WithDefaults fills in what is not set.
func (s Settings) WithDefaults() Settings {
	fill := func(d *time.Duration, standard time.Duration) {
		if *d <= 0 {
			*d = standard
		}
	}
	count := func(n *int, standard int) {
		if *n <= 0 {
			*n = standard
		}
	}
	fill(&s.Every, time.Hour)
	fill(&s.History, 72*time.Hour)
	fill(&s.Inputs, 72*time.Hour)
	fill(&s.Audit, time.Minute)
	fill(&s.Look, 2*time.Second)
	fill(&s.Grace, 6*time.Hour)
	fill(&s.Unused, 72*time.Hour)
	count(&s.Records, 100_000)
	count(&s.Keep, 3)
	count(&s.Margin, 2)
	count(&s.Part, 1<<20)
	count(&s.Changes, 64<<20)
	s.Keep = max(s.Keep, 3)
	s.Margin = min(s.Margin, s.Keep)
	s.Inputs = max(s.Inputs, 2*s.Every)
	return s
}
