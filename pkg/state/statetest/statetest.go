// Package statetest is the suite that every state.Store passes: what a store promises, said as tests.
package statetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"refrain.dev/pkg/state"
)

// Fixture is an empty store and what the suite may do to it.
type Fixture struct {
	Store state.Store
	// Save remembers everything that the store has and returns what brings it back, as a failover to a
	// replica or an old disk does.
	Save func() (restore func())
	// Cut lets that many more parts of batches pass and loses the next one: it is not done, or, with
	// LoseAnswer, it is done and nobody hears of it. After that the store works again. It is nil for a
	// store that applies a batch at once.
	Cut func(parts int, how Loss)
	// Damage changes the suite's shard as no store does; it is nil for a store that nothing else can write to.
	Damage func(what Damage)
}

// Damage says what becomes of a shard.
type Damage int

// The damages.
const (
	// DamageRow makes the row "a" too short to be one.
	DamageRow Damage = iota
	// DamageRowType makes the row "a" something else than a row.
	DamageRowType
	// DamageRowFuture makes the row "a" one of a record that is yet to come.
	DamageRowFuture
	// DamageList makes the list "l" something else.
	DamageList
	// DamageSet makes the set "u" something else.
	DamageSet
	// DamageMeta makes the meta something else.
	DamageMeta
	// DamagePosition makes the meta's position something else than a number.
	DamagePosition
	// DamageProgress makes the shard one that is written in part, up to a place that is not written as it should be.
	DamageProgress
	// DamageTimers makes the timer index something else.
	DamageTimers
	// DamageRows makes the index of rows something else.
	DamageRows
	// DamageNames makes the index of lists and sets something else.
	DamageNames
	// DamageNameless puts an empty name into the index of lists and sets.
	DamageNameless

	damages // how many there are
)

// Loss says what becomes of a part that is cut off.
type Loss int

// The losses.
const (
	// LoseRequest loses a part before it is done.
	LoseRequest Loss = iota
	// LoseAnswer loses the answer to a part that is done.
	LoseAnswer
)

// Run runs the suite; open is called for an empty store of its own by each test.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, Fixture){
		"AnEmptyStoreKnowsNothing":               testEmpty,
		"ABatchIsReadBackInTheOrderOfTheQuery":   testReadBack,
		"MetaReplacesOriginsAndMergesSenders":    testMeta,
		"ALateWriterIsFenced":                    testFencing,
		"ARecordIsAppliedOnce":                   testOnce,
		"ABatchLeadsForward":                     testForward,
		"TheLastValueOfARowCountsAndAllDeltasDo": testLastValue,
		"ListsAndSetsFollowTheirDeltas":          testDeltas,
		"ALargeBatchIsAppliedWhole":              testLarge,
		"ABatchCutAnywhereIsContinued":           testCut,
		"AnUnfinishedBatchIsNotMixedWithAnother": testNotMixed,
		"AStoreThatLostASuffixIsRepaired":        testLostSuffix,
		"AStoreThatLostEverythingStartsAtZero":   testLostAll,
		"AReadIsNeverHalfABatchUnnoticed":        testConsistency,
		"TimersAreOrderedAndFollowTheirRows":     testTimers,
		"TimersAreNeverEarly":                    testTimersRound,
		"UnscheduleRemovesOnlyWhatItMeans":       testUnschedule,
		"RowsAreIteratedInOrder":                 testKeys,
		"KeysAndValuesMayBeAnyBytes":             testBytes,
		"BytesAreTheCallersOwn":                  testCopies,
		"ResetRemovesOneShardOnly":               testReset,
		"AResetCutAnywhereIsCompleted":           testResetCut,
		"ARestoreReplacesEverything":             testRestore,
		"ARestoreIsUnfinishedUntilItsLastPiece":  testRestoreIsUnfinished,
		"ARestoreGoesOnWhereItStopped":           testRestoreIsResumed,
		"AnotherImageStartsOver":                 testRestoreOfAnother,
		"ARestoreCutAnywhereIsCompleted":         testRestoreCut,
		"ADamagedShardIsToldAndCanBeReset":       testDamage,
		"ARowHasNoStateBetweenTwo":               testNotBetween,
		"RowsOfAnUnfinishedShardTellTheirSide":   testReadable,
		"AContextThatEndedIsObeyed":              testContext,
		"PartitionsAndStagesAreApart":            testApart,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

