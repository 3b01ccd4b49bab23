package log_test

import (
	"testing"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/log/logtest"
)

func TestMemoryLeases(t *testing.T) {
	logtest.RunLeases(t, func(*testing.T) log.Site { return log.NewMemory() }, 1)
}

func TestJetStreamLeases(t *testing.T) {
	logtest.RunLeases(t, func(t *testing.T) log.Site { return openJetStream(t) }, 1)
}
