package event

import (
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"
)

// AliasProblem says why an alias cannot be taken: it names two persons, or two accounts, of which each may have a past of
// its own. That would merge two profiles, for which there is no command yet. It is nil for everything else. Identifiers are
// normalised and each is there once.
func (k *Kinds) AliasProblem(e *eventv1.Event) *Problem {
	if e.GetKind() != eventv1.Kind_KIND_ALIAS {
		return nil
	}
	names := map[Class]int{}
	for _, id := range e.GetIdentifiers() {
		names[k.byName[id.GetKind()].Class]++
	}
	if names[ClassPerson] < 2 && names[ClassAccount] < 2 {
		return nil
	}
	return &Problem{
		Field: "previousId", Code: reasonv1.Code_CODE_MERGE_UNSUPPORTED,
		Why: "names a second person or account, and profiles cannot be merged yet; if it is a device's id, publish an identify or alias with it as anonymousId",
	}
}
