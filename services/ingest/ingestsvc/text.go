package ingestsvc

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"refrain.dev/pkg/identity"
)

// derived makes an id from its causes.
func derived(parts ...string) string { return identity.Derive(parts...) }

// printable is an error's text in one short line of valid UTF-8.
func printable(err error) string { return shortened(err.Error()) }

// shortened is a text in one short line of valid UTF-8.
func shortened(s string) string {
	text := strings.ToValidUTF8(strings.Join(strings.Fields(s), " "), "?")
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "") + "…"
	}
	return text
}

// protoField names an identifier of a protobuf event.
func protoField(i int) string { return "identifiers[" + strconv.Itoa(i) + "]" }

// sortedKeys lists the keys of a map in order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
