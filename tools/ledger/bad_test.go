package ledger

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/state"
)

// bad is one way in which a history is wrong.
type bad struct {
	name string
	// during breaks it while it happens, written changes what was written, known what is known of it.
	during  func(*world)
	written func(*world)
	known   func(*History)
	// want must be reported, may may be, because one cannot be broken without the other; nothing else.
	want Rule
	may  []Rule
	// says is part of what must be said.
	says string
}

// back returns the nth record from the end of a chain.
func (w *world) back(stage, p, n int) *written {
	all := w.chains[subjectOf(stage, p)]
	return all[len(all)-1-n]
}

func coverOf(r *written, input string) *stagev1.Cover {
	for _, c := range r.record.GetCovers() {
		if c.GetInput() == input {
			return c
		}
	}
	panic("no cover of " + input)
}

// alone lets the covers and origins of a record be changed without changing those of others.
func (r *written) alone() *written {
	r.record = proto.CloneOf(r.record)
	return r
}

func hello(id string) route {
	return route{
		id: id, action: "hello", channel: "email", topic: "news", key: ann, tries: []Request{{Accepted: true}}, ends: sent, status: accepted,
	}
}

func requestOf(h *History, id string) *Request {
	return &h.Received[slices.IndexFunc(h.Received, func(r Request) bool { return r.Proposal == id })]
}

func shardOf(h *History, stage string, p int) *Shard {
	return h.States[state.Shard{Stage: stage, Partition: p}]
}

func badChains() []bad {
	return []bad{
		{name: "a record cannot be decoded", want: ChainUnreadable, may: []Rule{ChainCover}, written: func(w *world) {
			w.back(profile, 0, 0).raw = []byte{0xff}
		}},
		{name: "a cell is sealed", want: ChainUnreadable, written: func(w *world) { w.chains["act.1"][2].record.Cells[0].KeyId = 7 }},
		{name: "the genesis is gone", want: ChainStart, written: func(w *world) { w.chains["snd.1"] = w.chains["snd.1"][1:] }},
		{name: "a chain is gone", want: ChainStart, may: []Rule{
			StateAhead, ChainCover, SettledOpen, SendIntent, ProposalAccount, ChainLink, StateBehind, StateMeta, ContactCap,
		}, known: func(h *History) { delete(h.Log, "snd.1") }},
		{name: "a second genesis", want: ChainStart, written: func(w *world) {
			r := w.back(decision, 1, 1).record
			r.Kind, r.Epoch = stagev1.RecordKind_RECORD_KIND_GENESIS, 0
		}},
		{name: "a record follows another", want: ChainLink, written: func(w *world) { w.back(decision, 1, 1).record.Prev-- }},
		{name: "a record is missing in the middle", want: ChainLink, may: []Rule{ChainCover, StateMeta, StateRow}, written: func(w *world) {
			all := w.chains["act.1"]
			w.chains["act.1"] = slices.Delete(all, len(all)-2, len(all)-1)
		}},
		{name: "sequences go back", want: ChainSequence, may: []Rule{ChainCover, StateAhead, StateRow}, known: func(h *History) {
			all := h.Log["snd.1"]
			all[len(all)-1].Sequence = all[len(all)-2].Sequence
		}},
		{name: "one append twice", want: ChainRepeat, written: func(w *world) { w.back(decision, 1, 0).record.Id = w.back(decision, 1, 1).record.GetId() }},
		{name: "a record without an id", want: ChainRepeat, written: func(w *world) { w.back(decision, 1, 0).record.Id = nil }},
		{name: "another generation", want: ChainGeneration, written: func(w *world) { w.back(decision, 1, 1).record.Generation = 2 }},
		{name: "time goes back", want: ChainTime, written: func(w *world) {
			w.back(decision, 1, 0).record.Now = timestamppb.New(noon)
		}},
		{name: "decided ahead of time", want: ChainEarly, written: func(w *world) {
			for _, r := range w.chains["act.1"] {
				r.record.Now = timestamppb.New(w.now.Add(3 * time.Second))
			}
		}},
		{name: "a mending without an OPEN", want: ChainOwner, says: "after a MEND", written: func(w *world) {
			w.chains["act.1"][1].record.Kind = stagev1.RecordKind_RECORD_KIND_MEND
		}},
		{name: "a mending that decides", want: ChainOwner, says: "does more", written: func(w *world) {
			r := w.chains["act.0"][slices.IndexFunc(w.chains["act.0"], func(r *written) bool { return r.record.GetOwner() == "two" })]
			r.record.Kind = stagev1.RecordKind_RECORD_KIND_MEND
			r.record.Cells, r.bodies = []*stagev1.Cell{{Key: ann}}, []*stagev1.CellBody{{}}
		}},
		{name: "under an older OPEN", want: ChainOwner, says: "under OPEN", written: func(w *world) {
			w.back(decision, 0, 1).record.Epoch = w.chains["act.0"][1].sequence
		}},
		{name: "under the OPEN of another", want: ChainOwner, says: "of mallory", written: func(w *world) { w.back(decision, 0, 1).record.Owner = "mallory" }},
		{name: "after its CLOSE", want: ChainOwner, says: "CLOSE", written: func(w *world) { w.decide(decision, 0) }},
		{name: "before any OPEN", want: ChainOwner, written: func(w *world) {
			w.chains["act.1"][1].record.Kind = stagev1.RecordKind_RECORD_KIND_ATTEMPT
		}},
		{name: "an OPEN with cells", want: ChainOwner, written: func(w *world) {
			r := w.chains["act.0"][slices.IndexFunc(w.chains["act.0"], func(r *written) bool { return r.record.GetOwner() == "two" })]
			r.record.Cells, r.bodies = []*stagev1.Cell{{Key: ann}}, []*stagev1.CellBody{{}}
		}},
		{name: "a kind that is none", want: ChainUnreadable, written: func(w *world) {
			w.back(decision, 1, 0).record.Kind = stagev1.RecordKind_RECORD_KIND_UNSPECIFIED
		}},
	}
}

