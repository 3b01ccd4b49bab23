package decisionsvc

import (
	"encoding/hex"
	"fmt"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/decide"
	"refrain.dev/pkg/profile"
)

// mostTexts bounds the texts of all items of one answer together, which a caller has to be able to take.
const mostTexts = 1 << 20

// render gives an item the texts of its treatment, filled in as dispatch would, or the reason why it has none.
func (a *answering) render(item *decisionv1.Item, proposal *decisionv1.Proposal, treatment *definitionv1.Treatment) {
	templates := a.rules.Actions[item.GetAction()].Templates(item.GetTreatment())
	if templates == nil {
		return
	}
	o := decide.Occasion{
		Action: item.GetAction(), Customer: hex.EncodeToString(a.view.customer), Event: proposal.GetContext(),
		Traits: profile.Traits(a.view.profile), Now: a.now,
	}
	if treatment.GetTopic() != "" {
		o.UnsubscribeURL = a.engine.publicURL + "/u/" + item.GetToken()
	}
	texts, no := templates.Render(o)
	if size := len(texts.Subject) + len(texts.Body); no == nil && a.texts+size > mostTexts {
		no = &reasonv1.Reason{
			Code:     reasonv1.Code_CODE_RENDER_FAILED,
			Evidence: []string{fmt.Sprintf("the texts of the answer would have %d bytes, of %d", a.texts+size, mostTexts)},
			Remedy:   "ask for fewer items",
		}
	}
	if no != nil {
		no.Rule, no.Revision = "Action/"+item.GetAction(), a.rules.Revision
		item.Reasons = []*reasonv1.Reason{no}
		return
	}
	a.texts += len(texts.Subject) + len(texts.Body)
	item.Subject, item.Body = texts.Subject, texts.Body
}
