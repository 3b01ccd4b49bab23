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
	visit, body := h.read(w, r, viaCloudEvents, maxBatch)
	if visit == nil {
		return
	}
	defer visit.Leave()
	items, err := parseCloudEvents(r.Context(), r.Header, body)
	if err != nil {
		fail(w, http.StatusBadRequest, printable(err))
		return
	}
	askLane(items, r.Header.Get(laneHeader))
	h.store(w, r, submission{tenant: tenant, via: viaCloudEvents, items: items, visit: visit})
}
