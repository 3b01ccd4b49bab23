package state_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"refrain.dev/pkg/embed/embedtest"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/state"
	"refrain.dev/pkg/state/statetest"
)

func TestMiniredis(t *testing.T) {
	statetest.Run(t, func(t *testing.T) statetest.Fixture { return fixture(t, miniredis.RunT(t).Addr()) })
}

func TestRedis(t *testing.T) {
	addr := embedtest.Redis(t)
	statetest.Run(t, func(t *testing.T) statetest.Fixture {
		f := fixture(t, addr)
		if err := connect(t, addr).FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		return f
	})
}

// What is simulated behaves as what is real.
func TestMemoryAndRedisAgree(t *testing.T) {
	client := connect(t, embedtest.Redis(t))
	cut := &cutter{}
	client.AddHook(cut)
	statetest.Fidelity(t, func() statetest.Pair {
		if err := client.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		return statetest.Pair{Simulated: state.NewMemory(), Genuine: state.NewRedis(client, 1), Cut: cut.after}
	})
}

// connect returns a client that is closed at the test's end.
func connect(t testing.TB, addr string) redis.UniversalClient {
	t.Helper()
	client := redis.NewUniversalClient(state.RedisOptions(addr))
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("close client: %v", err)
		}
	})
	return client
}

func fixture(t *testing.T, addr string) statetest.Fixture {
	t.Helper()
	client := connect(t, addr)
	cut := &cutter{}
	client.AddHook(cut)
	return statetest.Fixture{
		Store: state.NewRedis(client, 1),
		Save:  func() func() { return save(t, client) },
		Cut:   cut.after,
		Damage: func(what statetest.Damage) {
			if err := damage(t.Context(), client, what); err != nil {
				t.Fatalf("damage %d: %v", what, err)
			}
		},
	}
}

// damage does to the suite's shard what somebody does who writes to the same server, or a server that loses bits.
func damage(ctx context.Context, client redis.UniversalClient, what statetest.Damage) error {
	const pattern = "refrain:1:*:suite:"
	key := func(kind string) string {
		found, err := client.Keys(ctx, pattern+kind).Result()
		if err != nil || len(found) != 1 {
			return "no such key"
		}
		return found[0]
	}
	replace := func(kind string) error {
		name := key(kind)
		_, err := client.TxPipelined(ctx, func(tx redis.Pipeliner) error {
			tx.Del(ctx, name)
			tx.RPush(ctx, name, "not what it was")
			return nil
		})
		return err
	}
	switch what {
	case statetest.DamageRow:
		return client.Set(ctx, key("row:a"), "short", 0).Err()
	case statetest.DamageRowType:
		return replace("row:a")
	case statetest.DamageRowFuture:
		return client.Set(ctx, key("row:a"), "\x00\x00\x00\x00\x00\x00\x00\x63v", 0).Err()
	case statetest.DamageList:
		return client.Set(ctx, key("list:l"), "x", 0).Err()
	case statetest.DamageSet:
		return replace("set:u")
	case statetest.DamageMeta:
		return replace("position")
	case statetest.DamagePosition:
		return client.HSet(ctx, key("position"), "applied", "two").Err()
	case statetest.DamageProgress:
		return client.HSet(ctx, key("position"), "target", "4", "at", "064").Err()
	case statetest.DamageTimers:
		return replace("timers")
	case statetest.DamageRows:
		return replace("customers")
	case statetest.DamageNames:
		return replace("names")
	case statetest.DamageNameless:
		return client.SAdd(ctx, key("names"), "").Err()
	}
	return errors.New("an unknown damage")
}

