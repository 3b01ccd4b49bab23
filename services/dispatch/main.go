// Command dispatch sends what suppression approved, and shows deliveries and dead letters.
package main

import (
	"os"

	"refrain.dev/pkg/run"
	"refrain.dev/services/dispatch/dispatchsvc"
)

func main() {
	config := dispatchsvc.Default()
	config.Secret = os.LookupEnv
	run.Main("dispatch", config, dispatchsvc.New)
}
