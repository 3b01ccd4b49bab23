package ingestsvc

import (
	"net/http"
)

// cloudEvents serves CloudEvents over HTTP in all three modes.
func (h *httpEntrances) cloudEvents(w http.ResponseWriter, r *http.Request) {
	tenant, ok := h.keys.tenant(keyFrom(r.Header.Get("Authorization")))
	if !ok {
		unauthorized(w)
		return
	}
	body, err := readBody(r, maxBatch)
	if err != nil {
		refuseBody(w, err)
		return
	}
	items, err := parseCloudEvents(r.Context(), r.Header, body)
	if err != nil {
		fail(w, http.StatusBadRequest, printable(err))
		return
	}
	askLane(items, r.Header.Get(laneHeader))
	h.store(w, r, submission{tenant: tenant, via: viaCloudEvents, items: items})
}
