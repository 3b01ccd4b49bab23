package retail

import (
	"bytes"
	"flag"
	"os"
	"testing"
)

func samplePath() string { return "../../examples/retail/data/sample.csv" }

var update = flag.Bool("update", false, "write examples/retail/data/sample.csv anew")

// The sample in the repository is the one that Sample makes, and the reader takes it.
func TestSampleIsTheOneInTheRepository(t *testing.T) {
	var made bytes.Buffer
	if err := Sample(&made, 1, 1000); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(samplePath(), made.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := os.ReadFile(samplePath())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(stored, made.Bytes()) {
		t.Error("examples/retail/data/sample.csv is not what Sample makes; run go test ./tools/retail -update")
	}
	_, report, err := Read(&made)
	if err != nil {
		t.Fatal(err)
	}
	if report.Customers < 50 || report.Cancelled < 50 || report.WithoutCustomer < 50 || report.Other < 5 {
		t.Errorf("the sample lacks warts: %+v", report)
	}
}
