//go:build unix

package cluster

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// serverPackage is the real server's main package; its version is the one in the go.mod of the module that
// builds it.
const serverPackage = "github.com/nats-io/nats-server/v2"

// Build builds the nats-server that the module around the working directory depends on, into dir, and
// returns its path. It needs the Go tool.
func Build(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "nats-server")
	command := exec.CommandContext(ctx, "go", "build", "-o", path, serverPackage) //nolint:gosec // a fixed command
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", serverPackage, err, strings.TrimSpace(string(out)))
	}
	return path, nil
}
