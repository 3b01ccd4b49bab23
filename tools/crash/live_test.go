package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"

	"refrain.dev/tools/retail"
)

// liveRate is how many events a second the importer publishes.
const liveRate = 12

// importLive lets the CLI import made-up retail data with --live, through a door in front of both replicas of
// ingest, while they are killed. It returns a function that waits for its end and gives the ids of its
// events, all of which must have been accepted.
func (f *fleet) importLive(ctx context.Context, seed uint64) (wait func() []string) {
	f.t.Helper()
	dir := f.t.TempDir()
	cli := filepath.Join(dir, "refrain")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", cli, "refrain.dev/tools/refrain").CombinedOutput(); err != nil { //nolint:gosec // the toolchain that runs this test
		f.t.Fatalf("build the CLI: %v\n%s", err, out)
	}
	var data bytes.Buffer
	if err := retail.Sample(&data, seed, 300); err != nil {
		f.t.Fatal(err)
	}
	file := filepath.Join(dir, "sample.csv")
	if err := os.WriteFile(file, data.Bytes(), 0o600); err != nil {
		f.t.Fatal(err)
	}
	messages, _, err := retail.Read(&data)
	if err != nil {
		f.t.Fatal(err)
	}
	var ids []string
	for _, m := range messages {
		ids = append(ids, m.MessageID)
	}
	door := f.door(f.t)
	ended := make(chan error, 1)
	var out, errout bytes.Buffer
	cmd := exec.CommandContext(ctx, cli, "--http", door, "import", "online-retail", file, //nolint:gosec // built above
		"--live", "--rate", fmt.Sprint(liveRate), "--patience", "2m", "-o", "json")
	cmd.Stdout, cmd.Stderr = &out, &errout
	go func() { ended <- cmd.Run() }()
	return func() []string {
		err := <-ended
		var done struct{ Accepted int }
		if errJSON := json.Unmarshal(out.Bytes(), &done); err != nil || errJSON != nil || done.Accepted != len(ids) {
			f.t.Errorf("import --live: %v, %v: %d of %d accepted: %s", err, errJSON, done.Accepted, len(ids), errout.String())
		}
		f.t.Logf("refrain import --live: %d events", done.Accepted)
		return ids
	}
}

// door is one address in front of both replicas of ingest, which listen somewhere else after every start.
func (f *fleet) door(t *testing.T) string {
	t.Helper()
	var turn atomic.Int64
	server := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			hosts := f.urls()
			// While a replica is down its address is empty: that is an error, and the importer tries again.
			r.SetURL(&url.URL{Scheme: "http", Host: hosts[int(turn.Add(1))%len(hosts)]})
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	})
	t.Cleanup(server.Close)
	return server.URL
}
