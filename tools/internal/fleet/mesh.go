package fleet

import (
	"context"
	"fmt"
	"os"
	"time"

	"refrain.dev/pkg/catalog"
	"refrain.dev/pkg/definition"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/source"
)

// Heads are the sequences of the last records of all chains.
func Heads(ctx context.Context, broker log.Broker, gen log.Generation) (map[string]uint64, error) {
	out := map[string]uint64{}
	for _, spec := range log.Stages() {
		for p := range gen.Partitions {
			msg, err := broker.Last(ctx, log.Subject(spec.Chain, p))
			if err != nil {
				return nil, fmt.Errorf("read the end of %s.%d: %w", spec.Chain, p, err)
			}
			out[log.Subject(spec.Chain, p)] = msg.Sequence
		}
	}
	return out, nil
}

// Workspace is a directory of definitions, compiled.
type Workspace struct {
	// Tenant that it names, revision of the bundle, its bytes, and its computed traits as in source.Bundle.
	Tenant   string
	Revision string
	Bundle   []byte
	Computed map[string]string
}

// Compile reads a directory of definitions; any error in it is an error.
func Compile(dir string) (Workspace, error) {
	src, diags := definition.Load(os.DirFS(dir))
	bundle := src.Bundle()
	_, more := catalog.Compile(bundle)
	for _, d := range append(diags, more...) {
		if d.Severity == definition.Error {
			return Workspace{}, fault.New(fault.Invalid, "compile %s: %s", dir, d)
		}
	}
	return Workspace{
		Tenant: catalog.TenantOf(bundle), Revision: bundle.GetRevision(), Bundle: definition.Marshal(bundle), Computed: catalog.Computed(bundle),
	}, nil
}

// Apply lets it take effect, once. After an error it may have, in some partitions.
func (w Workspace) Apply(ctx context.Context, site *log.JetStream, gen log.Generation) error {
	if err := source.Put(ctx, source.StoreOf(site), source.Bundle{Tenant: w.Tenant, Revision: w.Revision, Data: w.Bundle, Computed: w.Computed}); err != nil {
		return fmt.Errorf("apply a workspace: %w", err)
	}
	if err := source.Activate(ctx, source.StoreOf(site), site, gen.Partitions, w.Revision, time.Now()); err != nil {
		return fmt.Errorf("apply a workspace: %w", err)
	}
	return nil
}
