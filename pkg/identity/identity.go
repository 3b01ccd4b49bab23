// Package identity turns identifiers into keyed hashes, homes and state keys, and signs the tokens by
// which outcomes find their way back. Routing needs no look-up: the home of an identifier follows from
// its tenant, kind and normalised value alone.
package identity

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
)

// IDSize is the length of a customer id or identifier hash in bytes.
const IDSize = 16

// Hasher makes ids and homes under one generation. The zero Hasher is not usable.
type Hasher struct {
	secret     []byte
	partitions int
}

// NewHasher returns the Hasher of a generation: its secret and its number of partitions.
func NewHasher(secret []byte, partitions int) Hasher {
	return Hasher{secret: secret, partitions: partitions}
}

// ID is the keyed hash of an identifier: HMAC-SHA256 over tenant, kind and value, each with its length,
// cut to IDSize bytes. It is the id of the profile that the identifier creates.
func (h Hasher) ID(tenant string, id *eventv1.Identifier) []byte {
	return h.sum("id", tenant, id.GetKind(), id.GetValue())[:IDSize]
}

// Partition is the home of an id: everything about it lives there. It is the id's first eight bytes,
// big-endian, modulo the number of partitions.
func (h Hasher) Partition(id []byte) int {
	return int(binary.BigEndian.Uint64(id) % uint64(h.partitions)) //nolint:gosec // partitions is positive and small
}

// Home is the partition of an identifier.
func (h Hasher) Home(tenant string, id *eventv1.Identifier) int {
	return h.Partition(h.ID(tenant, id))
}

// Derive makes an id from its causes: equal parts give equal ids, in hex.
func Derive(parts ...string) string {
	sum := sha256.New()
	for _, p := range parts {
		writePart(sum.Write, p)
	}
	return hex.EncodeToString(sum.Sum(nil)[:IDSize])
}

func (h Hasher) sum(parts ...string) []byte {
	mac := hmac.New(sha256.New, h.secret)
	for _, p := range parts {
		writePart(mac.Write, p)
	}
	return mac.Sum(nil)
}

func writePart(write func([]byte) (int, error), p string) {
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(p))) //nolint:gosec // parts are short
	_, _ = write(n[:])
	_, _ = write([]byte(p))
}

// CustomerKey is the state key of a customer (or account) in every stage.
func CustomerKey(tenant string, id []byte) string { return tenant + "/c/" + hex.EncodeToString(id) }

// IdentifierKey is the state key of an identifier's row in the profile stage.
func IdentifierKey(tenant string, id []byte) string { return tenant + "/i/" + hex.EncodeToString(id) }

// ParseKey takes a state key apart; space is "c" or "i".
func ParseKey(key string) (tenant, space string, id []byte, err error) {
	parts := strings.Split(key, "/")
	if len(parts) != 3 {
		return "", "", nil, fmt.Errorf("state key %q: want tenant/space/id", key)
	}
	id, err = hex.DecodeString(parts[2])
	if err != nil || len(id) != IDSize {
		return "", "", nil, fmt.Errorf("state key %q: the id is not %d hex bytes", key, IDSize)
	}
	return parts[0], parts[1], id, nil
}