func badInputs() []bad {
	return []bad{
		{name: "covers go back", want: ChainCover, says: "the one before it", written: func(w *world) {
			coverOf(w.back(profile, 1, 1), "box.profile").Sequence = 1
		}},
		{name: "an input is left out", want: ChainCover, says: "does not say", written: func(w *world) {
			r := w.back(profile, 1, 1).record
			r.Covers = slices.DeleteFunc(r.GetCovers(), func(c *stagev1.Cover) bool { return c.GetInput() == "evt.bulk" })
		}, may: []Rule{ChainOrigin}},
		{name: "covers are beyond the end", want: ChainCover, says: "ends at", written: func(w *world) {
			coverOf(w.back(dispatch, 1, 0), "vdc").Sequence += 100
		}},
		{name: "covers are where nothing is", want: ChainCover, says: "no message", written: func(w *world) {
			c := coverOf(w.back(dispatch, 0, 5).alone(), "vdc")
			// Partitions share a stream: one sequence on is another partition's.
			for ; slices.ContainsFunc(w.chains["vdc.0"], func(r *written) bool { return r.sequence == c.GetSequence() }); c.Sequence++ {
			}
			c.Index = 0
		}},
		{name: "covers more than is in a message", want: ChainCover, says: "which has", written: func(w *world) {
			coverOf(w.back(dispatch, 1, 0), "vdc").Index = 99
		}},
		{name: "covers what it does not read", want: ChainCover, says: "does not read", written: func(w *world) {
			r := w.back(dispatch, 1, 0).record
			r.Covers = append(r.Covers, &stagev1.Cover{Input: "evt.live", Sequence: 1})
		}},
		{name: "an OPEN covers more", want: ChainCover, says: "OPEN", written: func(w *world) {
			n := slices.IndexFunc(w.chains["snd.0"], func(r *written) bool { return r.record.GetOwner() == "two" })
			open := w.chains["snd.0"][n].alone()
			open.record.Covers = w.chains["snd.0"][n+1].record.GetCovers()
		}},
		{name: "origins go back", want: ChainOrigin, written: func(w *world) { w.back(decision, 1, 1).alone().record.Origins[0].Sequence = 1 }},
		{name: "origins are beyond what is covered", want: ChainOrigin, written: func(w *world) { w.back(decision, 1, 0).alone().record.Origins[1].Sequence += 50 }},
		{name: "an origin of what is not covered", want: ChainOrigin, written: func(w *world) { w.back(profile, 1, 0).alone().record.Origins[1].Sequence += 50 }},
		{name: "a sender's position goes back", want: ChainSender, written: func(w *world) {
			w.back(profile, 1, 0).record.Senders = []*stagev1.Sender{{Chain: "prf.0", Sequence: 1, Index: 1}}
		}},
		{name: "a sender's position is of no fact", want: ChainSender, says: "not addressed", written: func(w *world) {
			w.back(profile, 1, 0).record.Senders = []*stagev1.Sender{{Chain: "prf.0", Sequence: w.back(profile, 0, 0).sequence, Index: 1}}
		}},
		{name: "a revision that was never applied", want: ChainRevision, written: func(w *world) { w.back(decision, 1, 1).record.Revision = "r9" }},
		{name: "a revision comes back", want: ChainRevision, during: func(w *world) {
			for p := range worldPartitions {
				w.put("evt.control", p, &stagev1.Arrival{Item: &stagev1.Arrival_Catalog{Catalog: &stagev1.CatalogApplied{Revision: "r2", Order: 2}}})
			}
			r := w.decide(decision, 1).record
			r.Revision, r.RevisionOrder = "r2", 2
		}},
		{name: "a revision that was late", want: ChainRevision, says: "number 1", during: func(w *world) {
			w.put("evt.control", 1, &stagev1.Arrival{Item: &stagev1.Arrival_Catalog{Catalog: &stagev1.CatalogApplied{Revision: "r0"}}})
			r := w.decide(decision, 1).record
			r.Revision, r.RevisionOrder = "r0", 0
		}},
		{name: "a revision at another place in the order", want: ChainRevision, says: "as number 7", written: func(w *world) { w.back(decision, 1, 0).record.RevisionOrder = 7 }},
		{name: "given up, and no dead letter", want: ChainGap, written: func(w *world) {
			for _, r := range w.chains["prf.1"] {
				for _, g := range r.record.GetGaps() {
					g.DeadLetter = "nowhere"
				}
			}
		}},
		{name: "what was not given up comes back", want: ChainRedrive, during: func(w *world) { w.redrive("dead-orphan") }},
		{name: "what was given up comes back twice", want: ChainRedrive, during: func(w *world) {
			id := w.dead["dlq.profile.1"][0].letter.GetId()
			w.redrive(id)
			w.redrive(id)
		}},
		{name: "what was given up comes back after its timer has passed", want: ChainRedrive, during: func(w *world) {
			id := w.dead["dlq.profile.1"][0].letter.GetId()
			drop := &stagev1.Delta{Name: ":gap/" + id, Kind: stagev1.DeltaKind_DELTA_KIND_DROP}
			w.decide(profile, 1, is{key: ":gap/", deltas: []*stagev1.Delta{drop}, cause: "timer/" + bob + "/2026-01-01T00:00:00Z"})
			w.redrive(id)
		}},
		{name: "a state that is too large", want: ChainSize, during: func(w *world) {
			w.decide(profile, 1, is{key: bob, state: make([]byte, largestState+1)})
		}},
		{name: "a record that is too large", want: ChainSize, may: []Rule{LetterLost}, during: func(w *world) {
			w.decide(profile, 1, is{key: "default/i/09", deltas: []*stagev1.Delta{list(member, "default/i/09/seen/20260115", strings.Repeat("x", largestMessage), 0)}})
		}},
		{name: "a dead letter without a reason", want: ChainGap, may: []Rule{EventLost}, written: func(w *world) { w.dead["dlq.profile.1"][0].letter.Why = "" }},
		{name: "a letter with other words", want: LetterForged, written: func(w *world) {
			for _, l := range w.boxes["box.profile.1"] {
				l.letter.Items[0].Fact = proto.CloneOf(l.letter.GetItems()[0].GetFact())
				l.letter.Items[0].Fact.Payload = []byte("else")
			}
		}},
		{name: "a letter of a record without facts", want: LetterForged, written: func(w *world) {
			w.boxes["box.profile.1"][3].letter.Sequence = w.back(profile, 0, 0).sequence
		}},
		{name: "a letter in the wrong mailbox", want: LetterForged, may: []Rule{ChainCover, SettledUncovered}, written: func(w *world) {
			w.boxes["box.profile.0"] = append(w.boxes["box.profile.0"], w.boxes["box.profile.1"][3])
		}},
		{name: "a letter overtakes another", want: LetterOrder, during: func(w *world) {
			var from []*written
			for range 2 {
				r := w.decide(profile, 0)
				r.record.Addressed = []*stagev1.Addressed{{Stage: "profile", Partition: 1, Payload: []byte("fact")}}
				from = append(from, r)
			}
			w.deliver(profile, 0, from[1])
			w.deliver(profile, 0, from[0])
		}},
		{name: "a fact is applied twice", want: LetterTwice, during: func(w *world) {
			w.decide(profile, 1, is{key: bob, state: profileIn("Europe/Berlin", 4), cause: "box.profile/3/1"})
		}},
		{name: "a fact is never delivered", want: LetterLost, during: func(w *world) {
			w.decide(profile, 0).record.Addressed = []*stagev1.Addressed{{Stage: "profile", Partition: 1, Payload: []byte("fact")}}
		}},
		{name: "a fact is never delivered to a mailbox that was trimmed", want: LetterLost, during: func(w *world) {
			w.decide(profile, 0).record.Addressed = []*stagev1.Addressed{{Stage: "profile", Partition: 1, Payload: []byte("fact")}}
		}, known: trimBox},
	}
}

