package log

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// Durability is what is known about when the broker syncs messages to disk. Services log it at start.
type Durability struct {
	// Known is false if the server does not tell; only its operator knows then.
	Known bool
	// SyncAlways says that an acknowledged message is on disk.
	SyncAlways bool
	// SyncInterval is how long an acknowledged message may be in the operating system's memory only.
	SyncInterval time.Duration
	// Source says how it was found.
	Source string
}

// String describes the durability in one line.
func (d Durability) String() string {
	switch {
	case !d.Known:
		return "unknown: the broker does not tell; set sync_interval: always in production (" + d.Source + ")"
	case d.SyncAlways:
		return "every acknowledged message is on disk (" + d.Source + ")"
	default:
		return fmt.Sprintf("a power cut may take the messages of the last %s (%s)", d.SyncInterval, d.Source)
	}
}

// ProbeDurability asks the server when it syncs. Only connections that may use the system account get an
// answer; to others the result is not Known, which is no error. It waits at most a second.
func ProbeDurability(ctx context.Context, nc *nats.Conn) Durability {
	unknown := Durability{Source: "no access to the system account"}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	reply, err := nc.RequestWithContext(ctx, "$SYS.REQ.SERVER.PING.JSZ", []byte("{}"))
	if err != nil {
		return unknown
	}
	var answer struct {
		Data struct {
			Config struct {
				SyncAlways   bool          `json:"sync_always"`
				SyncInterval time.Duration `json:"sync_interval"`
			} `json:"config"`
		} `json:"data"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return unknown
	}
	c := answer.Data.Config
	return Durability{
		Known: c.SyncAlways || c.SyncInterval > 0, SyncAlways: c.SyncAlways, SyncInterval: c.SyncInterval,
		Source: "server monitoring",
	}
}
