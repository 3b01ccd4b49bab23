// Command gotest reads what `go test -json` writes and shows what plain `go test` would show, and at the
// end, what that would keep to itself: every test that was skipped, and why.
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := show(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		os.Exit(1)
	}
}