// redrive brings a dead letter back, which changes nothing but bob's cell.
func (w *world) redrive(id string) {
	a := w.put("redrive.profile", 1, &stagev1.Arrival{Item: &stagev1.Arrival_Redrive{Redrive: &stagev1.Redrive{Id: id}}})
	w.decide(profile, 1, is{key: bob, state: profileIn("Europe/Berlin", 9), cause: fmt.Sprintf("redrive.profile/%d/1", a.sequence)})
}

// trimBox leaves nothing of a mailbox but its end.
func trimBox(h *History) {
	all := h.Log["box.profile.1"]
	h.Trimmed, h.Ends, h.Log["box.profile.1"] = true, map[string]uint64{"box.profile.1": all[len(all)-1].Sequence}, nil
}

func badStates() []bad {
	change := func(stage string, p int, f func(*Shard)) func(*History) {
		return func(h *History) { f(shardOf(h, stage, p)) }
	}
	return []bad{
		{name: "the store is ahead", want: StateAhead, known: change("decision", 0, func(s *Shard) { s.Meta.Applied += 100 })},
		{name: "the store is behind", want: StateBehind, known: change("decision", 1, func(s *Shard) { s.Meta.Applied-- })},
		{name: "the store is empty", want: StateBehind, known: change("decision", 0, func(s *Shard) { *s = Shard{} })},
		{name: "the store is behind what was trimmed", want: StateBehind, known: func(h *History) {
			h.Trimmed = true
			all := h.Log["act.0"]
			h.Log["act.0"] = all[len(all)-1:] // a CLOSE
			shardOf(h, "decision", 0).Meta.Applied = all[0].Sequence
		}},
		{name: "a batch is unfinished", want: StateBehind, known: change("decision", 0, func(s *Shard) { s.Meta.Unfinished = true })},
		{name: "the store is at no record", want: StateMeta, known: func(h *History) {
			h.Settled = false
			s := shardOf(h, "decision", 0)
			all := h.Log["act.0"]
			for n := 1; n < len(all); n++ { // between two records is one of the other partition
				if all[n].Sequence > all[n-1].Sequence+1 {
					s.Meta.Applied = all[n].Sequence - 1
				}
			}
		}},
		{name: "meta has another revision", want: StateMeta, known: change("decision", 0, func(s *Shard) { s.Meta.Revision = "r0" })},
		{name: "meta has another generation", want: StateMeta, known: change("decision", 0, func(s *Shard) { s.Meta.Generation = 2 })},
		{name: "meta has another time", want: StateMeta, known: change("decision", 0, func(s *Shard) { s.Meta.Now = s.Meta.Now.Add(time.Second) })},
		{name: "meta has another origin", want: StateMeta, known: change("decision", 0, func(s *Shard) { s.Meta.Origins["live"]++ })},
		{name: "meta has another sender's position", want: StateMeta, known: change("profile", 1, func(s *Shard) {
			s.Meta.Senders["prf.0"] = state.Position{Sequence: 1, Index: 1}
		})},
		{name: "a row differs", want: StateRow, known: change("decision", 0, func(s *Shard) { s.Rows[ann] = []byte("else") })},
		{name: "a row is missing", want: StateRow, known: change("decision", 0, func(s *Shard) { delete(s.Rows, ann) })},
		{name: "a deleted row is still there", want: StateRow, known: change("decision", 0, func(s *Shard) { s.Rows["default/c/gone"] = []byte("short") })},
		{name: "a wake-up is missing", want: StateTimer, known: change("suppression", 0, func(s *Shard) { delete(s.Timers, ann) })},
		{name: "a wake-up is another", want: StateTimer, known: change("suppression", 0, func(s *Shard) { s.Timers[ann] = s.Timers[ann].Add(time.Microsecond) })},
		{name: "a wake-up of a row that is gone", want: StateTimer, known: change("decision", 0, func(s *Shard) { s.Timers["default/c/gone"] = noon.AddDate(1, 0, 0) })},
		{name: "a list is not trimmed", want: StateList, known: change("profile", 0, func(s *Shard) {
			s.Lists[ann+"/timeline"] = append([][]byte{[]byte("one")}, s.Lists[ann+"/timeline"]...)
		})},
		{name: "a list is in another order", want: StateList, known: change("profile", 0, func(s *Shard) { slices.Reverse(s.Lists[ann+"/timeline"]) })},
		{name: "a list that nobody made", want: StateList, known: change("profile", 0, func(s *Shard) { s.Lists["else"] = [][]byte{{1}} })},
		{name: "a member is missing", want: StateSet, known: change("profile", 0, func(s *Shard) { s.Sets["default/i/01/seen/20260115"]["e1"] = false })},
		{name: "a dropped member is there", want: StateSet, known: change("profile", 0, func(s *Shard) { s.Sets["default/i/01/seen/20260112"]["old"] = true })},
	}
}

