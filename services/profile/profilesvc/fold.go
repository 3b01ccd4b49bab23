package profilesvc

import (
	"cmp"
	"strings"
	"time"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/profile"
	"refrain.dev/pkg/stage"
)

// Name of the stage.
const stageName = "profile"

// fold decodes inputs and rows, lets pkg/profile decide, and encodes what follows.
type fold struct {
	hasher  identity.Hasher
	rules   Rulebook
	metrics *metrics // nil: nothing is counted
}

var _ stage.Fold = (*fold)(nil)

// input is a decoded stage input: an arrival, a letter, or a receipt on its way to dispatch.
type input struct {
	arrival *profile.Arrival
	mail    profile.Mail
	keys    profile.Keys
	receipt *eventv1.Event
}

func (f *fold) decode(in stage.Input, now time.Time) (input, error) {
	switch in.Source {
	case stage.FromLane:
		return f.decodeEvent(in, now)
	case stage.FromBox:
		return f.decodeLetter(in)
	case stage.FromRedrive:
		if strings.HasPrefix(in.Redriven, "box.") {
			return f.decodeLetter(in)
		}
		return f.decodeEvent(in, now)
	case stage.FromBefore, stage.FromAfter, stage.FromTimer, stage.FromRPC, stage.FromCall:
	}
	return input{}, fault.New(fault.Internal, "decode input: the profile stage takes none from %s", in.Name)
}

func (f *fold) decodeEvent(in stage.Input, now time.Time) (input, error) {
	e := &eventv1.Event{}
	if err := e.UnmarshalVT(in.Payload); err != nil {
		return input{}, fault.New(fault.Invalid, "decode event: %w", err)
	}
	if e.GetKind() == eventv1.Kind_KIND_RECEIPT {
		return input{receipt: e}, nil
	}
	a := &profile.Arrival{Event: e, ReceivedAt: in.ReceivedAt, StoredAt: in.StoredAt}
	if in.Source == stage.FromLane {
		a.Sequence, a.Index = in.Sequence, in.Index
	}
	if a.ReceivedAt.IsZero() {
		a.ReceivedAt = e.GetReceivedAt().AsTime()
	}
	keys, err := profile.KeysOf(f.hasher, *a, now)
	return input{arrival: a, keys: keys}, err
}

func (f *fold) decodeLetter(in stage.Input) (input, error) {
	l := &profilev1.Letter{}
	if err := l.UnmarshalVT(in.Payload); err != nil {
		return input{}, fault.New(fault.Invalid, "decode letter: %w", err)
	}
	mail, err := profile.Open(f.hasher, l)
	return input{mail: mail, keys: profile.Keys{Row: mail.Row, Profile: mail.Profile}}, err
}

// tenant is whose customer the input is about.
func (d input) tenant() string {
	tenant, _, _ := strings.Cut(d.keys.Profile, "/")
	return tenant
}

// Needs implements stage.Fold.
func (f *fold) Needs(in stage.Input, now time.Time) (stage.Needs, error) {
	d, err := f.decode(in, now)
	if err != nil {
		return stage.Needs{}, err
	}
	if d.receipt != nil {
		return stage.Needs{}, nil
	}
	n := stage.Needs{Rows: []string{d.keys.Profile}}
	if d.keys.Row != "" {
		n.Rows = append(n.Rows, d.keys.Row)
	}
	for _, set := range d.keys.Seen {
		n.Members = append(n.Members, stage.Member{Set: set, Value: d.arrival.Event.GetId()})
	}
	return n, nil
}

// Decide implements stage.Fold.
func (f *fold) Decide(in stage.Input, rows stage.Rows, env stage.Env) (stage.Outcome, error) {
	d, err := f.decode(in, env.Now)
	if err != nil {
		return stage.Outcome{}, err
	}
	if d.receipt != nil {
		return passOn(d.receipt, env)
	}
	rules, ok := f.rules.At(env.Revision, d.tenant())
	if !ok {
		return stage.Outcome{}, stage.NotReady("apply to a profile", env.Revision)
	}
	row, p, err := load(rows, d.keys)
	if err != nil {
		return stage.Outcome{}, err
	}
	m := profile.Moment{Now: env.Now}
	if in.Source == stage.FromRedrive {
		m.DeadLetter = in.ID
	}
	var c profile.Change
	if d.arrival != nil {
		d.arrival.Row, d.arrival.Profile, d.arrival.Seen = row, p, seen(rows, d)
		c, err = profile.Receive(rules, *d.arrival, m)
	} else {
		c, err = profile.Deliver(rules, d.mail, row, p, m)
	}
	if err != nil {
		return stage.Outcome{}, err
	}
	f.metrics.quarantine(c.Quarantined)
	out, err := encode(inRound(c, env), d)
	if err != nil || d.arrival == nil || d.arrival.Seen {
		return out, err
	}
	return withReceipt(out, d.arrival.Event, env)
}

