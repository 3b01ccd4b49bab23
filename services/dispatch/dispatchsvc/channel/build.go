package channel

import (
	"fmt"
	"net/netip"

	"github.com/nats-io/nats.go"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
)

// Options is what adapters need beside their definition.
type Options struct {
	// DataDir is where relative paths of the file adapter lead.
	DataDir string
	// NATSURL is used by channels that name no server.
	NATSURL string
	// NATS is used by channels that name no server if NATSURL is empty; may be nil.
	NATS *nats.Conn
	// Secret gives the value that a definition names by secret_env; nil if there are none.
	Secret func(name string) (string, bool)
	// Allow lists address ranges that may be called beside public ones.
	Allow []netip.Prefix
}

// Factory makes the adapter that a channel's definition asks for; it connects to nothing. What it makes waits
// and measures on its own clock, which in a simulated world must be the world's.
type Factory func(def *definitionv1.Channel, o Options) (Adapter, error)

// Build is the Factory of the adapters in this package. It makes the adapter that a channel's definition asks for. Building twice
// gives two adapters, which must not be used for one file beside each other without need.
func Build(def *definitionv1.Channel, o Options) (Adapter, error) {
	config := def.GetConfig()
	g := guard{allow: o.Allow}
	var a Adapter
	var err error
	switch def.GetAdapter() {
	case "webhook":
		a, err = newWebhook(config, o, g)
	case "smtp":
		a, err = newSMTP(config, o, g)
	case "nats":
		a, err = newNATS(config, o)
	case "file":
		a, err = newFile(config, o.DataDir)
	default:
		return nil, fmt.Errorf("adapter %q carries nothing", def.GetAdapter())
	}
	if err != nil {
		return nil, fmt.Errorf("build %s adapter: %w", def.GetAdapter(), err)
	}
	return a, nil
}

// LooksUp says whether channels with this adapter can be asked what became of a proposal.
func LooksUp(def *definitionv1.Channel) bool { return def.GetAdapter() == "file" }

// secret is what a setting says, or the environment variable that the setting of that name with _env names.
func (o Options) secret(config map[string]string, setting string) (string, error) {
	name := config[setting+"_env"]
	if name == "" {
		return config[setting], nil
	}
	if o.Secret != nil {
		if value, ok := o.Secret(name); ok && value != "" {
			return value, nil
		}
	}
	return "", fmt.Errorf("%s_env: %s is not set", setting, name)
}