func badEvents() []bad {
	return []bad{
		{name: "acknowledged and nowhere", want: EventLost, says: "in no lane", known: func(h *History) {
			h.Sent = append(h.Sent, Sent{ID: "e-none", Acknowledged: noon})
		}},
		{name: "acknowledged where it is not", want: EventLost, says: "where it is not", known: func(h *History) { h.Sent[0].Position.Sequence++ }},
		{name: "stored and without effect", want: EventLost, says: "neither", during: func(w *world) { w.publish("live", 0, w.event("e6", "order_placed")) }},
		{name: "forwarded and without effect", want: EventLost, says: "neither", may: []Rule{LetterLost}, during: func(w *world) {
			e := w.event("e6", "order_placed")
			w.publish("live", 0, e)
			letter := &profilev1.Letter{Letter: &profilev1.Letter_Forwarded{Forwarded: &profilev1.ForwardedEvent{Event: e}}}
			w.decide(profile, 0).record.Addressed = []*stagev1.Addressed{{Stage: "profile", Partition: 1, Payload: must(letter.MarshalVT())}}
		}},
		{name: "two effects", want: EventTwice, during: func(w *world) {
			w.decide(profile, 0, is{key: ann, state: profileIn("Europe/London", 4), facts: []encoder{applied(&eventv1.Event{Id: "e1", Tenant: "default", At: at(noon)}, false)}})
		}},
		{name: "an effect in a closed profile", want: EventClosed, during: func(w *world) {
			e := w.event("e8", "product_viewed")
			w.publish("live", 1, e)
			closes := &profilev1.Fact{Fact: &profilev1.Fact_IdentityLinked{IdentityLinked: &profilev1.IdentityLinked{LinkedTo: []byte("ann")}}}
			w.decide(profile, 1, is{key: "default/c/address", facts: []encoder{closes}, state: profileIn("Europe/London", 1)})
			w.decide(profile, 1, is{key: "default/c/address", facts: []encoder{applied(e, true)}, state: profileIn("Europe/London", 2)})
		}},
		{name: "two spellings of one number are two customers", want: IdentitySplit, during: func(w *world) {
			for n, number := range []string{"+447700900001", "07700900001"} {
				e := w.event(fmt.Sprint("e8", n), "product_viewed")
				e.Identifiers = []*eventv1.Identifier{{Kind: "phone", Value: number}}
				w.publish("live", 0, e)
				w.decide(profile, 0, is{key: fmt.Sprint("default/c/0", n), state: profileIn("Europe/London", 4), facts: []encoder{applied(e, true)}})
			}
		}, known: inBritain},
		{name: "two user ids are one customer", want: IdentityMerged, during: func(w *world) {
			for n := range 2 {
				e := w.named(fmt.Sprint("e8", n), eventv1.Kind_KIND_TRACK, fmt.Sprint("u", n))
				w.decide(profile, 0, is{key: ann, state: profileIn("Europe/London", uint64(4+n)), facts: []encoder{applied(e, false)}}) //nolint:gosec // small
			}
		}},
		{name: "an alias that only one of two customers hears of", want: IdentityAlias, during: func(w *world) {
			w.refusedAlias(ann)
		}},
		{name: "an effect on another tenant's customer", want: TenantEvent, during: func(w *world) {
			e := w.event("e8", "product_viewed")
			e.Tenant = "bank"
			w.publish("live", 0, e).Tenant = "bank"
			w.decide(profile, 0, is{key: ann, state: profileIn("Europe/London", 4), facts: []encoder{applied(e, false)}})
		}},
		{name: "definitions that another tenant's apply took away", want: TenantDefinitions, may: []Rule{SettledUncovered}, says: "it had definitions in r1",
			written: func(w *world) {
				w.put("evt.control", 0, &stagev1.Arrival{Item: &stagev1.Arrival_Catalog{Catalog: &stagev1.CatalogApplied{Revision: "b1", Order: 2}}})
			}, known: func(h *History) { h.Sets["b1"] = map[string]string{"bank": "b1"} }},
		{name: "an event that counts as of an hour after its arrival", want: EventAhead, during: func(w *world) {
			e := w.event("e8", "product_viewed")
			e.At = at(w.now.Add(time.Hour))
			w.publish("live", 0, e)
			w.decide(profile, 0, is{key: ann, state: profileIn("Europe/London", 4), facts: []encoder{applied(e, false)}})
		}},
		{name: "two effects within the horizon", want: EventTwice, during: func(w *world) { w.again(60 * time.Hour) }, may: []Rule{SettledDue, SettledOpen}},
		{name: "an effect of nothing", want: EventForged, says: "in no lane", during: func(w *world) {
			w.decide(profile, 0, is{key: ann, state: profileIn("Europe/London", 4), facts: []encoder{applied(w.event("e6", "x"), false)}})
		}},
		{name: "stored, and nobody sent it", want: EventForged, says: "nobody sent it", known: func(h *History) { h.Sent = h.Sent[1:] }},
	}
}

// again lets an event come and take effect again after a time.
func (w *world) again(after time.Duration) {
	e := w.event("e1", "order_placed")
	w.tick(after)
	w.publish("live", 0, e)
	w.decide(profile, 0, is{key: ann, state: profileIn("Europe/London", 4), facts: []encoder{applied(e, false)}})
}

func badProposals() []bad {
	return []bad{
		{name: "made twice", want: ProposalTwice, during: func(w *world) { w.decide(decision, 0, is{key: ann, facts: []encoder{made("p1", "offer")}}) }},
		{name: "never made", want: ProposalForged, during: func(w *world) { w.decide(suppression, 0, is{key: ann, facts: []encoder{resolved("p-x", suppressed)}}) }},
		{name: "ended twice", want: ProposalEnds, during: func(w *world) { w.decide(suppression, 0, is{key: ann, facts: []encoder{resolved("p1", sent)}}) }},
		{name: "ended in two stages", want: ProposalEnds, may: []Rule{ProposalAccount}, during: func(w *world) { w.decide(decision, 0, is{key: ann, facts: []encoder{lost("p1")}}) }},
		{name: "sent, and nobody received it", want: ProposalAccount, says: "no provider", known: func(h *History) {
			h.Received = slices.DeleteFunc(h.Received, func(r Request) bool { return r.Proposal == "p1" })
		}},
		{name: "suppressed, and received", want: ProposalAccount, says: "accepted it", during: func(w *world) {
			r := hello("p7")
			r.ends, r.status = suppressed, dispatchv1.Status_STATUS_REJECTED
			w.send(r)
		}},
		{name: "in doubt taken for unsent", want: ProposalAccount, says: "may have", during: func(w *world) {
			r := hello("p7")
			r.tries, r.ends, r.status = []Request{{}}, suppressed, dispatchv1.Status_STATUS_UNSENT
			w.send(r)
		}},
		{name: "taken over twice", want: DeliveryQueued, during: func(w *world) { w.deliverIt(hello("p1"), queued("p1", "email")) }},
		{name: "a call after the end", want: DeliveryIntent, says: "has ended", during: func(w *world) {
			w.send(hello("p7"))
			w.deliverIt(hello("p7"), intending("p7", "email", 2))
		}},
		{name: "a call while one may be under way", want: DeliveryIntent, says: "may have been", during: func(w *world) {
			r := hello("p7")
			w.choose(r)
			w.approve(r)
			w.deliverIt(r, queued("p7", "email"), intending("p7", "email", 1))
			w.deliverIt(r, intending("p7", "email", 2))
			w.request(r, Request{Accepted: true})
			w.deliverIt(r, reporting("p7", accepted))
			w.resolve(r)
		}},
		{name: "an attempt is left out", want: DeliveryIntent, says: "attempt 3", during: func(w *world) {
			r := hello("p7")
			w.choose(r)
			w.approve(r)
			w.deliverIt(r, queued("p7", "email"), intending("p7", "email", 3))
			w.request(r, Request{Accepted: true})
			w.deliverIt(r, reporting("p7", accepted))
			w.resolve(r)
		}},
		{name: "a delivery ends twice", want: DeliveryEnds, during: func(w *world) { w.deliverIt(hello("p1"), reporting("p1", uncertain)) }},
	}
}

