package meshsvc

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"refrain.dev/pkg/embed"
	"refrain.dev/pkg/embed/embedtest"
	"refrain.dev/pkg/state"
)

// A Redis child that ends is started again, at the same address.
func TestRedisChildIsStartedAgain(t *testing.T) {
	embedtest.Require(t, "redis")
	child, err := startRedis(t.Context(), embed.RedisConfig{Dir: t.TempDir()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- child.Run(ctx) }()
	client := redis.NewUniversalClient(state.RedisOptions(child.Addr()))
	t.Cleanup(func() { _ = client.Close() })
	for range 2 {
		before := runID(t, client)
		client.ShutdownNoSave(t.Context())
		deadline := time.After(20 * time.Second)
		for again := ""; again == "" || again == before; again = runID(t, client) {
			select {
			case <-deadline:
				t.Fatal("it was not started again")
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("run: %v", err)
	}
	if err := child.Stop(context.Background()); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// runID tells one process of a server from the next; empty while none answers.
func runID(t *testing.T, client redis.UniversalClient) string {
	t.Helper()
	info, err := client.InfoMap(t.Context(), "server").Result()
	if err != nil {
		return ""
	}
	return info["Server"]["run_id"]
}
