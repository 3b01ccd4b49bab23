// Command decision runs the decision stage and answers the next best action.
package main

import (
	"refrain.dev/pkg/run"
	"refrain.dev/services/decision/decisionsvc"
)

func main() { run.Main("decision", decisionsvc.Default(), decisionsvc.New) }
