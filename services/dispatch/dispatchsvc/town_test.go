package dispatchsvc

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/consent"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/profile"
	"refrain.dev/pkg/state"
)

// town is the profile stage of a few partitions, played by hand: every lane and every mailbox waits until
// somebody takes its next message, a store shows the past, and time passes when it is told to.
type town struct {
	t      *rapid.T
	hasher identity.Hasher
	rules  *profile.Rules
	kinds  *event.Kinds
	parts  []*quarter
	now    time.Duration
	serial int

	stops   []*stop
	reached map[string]map[string][][]byte // profile to the stops that came to it, and from where
	linked  map[string]time.Duration       // profile id and identifier's hash to when it was claimed
	sends   []allowed
	fresh   *freshness
}

// quarter is a partition.
type quarter struct {
	number  int
	control []*eventv1.Event // nil is a ping
	live    []*eventv1.Event
	taken   [2]int // of control and live
	boxes   map[int][]posted
	rows    map[string][]byte
	seen    map[string]bool
	past    []snapshot
}

// posted is a letter with the number of mailboxes that its cause has passed.
type posted struct {
	letter *profilev1.Letter
	depth  int
}

type snapshot struct {
	rows map[string][]byte
	meta state.Meta
}

// stop is an acknowledged opt-out. Its topic is its own, so that it shows where it is in effect.
type stop struct {
	id    string
	acked time.Duration
	hash  []byte // of the identifier under which it came
}

// allowed is a view on which a send may begin.
type allowed struct {
	profile []byte
	asOf    time.Duration
	topics  map[string]bool // withdrawn in it
}

// townClock is the town's time.
type townClock struct {
	clock.Wall

	town *town
}

func (c townClock) Now() time.Time         { return start.Add(c.town.now) }
func (c townClock) Elapsed() time.Duration { return c.town.now }

func eventID(n int) string { return fmt.Sprintf("e%d", n) }

func newTown(t *rapid.T, partitions int) *town {
	w := &town{
		t: t, hasher: testHasher(partitions), kinds: event.DefaultKinds(), now: time.Hour,
		reached: map[string]map[string][][]byte{}, linked: map[string]time.Duration{},
	}
	// Each opt-out is about a topic of its own, by which it is known again: an unknown one would count for all.
	topics := make([]string, 1000)
	for n := range topics {
		topics[n] = eventID(n)
	}
	w.rules = profile.NewRules(w.hasher, w.kinds, nil, nil).Naming(consent.NewNames([]string{"email"}, topics))
	for n := range partitions {
		q := &quarter{number: n, boxes: map[int][]posted{}, rows: map[string][]byte{}, seen: map[string]bool{}}
		w.parts = append(w.parts, q)
		w.keep(q)
	}
	c := townClock{town: w}
	w.fresh = newFreshness(w, newPings(w, c, slog.New(slog.DiscardHandler)), w.hasher, c)
	return w
}

// Publish implements log.Pinger.
func (w *town) Publish(_ context.Context, subject string, _ []byte) (uint64, error) {
	var n int
	if _, err := fmt.Sscanf(subject, "evt.control.%d", &n); err != nil {
		return 0, fmt.Errorf("not a control lane: %s", subject)
	}
	q := w.parts[n]
	q.control = append(q.control, nil)
	return uint64(len(q.control)), nil
}

// Get implements log.Pinger.
func (w *town) Get(_ context.Context, subject string, sequence uint64) (log.Message, error) {
	return log.Message{Subject: subject, Sequence: sequence, Time: start.Add(w.now)}, nil
}

// Read implements Reader: what it shows may be a few records old.
func (w *town) Read(_ context.Context, partition int, q state.Query) (state.View, error) {
	past := w.parts[partition].past
	s := past[max(0, len(past)-1-rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(w.t, "lag"))]
	v := state.View{Metas: map[string]state.Meta{profileName: s.meta}}
	for _, row := range q.Rows {
		v.Rows = append(v.Rows, s.rows[row.Key])
	}
	return v, nil
}

func (w *town) keep(q *quarter) {
	w.now++
	q.past = append(q.past, snapshot{rows: maps.Clone(q.rows), meta: state.Meta{
		Applied: uint64(len(q.past) + 1), Origins: map[string]uint64{log.Barrier: uint64(q.taken[0])},
	}})
	q.past = q.past[max(0, len(q.past)-4):]
	q.past[len(q.past)-1].meta.Applied = 1
}