// save copies all keys to the server's database 1 and returns what copies them back.
func save(t *testing.T, client redis.UniversalClient) func() {
	t.Helper()
	ctx := t.Context()
	keys, err := client.Keys(ctx, "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if err := client.Copy(ctx, key, key, 1, true).Err(); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		if err := client.FlushDB(ctx).Err(); err != nil {
			t.Fatal(err)
		}
		_, err := client.TxPipelined(ctx, func(tx redis.Pipeliner) error {
			tx.Do(ctx, "SELECT", 1)
			for _, key := range keys {
				tx.Copy(ctx, key, key, 0, true)
			}
			tx.Do(ctx, "SELECT", 0)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

var errCut = errors.New("cut off")

// cutter is a hook that loses one call of a script.
type cutter struct {
	mu   sync.Mutex
	on   bool
	left int
	how  statetest.Loss
}

func (c *cutter) after(parts int, how statetest.Loss) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on, c.left, c.how = true, parts, how
}

// DialHook implements redis.Hook.
func (c *cutter) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessPipelineHook implements redis.Hook: a call that is lost on the way leaves those behind it.
func (c *cutter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		var sent []redis.Cmder
		for _, cmd := range cmds {
			if strings.HasPrefix(cmd.Name(), "eval") && c.loses(statetest.LoseRequest, nil) {
				cmd.SetErr(errCut)
				continue
			}
			sent = append(sent, cmd)
		}
		err := next(ctx, sent)
		for _, cmd := range sent {
			if strings.HasPrefix(cmd.Name(), "eval") && c.loses(statetest.LoseAnswer, cmd.Err()) {
				cmd.SetErr(errCut)
				return errCut
			}
		}
		if len(sent) < len(cmds) {
			return errCut
		}
		return err
	}
}

// ProcessHook implements redis.Hook.
func (c *cutter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if !strings.HasPrefix(cmd.Name(), "eval") {
			return next(ctx, cmd)
		}
		if c.loses(statetest.LoseRequest, nil) {
			cmd.SetErr(errCut)
			return errCut
		}
		err := next(ctx, cmd)
		if c.loses(statetest.LoseAnswer, err) {
			cmd.SetErr(errCut)
			return errCut
		}
		return err
	}
}

// loses says whether the call is to be lost, before it (LoseRequest) and after it (LoseAnswer). Calls
// that failed, because the server does not know the script yet, do not count.
func (c *cutter) loses(how statetest.Loss, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.on || err != nil {
		return false
	}
	if c.left == 0 && c.how == how {
		c.on = false
		return true
	}
	if how == statetest.LoseAnswer {
		c.left--
	}
	return false
}

func TestRedisResetLeavesNoKey(t *testing.T) {
	server := miniredis.RunT(t)
	s := state.NewRedis(connect(t, server.Addr()), 7)
	shard := state.Shard{Stage: "s", Partition: 9}
	b := state.Batch{Meta: state.Meta{Applied: 1}}
	for i := range 600 {
		name := fmt.Sprint("n", i)
		b.Writes = append(b.Writes, state.Write{Key: name, Value: []byte("v"), Deltas: []state.Delta{
			{Name: name, Kind: state.DeltaAppend, Value: []byte("v")}, {Name: name, Kind: state.DeltaAdd, Value: []byte("v")},
		}})
	}
	if err := s.Apply(t.Context(), shard, b); err != nil {
		t.Fatal(err)
	}
	if got, want := len(server.Keys()), 3*600+3; got != want {
		t.Errorf("%d keys, want %d", got, want)
	}
	for _, key := range server.Keys() {
		if !strings.HasPrefix(key, "refrain:7:{") || !strings.Contains(key, "}:s:") {
			t.Fatalf("key %q is not of generation 7 and stage s", key)
		}
	}
	if err := s.Reset(t.Context(), shard); err != nil {
		t.Fatal(err)
	}
	if got := server.Keys(); len(got) > 0 {
		t.Errorf("keys left: %v", got)
	}
}

// meanwhile is a hook that does something once, just before the next script runs.
type meanwhile struct {
	redis.Hook
	do func()
}

// ProcessHook implements redis.Hook.
func (m *meanwhile) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if do := m.do; do != nil && strings.HasPrefix(cmd.Name(), "eval") {
			m.do = nil
			do()
		}
		return next(ctx, cmd)
	}
}

