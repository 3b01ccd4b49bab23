package window

import (
	"sync"
	"time"
)

// Zones looks up IANA time zones by name and remembers them. It is a memo of a pure function of the zone
// data that the process was built with, so two of them never differ. The zero Zones is ready to use, a
// nil one remembers nothing; safe for concurrent use.
type Zones struct {
	known sync.Map
}

// Load returns the zone called name; nil if there is none. "" and "Local" name none.
func (z *Zones) Load(name string) *time.Location {
	if name == "" || name == "Local" {
		return nil
	}
	if z != nil {
		known, _ := z.known.Load(name)
		if loc, ok := known.(*time.Location); ok {
			return loc
		}
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil
	}
	if z != nil {
		z.known.Store(name, loc)
	}
	return loc
}
