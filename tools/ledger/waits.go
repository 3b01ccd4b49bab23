package ledger

import "time"

// waits are the waits that began and have not led on yet, by enrollment.
type waits map[string]wait

type wait struct {
	key   string // of the row
	step  string
	until time.Time
}

// stepped notes where an enrollment has come to; what waits there waits until then.
func (x *reading) stepped(message []byte) {
	id := string(field(message, 1))
	delete(x.waits, id)
	if until := field(message, 6); until != nil {
		x.waits[id] = wait{x.cell.key, string(field(message, 3)), stamp(until)}
	}
}

// checkWaits checks that no wait of a settled mesh is over: it has led to the next step, or to an end. One whose
// wake-up was given up comes again, so it has passed too once nothing makes it fail.
func (c *checker) checkWaits() {
	if c.h.Now.IsZero() {
		return
	}
	for _, id := range sorted(c.waits) {
		if w := c.waits[id]; !w.until.After(c.h.Now) {
			c.breaksf(SettledWaits, "", w.key, "enrollment %s waits in step %s, which ended at %s", id, w.step, w.until)
		}
	}
}
