package run

import (
	"context"
	"log/slog"

	"refrain.dev/pkg/telemetry"
)

// FlushTelemetry ends telemetry. A collector that is down is noted and is no failure of the process: what it would
// have got is dropped.
func FlushTelemetry(t *telemetry.Telemetry, logger *slog.Logger) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := t.Stop(ctx); err != nil {
			logger.WarnContext(ctx, "telemetry is dropped", telemetry.KeyError, err)
		}
		return nil
	}
}
