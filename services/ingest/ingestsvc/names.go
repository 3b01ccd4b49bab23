package ingestsvc

import (
	"context"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/event"
)

// checkNames looks at the channels and topics that statements of permission name. A permission that names what no
// definition has is refused with a suggestion; before that it is looked whether one was applied just now. A withdrawal
// is accepted: it counts for everything that it could mean, and its publisher is told so.
func (d *door) checkNames(ctx context.Context, s submission) {
	looked := false
	for _, it := range s.items {
		if len(it.problems) > 0 || it.event.GetConsent() == nil {
			continue
		}
		c := it.event.GetConsent()
		withdrawn := c.GetState() == eventv1.ConsentState_CONSENT_STATE_WITHDRAWN
		unknown := d.kinds.Names(s.tenant).Unknown(c)
		if len(unknown) > 0 && !withdrawn && !looked {
			d.kinds.Look(ctx)
			looked = true
			unknown = d.kinds.Names(s.tenant).Unknown(c)
		}
		for _, u := range unknown {
			if withdrawn {
				it.remark(it.statementField(u.Field), "is not defined, so the withdrawal counts for every "+u.Field+": "+u.Remedy)
				continue
			}
			it.problem(it.statementField(u.Field), "is not defined: "+u.Remedy)
		}
		if withdrawn && len(unknown) > 0 {
			it.event.Remarks = remarksOf(it.remarks)
		}
	}
}

// statementField says where a statement of permission names its channel or topic.
func (it *item) statementField(name string) string {
	if event.Property(it.event.GetProperties(), name) != nil {
		return "properties." + name
	}
	return "consent." + name
}
