package cli

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/event"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/rpc"
)

// OpenNATS connects to the log at a NATS URL.
func OpenNATS(_ context.Context, url string) (log.Site, func(), error) {
	nc, err := nats.Connect(url, nats.Name("refrain"), nats.Timeout(5*time.Second))
	if err != nil {
		return nil, nil, fmt.Errorf("NATS at %s does not answer: is it running? --nats or REFRAIN_NATS says where (%w)", url, err)
	}
	site, err := log.NewJetStream(nc)
	if err != nil {
		nc.Close()
		return nil, nil, fmt.Errorf("connect to NATS at %s: %w", url, err)
	}
	return site, nc.Close, nil
}

// withSite runs a command on the log and its newest generation.
func (a *app) withSite(ctx context.Context, run func(site log.Site, gen log.Generation) error) error {
	site, done, err := a.Open(ctx, a.natsURL)
	if err != nil {
		return err
	}
	defer done()
	short, cancel := context.WithTimeout(ctx, a.timeout)
	gen, err := log.FindGeneration(short, site.KV())
	cancel()
	if errors.Is(err, log.ErrNotFound) {
		return fmt.Errorf("the log at %s is not provisioned yet: start a mesh, or run 'refrain provision'", a.natsURL)
	}
	if err != nil {
		return fmt.Errorf("read the generation at %s: %w", a.natsURL, err)
	}
	return run(site, gen)
}

// withGRPC runs one request to a service, within the time that --timeout allows.
func (a *app) withGRPC(ctx context.Context, run func(ctx context.Context, conn *grpc.ClientConn) error) error {
	conn, err := rpc.Dial(a.grpcAddr, rpc.ClientConfig{Options: a.Dial})
	if err != nil {
		return fmt.Errorf("--grpc %s: %w", a.grpcAddr, err)
	}
	defer conn.Close() //nolint:errcheck // the answer is there
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	return a.remote(run(ctx, conn))
}

// about runs one request about a customer. What looks like an internal id, as the log, tasks and timelines show it, is
// tried as a user_id first and then as the id: the mesh's, if nobody has it as their own.
func (a *app) about(ctx context.Context, text string, ask func(ctx context.Context, conn *grpc.ClientConn, id *eventv1.Identifier) error) error {
	id, err := identifier(text)
	if err != nil {
		return err
	}
	return a.withGRPC(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		err := ask(ctx, conn, id)
		if status.Code(err) == codes.NotFound && id.GetKind() == event.KindUserID && regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(id.GetValue()) {
			return ask(ctx, conn, &eventv1.Identifier{Kind: event.KindProfile, Value: id.GetValue()})
		}
		return err
	})
}

// identifier reads kind:value, or a row's key such as default/c/5d6c…; without a kind it is a user_id.
func identifier(text string) (*eventv1.Identifier, error) {
	if m := regexp.MustCompile(`^[^/]+/c/([0-9a-f]{32})$`).FindStringSubmatch(text); m != nil {
		return &eventv1.Identifier{Kind: event.KindProfile, Value: m[1]}, nil
	}
	kind, value, ok := strings.Cut(text, ":")
	if !ok || !regexp.MustCompile(`^[a-z][a-z0-9_]*$`).MatchString(kind) {
		kind, value = "user_id", text
	}
	if value == "" {
		return nil, usage("%q is no identifier: write kind:value, such as user_id:ann or email:ann@shop.example", text)
	}
	return &eventv1.Identifier{Kind: kind, Value: value}, nil
}
