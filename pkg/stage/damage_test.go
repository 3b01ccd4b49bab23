package stage

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/state"
)

// Something else in the store than what was written to it keeps no partition waiting: its states are made again.
func TestADamagedShardIsMadeAgain(t *testing.T) {
	for what, harm := range map[string]func(*miniredis.Miniredis, string) error{
		"a row that is too short": func(r *miniredis.Miniredis, k string) error { return r.Set(k+"row:"+key("ann"), "short") },
		"a row of a record to come": func(r *miniredis.Miniredis, k string) error {
			return r.Set(k+"row:"+key("ann"), "\x7f\x00\x00\x00\x00\x00\x00\x00v")
		},
		"a row that is something else":  func(r *miniredis.Miniredis, k string) error { return other(r, k+"row:"+key("ann")) },
		"a meta that is something else": func(r *miniredis.Miniredis, k string) error { return other(r, k+"position") },
		"a position that is no number": func(r *miniredis.Miniredis, k string) error {
			r.HSet(k+"position", "applied", "x")
			return nil
		},
		"a progress written otherwise": func(r *miniredis.Miniredis, k string) error {
			r.HSet(k+"position", "at", "00")
			return nil
		},
		"an index of timers that is something else": func(r *miniredis.Miniredis, k string) error { return other(r, k+"timers") },
		"an index of rows that is something else":   func(r *miniredis.Miniredis, k string) error { return other(r, k+"customers") },
	} {
		t.Run(what, func(t *testing.T) {
			m := newMesh(t, 1, 4)
			server := miniredis.RunT(t)
			client := redis.NewUniversalClient(state.RedisOptions(server.Addr()))
			defer func() { _ = client.Close() }()
			m.store = state.NewRedis(client, 1)
			defer m.run(m.stage("profile", m.broker, clock.Wall{}))()
			first := m.add("ann", 1)
			first.e.Later = time.Hour
			m.publish(m.broker, nil, first)
			eventually(t, "the entry is there", func() bool { return m.row("profile", "ann").Sum == 1 })
			names, err := client.Keys(t.Context(), "*}:profile:position").Result()
			if err != nil || len(names) != 1 {
				t.Fatalf("keys %v, %v", names, err)
			}
			if err := harm(server, names[0][:len(names[0])-len("position")]); err != nil {
				t.Fatal(err)
			}
			m.publish(m.broker, nil, m.add("ann", 1))
			eventually(t, "both are added up", func() bool {
				v, err := m.store.Read(t.Context(), 0, state.Query{Metas: []string{"profile"}, Rows: []state.Row{{Stage: "profile", Key: key("ann")}}})
				var s sum
				return err == nil && v.Readable("profile", 0) && json.Unmarshal(v.Rows[0], &s) == nil && s.Sum == 2
			})
			dues, err := m.store.Due(t.Context(), state.Shard{Stage: "profile"}, farFuture(), 9)
			if err != nil || len(dues) != 1 {
				t.Errorf("timers %v, %v; want ann's", dues, err)
			}
		})
	}
}

// other puts something of another type in a key's place.
func other(r *miniredis.Miniredis, key string) error {
	r.Del(key)
	_, err := r.Lpush(key, "x")
	return err
}

// A store that has a part of a record which the chain does not have is not brought up by force: the log lost it.
func TestAPartOfARecordThatIsGoneHalts(t *testing.T) {
	m := newMesh(t, 1, 4)
	store := state.NewMemory()
	m.store = store
	stop := m.run(m.stage("profile", m.broker, clock.Wall{}))
	m.publish(m.broker, nil, m.add("ann", 1))
	eventually(t, "the entry is there", func() bool { return m.row("profile", "ann").Sum == 1 })
	stop()
	v, err := m.store.Read(t.Context(), 0, state.Query{Metas: []string{"profile"}})
	if err != nil {
		t.Fatal(err)
	}
	at := v.Metas["profile"].Applied
	part := state.Batch{Prev: at, Meta: state.Meta{Generation: 1, Applied: at + 1000}, Writes: []state.Write{{Key: "a", Value: []byte("x")}, {Key: "b", Value: []byte("x")}}}
	if err := store.ApplyPart(t.Context(), state.Shard{Stage: "profile"}, part, 1); err != nil {
		t.Fatal(err)
	}
	s := m.stage("profile", m.broker, clock.Wall{})
	err = s.newPartition(0).takeOver(t.Context())
	if _, ok := errors.AsType[*HaltError](err); !ok {
		t.Errorf("take over = %v, want a halt", err)
	}
}
