package ingestsvc_test

import (
	"testing"

	"refrain.dev/pkg/run"
	"refrain.dev/pkg/run/runtest"
	"refrain.dev/services/ingest/ingestsvc"
)

func TestContract(t *testing.T) {
	for name, http := range map[string]string{"with HTTP": "127.0.0.1:0", "without": ""} {
		t.Run(name, func(t *testing.T) {
			cfg := ingestsvc.Default()
			cfg.HTTP = http
			runtest.Contract(t, run.Service[ingestsvc.Config]{Name: "ingest", Defaults: ingestsvc.Default(), Build: ingestsvc.New}, cfg)
		})
	}
}
