package state

import (
	"context"
	"fmt"
)

// Kinds of key. A key is "refrain:<generation>:{<tag>}:<stage>:<kind>", for what there are many of
// followed by ":<name>".
const (
	// kindMeta is a hash, see redis_meta.go. A store from before rows had a sequence has none of this name, so
	// its rows are not misread: they are made again.
	kindMeta      = "position"
	kindTimers    = "timers"    // sorted set: row by microseconds of its wake-up
	kindCustomers = "customers" // sorted set with score 0: the rows, for iteration
	kindNames     = "names"     // set: "l" or "u" and the name of each list or set, for Reset
	kindRow       = "row"       // string: the sequence that wrote it, then the state
	kindList      = "list"      // list, newest at the right
	kindSet       = "set"       // set
)

// keyspace makes the keys of one partition.
type keyspace string

func (r *Redis) keyspace(ctx context.Context, partition int) (keyspace, error) {
	if err := admit(ctx, partition); err != nil {
		return "", err
	}
	return keyspace(fmt.Sprintf("refrain:%d:{%s}:", r.generation, r.tags[partition])), nil
}

func (k keyspace) key(stage, kind string) string { return string(k) + stage + ":" + kind }

func (k keyspace) named(stage, kind, name string) string {
	return string(k) + stage + ":" + kind + ":" + name
}

// fixed returns the keys that a shard has one of, in the order in which the scripts expect them.
func (k keyspace) fixed(stage string) []string {
	return []string{k.key(stage, kindMeta), k.key(stage, kindTimers), k.key(stage, kindCustomers), k.key(stage, kindNames)}
}
