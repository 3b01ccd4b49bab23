package state

// Readable reports whether rows of one stage, named by their places in the query, may be used: each is as one
// record of the stage's chain left it, and all are as the same record left the shard. That is so if the shard is
// whole; and, while a record is written in part, if the rows are all from before it or all from it, as the
// sequences in them prove. Several rows of which one is not there prove nothing then. Of a shard that was never
// written, or is being reset, restored or is damaged, nothing may be used, not even that a row is not there.
//
// Lists and sets are not looked at: while the shard is unfinished they may be from between. The query must have
// asked for the stage's meta.
func (v *View) Readable(stage string, rows ...int) bool {
	meta := v.Metas[stage]
	switch {
	case meta.Applied == 0 || meta.Damaged:
		return false
	case !meta.Unfinished:
		return true
	case meta.Target == 0:
		return false
	}
	before, after := 0, 0
	for _, i := range rows {
		switch s := v.Sequences[i]; {
		case v.Rows[i] == nil && len(rows) > 1:
			return false
		case s <= meta.Applied:
			before++
		case s == meta.Target:
			after++
		default:
			return false
		}
	}
	return before == 0 || after == 0
}

// lastWrites says which write of each row is the batch's last one: the only one that is done, so that no reader
// sees a row between two states of one record. It is nil if there is nothing to choose from.
type lastWrites map[string]int

func (b *Batch) lastWrites() lastWrites {
	if len(b.Writes) < 2 {
		return nil
	}
	last := make(lastWrites, len(b.Writes))
	for i := range b.Writes {
		if w := &b.Writes[i]; w.Deleted || w.Value != nil {
			last[w.Key] = i
		}
	}
	return last
}

// counts reports whether the write at a place is the one that is done of its row.
func (l lastWrites) counts(key string, at int) bool {
	last, ok := l[key]
	return l == nil || ok && last == at
}
