package liquid_test

import (
	"os"
	"testing"

	"refrain.dev/pkg/liquid/golden"
)

// The cases are every second one of Golden Liquid; their answers come from the reference engine.
func TestGoldenLiquid(t *testing.T) {
	file, err := os.ReadFile("testdata/golden-liquid.json")
	if err != nil {
		t.Fatal(err)
	}
	suite, err := golden.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	r := suite.Run()
	for _, f := range r.Failed {
		t.Errorf("%s: %s", f.Name, f.Why)
	}
	for _, f := range r.Refused {
		t.Logf("refused: %s: %s", f.Name, f.Why)
	}
	const most = 20 // one in so many may be refused
	if r.Of == 0 || r.Passed+len(r.Refused) != r.Of || len(r.Refused)*most > r.Of {
		t.Errorf("passed %d and refused %d of %d", r.Passed, len(r.Refused), r.Of)
	}
}
