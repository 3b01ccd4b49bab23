package state

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Fields of the meta hash. While a batch is unfinished the hash also has "target", the sequence of that
// batch, and "at", how many of its writes are done; while an image is restored it has only these two, with the
// image's name behind "image:"; while a shard is reset it has only "reset".
const (
	fieldGeneration = "generation"
	fieldApplied    = "applied"
	fieldOrigins    = "origins" // JSON
	fieldNow        = "now"     // microseconds, empty for the zero time
	fieldRevision   = "revision"
	fieldTarget     = "target"
	fieldAt         = "at"
	fieldReset      = "reset"
	fieldSender     = "sender:" // and the sender's name: "<sequence>:<index>"
)

// metaFields encodes a meta as fields and values in turn.
func metaFields(m Meta) ([]any, error) {
	origins, err := json.Marshal(m.Origins)
	if err != nil {
		return nil, fmt.Errorf("encode origins: %w", err)
	}
	now := ""
	if !m.Now.IsZero() {
		now = strconv.FormatInt(m.Now.UnixMicro(), 10)
	}
	fields := []any{
		fieldGeneration, strconv.FormatUint(uint64(m.Generation), 10),
		fieldApplied, strconv.FormatUint(m.Applied, 10),
		fieldOrigins, string(origins),
		fieldNow, now,
		fieldRevision, m.Revision,
	}
	for _, sender := range slices.Sorted(maps.Keys(m.Senders)) {
		p := m.Senders[sender]
		fields = append(fields, fieldSender+sender, fmt.Sprintf("%d:%d", p.Sequence, p.Index))
	}
	return fields, nil
}

// parseMeta decodes what HGETALL returned.
func parseMeta(flat []any) (Meta, error) {
	var m Meta
	for i := 0; i+1 < len(flat); i += 2 {
		field, _ := flat[i].(string)
		value, _ := flat[i+1].(string)
		if err := m.set(field, value); err != nil {
			return Meta{}, fmt.Errorf("decode meta field %s: %w", field, err)
		}
	}
	return m, nil
}

func (m *Meta) set(field, value string) (err error) {
	switch field {
	case fieldGeneration:
		var n uint64
		n, err = strconv.ParseUint(value, 10, 32)
		m.Generation = uint32(n)
	case fieldApplied:
		m.Applied, err = strconv.ParseUint(value, 10, 64)
	case fieldOrigins:
		err = json.Unmarshal([]byte(value), &m.Origins)
	case fieldNow:
		if value == "" {
			return nil
		}
		var us int64
		us, err = strconv.ParseInt(value, 10, 64)
		m.Now = fromMicros(us)
	case fieldRevision:
		m.Revision = value
	case fieldTarget:
		m.Unfinished = true
		if !strings.HasPrefix(value, imagePrefix) {
			m.Target, err = strconv.ParseUint(value, 10, 64)
		}
	case fieldReset:
		m.Unfinished = true
	default:
		if sender, ok := strings.CutPrefix(field, fieldSender); ok {
			err = m.setSender(sender, value)
		}
	}
	return err
}

func (m *Meta) setSender(sender, value string) error {
	sequence, index, _ := strings.Cut(value, ":")
	seq, err := strconv.ParseUint(sequence, 10, 64)
	if err != nil {
		return err
	}
	idx, err := strconv.ParseUint(index, 10, 32)
	if err != nil {
		return err
	}
	if m.Senders == nil {
		m.Senders = map[string]Position{}
	}
	m.Senders[sender] = Position{Sequence: seq, Index: uint32(idx)}
	return nil
}