func (w *town) event(kind eventv1.Kind, ids []*eventv1.Identifier) *eventv1.Event {
	w.serial++
	w.now++ // nothing happens at the same time
	at := timestamppb.New(start.Add(w.now))
	return &eventv1.Event{
		Id: eventID(w.serial), Tenant: "default", Type: strings.ToLower(kind.String()), Kind: kind,
		At: at, ReceivedAt: at, Identifiers: w.kinds.Order(ids),
	}
}

func (w *town) identify(ids ...*eventv1.Identifier) {
	e := w.event(eventv1.Kind_KIND_IDENTIFY, ids)
	q := w.parts[w.hasher.Home(e.GetTenant(), e.GetIdentifiers()[0])]
	q.live = append(q.live, e)
}

// optOut stores an opt-out; from then on it is acknowledged.
func (w *town) optOut(id *eventv1.Identifier) {
	e := w.event(eventv1.Kind_KIND_CONSENT, []*eventv1.Identifier{id})
	e.Identifiers = []*eventv1.Identifier{id}
	e.Consent = &eventv1.Consent{State: eventv1.ConsentState_CONSENT_STATE_WITHDRAWN, Channel: "email", Topic: e.GetId()}
	hash, err := profile.IdentifierID(w.hasher, e.GetTenant(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	q := w.parts[w.hasher.Partition(hash)]
	q.control = append(q.control, e)
	w.t.Logf("%d: %s is an opt-out of %s, at home %x", w.now, e.GetId(), id.GetValue(), hash)
	w.stops = append(w.stops, &stop{id: e.GetId(), acked: w.now, hash: hash})
}

// inputs lists what can be taken next: lanes and mailboxes by partition.
func (w *town) inputs() []func(poison bool) {
	var out []func(bool)
	for _, q := range w.parts {
		if q.taken[0] < len(q.control) {
			out = append(out, func(poison bool) { w.arrive(q, q.control[q.taken[0]], poison); q.taken[0]++; w.keep(q) })
		}
		if q.taken[1] < len(q.live) {
			out = append(out, func(poison bool) { w.arrive(q, q.live[q.taken[1]], poison); q.taken[1]++; w.keep(q) })
		}
		for _, sender := range slices.Sorted(maps.Keys(q.boxes)) {
			if len(q.boxes[sender]) > 0 {
				out = append(out, func(poison bool) {
					l := q.boxes[sender][0]
					q.boxes[sender] = q.boxes[sender][1:]
					w.deliver(q, l, poison)
					w.keep(q)
				})
			}
		}
	}
	return out
}

func (w *town) arrive(q *quarter, e *eventv1.Event, poison bool) {
	if e == nil {
		return
	}
	w.t.Logf("%d: partition %d takes %s of %v, given up: %v", w.now, q.number, e.GetId(), names(e.GetIdentifiers()...), poison)
	a := profile.Arrival{Event: e, ReceivedAt: e.GetReceivedAt().AsTime(), Seen: q.seen[e.GetId()]}
	keys, err := profile.KeysOf(w.hasher, a, start.Add(w.now))
	if err != nil {
		w.t.Fatal(err)
	}
	a.Row, a.Profile = w.load(q, keys)
	var c profile.Change
	if poison {
		c = profile.MissArrival(w.rules, a, profile.Missed{DeadLetter: "dl-" + e.GetId()})
	} else if c, err = profile.Receive(w.rules, a, profile.Moment{Now: start.Add(w.now)}); err != nil {
		return // nobody has the profile that it addresses
	}
	q.seen[e.GetId()] = true
	if len(c.Letters) == 0 || c.Letters[0].Letter.GetForwarded() == nil && c.Letters[0].Letter.GetGap() == nil {
		w.came(keys.Profile, e.GetId(), w.idOf(keys.Profile))
	}
	w.take(q, keys, c, 0)
}

func (w *town) deliver(q *quarter, in posted, poison bool) {
	l := in.letter
	w.t.Logf("%d: partition %d takes a letter, given up: %v: %v", w.now, q.number, poison, l)
	mail, err := profile.Open(w.hasher, l)
	if err != nil {
		w.t.Fatal(err)
	}
	keys := profile.Keys{Row: mail.Row, Profile: mail.Profile}
	row, p := w.load(q, keys)
	w.came(keys.Profile, l.GetForwarded().GetEvent().GetId(), l.GetForwarded().GetWord().GetOf())
	w.came(keys.Profile, strings.TrimPrefix(l.GetGap().GetGap().GetDeadLetter(), "dl-"), l.GetGap().GetWord().GetOf())
	for _, r := range l.GetLinked().GetWithdrawals() {
		w.came(keys.Profile, r.GetConsent().GetTopic(), l.GetLinked().GetWord().GetOf())
	}
	var c profile.Change
	if poison && l.GetClaim() == nil {
		w.serial++
		c = profile.MissLetter(w.rules, mail, p, profile.Missed{DeadLetter: fmt.Sprintf("dl-letter%d", w.serial)})
	} else if c, err = profile.Deliver(w.rules, mail, row, p, profile.Moment{Now: start.Add(w.now)}); err != nil {
		w.t.Fatalf("deliver %v: %v", l, err)
	}
	w.take(q, keys, c, in.depth)
}

func (w *town) came(key, what string, from []byte) {
	if w.reached[key] == nil {
		w.reached[key] = map[string][][]byte{}
	}
	w.reached[key][what] = append(w.reached[key][what], from)
}

func (w *town) load(q *quarter, keys profile.Keys) (row *profilev1.IdentifierRow, p *profilev1.Profile) {
	if raw := q.rows[keys.Row]; raw != nil {
		row = &profilev1.IdentifierRow{}
		if err := row.UnmarshalVT(raw); err != nil {
			w.t.Fatal(err)
		}
	}
	p, err := decodeProfile(q.rows[keys.Profile])
	if err != nil {
		w.t.Fatal(err)
	}
	return row, p
}

func (w *town) take(q *quarter, keys profile.Keys, c profile.Change, depth int) {
	if c.Row != nil {
		raw, err := c.Row.MarshalVT()
		if err != nil {
			w.t.Fatal(err)
		}
		q.rows[keys.Row] = raw
	}
	if c.Profile != nil {
		raw, err := c.Profile.MarshalVT()
		if err != nil {
			w.t.Fatal(err)
		}
		q.rows[keys.Profile] = raw
		for _, t := range profile.Tellers(w.hasher, c.Profile) {
			if at := keys.Profile + hex.EncodeToString(t.ID); w.linked[at] == 0 {
				w.linked[at] = w.now
			}
		}
	}
	if depth > 15 {
		return // two devices that were closed for each other: a loop ends in the dead letters
	}
	for _, l := range c.Letters {
		to := w.parts[l.Partition]
		to.boxes[q.number] = append(to.boxes[q.number], posted{l.Letter, depth + 1})
	}
}

// profiles are the keys of all profiles, with their homes.
func (w *town) profiles() []string {
	var keys []string
	for _, q := range w.parts {
		for key := range q.rows {
			if strings.Contains(key, "/c/") {
				keys = append(keys, key)
			}
		}
	}
	slices.Sort(keys)
	return keys
}

func (w *town) idOf(key string) []byte {
	_, _, id, err := identity.ParseKey(key)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

// send looks at a profile as dispatch does; if the view is fresh and nothing closes contact, a send could begin.
func (w *town) send(key string) bool {
	id := w.idOf(key)
	v, fresh, err := w.fresh.look(context.Background(), w.hasher.Partition(id), key)
	if !fresh || err != nil || v.profile == nil {
		return false
	}
	w.t.Logf("%d: a view of %s as of %d: %v", w.now, key, v.asOf, v.profile)
	if profile.Closed(v.profile) == nil {
		a := allowed{profile: id, asOf: v.asOf, topics: map[string]bool{}}
		for _, r := range profile.Consents(v.profile) {
			a.topics[r.GetConsent().GetTopic()] = true
		}
		w.sends = append(w.sends, a)
	}
	return true
}

// since is, by profile, when it was linked to where an opt-out came to it from: the identifier under which it was
// said, or a closed profile to which it had come before.
func (w *town) since(o *stop) map[string]time.Duration {
	best := map[string]time.Duration{identity.CustomerKey("default", o.hash): 0}
	for changed := true; changed; {
		changed = false
		for key, came := range w.reached {
			for _, from := range came[o.id] {
				before, known := best[identity.CustomerKey("default", from)]
				at := max(before, w.linked[key+hex.EncodeToString(from)])
				if now, ok := best[key]; known && (!ok || at < now) {
					best[key], changed = at, true
				}
			}
		}
	}
	return best
}

// check says whether any send could have begun without an opt-out that was acknowledged before the view.
func (w *town) check() {
	for _, o := range w.stops {
		since := w.since(o)
		for _, s := range w.sends {
			at, concerns := since[identity.CustomerKey("default", s.profile)]
			if concerns && at <= s.asOf && o.acked <= s.asOf && !s.topics[o.id] {
				w.t.Fatalf("a send to %x may begin on a view of %v without %s, acknowledged at %v", s.profile, s.asOf, o.id, o.acked)
			}
		}
	}
}
