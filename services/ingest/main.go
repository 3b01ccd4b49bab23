// Command ingest is the mesh's door: it takes events and stores them.
package main

import (
	"refrain.dev/pkg/run"
	"refrain.dev/services/ingest/ingestsvc"
)

func main() {
	run.Main("ingest", ingestsvc.Default(), ingestsvc.New, run.Stateless())
}
