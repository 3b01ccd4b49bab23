package cli

import (
	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
)

// addedEffect is what follows from a definition that was not there before.
func addedEffect(r *definitionv1.Resource) string {
	if computed(r) {
		return "it starts empty and counts events from now on, not those before"
	}
	return ""
}

// changedEffect is what follows from a definition that is another now.
func changedEffect(was, is *definitionv1.Resource) string {
	switch {
	case is.GetJourney() != nil:
		return "running enrollments stay on the revision that they entered under"
	case computed(is) && !sameCompute(was.GetTrait(), is.GetTrait()):
		return "values so far stay; events from now on change them by the new rule"
	}
	return ""
}

// removedEffect is what follows from a definition that is not there any more.
func removedEffect(r *definitionv1.Resource) string {
	switch {
	case r.GetJourney() != nil:
		return "nobody enters any more; running enrollments go on to their end"
	case computed(r):
		return "values so far stay, and are not computed any more"
	}
	return ""
}

// computed reports whether it is a trait that is computed from events.
func computed(r *definitionv1.Resource) bool { return r.GetTrait().GetCompute() != nil }

// sameCompute reports whether two traits are computed in the same way.
func sameCompute(a, b *definitionv1.TraitDef) bool {
	a, b = a.CloneVT(), b.CloneVT()
	a.Type = b.GetType()
	return a.EqualVT(b)
}