func badSends() []bad {
	tries := func(r route, all ...Request) func(*world) {
		return func(w *world) {
			r.tries = all
			w.send(r)
		}
	}
	push := hello("p7")
	push.channel = "push"
	return []bad{
		{name: "accepted twice", want: SendTwice, during: tries(hello("p7"), Request{Accepted: true}, Request{Accepted: true})},
		{name: "again after a doubt", want: SendTwice, during: tries(hello("p7"), Request{}, Request{Accepted: true})},
		{name: "again with a key at a provider that keeps none", want: SendTwice, during: tries(hello("p7"),
			Request{Key: "k", Accepted: true, Message: "m"}, Request{Key: "k", Accepted: true, Message: "m"})},
		{name: "again without a key at a provider that keeps them", want: SendTwice, during: tries(push, Request{}, Request{Accepted: true})},
		{name: "two messages of one key", want: SendTwice, during: tries(push, Request{Key: "k", Accepted: true, Message: "m"}, Request{Key: "k", Accepted: true, Message: "n"})},
		{name: "another key", want: SendKey, says: "keys", during: tries(push, Request{Key: "k", Refused: true}, Request{Key: "k-push", Accepted: true})},
		{name: "after the key's window", want: SendKey, says: "holds for", known: func(h *History) {
			h.Received[len(h.Received)-1].Started = h.Received[len(h.Received)-1].Started.Add(2 * time.Hour)
		}},
		{name: "one key for two", want: SendKey, says: "of proposal p1", known: func(h *History) {
			requestOf(h, "p1").Key, requestOf(h, "p3").Key = "same", "same"
		}},
		{name: "a proposal that was never made", want: SendForged, known: func(h *History) {
			h.Received = append(h.Received, Request{Proposal: "p-x", Started: noon, Accepted: true})
		}},
		{name: "for another customer", want: SendForged, known: func(h *History) { requestOf(h, "p1").Customer = hexOf(bob) }},
		{name: "on another channel", want: SendForged, may: []Rule{ContactConsent}, known: func(h *History) { requestOf(h, "p1").Channel = "fax" }},
		{name: "before its INTENT", want: SendIntent, known: func(h *History) { requestOf(h, "p1").Started = requestOf(h, "p1").Started.Add(-4 * time.Second) }},
		{name: "more requests than INTENTs", want: SendIntent, known: func(h *History) {
			again := *requestOf(h, "p1")
			again.Started, again.Accepted, again.Refused = again.Started.Add(time.Second), false, true
			h.Received = append(h.Received, again)
		}},
		{name: "without an approval", want: SendApproval, during: func(w *world) {
			r := hello("p7")
			w.choose(r)
			w.tick(time.Second)
			w.decide(suppression, 0, is{key: ann, facts: []encoder{verdict(contactv1.VerdictKind_VERDICT_KIND_DEFERRED, "p7", "hello", nil, w.now.Add(time.Hour))}})
			w.deliverIt(r, queued("p7", "email"), intending("p7", "email", 1))
			w.request(r, Request{Accepted: true})
			w.deliverIt(r, reporting("p7", accepted))
			w.resolve(r)
		}},
		{name: "before its approval", want: SendApproval, may: []Rule{ChainCover}, during: func(w *world) {
			r := hello("p7")
			w.choose(r)
			before := w.decide(dispatch, 0)
			w.approve(r)
			w.deliverIt(r, queued("p7", "email"), intending("p7", "email", 1))
			w.back(dispatch, 0, 0).record.Covers = before.record.GetCovers()
			w.request(r, Request{Accepted: true})
			w.deliverIt(r, reporting("p7", accepted))
			w.resolve(r)
		}},
		{name: "on another channel than approved", want: SendApproval, may: []Rule{SendForged}, during: func(w *world) {
			r := hello("p7")
			w.choose(r)
			w.approve(r)
			w.deliverIt(r, queued("p7", "push"), intending("p7", "push", 1))
			r.channel = "push"
			w.request(r, Request{Accepted: true})
			w.deliverIt(r, reporting("p7", accepted))
			w.resolve(r)
		}},
		{name: "after its approval", want: SendExpired, during: func(w *world) {
			r := hello("p7")
			w.choose(r)
			w.approve(r)
			w.tick(16 * time.Minute)
			w.deliverIt(r, queued("p7", "email"), intending("p7", "email", 1))
			w.request(r, Request{Accepted: true})
			w.deliverIt(r, reporting("p7", accepted))
			w.resolve(r)
		}},
	}
}

// visitor makes a customer in a zone, who may have given permission.
func (w *world) visitor(key, zone string, statements ...encoder) {
	w.tick(time.Second)
	w.decide(profile, 0, is{key: key, state: profileIn(zone, 1), facts: statements})
	w.decide(decision, 0, is{key: key, state: []byte("new")})
}

