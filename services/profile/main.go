// Command profile keeps the profiles of customers and accounts: the first stage behind EVENTS.
package main

import (
	"refrain.dev/pkg/run"
	"refrain.dev/services/profile/profilesvc"
)

func main() { run.Main("profile", profilesvc.Default(), profilesvc.New) }