func TestRedisALateResetTouchesNothingNew(t *testing.T) {
	addr := miniredis.RunT(t).Addr()
	client := connect(t, addr)
	hook := &meanwhile{Hook: &cutter{}}
	client.AddHook(hook)
	late, other := state.NewRedis(client, 1), state.NewRedis(connect(t, addr), 1)
	shard := state.Shard{Stage: "s"}
	b := state.Batch{Meta: state.Meta{Applied: 1}, Writes: []state.Write{{Key: "k", Value: []byte("v")}}}
	if err := other.Apply(t.Context(), shard, b); err != nil {
		t.Fatal(err)
	}
	hook.do = func() {
		if err := errors.Join(other.Reset(t.Context(), shard), other.Apply(t.Context(), shard, b)); err != nil {
			t.Error(err)
		}
	}
	if err := late.Reset(t.Context(), shard); err != nil {
		t.Fatal(err)
	}
	v, err := other.Read(t.Context(), 0, state.Query{Metas: []string{"s"}, Rows: []state.Row{{Stage: "s", Key: "k"}}})
	if err != nil || v.Metas["s"].Applied != 1 || string(v.Rows[0]) != "v" {
		t.Errorf("Read = %+v, %v; want the record that was applied after the reset", v, err)
	}
}

func TestRedisDropForgetsTheName(t *testing.T) {
	server := miniredis.RunT(t)
	s := state.NewRedis(connect(t, server.Addr()), 7)
	shard := state.Shard{Stage: "s"}
	for n, kind := range []state.DeltaKind{state.DeltaAdd, state.DeltaAppend, state.DeltaDrop} {
		b := state.Batch{Prev: uint64(n), Meta: state.Meta{Applied: uint64(n) + 1}, Writes: []state.Write{
			{Key: "k", Deltas: []state.Delta{{Name: "x", Kind: kind, Value: []byte("v")}}},
		}}
		if err := s.Apply(t.Context(), shard, b); err != nil {
			t.Fatal(err)
		}
	}
	if got := server.Keys(); len(got) != 1 {
		t.Errorf("keys %v, want the meta only", got)
	}
}

func TestRedisAssert(t *testing.T) {
	client := connect(t, embedtest.Redis(t))
	s := state.NewRedis(client, 1)
	if err := s.Assert(t.Context()); err != nil {
		t.Errorf("Assert = %v", err)
	}
	if err := client.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err(); err != nil {
		t.Fatal(err)
	}
	if err := s.Assert(t.Context()); fault.Of(err) != fault.Invalid {
		t.Errorf("Assert with allkeys-lru = %v, want that it is invalid", err)
	}
}

func TestRedisAssertWithoutConfig(t *testing.T) {
	s := state.NewRedis(connect(t, miniredis.RunT(t).Addr()), 1)
	if err := s.Assert(t.Context()); !errors.Is(err, state.ErrUnasserted) {
		t.Errorf("Assert = %v, want ErrUnasserted", err)
	}
}

func TestRedisThatIsGoneIsUnavailable(t *testing.T) {
	server := miniredis.RunT(t)
	s := state.NewRedis(connect(t, server.Addr()), 1)
	server.Close()
	_, err := s.Read(t.Context(), 0, state.Query{Metas: []string{"s"}})
	if fault.Of(err) != fault.Unavailable {
		t.Errorf("Read = %v, want that it is unavailable", err)
	}
	if err := s.Apply(t.Context(), state.Shard{Stage: "s"}, state.Batch{Meta: state.Meta{Applied: 1}}); fault.Of(err) != fault.Unavailable {
		t.Errorf("Apply = %v, want that it is unavailable", err)
	}
}

func TestRedisRefusesPartitionsThatItHasNoTagFor(t *testing.T) {
	s := state.NewRedis(connect(t, miniredis.RunT(t).Addr()), 1)
	for _, p := range []int{-1, state.MaxPartitions} {
		if _, err := s.Read(t.Context(), p, state.Query{}); fault.Of(err) != fault.Invalid {
			t.Errorf("Read of partition %d = %v, want that it is invalid", p, err)
		}
	}
}