func badContacts() []bad {
	const eve = "default/c/ee33"
	toEve := hello("p7")
	toEve.key = eve
	yes := func(w *world) encoder { return consented(true, "email", "*", w.now) }
	repeat := func(n int, change func(*route)) func(*world) {
		return func(w *world) {
			for i := range n {
				r := hello(fmt.Sprintf("p1%d", i))
				change(&r)
				w.send(r)
			}
		}
	}
	return []bad{
		{name: "four in two hours", want: ContactCap, says: "cap 0", during: repeat(4, func(*route) {})},
		{name: "four in two hours at one address, by two profiles", want: ContactAddress, says: "contact 4", during: func(w *world) {
			w.visitor(eve, "Europe/London", yes(w))
			for i, key := range []string{eve, eve, ann, ann} {
				r := hello(fmt.Sprintf("p1%d", i))
				r.key, r.tries = key, []Request{{Accepted: true, Address: []string{"Ann@shop.example", "ann@shop.example"}[i%2]}}
				w.send(r)
			}
		}},
		{name: "three offers in a day", want: ContactCap, says: "cap 2", during: repeat(2, func(r *route) { r.action = "offer" })},
		{name: "five on one day", want: ContactCap, says: "cap 1", during: func(w *world) {
			repeat(2, func(*route) {})(w)
			w.tick(2 * time.Hour)
			w.send(hello("p7"))
		}},
		{name: "two about one topic on one UTC day", want: ContactCap, says: "cap 3", during: repeat(2, func(r *route) { r.topic = "rare" })},
		{name: "two loud ones", want: ContactCap, says: "cap 4", during: repeat(2, func(r *route) {
			r.labels = append(r.labels, label("tone", "loud"))
		})},
		{name: "in doubt counts", want: ContactCap, says: "cap 0", during: func(w *world) {
			repeat(3, func(r *route) { r.tries, r.ends, r.status = []Request{{}}, unknown, uncertain })(w)
			w.send(hello("p7"))
		}},
		{name: "in doubt counts, though the provider saw nothing", want: ContactCap, says: "cap 0", during: func(w *world) {
			repeat(3, func(r *route) { r.tries, r.ends, r.status = []Request{{}}, unknown, uncertain })(w)
			w.received = slices.DeleteFunc(w.received, func(r Request) bool { return strings.HasPrefix(r.Proposal, "p1") && len(r.Proposal) == 3 })
			w.send(hello("p7"))
		}},
		{name: "callers' contacts count", want: ContactCap, says: "cap 0", during: func(w *world) {
			for n := range 3 {
				id := fmt.Sprintf("reservation-%d", n)
				w.decide(suppression, 0, is{key: ann, facts: []encoder{roomTaken(id), roomUsed(id)}})
				w.tick(6 * time.Minute)
			}
			w.send(hello("p7"))
		}},
		{name: "room taken twice", want: ContactRoom, says: "nobody gave back", during: func(w *world) {
			w.decide(suppression, 0, is{key: ann, facts: []encoder{roomTaken("reservation-1"), roomTaken("reservation-1")}})
		}},
		{name: "room used after it was freed", want: ContactRoom, says: "it is used", during: func(w *world) {
			w.decide(suppression, 0, is{key: ann, facts: []encoder{roomTaken("reservation-1"), roomFreed("reservation-1"), roomUsed("reservation-1")}})
		}},
		{name: "room freed after it was used", want: ContactRoom, says: "it is freed", during: func(w *world) {
			w.decide(suppression, 0, is{key: ann, facts: []encoder{roomTaken("reservation-1"), roomUsed("reservation-1"), roomFreed("reservation-1")}})
		}},
		{name: "too soon after another", want: ContactGap, known: func(h *History) { requestOf(h, "p1").Started = requestOf(h, "p1").Started.Add(4 * time.Minute) }},
		{name: "in quiet hours", want: ContactQuiet, during: func(w *world) {
			w.tick(6 * time.Hour)
			w.send(hello("p7"))
		}},
		{name: "in quiet hours of the zone before", want: ContactQuiet, during: func(w *world) {
			w.visitor(eve, "Asia/Tokyo", yes(w))
			w.send(toEve)
		}},
		{name: "quiet somewhere, with an unknown zone", want: ContactQuiet, during: func(w *world) {
			w.visitor(eve, "", yes(w))
			w.send(toEve)
		}},
		{name: "without consent", want: ContactConsent, during: func(w *world) {
			w.visitor(eve, "Europe/London")
			w.send(toEve)
		}},
		{name: "against a narrower word", want: ContactConsent, during: func(w *world) {
			w.visitor(eve, "Europe/London", yes(w), consented(false, "email", "news", w.now.Add(-time.Hour)))
			w.send(toEve)
		}},
		{name: "against a word that came long before", want: ContactConsent, during: func(w *world) {
			w.visitor(eve, "Europe/London", yes(w))
			w.decide(suppression, 0)
			w.tick(time.Second)
			w.decide(profile, 0, is{key: eve, state: profileIn("Europe/London", 2), facts: []encoder{consented(false, "email", "*", w.now)}})
			w.decide(decision, 0, is{key: eve, state: []byte("basis")})
			w.decide(suppression, 0, is{key: eve, state: []byte("basis")})
			w.tick(2 * time.Second)
			w.send(toEve)
		}},
		{name: "against a word about everything", want: ContactConsent, during: func(w *world) {
			w.visitor(eve, "Europe/London", consented(false, "*", "*", w.now.Add(-time.Hour)), yes(w))
			w.send(toEve)
		}},
		{name: "after an acknowledged opt-out", want: ContactOptOut, says: "e8", during: func(w *world) {
			no := w.event("e8", "consent_withdrawn")
			w.publish("control", 0, no).OptOut = &OptOut{Channel: "email", Topic: "news"}
			w.tick(10 * time.Second)
			w.send(hello("p7"))
			w.decide(profile, 0, is{key: ann, facts: []encoder{consented(false, "email", "news", no.GetAt().AsTime()), applied(no, false)}, state: profileIn("Europe/London", 8)})
		}},
		{name: "after an opt-out by a slow clock, that a permission from before it hides", want: ContactOptOut, says: "e8", may: []Rule{ContactConsent}, during: func(w *world) {
			w.optIn(w.now, "e10", 0, ann, "email")
			w.tick(time.Minute)
			w.optOutAt(w.now.Add(-time.Hour), "e8", 0, ann, "email")
			w.tick(10 * time.Second)
			w.send(hello("p7"))
		}},
		{name: "after an opt-out, that a permission from the future hides", want: ContactOptOut, says: "e8", may: []Rule{ContactConsent, EventAhead}, during: func(w *world) {
			w.optIn(w.now.Add(time.Hour), "e10", 0, ann, "email")
			w.tick(time.Minute)
			w.optOut("e8", 0, ann, "email")
			w.tick(10 * time.Second)
			w.send(hello("p7"))
		}},
		{name: "after an opt-out, by a permission that claims to be older", want: ContactOptOut, says: "e8", may: []Rule{ContactConsent}, during: func(w *world) {
			w.optOut("e8", 0, ann, "email")
			w.tick(10 * time.Second)
			w.optIn(w.now.Add(-time.Minute), "e10", 0, ann, "email")
			w.send(hello("p7"))
		}},
		{name: "after an opt-out for a channel written otherwise", want: ContactOptOut, says: "e8", may: []Rule{ContactConsent}, during: func(w *world) {
			w.optOut("e8", 0, ann, "E-Mail")
			w.tick(10 * time.Second)
			w.send(hello("p7"))
		}},
		{name: "after an opt-out for a misspelt channel", want: ContactOptOut, says: "e8", may: []Rule{ContactConsent}, during: func(w *world) {
			w.optOut("e8", 0, ann, "emial")
			w.tick(10 * time.Second)
			w.send(hello("p7"))
		}},
		{name: "after an opt-out for a customer by name", want: ContactOptOut, says: "e8", may: []Rule{EventLost}, during: func(w *world) {
			w.publish("control", 1, w.event("e8", "consent_withdrawn")).OptOut = &OptOut{Channel: "*", Topic: "*", Customer: hexOf(ann)}
			w.tick(10 * time.Second)
			w.send(hello("p7"))
		}},
		{name: "to an address after its opt-out", want: ContactOptOut, says: "e8", during: func(w *world) {
			no := w.event("e8", "consent_withdrawn")
			s := w.publish("control", 1, no)
			s.OptOut, s.Identifiers = &OptOut{Channel: "email", Topic: "*"}, []string{"email:ann@shop.example"}
			w.decide(profile, 1, is{key: "default/c/address", facts: []encoder{applied(no, true)}, state: profileIn("Europe/London", 1)})
			w.tick(10 * time.Second)
			r := hello("p7")
			r.tries = []Request{{Accepted: true, Address: "Ann@shop.example"}}
			w.send(r)
		}},
		{name: "after permission ended, though it was approved before", want: ContactOptOut, says: "permission had ended", during: func(w *world) {
			r := hello("p7")
			w.choose(r)
			w.approve(r)
			w.tick(time.Second)
			w.decide(profile, 0, is{key: ann, facts: []encoder{consented(false, "email", "*", w.now)}, state: profileIn("Europe/London", 5)})
			w.tick(10 * time.Second)
			w.deliverIt(r, queued("p7", "email"), intending("p7", "email", 1))
			w.request(r, Request{Accepted: true})
			w.deliverIt(r, reporting("p7", accepted))
			w.resolve(r)
		}},
	}
}

