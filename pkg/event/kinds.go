package event

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
)

// Class is what an identifier names.
type Class string

// The classes.
const (
	// ClassPerson names a person for good.
	ClassPerson Class = "person"
	// ClassEndpoint is where a person is reached.
	ClassEndpoint Class = "endpoint"
	// ClassDevice is a device or browser, which persons may share.
	ClassDevice Class = "device"
	// ClassAccount names an account.
	ClassAccount Class = "account"
)

// The identifier kinds that are there from the start.
const (
	KindUserID      = "user_id"
	KindEmail       = "email"
	KindPhone       = "phone"
	KindAccountID   = "account_id"
	KindAnonymousID = "anonymous_id"
	// KindProfile addresses a profile directly, by its id in hex. Only ingest makes it, from a token that
	// it has verified; publishers may not use it.
	KindProfile = "profile"
)

// ErrUnknownKind says that no identifier kind has that name.
var ErrUnknownKind = errors.New("unknown identifier kind")

// ErrBlocked says that the value identifies nobody, such as "null".
var ErrBlocked = errors.New("value identifies nobody")

// IdentifierKind is one kind of identifier.
type IdentifierKind struct {
	Name  string
	Class Class
	// Priority orders kinds: smaller is stronger, and 0 is no priority, weaker than every other.
	Priority uint32
	// Normaliser is none, lower, email or phone.
	Normaliser string
	// Blocked lists values, normalised, that identify nobody beside the built-in ones.
	Blocked []string
	// Channel whose endpoint it is, with ClassEndpoint.
	Channel string
	// Unique says that a person has at most one.
	Unique bool
}

// Kinds is the set of identifier kinds. It is immutable and safe for concurrent use.
type Kinds struct {
	byName map[string]IdentifierKind
	region string
}

// In returns the kinds for a workspace of a region, an ISO 3166 code: its telephone numbers may come without country code.
// None: they may not. The receiver is not changed.
func (k *Kinds) In(region string) *Kinds { return &Kinds{byName: k.byName, region: region} }

// DefaultKinds returns the kinds that every mesh has.
func DefaultKinds() *Kinds {
	k := &Kinds{byName: map[string]IdentifierKind{}}
	for _, kind := range []IdentifierKind{
		{Name: KindUserID, Class: ClassPerson, Priority: 1, Normaliser: NormaliserNone, Unique: true},
		{Name: KindEmail, Class: ClassEndpoint, Priority: 2, Normaliser: NormaliserEmail, Channel: "email"},
		{Name: KindPhone, Class: ClassEndpoint, Priority: 3, Normaliser: NormaliserPhone, Channel: "sms"},
		{Name: KindAccountID, Class: ClassAccount, Priority: 5, Normaliser: NormaliserNone},
		{Name: KindAnonymousID, Class: ClassDevice, Priority: 9, Normaliser: NormaliserNone},
	} {
		k.byName[kind.Name] = kind
	}
	return k
}

// KindsFrom returns the default kinds with the declared ones merged in by name; a declared kind
// replaces a default one whole.
func KindsFrom(declared map[string]*definitionv1.IdentifierKind) *Kinds {
	k := DefaultKinds()
	for name, d := range declared {
		k.byName[name] = IdentifierKind{
			Name:       name,
			Class:      Class(d.GetClass()),
			Priority:   d.GetPriority(),
			Normaliser: cmp.Or(d.GetNormaliser(), NormaliserNone),
			Blocked:    slices.Clone(d.GetBlocked()),
			Channel:    d.GetChannel(),
			Unique:     d.GetUnique(),
		}
	}
	return k
}

// Kind returns a kind by name.
func (k *Kinds) Kind(name string) (IdentifierKind, bool) {
	kind, ok := k.byName[name]
	return kind, ok
}

// Names lists the kinds, strongest first.
func (k *Kinds) Names() []string {
	names := make([]string, 0, len(k.byName))
	for name := range k.byName {
		names = append(names, name)
	}
	slices.SortFunc(names, k.compare)
	return names
}

// EndpointKind returns the strongest kind whose endpoints a channel uses; false if there is none.
func (k *Kinds) EndpointKind(channel string) (IdentifierKind, bool) {
	for _, name := range k.Names() {
		if kind := k.byName[name]; kind.Class == ClassEndpoint && kind.Channel == channel {
			return kind, true
		}
	}
	return IdentifierKind{}, false
}

// Normalise returns value in the form in which it is hashed, stored and compared. ErrUnknownKind and
// ErrBlocked are wrapped with what is wrong; a value that does not fit its kind is an error too.
// Normalising twice changes nothing.
func (k *Kinds) Normalise(kind, value string) (string, error) {
	id, err := k.Identifier(kind, value)
	return id.GetValue(), err
}

// Identifier is Normalise that also says how the value is written to, where that is another form than the one in
// which it is compared.
func (k *Kinds) Identifier(kind, value string) (*eventv1.Identifier, error) {
	def, ok := k.byName[kind]
	if !ok {
		return nil, fmt.Errorf("%w %q: declare it as an Identifier", ErrUnknownKind, kind)
	}
	if !utf8.ValidString(value) {
		return nil, errors.New("the value is not valid UTF-8")
	}
	out, written, err := normalise(def.Normaliser, value, k.region)
	if err != nil {
		return nil, err
	}
	if isBlocked(out) || slices.Contains(def.Blocked, out) {
		return nil, fmt.Errorf("%w: leave it out instead", ErrBlocked)
	}
	if n := max(len(out), len(written)); n > maxIdentifier {
		return nil, fmt.Errorf("the value has %d bytes, more than %d", n, maxIdentifier)
	}
	if written == out {
		written = ""
	}
	return &eventv1.Identifier{Kind: kind, Value: out, Written: written}, nil
}

// Order returns ids strongest first, each (kind, value) once. Equally strong kinds go by name, persons and
// accounts of one kind in the order given: an alias names the new one first. Devices and endpoints of one kind go
// by value, so that two that are named together, in whatever order, are never claimed both ways. The argument is
// not changed.
func (k *Kinds) Order(ids []*eventv1.Identifier) []*eventv1.Identifier {
	type name struct{ kind, value string }
	seen := make(map[name]bool, len(ids))
	out := make([]*eventv1.Identifier, 0, len(ids))
	for _, id := range ids {
		n := name{id.GetKind(), id.GetValue()}
		if seen[n] {
			continue
		}
		seen[n] = true
		out = append(out, id)
	}
	slices.SortStableFunc(out, func(a, b *eventv1.Identifier) int {
		by := k.compare(a.GetKind(), b.GetKind())
		if c := k.byName[a.GetKind()].Class; by == 0 && (c == ClassDevice || c == ClassEndpoint) {
			by = cmp.Compare(a.GetValue(), b.GetValue())
		}
		return by
	})
	return out
}

// compare orders kinds: direct addressing, then by priority, those without one, unknown ones last.
func (k *Kinds) compare(a, b string) int {
	return cmp.Or(cmp.Compare(k.strength(a), k.strength(b)), cmp.Compare(a, b))
}

func (k *Kinds) strength(name string) int64 {
	if name == KindProfile {
		return -1
	}
	switch kind, ok := k.byName[name]; {
	case !ok:
		return int64(1) << 33
	case kind.Priority == 0:
		return int64(1) << 32
	default:
		return int64(kind.Priority)
	}
}

// Order returns ids strongest first by the default kinds; see Kinds.Order.
func Order(ids []*eventv1.Identifier) []*eventv1.Identifier { return DefaultKinds().Order(ids) }
