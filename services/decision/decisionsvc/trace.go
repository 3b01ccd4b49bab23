package decisionsvc

// trace lets proposals remember the trace of the input that made them.
func (t *turn) trace(traceparent string) {
	if traceparent == "" {
		return
	}
	made := map[string]bool{}
	for _, f := range t.facts {
		if p := f.GetProposalMade().GetProposal(); p != nil {
			p.Traceparent, made[p.GetId()] = traceparent, true
		}
	}
	for _, f := range t.facts {
		if p := f.GetDispatchTreatment().GetProposal(); made[p.GetId()] {
			p.Traceparent = traceparent
		}
	}
	for _, p := range t.state.GetProposals() {
		if made[p.GetId()] {
			p.Traceparent = traceparent
		}
	}
}

// links are the traces of the proposals that are carried out now.
func (t *turn) links() []string {
	var links []string
	for _, f := range t.facts {
		if tp := f.GetDispatchTreatment().GetProposal().GetTraceparent(); tp != "" {
			links = append(links, tp)
		}
	}
	return links
}
