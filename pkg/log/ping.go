package log

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"
)

// Pinger is what Ping needs of a broker.
type Pinger interface {
	// Publish is as in Broker.
	Publish(ctx context.Context, subject string, data []byte) (uint64, error)
	// Get is as in Broker.
	Get(ctx context.Context, subject string, sequence uint64) (Message, error)
}

// Ping stores a message in a partition's control lane that its readers pass over, said to be of an owner and of a time,
// and reads it back: the time at which it is stored is the log's, and a reader that has covered it has taken what was
// stored before it. After an error it may be stored or not.
func Ping(ctx context.Context, p Pinger, partition int, owner string, at time.Time) (Message, error) {
	now := timestamppb.New(at)
	data, err := (&stagev1.Arrivals{Items: []*stagev1.Arrival{{
		ReceivedAt: now, At: now, Item: &stagev1.Arrival_Ping{Ping: &stagev1.Ping{Owner: owner}},
	}}}).MarshalVT()
	if err != nil {
		return Message{}, fmt.Errorf("encode ping: %w", err)
	}
	subject := Subject(Lane(LaneControl), partition)
	sequence, err := p.Publish(ctx, subject, data)
	if err != nil {
		return Message{}, fmt.Errorf("publish ping: %w", err)
	}
	stored, err := p.Get(ctx, subject, sequence)
	if err != nil {
		return Message{}, fmt.Errorf("read ping back: %w", err)
	}
	return stored, nil
}