// Gap implements stage.Fold. An input that cannot be read leaves no gap: nobody knows whom it was about.
func (f *fold) Gap(in stage.Input, rows stage.Rows, env stage.Env, deadLetter string) stage.Outcome {
	d, err := f.decode(in, env.Now)
	if err != nil || d.receipt != nil {
		return stage.Outcome{}
	}
	rules, ok := f.rules.At(env.Revision, d.tenant())
	if !ok {
		return stage.Outcome{}
	}
	row, p, err := load(rows, d.keys)
	if err != nil {
		return stage.Outcome{}
	}
	up := profile.Missed{DeadLetter: deadLetter}
	if in.Source == stage.FromRedrive {
		up.Before = in.ID
	}
	var c profile.Change
	if d.arrival != nil {
		d.arrival.Row, d.arrival.Profile = row, p
		c = profile.MissArrival(rules, *d.arrival, up)
	} else {
		c = profile.MissLetter(rules, d.mail, p, up)
	}
	out, err := encode(inRound(c, env), d)
	if err != nil {
		return stage.Outcome{}
	}
	return out
}

// load decodes the rows that an input is about; nil where there is none.
func load(rows stage.Rows, keys profile.Keys) (row *profilev1.IdentifierRow, p *profilev1.Profile, err error) {
	if keys.Row != "" {
		if raw := rows.Own(keys.Row); raw != nil {
			row = &profilev1.IdentifierRow{}
			if err := row.UnmarshalVT(raw); err != nil {
				return nil, nil, fault.New(fault.Internal, "decode identifier row: %w", err)
			}
		}
	}
	if raw := rows.Own(keys.Profile); raw != nil {
		p = &profilev1.Profile{}
		if err := p.UnmarshalVT(raw); err != nil {
			return nil, nil, fault.New(fault.Internal, "decode profile row: %w", err)
		}
	}
	return row, p, nil
}

func seen(rows stage.Rows, d input) bool {
	for _, set := range d.keys.Seen {
		if rows.Has(set, d.arrival.Event.GetId()) {
			return true
		}
	}
	return false
}

// inRound says of a change's lines in which round they were decided.
func inRound(c profile.Change, env stage.Env) profile.Change {
	for _, line := range c.Timeline {
		line.Round = env.Round
	}
	return c
}

// encode makes an identifier's cell and a profile's cell, in this order, of a change.
func encode(c profile.Change, d input) (stage.Outcome, error) {
	var out stage.Outcome
	if cell, err := encodeRow(c, d); err != nil {
		return stage.Outcome{}, err
	} else if cell.State != nil || len(cell.Deltas) > 0 {
		out.Cells = append(out.Cells, cell)
	}
	if c.Profile != nil {
		cell, err := encodeProfile(c, d.keys.Profile)
		if err != nil {
			return stage.Outcome{}, err
		}
		out.Cells = append(out.Cells, cell)
	}
	for _, l := range c.Letters {
		payload, err := l.Letter.MarshalVT()
		if err != nil {
			return stage.Outcome{}, fault.New(fault.Internal, "encode letter: %w", err)
		}
		// Not every input that is answered changes a row: a conflict is told by an identifier that stays as it is.
		out.Addressed = append(out.Addressed, stage.Addressed{
			Stage: stageName, Partition: l.Partition, Payload: payload, From: cmp.Or(d.keys.Row, d.keys.Profile),
		})
	}
	return out, nil
}

func encodeRow(c profile.Change, d input) (stage.Cell, error) {
	cell := stage.Cell{Key: d.keys.Row}
	if c.Row != nil {
		raw, err := c.Row.MarshalVT()
		if err != nil {
			return stage.Cell{}, fault.New(fault.Internal, "encode identifier row: %w", err)
		}
		cell.State = raw
	}
	for _, day := range c.DroppedDays {
		cell.Deltas = append(cell.Deltas, &stagev1.Delta{
			Name: profile.SeenSet(d.keys.Row, day), Kind: stagev1.DeltaKind_DELTA_KIND_DROP,
		})
	}
	if c.SeenOn != 0 {
		cell.Deltas = append(cell.Deltas, &stagev1.Delta{
			Name: profile.SeenSet(d.keys.Row, c.SeenOn), Kind: stagev1.DeltaKind_DELTA_KIND_ADD, Value: []byte(d.arrival.Event.GetId()),
		})
	}
	return cell, nil
}

func encodeProfile(c profile.Change, key string) (stage.Cell, error) {
	raw, err := c.Profile.MarshalVT()
	if err != nil {
		return stage.Cell{}, fault.New(fault.Internal, "encode profile: %w", err)
	}
	cell := stage.Cell{Key: key, State: raw}
	for _, f := range c.Facts {
		fact, err := f.MarshalVT()
		if err != nil {
			return stage.Cell{}, fault.New(fault.Internal, "encode fact: %w", err)
		}
		cell.Facts = append(cell.Facts, fact)
	}
	for _, line := range c.Timeline {
		value, err := profile.EncodeLine(line)
		if err != nil {
			return stage.Cell{}, fault.New(fault.Internal, "encode timeline entry: %w", err)
		}
		cell.Deltas = append(cell.Deltas, &stagev1.Delta{Name: timelineOf(key), Kind: stagev1.DeltaKind_DELTA_KIND_APPEND, Value: value})
	}
	if len(c.Timeline) > 0 {
		cell.Deltas = append(cell.Deltas, &stagev1.Delta{
			Name: timelineOf(key), Kind: stagev1.DeltaKind_DELTA_KIND_TRIM, Keep: profile.TimelineLength,
		})
	}
	return cell, nil
}

func timelineOf(key string) string { return key + "/timeline" }
