// Command suppression checks every contact against consent and contact policy and keeps the contact ledger.
package main

import (
	"refrain.dev/pkg/run"
	"refrain.dev/services/suppression/suppressionsvc"
)

func main() { run.Main("suppression", suppressionsvc.Default(), suppressionsvc.New) }
