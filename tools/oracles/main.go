// Command oracles holds parts of Refrain against answers that other implementations gave. It prints one line per
// oracle and fails if a case neither passes nor is refused by a rule that is written down, or if too many are refused.
package main

import (
	"flag"
	"fmt"
	"os"

	"refrain.dev/pkg/liquid/golden"
)

func main() {
	file := flag.String("golden", "pkg/liquid/testdata/golden-liquid.json", "cases in the form of Golden Liquid")
	flag.Parse()
	if err := goldenLiquid(*file); err != nil {
		fmt.Fprintln(os.Stderr, "oracles:", err)
		os.Exit(1)
	}
}

// goldenLiquid runs templates whose results come from the reference implementation of Liquid.
func goldenLiquid(file string) error {
	data, err := os.ReadFile(file) //nolint:gosec // the caller names the file
	if err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	suite, err := golden.Read(data)
	if err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	r := suite.Run()
	for _, o := range r.Refused {
		fmt.Printf("refused %s: %s\n", o.Name, o.Why)
	}
	for _, o := range r.Failed {
		fmt.Printf("failed %s: %s\n", o.Name, o.Why)
	}
	fmt.Printf("oracle golden_liquid passed=%d of=%d refused=%d\n", r.Passed, r.Of, len(r.Refused))
	const most = 20 // one in so many may be refused
	if r.Of == 0 || len(r.Failed) > 0 || len(r.Refused)*most > r.Of {
		return fmt.Errorf("golden_liquid: %d failed and %d refused of %d", len(r.Failed), len(r.Refused), r.Of)
	}
	return nil
}
