package ingestsvc

import (
	"net/http"

	"refrain.dev/pkg/event"
)

// laneHeader asks for a lane; only bulk can be asked for.
const laneHeader = "X-Refrain-Lane"

// segment serves one call of the Segment HTTP API.
func (h *httpEntrances) segment(call string) http.Handler {
	limit := int64(maxEvent)
	if call == "batch" {
		limit = maxBatch
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		visit, body := h.read(w, r, viaSegment, limit)
		if visit == nil {
			return
		}
		defer visit.Leave()
		items, bodyKey, err := parseSegment(call, body)
		if err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		key := keyFrom(r.Header.Get("Authorization"))
		if key == "" {
			key = bodyKey
		}
		tenant, ok := h.keys.tenant(key)
		if !ok {
			unauthorized(w)
			return
		}
		askLane(items, r.Header.Get(laneHeader))
		h.store(w, r, submission{tenant: tenant, via: viaSegment, items: items, visit: visit})
	})
}

func unauthorized(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Basic realm="refrain"`)
	fail(w, http.StatusUnauthorized, "the write key is not known: send it as the user name of Basic authentication or as writeKey")
}

func askLane(items []*item, lane string) {
	if lane != event.LaneBulk {
		return
	}
	for _, it := range items {
		it.lane = lane
	}
}