const stage = "suite"

var shard = state.Shard{Stage: stage, Partition: 3}

// at is a time that is easily told.
func at(second int) time.Time { return time.Unix(1_700_000_000+int64(second), 0).UTC() }

// row writes a row.
func row(key, value string) state.Write { return state.Write{Key: key, Value: []byte(value)} }

// apply applies a batch that leads from one record to the next.
func apply(t *testing.T, s state.Store, prev, applied uint64, writes ...state.Write) {
	t.Helper()
	if err := s.Apply(t.Context(), shard, batch(prev, applied, writes...)); err != nil {
		t.Fatalf("Apply(%d after %d) = %v", applied, prev, err)
	}
}

func batch(prev, applied uint64, writes ...state.Write) state.Batch {
	return state.Batch{Prev: prev, Meta: state.Meta{
		Generation: 1, Applied: applied, Now: at(int(applied)), Revision: fmt.Sprint("r", applied),
		Origins: map[string]uint64{"evt.live": applied},
	}, Writes: writes}
}

// read reads and fails the test if it cannot.
func read(t *testing.T, s state.Store, q state.Query) state.View {
	t.Helper()
	v, err := s.Read(t.Context(), shard.Partition, q)
	if err != nil {
		t.Fatalf("Read = %v", err)
	}
	return v
}

func meta(t *testing.T, s state.Store) state.Meta {
	t.Helper()
	return read(t, s, state.Query{Metas: []string{stage}}).Metas[stage]
}

// value reads one row as text; "-" if there is none.
func value(t *testing.T, s state.Store, key string) string {
	t.Helper()
	b := read(t, s, state.Query{Rows: []state.Row{{Stage: stage, Key: key}}}).Rows[0]
	if b == nil {
		return "-"
	}
	return string(b)
}

// list reads a whole list as text.
func list(t *testing.T, s state.Store, name string) []string {
	t.Helper()
	return texts(read(t, s, state.Query{Lists: []state.List{{Stage: stage, Name: name, Newest: 1 << 20}}}).Lists[0])
}

func texts(values [][]byte) []string {
	var out []string
	for _, v := range values {
		out = append(out, string(v))
	}
	return out
}

func has(t *testing.T, s state.Store, set, v string) bool {
	t.Helper()
	return read(t, s, state.Query{Members: []state.Member{{Stage: stage, Set: set, Value: v}}}).Members[0]
}

func due(t *testing.T, s state.Store, until time.Time, limit int) []state.Due {
	t.Helper()
	entries, err := s.Due(t.Context(), shard, until, limit)
	if err != nil {
		t.Fatalf("Due = %v", err)
	}
	return entries
}

func keys(t *testing.T, s state.Store, after string, limit int) []string {
	t.Helper()
	found, err := s.Keys(t.Context(), shard, after, limit)
	if err != nil {
		t.Fatalf("Keys = %v", err)
	}
	return found
}

// same compares; nothing and empty are the same for lists and maps, but not for a row's bytes.
func same(t *testing.T, what string, got, want any) {
	t.Helper()
	empty := cmpopts.EquateEmpty()
	rows := cmp.FilterValues(func(a, b []byte) bool { return true }, cmp.Comparer(func(a, b []byte) bool {
		return (a == nil) == (b == nil) && string(a) == string(b)
	}))
	if diff := cmp.Diff(want, got, cmp.FilterValues(notBytes, empty), rows); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func notBytes(a, b any) bool {
	_, isA := a.([]byte)
	_, isB := b.([]byte)
	return !isA && !isB
}