func badEnds() []bad {
	return []bad{
		{name: "an arrival is not covered", want: SettledUncovered, written: func(w *world) {
			w.put("evt.live", 1, &stagev1.Arrival{Item: &stagev1.Arrival_Ping{Ping: &stagev1.Ping{}}})
		}},
		{name: "a letter is not covered", want: SettledUncovered, written: func(w *world) {
			r := w.decide(profile, 1)
			r.record.Addressed = []*stagev1.Addressed{{Stage: "decision", Partition: 1, Payload: []byte("fact")}}
			w.deliver(profile, 1, r)
		}},
		{name: "a verdict is not covered", want: SettledUncovered, may: []Rule{SettledOpen}, written: func(w *world) {
			r := hello("p7")
			r.p, r.key = 1, bob
			w.choose(r)
			w.approve(r)
		}},
		{name: "a report is not covered", want: SettledUncovered, may: []Rule{DeliveryEnds}, written: func(w *world) {
			r := hello("p3")
			r.p, r.key = 1, bob
			w.deliverIt(r, reporting("p3", accepted))
		}},
		{name: "facts are not covered by a stage that closed", want: SettledUncovered, written: func(w *world) {
			last := w.back(profile, 0, 1)
			last.record.Cells, last.bodies = []*stagev1.Cell{{Key: ann}}, []*stagev1.CellBody{{Facts: [][]byte{{0x4a, 0}}}}
			for n := range 2 {
				c := coverOf(w.back(decision, 0, n).alone(), "prf")
				c.Sequence, c.Index = last.sequence, 0
			}
		}},
		{name: "a delivery has no end", want: SettledOpen, says: "delivery", during: func(w *world) {
			r := hello("p7")
			w.choose(r)
			w.approve(r)
			w.deliverIt(r, queued("p7", "email"), intending("p7", "email", 1))
		}},
		{name: "a chosen proposal has no end", want: SettledOpen, says: "chosen", during: func(w *world) { w.choose(hello("p7")) }},
		{name: "a deferred proposal is over", want: SettledOpen, may: []Rule{SettledDue}, known: func(h *History) { h.Now = h.Now.Add(20 * time.Hour) }},
		{name: "a wake-up is due", want: SettledDue, during: func(w *world) {
			w.decide(decision, 1, is{key: bob, state: []byte("journey"), wake: w.now.Add(time.Second)})
		}},
		{name: "a wait is over", want: SettledWaits, says: "waits in step calm", during: func(w *world) {
			w.decide(decision, 1, is{key: bob, state: []byte("journey"), facts: []encoder{
				stepped("e1", "calm", w.now.Add(time.Second)), stepped("e2", "calm", w.now.Add(time.Second)), stepped("e3", "calm", w.now.Add(time.Second)),
				stepped("e2", "hello", time.Time{}), left("e3"), stepped("e4", "calm", w.now.Add(100*24*time.Hour)),
			}})
		}},
	}
}

// A checker that finds nothing proves nothing: every kind of wrong is told, and nothing else is.
func TestEverythingWrongIsTold(t *testing.T) {
	all := slices.Concat(badChains(), badInputs(), badStates(), badEvents(), badProposals(), badSends(), badContacts(), badEnds())
	told := map[Rule]bool{}
	for _, b := range all {
		t.Run(string(b.want)+"/"+b.name, func(t *testing.T) {
			var during []func(*world)
			if b.during != nil {
				during = append(during, b.during)
			}
			w := goodWorld(t, during...)
			if b.written != nil {
				b.written(w)
			}
			h := w.history()
			if b.known != nil {
				b.known(h)
			}
			report := Verify(h)
			found, said := false, false
			for _, v := range report.Violations {
				found = found || v.Rule == b.want
				said = said || v.Rule == b.want && strings.Contains(v.String(), b.says)
				if v.Rule != b.want && !slices.Contains(b.may, v.Rule) {
					t.Errorf("also: %s", v)
				}
			}
			if !found || !said {
				t.Errorf("%s with %q is not told: %v", b.want, b.says, report.Violations)
			}
			told[b.want] = true
		})
	}
	for _, rule := range Rules() {
		if !told[rule] {
			t.Errorf("no history breaks %s", rule)
		}
	}
}

// What looks wrong and is not.
func TestNothingElseIsWrong(t *testing.T) {
	for name, b := range map[string]bad{
		"an event comes again after the horizon": {during: func(w *world) { w.again(80 * time.Hour) }, known: func(h *History) {
			h.Settled = false // the deferred proposal was not judged again
		}},
		"permission is given again after an opt-out": {during: func(w *world) {
			w.optOut("e8", 0, ann, "email")
			w.tick(time.Minute)
			w.optIn(w.now, "e10", 0, ann, "email")
			w.send(hello("p7"))
		}},
		"permission is given again by the slow clock of the opt-out": {during: func(w *world) {
			w.optOutAt(w.now.Add(-time.Hour), "e8", 0, ann, "email")
			w.tick(time.Minute)
			w.optIn(w.now.Add(-time.Hour), "e10", 0, ann, "email")
			w.send(hello("p7"))
		}},
		"a send within the bound": {during: func(w *world) {
			r := hello("p7")
			w.choose(r)
			w.approve(r)
			w.deliverIt(r, queued("p7", "email"), intending("p7", "email", 1))
			w.optOut("e8", 0, ann, "email")
			w.tick(2 * time.Second)
			w.request(r, Request{Accepted: true})
			w.deliverIt(r, reporting("p7", accepted))
			w.resolve(r)
		}},
		"a service message after an opt-out from all mail": {during: func(w *world) {
			w.optOut("e8", 0, ann, "email")
			w.tick(time.Minute)
			w.send(hello("p7"))
		}, written: func(w *world) {
			for _, all := range w.chains {
				for _, r := range all {
					for _, body := range r.bodies {
						for n, f := range body.GetFacts() {
							if strings.Contains(string(f), "p7") {
								body.Facts[n] = []byte(strings.ReplaceAll(string(f), "marketing", "unmarkets"))
							}
						}
					}
				}
			}
		}},
		"a mesh that goes on": {known: func(h *History) {
			h.Settled = false
			for subject, all := range h.Log { // what was not read yet
				if strings.HasPrefix(subject, "vdc.") {
					h.Ends[subject] = all[len(all)-1].Sequence
					h.Log[subject] = all[:len(all)-1]
					delete(h.States, state.Shard{Stage: "suppression", Partition: 0})
					delete(h.States, state.Shard{Stage: "suppression", Partition: 1})
				}
			}
		}},
		"a log that was trimmed": {known: func(h *History) {
			h.Trimmed, h.Settled = true, false
			for subject, all := range h.Log {
				h.Log[subject] = all[len(all)/2:]
			}
		}},
		"what was given up comes back":                  {during: func(w *world) { w.redrive(w.dead["dlq.profile.1"][0].letter.GetId()) }},
		"a mailbox that was trimmed before its senders": {known: trimBox},
		"a letter that comes again after the record that took it was trimmed": {
			during: func(w *world) { w.decide(profile, 1) },
			written: func(w *world) {
				for _, r := range w.chains["prf.0"] {
					w.deliver(profile, 0, r)
				}
			},
			known: func(h *History) {
				h.Trimmed = true
				h.Log["prf.1"] = h.Log["prf.1"][len(h.Log["prf.1"])-1:]
			},
		},
		"a store that lacks the CLOSE of an owner": {known: func(h *History) {
			all := h.Log["act.0"]
			shardOf(h, "decision", 0).Meta.Applied = all[len(all)-2].Sequence
		}},
		"an opt-out under an address, taken back there": {during: func(w *world) {
			no := w.event("e8", "consent_withdrawn")
			said := states(no, false, "email", "*", w.now)
			s := w.publish("control", 1, no)
			s.OptOut, s.Identifiers = &OptOut{Channel: "email", Topic: "*"}, []string{"email:ann@shop.example"}
			w.decide(profile, 1, is{key: "default/c/address", facts: []encoder{said, applied(no, true)}, state: profileIn("Europe/London", 1)})
			w.tick(time.Second)
			w.optIn(w.now, "e10", 1, "default/c/address", "email")
			w.tick(10 * time.Second)
			r := hello("p7")
			r.tries = []Request{{Accepted: true, Address: "Ann@shop.example"}}
			w.send(r)
		}},
		"a refusal, though the message was made, that the mesh never heard": {during: func(w *world) {
			r := hello("p7")
			r.topic, r.tries, r.ends, r.status = "rare", []Request{{Accepted: true, Refused: true}}, unknown, uncertain
			w.send(r)
		}},
		"a store that is being rebuilt": {known: func(h *History) {
			h.Settled = false
			*shardOf(h, "profile", 0) = Shard{Meta: state.Meta{Unfinished: true, Applied: 3}}
			*shardOf(h, "profile", 1) = Shard{}
		}},
		"in quiet hours of the zone that is left": {during: func(w *world) {
			w.tick(5*time.Hour + 30*time.Minute) // past 20:00 in London
			w.decide(profile, 0, is{key: ann, state: profileIn("America/New_York", 6)})
			w.decide(decision, 0, is{key: ann, state: []byte("basis")})
			w.decide(suppression, 0, is{key: ann, state: []byte("basis")})
			w.send(hello("p7"))
		}},
		"the mesh's own receipt, which nobody sent": {during: func(w *world) {
			e := w.event("receipt", "receipt")
			e.Kind = eventv1.Kind(receiptKind)
			w.put("evt.control", 0, w.arrival(e))
		}},
		"a channel of which nothing is recorded": {known: func(h *History) {
			h.Channels = []string{"push"}
			h.Received = slices.DeleteFunc(h.Received, func(r Request) bool { return r.Channel != "push" })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var during []func(*world)
			if b.during != nil {
				during = append(during, b.during)
			}
			w := goodWorld(t, during...)
			if b.written != nil {
				b.written(w)
			}
			h := w.history()
			h.Ends = map[string]uint64{}
			if b.known != nil {
				b.known(h)
			}
			for _, v := range Verify(h).Violations {
				t.Error(v)
			}
		})
	}
}
